"""What study B says of features on corrupted pictures (figure A8, tables A8 to A11).

delta is what corruption leaves of a metric alone less what it leaves together, as shares of the metric on clean
pictures: negative where features of tasks trained together bear corruption better.
"""

from typing import Any

import numpy as np
import pandas as pd
from scipy import stats  # type: ignore[import-untyped]

from tasktrace.analysis.claims.base import Claim, Finding, Tables, listed
from tasktrace.analysis.claims.statistics import ALPHA, judged
from tasktrace.analysis.corruption import ALONE, MEAN

SMALL = 0.1
"""A tenth of the metric on clean pictures; of table A9 no mean is larger."""


def not_more_robust(tables: Tables) -> Finding | None:
    """Methods and metrics for which together is significantly more, and less, robust than alone."""
    cases = _cases(tables)
    less, more = int((cases["low"] > 0).sum()), int((cases["high"] < 0).sum())
    holds = None
    if 2 * more > len(cases):
        holds = False
    elif less:
        holds = True
    return judged(
        holds, _signs(cases), _seeds(cases), "more seeds: no metric of any method is clearly less robust", len(cases)
    )


def both_signs(tables: Tables) -> Finding | None:
    """Whether delta is significantly positive for some methods and metrics and negative for others."""
    cases = _cases(tables)
    less, more = int((cases["low"] > 0).sum()), int((cases["high"] < 0).sum())
    holds = None
    if less and more:
        holds = True
    elif 2 * max(less, more) > len(cases):
        holds = False
    missing = "more seeds, or more methods in `corruption`: too few differences are larger than the spread over seeds"
    return judged(holds, _signs(cases), _seeds(cases), missing, len(cases))


def differences_are_small(tables: Tables) -> Finding | None:
    """The mean delta of every method, with its interval."""
    means = _intervals(tables, mean=True)
    holds = None
    if bool(((means["low"] > -SMALL) & (means["high"] < SMALL)).all()):
        holds = True
    elif bool(((means["low"] > SMALL) | (means["high"] < -SMALL)).any()):
        holds = False
    numbers = listed(_shown(row) for row in means.to_dict("records"))
    return judged(
        holds, numbers, _seeds(means), f"more seeds: intervals that do not reach across ± {SMALL:g}", len(means)
    )


def _cases(tables: Tables) -> pd.DataFrame:
    return _intervals(tables, mean=False)


def _intervals(tables: Tables, *, mean: bool) -> pd.DataFrame:
    """Delta in the mean over all corruptions, with simultaneous 95 % intervals (Bonferroni, Welch).

    Args:
        tables: The tables.
        mean: A row per method, in the mean over metrics; otherwise per method and metric.

    Returns:
        The rows of ``corruption_transfer.csv`` with further columns alone_seeds, low and high, which are NaN where
        either side has one seed.
    """
    transfer, alone = tables.csv("corruption_transfer.csv"), _alone(tables.csv("corruption_scores.csv"))
    own = transfer[(transfer["corruption"] == MEAN) & ((transfer["metric"] == MEAN) == mean)]
    own = own.merge(alone, left_on="metric", right_index=True)
    together = own["delta_std"] ** 2 / own["seeds"]
    error = together + own["alone_variance"]
    spread = together**2 / (own["seeds"] - 1) + own["alone_variance"] ** 2 / (own["alone_seeds"] - 1)
    # Without any spread the interval is a point, whatever the degrees of freedom.
    freedom = (error**2 / spread).where(error > 0, 1.0)
    half = stats.t.isf(ALPHA / 2 / len(own), freedom) * np.sqrt(error)
    return own.assign(low=own["delta"] - half, high=own["delta"] + half)


