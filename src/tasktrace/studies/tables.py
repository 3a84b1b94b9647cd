"""How the studies write their tables."""

from pathlib import Path

import pandas as pd

from tasktrace.files import atomic_path


def write_table(path: Path, table: pd.DataFrame) -> None:
    """Write the rows as CSV or Parquet, whichever ``path`` ends in, atomically."""
    with atomic_path(path) as temporary:
        if path.suffix == ".csv":
            table.to_csv(temporary, index=False)
        else:
            table.to_parquet(temporary, index=False)
