"""Study B's experiments: what an optimizer, a method and a learning rate come to on all metrics of all tasks.

An experiment is a method with an optimizer at a learning rate, trained with several seeds. Its Delta_m says what it
loses against every task trained alone; its metrics say whether another experiment is better at everything.
"""

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from tasktrace.analysis import published_b
from tasktrace.analysis.baseline import Baseline, baseline_table, baselines
from tasktrace.analysis.fronts import pareto_counts, pareto_methods
from tasktrace.analysis.metrics import (
    STD,
    columns_of,
    counted,
    delta_m,
    directions,
    metric_columns,
    metric_values,
    with_std,
)
from tasktrace.analysis.pareto import optimal, undominated_by
from tasktrace.analysis.runs import FinishedRun, read_runs
from tasktrace.config.experiments import GROUP, in_grid
from tasktrace.errors import DataError
from tasktrace.rows import write_table

EXPERIMENT = ["method", "optimizer", "learning_rate", "batch_size"]
"""What an experiment is."""

_POINT = ["learning_rate", "batch_size"]
_COMPARED = ["learning_rate", "delta_m", f"delta_m{STD}"]
"""Of a published result, what stands beside ours."""


def analyse_experiments(setting: str, folders: list[Path], out: Path, identities: list[str] | None = None) -> None:
    """Write every table of a setting's grid.

    Args:
        setting: Its name, for messages and for the published numbers.
        folders: Folders of all runs of its grid, tasks alone and together.
        out: Folder of the tables: experiments.csv, experiment_runs.csv, baseline.csv, pareto_counts.csv,
            pareto_methods.csv, results.csv.
        identities: See :func:`tasktrace.analysis.runs.read_runs`.

    Raises:
        DataError: A run is missing, no task was trained together with others, or there is no baseline for a task.
        DamagedFileError: A file is not what was written.
    """
    runs = [run for run in read_runs(folders, identities) if in_grid(run.arm)]
    together = [run for run in runs if run.arm.group == GROUP]
    if not together:
        raise DataError(f"{setting}: no finished run with a method in its grid: there is nothing to compare")
    alone = baselines(setting, [run for run in runs if run.arm.group != GROUP], counted(together[0].tasks))
    rows = pd.DataFrame([run_row(run, alone) for run in together])
    experiments = experiments_table(rows)
    write_table(out / "experiment_runs.csv", rows)
    write_table(out / "experiments.csv", experiments)
    write_table(out / "baseline.csv", baseline_table(alone))
    write_table(out / "pareto_counts.csv", pareto_counts(setting, experiments, rows))
    write_table(out / "pareto_methods.csv", pareto_methods(setting, experiments))
    write_table(out / "results.csv", results_table(setting, experiments))


def experiments_table(rows: pd.DataFrame) -> pd.DataFrame:
    """One row per experiment.

    An experiment of which a seed diverged counts as diverged: its numbers are NaN, it is never optimal or chosen, and
    dominates nothing. The mean of those seeds that came through would say that the others do not matter.

    Args:
        rows: One row per run: ``EXPERIMENT``, seed, diverged, epoch, validation_delta_m, the metrics, delta_m.

    Returns:
        ``EXPERIMENT``; number of seeds, and of those that diverged; every metric's mean and sample standard deviation
        over seeds, on test data at each run's best epoch; the mean validation_delta_m; mean and standard deviation of
        delta_m; ``pareto_full`` (no experiment dominates it); for every optimizer ``optimal_against_<optimizer>``
        (none of that optimizer's does; NA for its own), only if there are several; ``chosen``: the learning rate with
        the best mean validation_delta_m of its method and optimizer.
    """
    columns = metric_columns(rows)
    table = pd.DataFrame([_experiment(own, columns) for _, own in rows.groupby(EXPERIMENT, sort=False)])
    values, higher = table[columns].to_numpy(dtype=float), directions(columns)
    table["pareto_full"] = optimal(values, higher)
    optimizers = list(dict.fromkeys(table["optimizer"]))
    for other in optimizers if len(optimizers) > 1 else []:
        theirs = (table["optimizer"] == other).to_numpy()
        against = pd.Series(undominated_by(values, values[theirs], higher), dtype="boolean")
        table[f"optimal_against_{other}"] = against.mask(theirs)
    best = table.groupby(["method", "optimizer"])["validation_delta_m"].transform("min")
    winners = table[table["validation_delta_m"] == best].drop_duplicates(["method", "optimizer"])
    table["chosen"] = table.index.isin(winners.index)
    return table


