"""What study B says of gradients between tasks and between samples (figures 4 and A5 to A7)."""

import pandas as pd

from tasktrace.analysis.claims.base import Claim, Finding, Tables, listed, undecided
from tasktrace.analysis.claims.statistics import judged, some

TASKS, SAMPLES = "inter_task", "inter_sample"
"""Pairs of tasks on the same sample, pairs of samples of the same task."""

CONVERSE = "celeba"
"""Of this setting the paper says the converse of what it says of Cityscapes."""

CONSTANT = 2.0
"""A gap that stays within this factor is roughly constant."""

_PARTS = 3
"""The beginning and the end of training are each one of so many parts of its epochs."""

_DISAGREE = "more seeds: `seeds` in config/config.yaml; these disagree"


def magnitudes_are_lower(tables: Tables) -> Finding | None:
    """Mean magnitude similarity between tasks and between samples, epoch by epoch."""
    means = _epochs(tables, "magnitude_similarity", ["mean"])
    if means.empty:
        return _without_numbers()
    lower = means[TASKS, "mean"] < means[SAMPLES, "mean"]
    exceptions = [f"epoch {epoch} of seed {seed}" for seed, epoch in lower.index[~lower]]
    numbers = listed(
        [
            f"lower in {int(lower.sum())} of {len(lower)} epochs and seeds (not in: {some(exceptions)})",
            f"mean over epochs: tasks {_over_seeds(means[TASKS, 'mean'])}, samples "
            f"{_over_seeds(means[SAMPLES, 'mean'])}",
        ]
    )
    mostly = lower.groupby("seed").mean() > 0.5
    holds = True if lower.all() else None if mostly.any() else False
    return judged(holds, numbers, _seeds(means), "more samples: the epochs disagree", len(lower))


def gap_is_constant(tables: Tables) -> Finding | None:
    """The gap between both mean magnitude similarities at the beginning and at the end of training."""
    means = _epochs(tables, "magnitude_similarity", ["mean"])
    if means.empty:
        return _without_numbers()
    gap = (means[SAMPLES, "mean"] - means[TASKS, "mean"]).unstack("epoch")
    length = gap.shape[1] // _PARTS
    if length == 0:
        return undecided("", len(gap), f"longer training: {_PARTS} epochs or more, for a beginning and an end")
    first, last = gap.iloc[:, :length].mean(axis=1), gap.iloc[:, -length:].mean(axis=1)
    constant = (first > 0) & (last <= CONSTANT * first) & (first <= CONSTANT * last)
    numbers = listed(
        [
            f"gap {_spread(first)} in the first {length} epochs, {_spread(last)} in the last",
            f"within a factor of {CONSTANT:g} in {int(constant.sum())} of {len(constant)} seeds",
        ]
    )
    return _in_every_seed(constant, numbers, len(constant))


def cosines_lie_inside(tables: Tables) -> Finding | None:
    """Whether the cosine's spread between tasks lies inside that between samples."""
    return None if tables.setting == CONVERSE else _contained(tables, TASKS, SAMPLES)


def cosines_lie_outside(tables: Tables) -> Finding | None:
    """Whether the cosine's spread between samples lies inside that between tasks."""
    return _contained(tables, SAMPLES, TASKS) if tables.setting == CONVERSE else None


def conflicts_are_alike(tables: Tables) -> Finding | None:
    """Mean shares of conflicting coordinates, against their spread over pairs."""
    shares = _epochs(tables, "conflicting", ["mean", "std"])
    if shares.empty:
        return _without_numbers()
    apart = (shares[TASKS, "mean"] - shares[SAMPLES, "mean"]).abs()
    alike = apart <= shares[[(TASKS, "std"), (SAMPLES, "std")]].min(axis=1)
    numbers = listed(
        [
            f"alike in {int(alike.sum())} of {len(alike)} epochs and seeds",
            f"mean over epochs: tasks {_over_seeds(shares[TASKS, 'mean'])}, samples "
            f"{_over_seeds(shares[SAMPLES, 'mean'])}",
        ]
    )
    return _in_most_epochs(alike, numbers)


def _contained(tables: Tables, inner: str, outer: str) -> Finding:
    ends = _epochs(tables, "cosine", ["low", "high"])
    if ends.empty:
        return _without_numbers()
    inside = (ends[inner, "low"] >= ends[outer, "low"]) & (ends[inner, "high"] <= ends[outer, "high"])
    intervals = ", ".join(
        f"{word} {ends[kind, 'low'].mean():.2f} to {ends[kind, 'high'].mean():.2f}"
        for kind, word in ((TASKS, "tasks"), (SAMPLES, "samples"))
    )
    numbers = f"inside in {int(inside.sum())} of {len(inside)} epochs and seeds; mean over epochs: {intervals}"
    return _in_most_epochs(inside, numbers)


