"""Scales of axes for values of unknown size and sign, labelled so that every range has readable ticks."""

import math

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import FormatStrFormatter, LogFormatterSciNotation, LogLocator, NullFormatter

_FEWEST_RATIO = 3.0
"""Below this ratio of the largest to the smallest value, a logarithmic axis is a linear one with fewer labels."""

_DECADES_RATIO = 500.0
"""From this ratio on, powers of ten are labels enough."""

_WIDE_RATIO = 100.0
"""From this ratio of the largest size to a small one on, values of both signs need logarithms too."""


def value_scale(axes: Axes, values: pd.Series) -> None:
    """Choose the vertical scale: logarithmic for positive values, unless they hardly differ.

    With values of both signs it is linear, or logarithmic away from zero (symlog) where sizes are very different. A
    logarithmic axis ends at the values: a band that reaches below zero would take it down to nothing.

    Args:
        axes: What is drawn already.
        values: What it has to show; NaN where unknown.
    """
    known = values.dropna()
    if known.empty:
        return
    if known.min() > 0:
        if known.max() >= _FEWEST_RATIO * known.min():
            _logarithmic(axes, known.min(), known.max())
        return
    sizes = known[known != 0].abs()
    if not sizes.empty and sizes.max() > _WIDE_RATIO * (small := sizes.quantile(0.1)):
        axes.set_yscale("symlog", linthresh=10.0 ** math.floor(math.log10(small)))
        axes.yaxis.set_minor_formatter(NullFormatter())


def _logarithmic(axes: Axes, low: float, high: float) -> None:
    axes.set_yscale("log")
    margin = (high / low) ** 0.05
    axes.set_ylim(low / margin, high * margin)
    if high / low >= _DECADES_RATIO:
        axes.yaxis.set_major_locator(LogLocator(numticks=9))
        axes.yaxis.set_major_formatter(LogFormatterSciNotation())
    else:
        axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0), numticks=20))
        axes.yaxis.set_major_formatter(FormatStrFormatter("%g"))
    axes.yaxis.set_minor_formatter(NullFormatter())