def results_table(setting: str, experiments: pd.DataFrame) -> pd.DataFrame:
    """Every method and optimizer at its chosen learning rate (Tables A4 to A7), with the published Delta_m beside.

    Args:
        setting: Its name, for the published numbers.
        experiments: What :func:`experiments_table` gives.

    Returns:
        method, optimizer, learning_rate, batch_size, seeds, the metrics, validation_delta_m, delta_m and its standard
        deviation, pareto_full, and published_learning_rate, published_delta_m and published_delta_m_std, NaN where
        there are none. Where every learning rate diverged, there is a row without numbers.
    """
    metrics = with_std(metric_columns(experiments))
    kept = [*EXPERIMENT, "seeds", *metrics, "validation_delta_m", *with_std(["delta_m"]), "pareto_full"]
    paper = published_b.by_method(setting)
    rows = []
    for (method, optimizer), own in experiments.groupby(["method", "optimizer"], sort=False):
        winner = own[own["chosen"]]
        names: dict[Any, Any] = {"method": method, "optimizer": optimizer, "pareto_full": False}
        row = names if winner.empty else winner[kept].iloc[0].to_dict()
        theirs = paper.get((method, optimizer), {})
        rows.append({**row, **{f"published_{name}": theirs.get(name) for name in _COMPARED}})
    published = [f"published_{name}" for name in _COMPARED]
    return pd.DataFrame(rows, columns=[*kept, *published]).astype(dict.fromkeys(published, float))


def run_row(run: FinishedRun, alone: list[Baseline]) -> dict[str, Any]:
    """A run at its best epoch: that of lowest validation Delta_m, where the tasks alone have their validation metrics.

    A run of which a loss, or at every epoch some metric, was not finite counts as diverged, and has no numbers.
    """
    columns = columns_of(counted(run.tasks))
    higher = directions(columns)
    point = {name: run.spec["point"][name] for name in _POINT}
    row = {"method": run.arm.method, "optimizer": run.arm.optimizer, **point, "seed": run.spec["seed"]}
    nothing = dict.fromkeys(["validation_delta_m", *columns, "delta_m"], np.nan)
    validation, test = metric_values(run, "validation"), metric_values(run, "test")
    scores = delta_m(validation.to_numpy(), np.concatenate([own.validation for own in alone]), higher)
    usable = np.isfinite(scores) & np.isfinite(test.to_numpy()).all(axis=1)
    if run.diverged or not usable.any():
        return {**row, "diverged": True, "epoch": None, **nothing}
    place = int(np.where(usable, scores, np.inf).argmin())
    values = test.iloc[place].to_numpy()
    own_delta = float(delta_m(values, np.concatenate([own.test for own in alone]), higher))
    return {
        **row,
        "diverged": False,
        "epoch": int(validation.index[place]),
        "validation_delta_m": float(scores[place]),
        **dict(zip(columns, values, strict=True)),
        "delta_m": own_delta,
    }


def _experiment(rows: pd.DataFrame, columns: list[str]) -> dict[str, Any]:
    names = {name: rows[name].iloc[0] for name in EXPERIMENT}
    numbers = rows[[*columns, "validation_delta_m", "delta_m"]]
    mean = numbers.mean(skipna=False)
    std = numbers.std(ddof=1, skipna=False)
    spread = {name: own[name.removesuffix(STD)] for name, own in zip(with_std(columns), itertools.cycle((mean, std)))}
    return {
        **names,
        "seeds": len(rows),
        "diverged": int(rows["diverged"].sum()),
        **spread,
        "validation_delta_m": mean["validation_delta_m"],
        "delta_m": mean["delta_m"],
        f"delta_m{STD}": std["delta_m"],
    }
