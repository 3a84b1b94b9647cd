"""Generalisation compared at equal full training loss (study A, figures 1 and 2)."""

import numpy as np
import numpy.typing as npt
import pandas as pd

Array = npt.NDArray[np.float64]

CURVE = ["optimizer", "task", "method", "group"]
"""What names one curve: an arm and one of its tasks."""


def first_passages(loss: Array, metric: Array) -> tuple[Array, Array]:
    """The points of a trajectory at which its loss is lower than ever before.

    A late spike of the loss says nothing about what the model was when it first passed that loss, so only the first
    passage counts; the metric thus becomes a function of the loss.

    Args:
        loss: Full training loss by epoch, shape (n,), positive.
        metric: Metric by epoch, shape (n,).

    Returns:
        The losses, strictly falling, and their metrics; both of shape (m,), m <= n.
    """
    before = np.concatenate([[np.inf], np.minimum.accumulate(loss)[:-1]])
    passing = loss < before
    return loss[passing], metric[passing]


def interpolated(loss: Array, metric: Array, grid: Array) -> Array:
    """The metric of one trajectory on a grid of losses, linear in the logarithm of the loss.

    Args:
        loss: Full training loss by epoch, shape (n,), positive.
        metric: Metric by epoch, shape (n,).
        grid: Losses, shape (g,).

    Returns:
        Shape (g,); NaN where the trajectory never had the loss.
    """
    falling, passed = first_passages(loss, metric)
    return np.interp(np.log(grid), np.log(falling[::-1]), passed[::-1], left=np.nan, right=np.nan)


def bands_apart(gap: Array, std: Array, other_std: Array, band: float) -> npt.NDArray[np.bool_]:
    """Whether two bands of ``band`` standard deviations, their means ``gap`` apart, do not overlap.

    False where a number is missing.
    """
    return np.asarray(np.abs(gap) > band * (std + other_std))


def curves(points: pd.DataFrame, grid_points: int) -> pd.DataFrame:
    """Mean and standard deviation over seeds of every curve, on one grid of log losses per optimizer and task.

    A curve begins with the first finished epoch. Between it and the initial model lies most of the fall of the loss,
    and nothing that was measured: a line across it would separate curves by where their first epoch happens to end.

    Args:
        points: One row per run, task and epoch: the columns of ``CURVE``, seed, epoch, loss, metric.
        grid_points: Number of losses on a grid, which spans all curves that share it.

    Returns:
        Columns of ``CURVE``, loss (from high to low), mean, std (sample standard deviation), seeds; no rows where
        not every seed of the curve had the loss.
    """
    found = []
    trained = points[points["epoch"] > 0]
    for _, shared in trained.groupby(["optimizer", "task"], sort=False):
        grid = np.geomspace(shared["loss"].max(), shared["loss"].min(), grid_points)
        for names, own in shared.groupby(CURVE, sort=False, dropna=False):
            by_seed = np.array([_on_grid(run, grid) for _, run in own.groupby("seed")])
            known = ~np.isnan(by_seed).any(axis=0)
            spread = by_seed.std(axis=0, ddof=1) if len(by_seed) > 1 else np.full(len(grid), np.nan)
            table = pd.DataFrame({"loss": grid, "mean": by_seed.mean(axis=0), "std": spread})[known]
            found.append(table.assign(seeds=len(by_seed), **dict(zip(CURVE, names, strict=True))))
    whole: pd.DataFrame = pd.concat(found, ignore_index=True)[[*CURVE, "loss", "mean", "std", "seeds"]]
    return whole


def separation(curves_table: pd.DataFrame, band: float) -> pd.DataFrame:
    """Where each multi-task curve leaves its task's single-task curve.

    Args:
        curves_table: What :func:`curves` gives.
        band: Half-width of a band, in standard deviations.

    Returns:
        Columns of ``CURVE`` and

        - ``final_loss``: the lowest loss that both curves reach with every seed;
        - ``first_loss``: the highest loss at which the bands do not overlap, NaN if they always do;
        - ``lasting_loss``: the loss from which they stay apart down to ``final_loss``, NaN if they overlap there;
        - ``first_ratio``, ``lasting_ratio``: those two over ``final_loss``;
        - ``apart``: share of the common grid on which the bands are apart;
        - ``final_gap``: mean of the multi-task curve less that of the single-task curve at ``final_loss``.
    """
    found = []
    for (_optimizer, _task), shared in curves_table.groupby(["optimizer", "task"], sort=False):
        alone = shared[shared["method"].isna()]
        for names, own in shared[shared["method"].notna()].groupby(CURVE, sort=False):
            both = own.merge(alone, on="loss", suffixes=("", "_stl"))
            found.append({**dict(zip(CURVE, names, strict=True)), **_separation(both, band)})
    return pd.DataFrame(found)


def _on_grid(run: pd.DataFrame, grid: Array) -> Array:
    return interpolated(run["loss"].to_numpy(), run["metric"].to_numpy(), grid)


def _separation(both: pd.DataFrame, band: float) -> dict[str, float]:
    nothing = dict.fromkeys(
        ["final_loss", "first_loss", "lasting_loss", "first_ratio", "lasting_ratio", "apart", "final_gap"], np.nan
    )
    if both.empty:
        return nothing
    loss = both["loss"].to_numpy()
    gap = (both["mean"] - both["mean_stl"]).to_numpy()
    apart = bands_apart(gap, both["std"].to_numpy(), both["std_stl"].to_numpy(), band)
    last_overlap = np.flatnonzero(~apart)[-1] if not apart.all() else -1
    first = loss[apart.argmax()] if apart.any() else np.nan
    lasting = loss[last_overlap + 1] if last_overlap + 1 < len(loss) else np.nan
    return {
        "final_loss": loss[-1],
        "first_loss": first,
        "lasting_loss": lasting,
        "first_ratio": first / loss[-1],
        "lasting_ratio": lasting / loss[-1],
        "apart": float(apart.mean()),
        "final_gap": gap[-1],
    }
