"""A figure like any other, drawn to see what one takes: ``python -m tasktrace.planning.specimen FOLDER``.

Without a folder it only starts as the jobs of the analysis do. Either way it says how much memory that took.
"""

import json
import sys
import tempfile
from pathlib import Path

from tasktrace.analysis import tables  # noqa: F401 (what a job imports is a part of its start)
from tasktrace.planning.memory import peak

_POINTS = 100
_PANELS = (2, 3)
_CURVES = 5
_WIDTH, _HEIGHT, _DPI = 7.2, 4.4, 200


def draw(png: Path) -> None:
    """Draw some curves in some panels, as PNG and PDF with their numbers beside them."""
    import pandas as pd

    from tasktrace.figures.style import curve_style, new_figure, save

    figure = new_figure(_WIDTH, _HEIGHT)
    table = pd.DataFrame({"epoch": range(_POINTS)})
    for axes in figure.subplots(*_PANELS).flat:
        for curve in range(_CURVES):
            style = curve_style(curve)
            axes.plot(table["epoch"], table["epoch"] * curve, color=style.color, marker=style.marker, label=f"{curve}")
        axes.set_xlabel("epoch")
        axes.legend()
    save(figure, table, png, _DPI)


if __name__ == "__main__":
    if len(sys.argv) > 1:
        with tempfile.TemporaryDirectory(dir=sys.argv[1]) as folder:
            draw(Path(folder) / "specimen.png")
    print(json.dumps(peak()))
