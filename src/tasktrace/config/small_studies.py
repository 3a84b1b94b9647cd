"""Study B's small studies without data: what their figures and tables show."""

from typing import Any

_LEARNING_RATES = (1.0, 0.05, 0.001)

_TRAININGS = [
    {"name": "ew-sgd", "label": "EW, SGD"},
    {"name": "ew-adam", "label": "EW, Adam"},
    {"name": "uw_o-sgd", "label": "UW-O, SGD"},
    {"name": "ew-adam_per_task", "label": "EW, one Adam per task"},
]

SHOWN: dict[str, dict[str, Any]] = {
    "b1": {
        "rows": ["ew", "cagrad"],
        "columns": [
            {"optimizer": optimizer, "learning_rate": rate} for optimizer in ("gd", "adam") for rate in _LEARNING_RATES
        ],
        "levels": 12,
    },
    "tab_b1": {"title": "Toy problem: iterations to the minimum, ours and published"},
    "b_a1": {"backbone": "frozen", "trainings": _TRAININGS[:3]},
    "b_a2": {"backbone": "trainable", "trainings": _TRAININGS},
}
"""By figure or table, what it shows beside its size: the paper's panels."""
