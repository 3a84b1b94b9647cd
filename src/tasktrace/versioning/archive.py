"""What a study was made with, given to DVC: raw and prepared data, checkpoints. A step of its own, part of no job."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from tasktrace.errors import DamagedFileError, DataError
from tasktrace.training.checkpoints import keep_final, verify
from tasktrace.training.finals import FOLDER, final_path
from tasktrace.versioning.dvc import check_idle, dvc
from tasktrace.versioning.pointers import CHECKPOINTS, DATA, PREPARED, forget, name_content, read_pointer
from tasktrace.versioning.records import RUNS, finished_records

_PREPARED = ("data/prepared", "data/corrupted")

Record = dict[str, Any]


def archive(root: Path, trajectories: bool | None, say: Callable[[str], None]) -> None:
    """Give DVC what the results were made with.

    That is: the raw data that ``data.dvc`` names, prepared data, and every run's final epochs; whole trajectories once
    they were asked for, until they no longer are. Each checkpoint is held against its run's record before.

    Args:
        root: The project's folder.
        trajectories: Whether whole trajectories are kept; None for what ``checkpoints.dvc`` says.
        say: Told in a line what is done.

    Raises:
        DamagedFileError: A checkpoint or record is not what was written.
        DataError: There are no finished runs, or what was archived before is only partly here.
        BusyError: Snakemake is at work.
        TasktraceError: DVC is not installed, or failed.
    """
    check_idle(root)
    records = list(finished_records(root))
    if not records:
        raise DataError(f"{root / RUNS}: no finished runs to archive; `dvc repro` or `snakemake` makes them")
    kept = [record for record in records if record["checkpoints"]]
    here = [record for record in kept if _is_here(record, root)]
    _verify(here, root)
    written = sum(keep_final(record, root) for record in here)
    say(f"final epochs: {written} of {len(kept)} runs written to {FOLDER}, the others are there or elsewhere")

    named = set(read_pointer(root / CHECKPOINTS))
    settings = {_setting_folder(record) for record in kept}
    wanted = bool(named - {FOLDER.as_posix()}) if trajectories is None else trajectories
    if wanted:
        _check_whole(settings & named, kept, here)
    else:
        forget(root / CHECKPOINTS, named & settings)
    _check_finals(FOLDER.as_posix() in named, kept, root)
    _add(
        root,
        {
            DATA: [path for path in read_pointer(root / DATA) if (root / path).exists()],
            PREPARED: [path for path in _PREPARED if (root / path).exists()],
            CHECKPOINTS: [
                *([FOLDER.as_posix()] if (root / FOLDER).exists() else []),
                *(sorted({_setting_folder(record) for record in here}) if wanted else []),
            ],
        },
    )


def _is_here(record: Record, root: Path) -> bool:
    return all((root / entry["path"]).exists() for entry in record["checkpoints"])


def _setting_folder(record: Record) -> str:
    return f"checkpoints/{record['run'].partition('/')[0]}"


def _verify(records: Iterable[Record], root: Path) -> None:
    damaged = []
    for record in records:
        try:
            verify(record["checkpoints"], root)
        except DamagedFileError as error:
            damaged.append(str(error))
    if damaged:
        raise DamagedFileError("\n".join(["nothing was archived:", *damaged]))


def _check_whole(folders: set[str], kept: list[Record], here: list[Record]) -> None:
    """Refuse to archive a folder that was archived with more in it."""
    missing = {record["run"] for record in kept} - {record["run"] for record in here}
    for folder in sorted(folders):
        absent = sorted(run for run in missing if run.startswith(f"{folder.removeprefix('checkpoints/')}/"))
        if absent:
            raise DataError(
                f"{folder}: {len(absent)} runs' checkpoints are not here, such as {absent[0]}, and would be left out "
                f"of {CHECKPOINTS}; fetch them first (`dvc pull {folder}`), or keep final epochs only "
                "(--no-trajectories)"
            )


def _check_finals(were_named: bool, kept: list[Record], root: Path) -> None:
    absent = [record["run"] for record in kept if not (root / final_path(record)).exists()]
    if absent and were_named:
        raise DataError(
            f"{FOLDER}: {len(absent)} runs' checkpoints are not here, such as {absent[0]}, and would be left out of "
            f"{CHECKPOINTS}; fetch them first (`dvc pull {FOLDER}`), or delete these runs' folders below {RUNS}"
        )


def _add(root: Path, named: dict[Path, list[str]]) -> None:
    for pointer, paths in named.items():
        for path in paths:
            if path not in read_pointer(root / pointer):
                name_content(root / pointer, path)
    dvc(root, "add", *(path for paths in named.values() for path in paths))
