"""One look for all figures: colours that everyone can tell apart, each with one meaning everywhere."""

from dataclasses import dataclass
from pathlib import Path

import matplotlib as mpl
from matplotlib.figure import Figure

from tasktrace.files import atomic_path

# Okabe and Ito's palette, which stays apart in every common colour-vision deficiency. Study A draws single-task
# training blue, positive transfer green and negative transfer red; the palette's blue, green and vermilion are those.
STL = "#0072B2"
_MTL = ("#009E73", "#D55E00", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
_MARKERS = ("s", "^", "D", "v", "P", "X")


@dataclass(frozen=True)
class CurveStyle:
    """How one curve is drawn; the marker tells curves apart without colour."""

    color: str
    marker: str


@dataclass(frozen=True)
class MetricLabel:
    """How a metric is shown: its axis label, the factor from stored to shown values, and the highest shown value."""

    label: str
    factor: float
    highest: float


METRICS = {"accuracy": MetricLabel("accuracy (%)", 100.0, 100.0)}


def curve_style(position: int) -> CurveStyle:
    """The style of a figure's curve; position 0 is single-task training."""
    if position == 0:
        return CurveStyle(STL, "o")
    return CurveStyle(_MTL[(position - 1) % len(_MTL)], _MARKERS[(position - 1) % len(_MARKERS)])


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


def save(figure: Figure, png: Path, dpi: int) -> None:
    """Write the figure as PNG and, beside it, as PDF; the same figure gives the same bytes."""
    for path, metadata in ((png, {}), (png.with_suffix(".pdf"), {"CreationDate": None})):
        with atomic_path(path) as temporary:
            figure.savefig(temporary, dpi=dpi, metadata=metadata, format=path.suffix.removeprefix("."))