def _epochs(tables: Tables, quantity: str, statistics: list[str]) -> pd.DataFrame:
    """Statistics by seed and epoch (index), kind and statistic (columns); epochs without all of them are left out."""
    table = tables.parquet("similarity.parquet")
    own = table[
        (table["quantity"] == quantity) & table["kind"].isin([TASKS, SAMPLES]) & table["statistic"].isin(statistics)
    ]
    return own.pivot(index=["seed", "epoch"], columns=["kind", "statistic"], values="value").dropna()


def _in_most_epochs(flags: pd.Series, numbers: str) -> Finding:
    """The finding of what must hold in more than half of every seed's epochs."""
    return _in_every_seed(flags.groupby("seed").mean() > 0.5, numbers, len(flags))


def _in_every_seed(flags: pd.Series, numbers: str, comparisons: int) -> Finding:
    """The finding of what holds in every seed, in none, or in some, which leaves it open."""
    holds = bool(flags.all()) if flags.nunique() == 1 else None
    return judged(holds, numbers, len(flags), _DISAGREE, comparisons)


def _without_numbers() -> Finding:
    return undecided("", 0, "epochs in which not every gradient is zero: a smaller learning rate, or other samples")


def _seeds(epochs: pd.DataFrame) -> int:
    return int(epochs.index.get_level_values("seed").nunique())


def _over_seeds(values: pd.Series) -> str:
    return _spread(values.groupby("seed").mean())


def _spread(values: pd.Series) -> str:
    """Mean and standard deviation over seeds."""
    return f"{values.mean():.3f}" + (f" ± {values.std():.3f}" if len(values) > 1 else "")


_SETUPS = "Cityscapes and NYUv2 with both networks, CelebA"
_NEEDS = "`experiments` that watch gradients (`similarity`), of tasks that share their inputs"

CLAIMS = (
    Claim(
        id="b-similarity-magnitude",
        study="B",
        place="Figure 4",
        statement="Gradients differ more in magnitude between tasks than between samples, all through training",
        settings=_SETUPS,
        statistic="the mean magnitude similarity over all pairs of an epoch, between tasks and between samples",
        threshold="lower between tasks in every epoch of every seed (the paper: in all set-ups); contradicted if in no "
        "seed in more than half of the epochs, undecided otherwise",
        needs=_NEEDS,
        check=magnitudes_are_lower,
    ),
    Claim(
        id="b-similarity-gap",
        study="B",
        place="Figure 4",
        statement="The gap in magnitude similarity between tasks and samples stays roughly constant over training",
        settings=_SETUPS,
        statistic="the mean similarity between samples less that between tasks, averaged over the first and over "
        "the last third of the epochs",
        threshold=f"in every seed both above zero and within a factor of {CONSTANT:g} of each other (our reading of "
        '"roughly"); contradicted if in no seed, undecided if the seeds disagree',
        needs=_NEEDS,
        check=gap_is_constant,
    ),
    Claim(
        id="b-similarity-cosine",
        study="B",
        place="Figure 4",
        statement="Gradients of different tasks do not point apart more than those of different samples: the spread "
        "of their cosine lies inside that between samples (of CelebA the paper says the converse: "
        "b-similarity-cosine-celeba)",
        settings="Cityscapes with both networks",
        statistic="whether the 2.5 and 97.5 percentiles of the cosine between tasks lie between those between "
        "samples, in each epoch of each seed",
        threshold="so in more than half of the epochs of every seed; contradicted if of no seed, undecided if the "
        "seeds disagree",
        needs=_NEEDS,
        check=cosines_lie_inside,
    ),
    Claim(
        id="b-similarity-cosine-celeba",
        study="B",
        place="Figure 4",
        statement="With CelebA's many tasks it is mostly the converse: the spread of the cosine between samples "
        "lies inside that between tasks",
        settings="CelebA",
        statistic="whether the 2.5 and 97.5 percentiles of the cosine between samples lie between those between "
        "tasks, in each epoch of each seed",
        threshold='so in more than half ("mostly") of the epochs of every seed; contradicted if of no seed, '
        "undecided if the seeds disagree",
        needs=f"{_NEEDS}: `{CONVERSE}`",
        check=cosines_lie_outside,
    ),
    Claim(
        id="b-similarity-conflicting",
        study="B",
        place="Figure 4",
        statement="The share of coordinates in which two gradients conflict is alike between tasks and between samples",
        settings=_SETUPS,
        statistic="the difference of the mean shares over all pairs of an epoch, against their standard deviations "
        "over pairs (the figure's shades)",
        threshold="no larger than the smaller standard deviation, so that each mean lies in the other's shade, in "
        "more than half of the epochs of every seed; contradicted if of no seed, undecided if the seeds disagree",
        needs=_NEEDS,
        check=conflicts_are_alike,
    ),
)
