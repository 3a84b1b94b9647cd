"""Figure A5 (study A, figure 5): does conflict between gradients go with the factors early in training?"""

from pathlib import Path
from typing import Any

from tasktrace.analysis.factor_tables import compared_factors
from tasktrace.figures.conflict import SIMILARITY_LABEL, caption, draw_sets, plotted, read_sets, target_entries
from tasktrace.figures.scales import value_scale
from tasktrace.figures.style import FACTORS, legend_below, new_figure, panels_area, save


def draw(tables: Path, options: dict[str, Any], png: Path) -> None:
    """Draw the figure as PNG and PDF, and write the plotted numbers as CSV.

    Args:
        tables: Folder of the setting's tables.
        options: ``Study.figure``: auxiliary, method, optimizer, factors, setting, and the drawing's size.
        png: The PNG; the others lie beside it.

    Raises:
        DataError: The setting has no auxiliary sets, or a target has no finished run with any.
    """
    sets = read_sets(tables, options, "figure A5")
    factors = compared_factors(options)
    figure = new_figure(options["width"], options["height"])
    area = panels_area(figure)
    grid = area.subplots(1, len(factors), squeeze=False, sharex=True)[0]
    for axes, factor in zip(grid, factors, strict=True):
        draw_sets(axes, sets, factor)
        value_scale(axes, sets.points[factor])
        axes.set_ylabel(f"{FACTORS[factor].name}, early\n({FACTORS[factor].unit})", fontsize=8)
        axes.tick_params(labelsize=8)
    area.supxlabel(SIMILARITY_LABEL, fontsize=8)
    legend_below(figure, target_entries(sets), caption(sets, options), columns=min(4, len(sets.styles)))
    save(figure, plotted(sets, factors), png, options["dpi"])
