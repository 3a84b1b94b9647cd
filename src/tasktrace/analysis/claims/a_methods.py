"""Study A, section 4.2: do multi-task methods that lower a factor generalise better? (figure 4)."""

from typing import Any

import pandas as pd

from tasktrace.analysis.claims.a_transfer import MORE, UMTG, case, is_auxiliary
from tasktrace.analysis.claims.base import Claim, Finding, Tables
from tasktrace.analysis.claims.statistics import ALPHA, BAND, below_zero_p, holm, judged, sign_test, some
from tasktrace.analysis.factor_tables import LOWEST_LOSS
from tasktrace.analysis.matched_loss import CURVE, bands_apart
from tasktrace.analysis.methods_compared import share_inside

PCGRAD = "pcgrad"
PCGRAD_QUANTITIES = (LOWEST_LOSS, "sharpness", "fisher")
"""The first is higher with PCGrad, the others lower, as the paper finds."""

FEWEST_POINTS = 2
"""Of one point it is always so that all or none lie in the shaded quadrants."""

AFFECTED = "tasks whose intervals mean ± 2 std of G over seeds do not overlap between the method and the plain sum"


def changes(tables: Tables) -> pd.DataFrame:
    """``methods.csv``: the change of G and of every factor from the plain sum, in percent, where both are known."""
    table = tables.csv("methods.csv")
    return table[~is_auxiliary(table) & (table["pairs"] > 0)]


def affected(rows: pd.DataFrame, tables: Tables) -> pd.DataFrame:
    """The rows of tasks whose G differs significantly between the method and the plain sum."""
    arms = tables.csv("transfer.csv")[[*CURVE, "mtl_mean", "mtl_std"]]
    plain = arms[arms["method"] == UMTG].drop(columns="method")
    both = arms.merge(plain, on=["optimizer", "task", "group"], suffixes=("", "_plain"))
    gap = (both["mtl_mean"] - both["mtl_mean_plain"]).to_numpy()
    apart = bands_apart(gap, both["mtl_std"].to_numpy(), both["mtl_std_plain"].to_numpy(), BAND)
    return rows.merge(both.loc[apart, CURVE], on=CURVE, validate="many_to_one")


def no_factor_explains_a_method(tables: Tables) -> Finding | None:
    """Whether for no method and factor all points lie in the shaded quadrants, as the figure is drawn."""
    rows = changes(tables)
    missing = f"{FEWEST_POINTS} points of each method, and more where all lie inside, which may be chance"
    return _quadrants(rows, rows, missing)


def no_factor_explains_what_a_method_affects(tables: Tables) -> Finding | None:
    """The same of the tasks alone that a method affects significantly."""
    rows = changes(tables)
    missing = f"{FEWEST_POINTS} tasks for each method whose G it changes significantly: {MORE}; or more tasks"
    return _quadrants(rows, affected(rows, tables), missing)


def _quadrants(every: pd.DataFrame, rows: pd.DataFrame, missing: str) -> Finding | None:
    """Whether some point of every method and factor lies outside the shaded quadrants."""
    if every.empty:
        return None
    shares = share_inside(rows)
    whole = shares[shares["all_inside"].eq(True)]
    chance = holm([0.5 ** int(points) if inside else 1.0 for points, inside in _counts(shares)])
    holds = None
    if any(p < ALPHA for p in chance):
        holds = False
    elif len(shares) and whole.empty and (shares["points"] >= FEWEST_POINTS).all():
        holds = True
    described = some([_share(row) for row in whole.to_dict("records")])
    numbers = (
        f"{_range(shares)}; all inside for {len(whole)} of {len(shares)} methods and factors: {described} (that by "
        f"chance: p {min(chance, default=1.0):.2g}, Holm)"
    )
    n = int((rows if len(rows) else every)["pairs"].min())
    return judged(holds, numbers, n, missing, max(len(shares), 1))


def _counts(shares: pd.DataFrame) -> list[tuple[int, bool]]:
    """Per method and factor how many points it has, and whether all of them are inside."""
    return [(row["points"], row["all_inside"] is True) for row in shares.to_dict("records")]


def _range(shares: pd.DataFrame) -> str:
    if shares.empty:
        return "no points"
    least, most = shares.sort_values("share").iloc[[0, -1]].to_dict("records")
    return f"of the points of a method and factor from {_share(least)} to {_share(most)} lie inside"


