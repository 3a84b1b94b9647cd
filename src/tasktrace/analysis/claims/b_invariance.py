"""What study B's theory says of scaled losses (appendix A1, figures A1 and A2).

Nothing is drawn: a case is a backbone, a part of the network and a quantity, whose series over the epochs is the same
with scaled losses or is not. The loss as it is optimised has its scale in it and is no case.
"""

from collections.abc import Callable
from functools import partial

from tasktrace.analysis.claims.base import Claim, Finding, Tables, decide, undecided

STUDY = "invariance"

Check = Callable[[Tables], Finding | None]

BACKBONES = ("frozen", "trainable")
_MOVES = ("update", "task_loss")
"""Of what the parameters do: the norm of their update, and the task's own loss without its scale."""

_WITH_GRADIENTS = (*_MOVES, "gradient")

_SAME = "in every case the series are the same"
_DIFFERENT = "in no case are the series the same"


def check_cases(
    tables: Tables, *, training: str, backbones: tuple[str, ...], quantities: tuple[str, ...], expected: bool
) -> Finding | None:
    """Whether every case of a training is invariant, or every one is not.

    Args:
        tables: The tables.
        training: The training, as in ``differences.csv``.
        backbones: Frozen, trainable, or both.
        quantities: Those that the claim speaks of.
        expected: Whether they are said to be invariant.
    """
    if tables.setting != STUDY:
        return None
    cases = tables.csv("differences.csv")
    own = cases[
        (cases["training"] == training) & cases["backbone"].isin(backbones) & cases["quantity"].isin(quantities)
    ]
    if own.empty:
        return undecided("", 0, f"cases of {training} in differences.csv: run the study again")
    flags, differences = own["invariant"].astype(bool), own["max_relative_difference"]
    numbers = (
        f"{int(flags.sum())} of {len(own)} cases invariant; largest relative difference over the epochs: "
        f"{differences.min():.2g} to {differences.max():.2g} by case"
    )
    return decide(bool((flags == expected).all()), numbers, len(own), len(own), seeds=False)


def _claim(name: str, statement: str, figures: str, cases: str, threshold: str, check: Check) -> Claim:
    return Claim(
        id=f"b-invariance-{name}",
        study="B",
        place=f"Appendix A1, {figures}",
        statement=statement,
        settings="a small network with two heads on scalar inputs",
        statistic="the largest relative difference, over all epochs, between training with losses as they are and with "
        f"scaled ones, of {cases}; nothing is drawn, so cases are counted and not seeds",
        threshold=f"{threshold}, which is a relative difference below 1e-4 at every epoch (float64)",
        needs="the tables of the small study `invariance` (targets `fig_b_a1`, `fig_b_a2`)",
        check=check,
    )


CLAIMS = (
    _claim(
        "uw-o",
        "Uncertainty weighting with optimal weights (UW-O) makes training invariant to the scales of the losses, in "
        "heads and backbone",
        "Figures A1 and A2",
        "gradient, update and task loss of every part, frozen and trainable backbone",
        _SAME,
        partial(check_cases, training="uw_o-sgd", backbones=BACKBONES, quantities=_WITH_GRADIENTS, expected=True),
    ),
    _claim(
        "adam-heads",
        "Adam makes the heads on a frozen backbone invariant to constant scales of the losses",
        "Figure A1",
        "update and task loss of every head, frozen backbone",
        _SAME,
        partial(check_cases, training="ew-adam", backbones=("frozen",), quantities=_MOVES, expected=True),
    ),
    _claim(
        "adam-backbone",
        "With a trainable backbone one Adam for all tasks is not invariant to the scales of the losses",
        "Figure A2",
        "update and task loss of every part, trainable backbone",
        _DIFFERENT,
        partial(check_cases, training="ew-adam", backbones=("trainable",), quantities=_MOVES, expected=False),
    ),
    _claim(
        "adam-per-task",
        "One Adam per task is invariant to constant scales of the losses, in heads and backbone",
        "Figure A2",
        "update and task loss of every part, frozen and trainable backbone",
        _SAME,
        partial(check_cases, training="ew-adam_per_task", backbones=BACKBONES, quantities=_MOVES, expected=True),
    ),
    _claim(
        "sgd",
        "With SGD the scale of a loss is a learning rate of its task: nothing is invariant",
        "Figures A1 and A2",
        "gradient, update and task loss of every part, frozen and trainable backbone",
        _DIFFERENT,
        partial(check_cases, training="ew-sgd", backbones=BACKBONES, quantities=_WITH_GRADIENTS, expected=False),
    ),
)
