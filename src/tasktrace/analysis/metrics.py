"""Metrics as columns of tables, and study B's Delta_m over them."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from tasktrace.analysis.pareto import Flags, Values
from tasktrace.analysis.runs import FinishedRun
from tasktrace.tasks import HIGHER_IS_BETTER, Task

STD = "_std"
"""Behind a column's name, that of its standard deviation over seeds."""


def metric_column(task: str, metric: str) -> str:
    """The column of a task's metric in the tables; the column of its standard deviation has ``_std`` behind."""
    return f"{task}.{metric}"


def metric_columns(table: pd.DataFrame) -> list[str]:
    """The metrics of a table."""
    return [str(name) for name in table if "." in str(name) and not str(name).endswith(STD)]


def counted(tasks: Sequence[Task]) -> list[Task]:
    """The tasks whose metrics study B compares: not those whose labels are noise."""
    return [task for task in tasks if not task.is_noise]


def columns_of(tasks: Sequence[Task]) -> list[str]:
    """The columns of all metrics of tasks, task by task."""
    return [metric_column(task.name, metric) for task in tasks for metric in task.metrics]


def with_std(columns: list[str]) -> list[str]:
    """Every column, and behind it that of its standard deviation."""
    return [name for column in columns for name in (column, f"{column}{STD}")]


def directions(columns: Sequence[str]) -> Flags:
    """Of every metric's column whether higher is better, shape (metrics,)."""
    return np.array([HIGHER_IS_BETTER[column.partition(".")[2]] for column in columns])


def delta_m(values: Values, baseline: Values, higher: Flags) -> Values:
    """Study B's Delta_m in percent, lower is better: one flat mean over all metrics of all tasks.

    Delta_m = mean_m (-1)^{l_m} (M_m - M_b,m) / M_b,m with l_m = 1 where higher is better. A mean per task first, as
    LibMTL's, does not give the paper's tables.

    Args:
        values: M, of shape (..., metrics).
        baseline: M_b, of shape (metrics,), not zero.
        higher: l, of shape (metrics,).

    Returns:
        Shape (...).
    """
    loss: Values = 100 * np.where(higher, -1.0, 1.0) * (values - baseline) / baseline
    mean: Values = loss.mean(axis=-1)
    return mean


def metric_values(run: FinishedRun, split: str) -> pd.DataFrame:
    """All metrics of the tasks that count, by epoch from 1 on; a trajectory calls a task's first metric ``metric``."""
    series = {
        metric_column(task.name, metric): run.series(task.name, split, "metric" if metric == task.metric else metric)
        for task in counted(run.tasks)
        for metric in task.metrics
    }
    return pd.DataFrame(series).drop(0, errors="ignore")


def std_over_seeds(values: Values) -> Values:
    """Sample standard deviation over rows; NaN for one row."""
    return np.std(values, axis=0, ddof=1) if len(values) > 1 else np.full(values.shape[1], np.nan)
