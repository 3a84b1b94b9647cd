"""A trial of corrupting: every corruption at every severity, of some pictures."""

import math
import time
from typing import Any

from tasktrace.config.corruptions import SEVERITIES
from tasktrace.corruption_transfer.data import plan
from tasktrace.corruptions import corrupt
from tasktrace.planning.trials.bench import Bench
from tasktrace.seeding import numpy_generator

Spec = dict[str, Any]

_VALUES = 1 << 20
"""Of the pictures that are tried: as many as are corrupted at once."""


def try_corrupting(bench: Bench, spec: Spec, white: int) -> Spec:
    """The rate of corrupting a setting's pictures.

    Args:
        bench: Where.
        spec: ``Study.corruption_spec``.
        white: The value of the brightest pixel.

    Returns:
        ``rates``: seconds of the ``job``, beside the start of its process.
    """
    chosen = plan(bench.prepared, spec["tasks"], spec["test"])
    inputs = bench.prepared.tensors["inputs"]
    some = inputs[chosen.test[: max(1, _VALUES // math.prod(inputs.shape[1:]))]]
    start = time.perf_counter()
    for name in spec["names"]:
        for severity in SEVERITIES:
            corrupt(some, name, severity, numpy_generator(0, "trial", name, severity), white)
    once = (time.perf_counter() - start) / len(some)
    # Every training picture comes under one corruption at one severity, every test picture under all of them.
    shares = len(chosen.test) + len(chosen.train) / (len(spec["names"]) * len(SEVERITIES))
    return {"rates": {"job": bench.reading + once * shares}}
