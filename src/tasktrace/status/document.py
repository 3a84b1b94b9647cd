"""Where the study's runs stand, for programs: one JSON object whose keys stay.

``runs``
    Every run, in the study's order: ``path``; ``setting``, ``group``, ``method`` (null for a task alone),
    ``optimizer``, ``point``, ``seed``; ``state``: ``finished``, ``diverged``, ``under_way``, ``failed``, ``stopped``,
    ``outdated`` or ``waiting``; ``progress``: null, or ``epoch``, ``epochs``, ``step``, ``steps``, ``seconds``,
    ``attempt`` and ``time`` as the trainer last said them; ``seconds`` that a run with a record took; ``holder`` and
    ``measuring_holder`` and ``refitting_holder``: null, or ``process``, ``host`` and ``since`` (Unix time) of who is at
    it; ``killed``: whether its last attempt said nothing when it ended; ``message``: the last line of a failed or
    stopped run's log, or what is wrong with its files; ``diverged``: null, or ``epoch``, ``step`` and ``task``;
    ``measured`` and ``refitted``: whether it is, null if it is not to be; ``seconds_left``: of training, null if
    unknown.
``counts``
    Of all these runs: ``runs``, ``done`` (finished or diverged), and one number per state; ``measured`` and
    ``refitted``: ``done``, ``under_way`` and ``runs`` to which that is to be done; ``left``: ``seconds`` of training
    one run after the other, ``wall_seconds`` with ``at_a_time`` runs at a time, and ``unknown_runs``, whose time is in
    neither.
``rows``
    The same counts per ``setting`` and ``label``, the method, seed, group or optimizer that ``by`` names.
"""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tasktrace.status.lists import said
from tasktrace.status.runs import FAILED, STATES, STOPPED, Extra, Holder
from tasktrace.status.survey import Surveyed
from tasktrace.status.tally import Counting, Share, Tally, by_setting, rows


def document(surveyed: Sequence[Surveyed], counting: Counting, by: str, folder: Path) -> dict[str, Any]:
    """The object that the module describes.

    Args:
        surveyed: The runs.
        counting: How they are counted.
        by: What the rows are, one of ``BY``.
        folder: ``results/runs``.
    """
    return {
        "counts": _counts(counting.count(surveyed)),
        "by": by,
        "rows": [
            {"setting": setting, "label": label, **_counts(counting.count(runs))}
            for setting, own in by_setting(surveyed).items()
            for label, runs in rows(own, by).items()
        ],
        "runs": [_run(own, counting.seconds_left(own), folder) for own in surveyed],
    }


def _counts(tally: Tally) -> dict[str, Any]:
    return {
        "runs": tally.runs,
        "done": tally.done,
        **{state: tally.states[state] for state in STATES},
        "measured": _share(tally.measured),
        "refitted": _share(tally.refitted),
        "left": {
            "seconds": tally.left.seconds,
            "wall_seconds": tally.left.wall,
            "at_a_time": tally.left.at_a_time,
            "unknown_runs": tally.left.unknown,
        },
    }


def _share(share: Share) -> dict[str, int]:
    return {"done": share.done, "under_way": share.under_way, "runs": share.runs}


def _run(surveyed: Surveyed, seconds_left: float | None, folder: Path) -> dict[str, Any]:
    run, standing = surveyed.run, surveyed.standing
    return {
        "path": run.path,
        "setting": run.arm.setting,
        "group": run.arm.group,
        "method": run.arm.method,
        "optimizer": run.arm.optimizer,
        "point": run.point,
        "seed": run.seed,
        "state": standing.state,
        "progress": None if standing.progress is None else dataclasses.asdict(standing.progress),
        "seconds": standing.seconds,
        "holder": _holder(standing.holder),
        "killed": standing.was_killed,
        "message": said(surveyed, folder) if standing.state in (FAILED, STOPPED) else None,
        "diverged": standing.place,
        "measured": _is_done(surveyed.measuring),
        "measuring_holder": _extra_holder(surveyed.measuring),
        "refitted": _is_done(surveyed.refitting),
        "refitting_holder": _extra_holder(surveyed.refitting),
        "seconds_left": seconds_left,
    }


def _is_done(extra: Extra | None) -> bool | None:
    return None if extra is None else extra.done


def _extra_holder(extra: Extra | None) -> dict[str, Any] | None:
    return None if extra is None else _holder(extra.holder)


def _holder(holder: Holder | None) -> dict[str, Any] | None:
    return None if holder is None else dataclasses.asdict(holder)