def _share(row: dict[Any, Any]) -> str:
    return f"{row['inside']} of {row['points']} ({row['method']}, {row['factor']})"


def pcgrad_is_flatter(tables: Tables) -> Finding | None:
    """Whether PCGrad's loss is higher, its sharpness and Fisher trace lower, where it helps and where it hurts."""
    every = changes(tables)
    every = every[(every["method"] == PCGRAD) & every["factor"].isin(PCGRAD_QUANTITIES)]
    if set(every["factor"]) != set(PCGRAD_QUANTITIES):
        return None
    rows = affected(every, tables)
    expected = rows["factor_mean"].where(rows["factor"] == LOWEST_LOSS, -rows["factor_mean"])
    against = min(holm(_against(rows.assign(expected=expected))), default=1.0)
    holds = None
    if against < ALPHA:
        holds = False
    elif (rows["G_mean"] > 0).nunique() == 2 and (expected > 0).all():
        holds = True
    described = some([_change(row) for row in rows.to_dict("records")])
    numbers = (
        f"of the sign said {int((expected > 0).sum())} of {len(rows)} (against it: p {against:.2g}, Holm); {described}"
    )
    missing = f"tasks whose G PCGrad changes significantly, some up and some down, all of the sign said: {MORE}"
    n = int((rows if len(rows) else every)["pairs"].min())
    return judged(holds, numbers, n, missing, max(len(rows), 1))


def _against(rows: pd.DataFrame) -> list[float]:
    """One-sided p-values of changes against ``expected``: a t-test of each, a sign test of each quantity."""
    tests = [below_zero_p(*values) for values in zip(rows["expected"], rows["factor_std"], rows["pairs"], strict=True)]
    signs = [sign_test(int((own["expected"] < 0).sum()), len(own)) for _, own in rows.groupby("factor")]
    return tests + signs


def _change(row: dict[Any, Any]) -> str:
    both = (f"{row[f'{name}_mean']:+.2g} ± {row[f'{name}_std']:.1g} %" for name in ("factor", "G"))
    return f"{row['factor']} {case(row)} {' with G '.join(both)}"


CLAIMS: tuple[Claim, ...] = (
    Claim(
        id="a4-quadrants",
        study="A",
        place="section 4.2, figure 4",
        statement="For no multi-task method and no factor (training loss, sharpness, Fisher trace, gradient "
        "covariance) do all tasks generalise better where the factor is lower than the plain sum's and worse where "
        "it is higher.",
        settings="FashionMTL (3 tasks), Cityscapes (both)",
        statistic="per method and factor, of all tasks and groups how many lie in the shaded quadrants: changes from "
        "the plain sum, in percent, of G and of the factor of opposite sign",
        threshold="for none all of them, of at least two; contradicted if all are inside for one method and factor, "
        "and that is no chance: 0.5 to the power of the points, 0.05 with Holm over methods and factors",
        needs="a second method beside the plain sum, measured",
        check=no_factor_explains_a_method,
    ),
    Claim(
        id="a4-quadrants-affected",
        study="A",
        place="section 4.2, figure 4",
        statement="For no multi-task method and no factor do all tasks that the method affects generalise better "
        "where the factor is lower and worse where it is higher.",
        settings="CIFAR-100: significantly affected tasks (of PCGrad 4)",
        statistic=f"that of a4-quadrants, of affected tasks alone: {AFFECTED}",
        threshold="that of a4-quadrants, for the methods that affect tasks",
        needs="a second method beside the plain sum, measured",
        check=no_factor_explains_what_a_method_affects,
    ),
    Claim(
        id="a4-pcgrad-flatter",
        study="A",
        place="section 4.2, figure 4",
        statement="PCGrad ends at a higher lowest training loss with lower sharpness and Fisher trace than the plain "
        "sum, whether it helps a task or hurts it.",
        settings="CIFAR-100: PCGrad's 4 significantly affected tasks",
        statistic="mean over seeds of PCGrad's changes from the plain sum of the three quantities, of affected "
        f"tasks: {AFFECTED}",
        threshold="all of the sign said, of affected tasks that are helped and others that are hurt; contradicted by "
        "a change of the other sign (t-tests, and a sign test of each quantity: 0.05, Holm over all)",
        needs="pcgrad beside the plain sum, measured for sharpness and Fisher trace",
        check=pcgrad_is_flatter,
    ),
)
