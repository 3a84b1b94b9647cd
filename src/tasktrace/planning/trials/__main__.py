"""The process of a setting's trials: asked by one object of JSON on standard input, it answers line by line.

Asked: ``device``, ``threads``, ``prepared`` (the path of the data), ``data`` (its spec), ``folder`` (where trials may
write) and ``trials``, each with its ``key``, ``activity`` and ``example``. The first line says that it is ready, once
it has started as jobs do; then there is a line for each trial, with its ``key``, and what was found or what ``failed``.
The last line says how long ``warming`` took, what a process does once; null if no trial came to it.
"""

import json
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TextIO

import torch

from tasktrace.errors import TasktraceError
from tasktrace.methods import NonFiniteError
from tasktrace.planning.memory import forget_peak, peak
from tasktrace.planning.trials.bench import Bench
from tasktrace.training.device import configure, describe
from tasktrace.training.session import run  # noqa: F401 (what a job imports is a part of its start)

Spec = dict[str, Any]


def main(asked: Spec, out: TextIO) -> None:
    """Answer."""
    device = configure(asked["device"], asked["threads"])
    torch.zeros(1, device=device)
    _say(out, {"ready": describe(device)})
    with tempfile.TemporaryDirectory(dir=asked["folder"]) as folder:
        bench = Bench.of(Path(asked["prepared"]), asked["data"], device, Path(folder))
        for trial in asked["trials"]:
            forget_peak()
            begin, used = time.perf_counter(), time.process_time()
            found = _found(bench, trial)
            share = (time.process_time() - used) / (time.perf_counter() - begin) / asked["threads"]
            _say(out, {"key": trial["key"], **found, **peak(), "share": round(share, 3)})
        _say(out, {"warming": bench.warming})


def _found(bench: Bench, trial: Spec) -> Spec:
    """What a trial finds; of one that cannot be done, why."""
    try:
        return _trial(trial["activity"])(bench, *trial["example"].values())
    except torch.OutOfMemoryError:
        return {"failed": "out of memory"}
    except (TasktraceError, NonFiniteError, ArithmeticError) as error:
        return {"failed": str(error)}


def _trial(activity: str) -> Callable[..., Spec]:
    # A setting without measures or corruption does not wait for what they import.
    if activity == "train":
        from tasktrace.planning.trials.training import try_training

        return try_training
    if activity == "measure":
        from tasktrace.planning.trials.measuring import try_measuring

        return try_measuring
    if activity == "refit":
        from tasktrace.planning.trials.refitting import try_refitting

        return try_refitting
    from tasktrace.planning.trials.corrupting import try_corrupting

    return try_corrupting


def _say(out: TextIO, answer: Spec) -> None:
    print(json.dumps(answer), file=out, flush=True)


if __name__ == "__main__":
    answers, sys.stdout = sys.stdout, sys.stderr  # whatever else prints
    try:
        main(json.load(sys.stdin), answers)
    except TasktraceError as error:
        _say(answers, {"failed": str(error)})
