"""One look for all figures: colours that everyone can tell apart, and one meaning of a colour for all curves."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib as mpl
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.figure import Figure, SubFigure

from tasktrace.analysis.factor_tables import LOWEST_LOSS
from tasktrace.files import atomic_path
from tasktrace.rows import write_table

# Okabe and Ito's palette, which stays apart in every common colour-vision deficiency. Study A draws single-task
# training blue, positive transfer green and negative transfer red; the palette's blue, green and vermilion are those.
_GREEN, _VERMILION, _PURPLE, _ORANGE, _SKY, _BLACK = "#009E73", "#D55E00", "#CC79A7", "#E69F00", "#56B4E9", "#000000"
STL = "#0072B2"
TRANSFER = {"positive": _GREEN, "negative": _VERMILION, "none": _BLACK}
NEUTRAL = "#666666"
_MTL = (_GREEN, _VERMILION, _PURPLE, _ORANGE, _SKY, _BLACK)
_MARKERS = ("s", "^", "D", "v", "P", "X")
_TASK_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*", "<", ">", "p", "h")

_LONGEST = 7
"""Digits from which on a number is written with an exponent."""


@dataclass(frozen=True)
class CurveStyle:
    """How one curve is drawn; the marker tells curves apart without colour."""

    color: str
    marker: str


@dataclass(frozen=True)
class MethodStyle:
    """How the markers of a multi-task method are drawn: the palette has fewer colours than there are methods."""

    color: str
    filled: bool = True

    @property
    def face(self) -> str:
        """The colour inside a marker."""
        return self.color if self.filled else "white"


METHODS = {
    "umtg": MethodStyle(_BLACK),
    "mgda": MethodStyle(_PURPLE),
    "pcgrad": MethodStyle(_ORANGE),
    "gradnorm": MethodStyle(_GREEN),
    "cagrad": MethodStyle(_VERMILION),
    "uw": MethodStyle(_SKY),
    "rlw": MethodStyle(_ORANGE, filled=False),
    "imtl": MethodStyle(_GREEN, filled=False),
    "aligned_mtl": MethodStyle(_VERMILION, filled=False),
    "adatask": MethodStyle(_PURPLE, filled=False),
    "mtl_io": MethodStyle(_SKY, filled=False),
}
"""The methods of the shipped study, by the names of their blocks; :func:`method_styles` has styles for others."""


OPTIMIZERS = {
    "adam": CurveStyle(_VERMILION, "o"),
    "sgdm": CurveStyle(_GREEN, "s"),
    "signsgd": CurveStyle(_PURPLE, "^"),
    "sgd": CurveStyle(_SKY, "D"),
}
"""The optimizers of the shipped study, by the names of their blocks; :func:`optimizer_styles` has styles for others.

None is blue, which is training alone.
"""


@dataclass(frozen=True)
class MetricLabel:
    """How a metric is shown.

    Attributes:
        label: Its axis label.
        factor: From stored to shown values.
        highest: The highest shown value.
        difference: The unit of a difference of shown values.
    """

    label: str
    factor: float
    highest: float
    difference: str


METRICS = {
    "accuracy": MetricLabel("accuracy (%)", 100.0, 100.0, "points"),
    "balanced_accuracy": MetricLabel("balanced accuracy (%)", 100.0, 100.0, "points"),
    "f1": MetricLabel("F1 (%)", 100.0, 100.0, "points"),
    "matthews": MetricLabel("Matthews correlation (%)", 100.0, 100.0, "points"),
    "pearson": MetricLabel("Pearson correlation (%)", 100.0, 100.0, "points"),
    "spearman": MetricLabel("Spearman correlation (%)", 100.0, 100.0, "points"),
    "absolute_error": MetricLabel("absolute error", 1.0, math.inf, "of the target's unit"),
    "relative_error": MetricLabel("relative error (%)", 100.0, math.inf, "points"),
    "mean_iou": MetricLabel("mean IoU (%)", 100.0, 100.0, "points"),
    "pixel_accuracy": MetricLabel("pixel accuracy (%)", 100.0, 100.0, "points"),
    "mean_angle": MetricLabel("mean angle (°)", 1.0, 180.0, "degrees"),
    "median_angle": MetricLabel("median angle (°)", 1.0, 180.0, "degrees"),
    "within_11": MetricLabel("pixels within 11.25° (%)", 100.0, 100.0, "points"),
    "within_22": MetricLabel("pixels within 22.5° (%)", 100.0, 100.0, "points"),
    "within_30": MetricLabel("pixels within 30° (%)", 100.0, 100.0, "points"),
}


@dataclass(frozen=True)
class FactorLabel:
    """What a factor is called, and its unit."""

    name: str
    unit: str


FACTORS = {
    LOWEST_LOSS: FactorLabel("Lowest training loss", "nats"),
    "sharpness": FactorLabel("Sharpness", "nats"),
    # A squared gradient: what the loss is in, by what the parameters are in, squared.
    "fisher": FactorLabel("Fisher trace", "nats²/parameter²"),
    "coherence": FactorLabel("Gradient covariance", "nats²/parameter²"),
}


@dataclass(frozen=True)
class KindStyle:
    """How one kind of pairs of gradients is drawn."""

    color: str
    label: str


# Study B draws pairs of tasks blue and pairs of samples red.
KINDS = {
    "inter_task": KindStyle("#0072B2", "two tasks, same sample"),
    "inter_sample": KindStyle("#D55E00", "two samples, same task"),
    "inter_task_averaged": KindStyle("#0072B2", "two tasks, mean over samples"),
    "inter_sample_averaged": KindStyle("#D55E00", "two samples, mean over tasks"),
}


def curve_style(position: int) -> CurveStyle:
    """The style of a figure's curve; position 0 is single-task training."""
    if position == 0:
        return CurveStyle(STL, "o")
    turn, place = divmod(position - 1, len(_MTL))
    # Another marker for the same colour, should the colours come again.
    return CurveStyle(_MTL[place], _MARKERS[(place + turn) % len(_MARKERS)])


