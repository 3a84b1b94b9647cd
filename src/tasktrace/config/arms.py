"""What is trained, and where it lives."""

import dataclasses

SELECTED = "selected"

AUXILIARY = "aux_"
"""How the names of the groups of study A's random auxiliary sets (section 5) begin, and of no others."""


@dataclasses.dataclass(frozen=True)
class Arm:
    """One curve of a figure: a group of tasks under one method and optimizer, before a grid point is chosen.

    Attributes:
        setting: The setting's name.
        group: ``stl.<task>`` or ``mtl.<name>``.
        tasks: The tasks trained together, in the setting's order.
        method: Name of the method's block in the configuration; None for a single task.
        optimizer: Name of the optimizer's block in the configuration.
    """

    setting: str
    group: str
    tasks: tuple[str, ...]
    method: str | None
    optimizer: str

    @property
    def path(self) -> str:
        """The arm's place below ``results/runs``: setting/group[/method]/optimizer."""
        parts = (self.setting, self.group, self.method, self.optimizer)
        return "/".join(part for part in parts if part is not None)

    @classmethod
    def from_path(cls, path: str, tasks: tuple[str, ...]) -> "Arm":
        """The arm at a path, with the tasks that its runs train."""
        setting, group, *method, optimizer = path.split("/")
        return cls(setting, group, tasks, method[0] if method else None, optimizer)


@dataclasses.dataclass(frozen=True)
class Run:
    """One training job: an arm at a point and a seed.

    Attributes:
        arm: What is trained.
        point: ``lr<rate>_bs<size>``, or ``selected`` for the point that validation data chose.
        seed: Seeds everything random in the run.
    """

    arm: Arm
    point: str
    seed: int

    @property
    def path(self) -> str:
        """The run's place below ``results/runs`` and ``checkpoints``."""
        return f"{self.arm.path}/{self.point}/seed{self.seed}"


def point_name(learning_rate: float, batch_size: int) -> str:
    """The name of a grid point in paths, e.g. ``lr0.001_bs64``."""
    return f"lr{float(learning_rate)!r}_bs{batch_size}"


def parse_point(name: str) -> dict[str, float | int]:
    """The learning rate and batch size in a point's name."""
    rate, _, size = name.removeprefix("lr").partition("_bs")
    return {"learning_rate": float(rate), "batch_size": int(size)}
