"""What a setting's jobs take of a machine, and how many runs one job trains; no result depends on it."""

import dataclasses
from typing import Any

STAGES = ("train", "measure", "refit")


@dataclasses.dataclass(frozen=True)
class Resources:
    """What a job on one of a setting's runs asks for at its first attempt.

    Attributes:
        mem_mb: Main memory in MB. Snakemake's own two processes on a cluster's node need 400 of it.
        gpu: GPUs, 0 or 1.
        minutes: By stage, how long one run may take; a run that takes longer is continued by the next attempt.
        runs_per_job: How many runs of an arm one job works through, in one process.
    """

    mem_mb: int = 3000
    gpu: int = 1
    minutes: dict[str, int] = dataclasses.field(default_factory=lambda: dict.fromkeys(STAGES, 120))
    runs_per_job: int = 1

    @classmethod
    def read(cls, block: dict[str, Any]) -> "Resources":
        """A setting's ``resources``, whatever it leaves out at its default."""
        defaults = cls()
        return cls(
            mem_mb=block.get("mem_mb", defaults.mem_mb),
            gpu=block.get("gpu", defaults.gpu),
            minutes={**defaults.minutes, **block.get("minutes", {})},
            runs_per_job=block.get("runs_per_job", defaults.runs_per_job),
        )

    def runtime(self, stage: str, runs: int, attempt: int) -> int:
        """Minutes that a job may take which works through so many runs."""
        return self.minutes[stage] * runs * attempt
