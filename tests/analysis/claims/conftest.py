"""Tables of a setting made by hand, in the formats of ``results/tables/<setting>``."""

from collections.abc import Callable

import pandas as pd
import pytest

from tasktrace.analysis.claims.base import Tables
from tasktrace.analysis.factor_tables import DELTAS_COLUMNS
from tasktrace.analysis.transfer import compared
from tasktrace.tasks import HIGHER_IS_BETTER


@pytest.fixture
def tables(tmp_path) -> Callable[..., Tables]:
    """A function that writes tables, given by name as lists of rows, and returns a setting's."""

    def written(setting="somewhere", **rows):
        folder = tmp_path / setting
        folder.mkdir(exist_ok=True)
        for name, own in rows.items():
            if name in ("curves", "factors"):
                pd.DataFrame(own).to_parquet(folder / f"{name}.parquet")
            else:
                pd.DataFrame(own).to_csv(folder / f"{name}.csv", index=False)
        return Tables(folder)

    return written


@pytest.fixture
def arm() -> Callable[..., dict]:
    """A function that makes a row of transfer.csv: alone 0.8, together that and ``delta``, std 0.001 on both sides."""

    def row(task, group, delta, std=0.001, seeds=3, metric="accuracy", method="umtg", optimizer="adam", alone=0.8):
        sides = _sides(alone, delta, std, seeds)
        delta, significant = compared(sides, 2.0)
        better = "positive" if (delta > 0) == HIGHER_IS_BETTER[metric] else "negative"
        transfer = pd.NA if significant is pd.NA else better if significant else "none"
        names = _names(task, group, method, optimizer) | {"metric": metric}
        return {**names, "delta": delta, "significant": significant, "transfer": transfer, **sides}

    return row


@pytest.fixture
def factor() -> Callable[..., dict]:
    """A function that makes a row of deltas.csv: alone 1, together that and ``delta``, std 0.01 on both sides."""

    def row(task, group, factor, delta, rule="table1", std=0.01, seeds=3, method="umtg", optimizer="adam"):
        sides = _sides(1.0, delta, std, seeds)
        delta, significant = compared(sides, 2.0)
        names = _names(task, group, method, optimizer) | {"metric": "accuracy", "factor": factor, "rule": rule}
        checkpoints = {"stl_checkpoints": 20, "mtl_checkpoints": 20}
        whole = {**names, "delta": delta, "significant": significant, **sides, **checkpoints}
        return {column: whole[column] for column in DELTAS_COLUMNS}

    return row


def _names(task, group, method, optimizer):
    return {"optimizer": optimizer, "task": task, "method": method, "group": f"mtl.{group}"}


def _sides(alone, delta, std, seeds):
    sides = {}
    for side, mean in (("stl", alone), ("mtl", alone + delta)):
        sides |= {f"{side}_mean": mean, f"{side}_std": std if seeds > 1 else float("nan"), f"{side}_seeds": seeds}
    return sides