def method_styles(methods: Sequence[str]) -> dict[str, MethodStyle]:
    """The style of every method of a figure.

    A method that :data:`METHODS` names has the same in every figure; others take those that are left in this one, in
    turn.
    """
    taken = [METHODS[method] for method in methods if method in METHODS]
    every = [MethodStyle(color, filled) for filled in (True, False) for color in _MTL]
    free = [style for style in every if style not in taken] or every
    others = [method for method in methods if method not in METHODS]
    return {
        method: METHODS[method] if method in METHODS else free[others.index(method) % len(free)] for method in methods
    }


def optimizer_styles(optimizers: Sequence[str]) -> dict[str, CurveStyle]:
    """The style of every optimizer of a figure: as :data:`OPTIMIZERS` has it, or one that none there has."""
    free = [CurveStyle(color, marker) for marker in _MARKERS for color in (_ORANGE, _BLACK)]
    others = [name for name in optimizers if name not in OPTIMIZERS]
    return {
        name: OPTIMIZERS[name] if name in OPTIMIZERS else free[others.index(name) % len(free)] for name in optimizers
    }


def metric_label(column: str) -> MetricLabel:
    """How the metric of a column ``<task>.<metric>`` is shown."""
    metric = column.partition(".")[2]
    return METRICS.get(metric, MetricLabel(metric.replace("_", " "), 1.0, math.inf, ""))


def metric_name(column: str) -> str:
    """What the metric of a column is called, without its unit."""
    return metric_label(column).label.partition(" (")[0]


def task_marker(position: int) -> str:
    """The marker of a task where colours are methods; a number when the shapes are used up."""
    return _TASK_MARKERS[position] if position < len(_TASK_MARKERS) else f"${position + 1}$"


def signed(value: float, digits: int = 3) -> str:
    """A change with its sign, to so many significant digits, but all of a whole number's; NaN is an en dash."""
    if pd.isna(value):
        return "–"
    is_large = 10**digits <= abs(value) < 10**_LONGEST
    return (f"{value:+.0f}" if is_large else f"{value:+.{digits}g}").replace("-", "−")


def spread(mean: float, std: float, factor: float = 1.0, digits: int = 3) -> str:
    """A mean to so many significant digits with its deviation, if it has one; NaN is an en dash."""
    if pd.isna(mean):
        return "–"
    text = f"{factor * mean:.{digits}g}"
    return text if pd.isna(std) else f"{text} ± {factor * std:.2g}"


def signed_spread(mean: float, std: float) -> str:
    """A change with its sign and its deviation, if it has one."""
    return signed(mean) if pd.isna(std) else f"{signed(mean)} ± {std:.2g}"


def seeds_phrase(counts: Iterable[float]) -> str:
    """How many seeds something is a mean over, where curves or bars may differ in that."""
    known = sorted({int(count) for count in counts if not pd.isna(count)})
    return "one seed" if known == [1] else f"{' or '.join(map(str, known))} seeds"


def spread_phrase(counts: Iterable[float]) -> str:
    """What bars with their errors are: one seed has no error."""
    phrase = seeds_phrase(counts)
    return phrase if phrase == "one seed" else f"mean ± std over {phrase}"


def new_figure(width: float, height: float) -> Figure:
    """An empty figure of a size in inches, without any window system."""
    mpl.rcParams.update(
        {
            "font.size": 9,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.grid": True,
            "grid.alpha": 0.25,
            "legend.frameon": False,
            "pdf.fonttype": 42,
        }
    )
    return Figure(figsize=(width, height), layout="constrained")


def panels_area(figure: Figure) -> SubFigure:
    """The part of a figure for panels and the labels that they share; the figure's legend stays clear of it."""
    area = figure.subfigures()
    assert isinstance(area, SubFigure)
    return area


def legend_below(figure: Figure, handles: Sequence[Artist], title: str, columns: int = 1) -> None:
    """The figure's legend, below the axes: inside, it would hide a part of some curve in one setting or another."""
    figure.legend(
        handles=handles,
        loc="outside lower center",
        title=title,
        title_fontsize=8,
        fontsize=8,
        alignment="left",
        ncols=columns,
    )


def save(figure: Figure, plotted: pd.DataFrame, png: Path, dpi: int) -> None:
    """Write the figure as PNG, and beside it as PDF and its numbers as CSV; the same figure gives the same bytes."""
    for path, metadata in ((png, {}), (png.with_suffix(".pdf"), {"CreationDate": None})):
        with atomic_path(path) as temporary:
            figure.savefig(temporary, dpi=dpi, metadata=metadata, format=path.suffix.removeprefix("."))
    write_table(png.with_suffix(".csv"), plotted)