def _alone(scores: pd.DataFrame) -> pd.DataFrame:
    """Of what corruption leaves of each metric alone, the seeds and the variance of the mean over them.

    The table has no spread of the share itself: here it is that of a quotient of independent numbers, which is too
    large if a seed that is better on clean pictures is better on corrupted ones. In the mean over metrics the
    standard deviations are averaged, as if metrics went up and down together, which is too large as well.
    """
    own = scores[scores["method"] == ALONE].set_index("metric")
    relative = np.hypot(own["corrupted_std"] / own["corrupted"], own["clean_std"] / own["clean"])
    std = (own["corrupted"] / own["clean"]).abs() * relative
    table = pd.DataFrame({"alone_seeds": own["seeds"], "std": std})
    table.loc[MEAN] = [own["seeds"].min(), std.mean(skipna=False)]
    return table.assign(alone_variance=table["std"] ** 2 / table["alone_seeds"])[["alone_seeds", "alone_variance"]]


def _signs(cases: pd.DataFrame) -> str:
    less, more = int((cases["low"] > 0).sum()), int((cases["high"] < 0).sum())
    below = int((cases["delta"] < 0).sum())
    extremes = cases.loc[[cases["delta"].idxmin(), cases["delta"].idxmax()]].to_dict("records")
    return listed(
        [
            f"delta negative in {below} of {len(cases)} cases (method, metric), significantly in {more}; significantly "
            f"positive in {less}",
            *(
                f"{word} {row['metric']} {_shown(row)}"
                for word, row in zip(("least", "largest"), extremes, strict=True)
            ),
        ]
    )


def _shown(row: dict[Any, Any]) -> str:
    spread = "" if np.isnan(row["delta_std"]) else f" ± {row['delta_std']:.3f}"
    interval = "" if np.isnan(row["low"]) else f" (interval {row['low']:.3f} to {row['high']:.3f})"
    return f"{row['method']} {row['delta']:.3f}{spread}{interval}"


def _seeds(cases: pd.DataFrame) -> int:
    return int(min(cases["seeds"].min(), cases["alone_seeds"].min()))


_NEEDS = "`experiments` with `corruption`"
_DELTA = (
    "delta, in the mean over corruptions and severities, of every method and metric, with 95 % intervals over seeds "
    "that hold together (Welch's, with Bonferroni's correction over all of them; the tasks alone have a spread, too)"
)

CLAIMS = (
    Claim(
        id="b-corruption-robust",
        study="B",
        place="Appendix (main text of versions 1 to 3), Figure A8, Tables A8 and A9",
        statement="Training together does not in general make features more robust against corruption than training "
        "alone",
        settings="Cityscapes and NYUv2 with both networks",
        statistic=_DELTA,
        threshold="supported if some interval lies above zero (less robust), and not more than half of them below; "
        "contradicted if more than half lie below zero; undecided otherwise",
        needs=_NEEDS,
        check=not_more_robust,
    ),
    Claim(
        id="b-corruption-signs",
        study="B",
        place="Tables A8 and A9",
        statement="Whether together or alone is more robust differs from method to method and from metric to metric",
        settings="Cityscapes and NYUv2 with both networks",
        statistic=_DELTA,
        threshold="supported if some interval lies above zero and another below; contradicted if more than half lie "
        "on one side and none on the other; undecided otherwise",
        needs=_NEEDS,
        check=both_signs,
    ),
    Claim(
        id="b-corruption-small",
        study="B",
        place="Table A9",
        statement="The differences in robustness between together and alone are small",
        settings="NYUv2 with both networks (table A8, of Cityscapes, does not follow from the paper's other tables)",
        statistic="delta, in the mean over metrics, corruptions and severities, of every method, with 95 % "
        "intervals over seeds that hold together (Welch's, with Bonferroni's correction over the methods)",
        threshold=f"supported if every interval lies within ± {SMALL:g}, a tenth of the metric on clean pictures "
        "(table A9: all means within 0.08); contradicted if one lies outside; undecided if they reach across",
        needs=_NEEDS,
        check=differences_are_small,
    ),
)
