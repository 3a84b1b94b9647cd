"""What a loss's scale changes, by optimizer and weighting (study B, appendix A1, figures A1 and A2).

A network of two heads on a scalar input is trained twice, once with every loss multiplied by a constant of its own.
SGD takes the constant as a learning rate. Adam divides it out wherever a parameter hears one task alone: in the heads
of a frozen backbone, and everywhere with one Adam per task. Divided by its own value (UW-O), a loss loses its scale
under any optimizer. The trainings are the tool's own: its methods, optimizers and updates.

Two constants decide whether 100 epochs show the theory. Adam is invariant up to its epsilon: through four layers some
gradients here are only some 1e-8, and with torch's epsilon of 1e-8 a scale of 0.1 changes the norm of the very first
update by 2 to 4 percent (seeds 0 to 2). And UW-O divides by losses that shrink: with a learning rate of 0.01 the
trainings become chaotic after some 30 epochs, and rounding errors of 1e-16 grow to differences of order one. Hence
float64, an epsilon of 1e-14 (above what rounding leaves of gradients that cancel) and a learning rate of 0.001.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import Tensor, nn
from torch.nn import functional

from tasktrace.config.bounds import check_range
from tasktrace.config.options import build_options, check_options
from tasktrace.methods import build
from tasktrace.models import MultiTaskModel
from tasktrace.rows import write_table
from tasktrace.seeding import derive_seed
from tasktrace.training.device import configure
from tasktrace.training.objectives import Objective
from tasktrace.training.optimizers import build_optimizer
from tasktrace.training.updates import Batch, Parts, Update, build_update

VERSION = 1

TOLERANCE = 1e-4
"""Two series count as the same while they differ by less than this share of the larger one."""


@dataclass(frozen=True, kw_only=True)
class Options:
    """The study's constants; most are proposed, as the paper states only the network, the loss and the epochs.

    Attributes:
        samples: Inputs, all in one batch (proposed).
        low: Least input; inputs are uniform (proposed).
        high: Largest input (proposed).
        factors: A task's target is its factor times the input (proposed).
        scales: What each task's loss is multiplied by in the scaled trainings; the paper's captions say 10 and 0.1, its
            text 10 and 0.01.
        epochs: Steps.
        width: Units of every hidden layer.
        sgd_learning_rate: For SGD (proposed).
        momentum: SGD's (proposed).
        adam_learning_rate: For Adam (proposed).
        adam_eps: What Adam adds to its divisor; see above why it is not 1e-8 (proposed).
        seed: Of inputs and weights.
    """

    samples: int = 256
    low: float = -1.0
    high: float = 1.0
    factors: tuple[float, ...] = (1.0, 2.0)
    scales: tuple[float, ...] = (10.0, 0.1)
    epochs: int = 100
    width: int = 20
    sgd_learning_rate: float = 0.001
    momentum: float = 0.9
    adam_learning_rate: float = 0.001
    adam_eps: float = 1e-14
    seed: int = 0

    def __post_init__(self) -> None:
        """Hold the constants to their ranges; every task needs a factor and a scale."""
        check_range(self, "samples", "epochs", "width", low=1)
        check_range(self, "sgd_learning_rate", "adam_learning_rate", "adam_eps", low=0)
        check_range(self, "momentum", low=0, below=1)
        if len(self.factors) != len(self.scales):
            raise ValueError(f"factors and scales must be as many, found {len(self.factors)} and {len(self.scales)}")
        if min(self.scales) <= 0:
            raise ValueError(f"scales must be above 0, found {list(self.scales)}")


@dataclass(frozen=True)
class Training:
    """One way of training.

    Attributes:
        name: In tables and figures.
        method: The method and its options.
        optimizer: ``sgd`` or ``adam``.
        heads: What a scale leaves alone in the heads of a frozen backbone: ``gradient``, ``update``, both or nothing.
        whole: What it leaves alone everywhere, with a trainable backbone.
    """

    name: str
    method: tuple[str, dict[str, Any]]
    optimizer: str
    heads: frozenset[str]
    whole: frozenset[str]

    def expects(self, backbone: str, quantity: str) -> bool:
        """Whether the theory has a quantity unchanged by the scales.

        The task's own loss follows the parameters, so that it stays as it was where all updates do. The scaled loss
        never does.
        """
        kept = self.heads if backbone == "frozen" else self.whole
        return ("update" if quantity == "task_loss" else quantity) in kept


_NOTHING: frozenset[str] = frozenset()
_UPDATE = frozenset({"update"})
_BOTH = frozenset({"gradient", "update"})

TRAININGS = (
    Training("ew-sgd", ("umtg", {}), "sgd", _NOTHING, _NOTHING),
    Training("ew-adam", ("umtg", {}), "adam", _UPDATE, _NOTHING),
    Training("uw_o-sgd", ("uw_o", {"heads": "weighted"}), "sgd", _BOTH, _BOTH),
    Training("ew-adam_per_task", ("mtl_io", {}), "adam", _UPDATE, _UPDATE),
)
"""Each is run unscaled and scaled."""

BACKBONES = ("frozen", "trainable")


def run(out: Path, options: dict[str, Any]) -> None:
    """Train every way, unscaled and scaled, with a frozen and with a trainable backbone, and write the tables.

    Args:
        out: Folder of ``series.parquet`` (see :func:`train`; further columns backbone, training, scaled) and
            ``differences.csv`` (see :func:`differences`).
        options: What differs from the defaults of :class:`Options`.

    Raises:
        ConfigError: An unknown option, or a value of a wrong type or range.
    """
    chosen = build_options(Options, check_options(Options, options, "invariance"))
    configure("cpu", 1)
    series = pd.concat(
        [
            train(training, chosen, frozen=backbone == "frozen", scaled=scaled).assign(
                backbone=backbone, training=training.name, scaled=scaled
            )
            for backbone in BACKBONES
            for training in TRAININGS
            for scaled in (False, True)
        ],
        ignore_index=True,
    )
    columns = ["backbone", "training", "scaled", "part", "quantity", "epoch", "value"]
    write_table(out / "series.parquet", series[columns])
    write_table(out / "differences.csv", differences(series))


def train(training: Training, options: Options, *, frozen: bool, scaled: bool) -> pd.DataFrame:
    """Train once.

    Args:
        training: The way.
        options: The constants.
        frozen: Whether the backbone stays as it was initialised.
        scaled: Whether the losses are multiplied by ``options.scales``.

    Returns:
        Columns epoch (from 0), part, quantity, value, the numbers of that epoch's step. Parts ``head1``, ``head2``, ...
        have the quantities ``loss`` (before the step, as it is optimised, scale included) and ``task_loss`` (without
        the scale); they and ``backbone``, unless frozen, have ``gradient``, the norm of the gradient that the
        optimizer gets, and ``update``, the norm of the parameters' move. With one optimizer per task the backbone gets
        a gradient from each; their norm is the root of the sum of squares.
    """
    scales = options.scales if scaled else (1.0,) * len(options.scales)
    batch, model = _data(options), _model(options)
    model.encoder.requires_grad_(not frozen)
    parts = Parts(model, list(model.heads.values()), [_scaled_l1(scale) for scale in scales])
    update = _update(training, parts, options)
    gauge = _Gauge(parts, update)
    rows: list[tuple[int, str, str, float]] = []
    for epoch in range(options.epochs):
        losses, measured = gauge.step(batch)
        for number, (loss, scale) in enumerate(zip(losses, scales, strict=True), start=1):
            rows.append((epoch, f"head{number}", "loss", loss))
            rows.append((epoch, f"head{number}", "task_loss", loss / scale))
        rows += [(epoch, part, quantity, value) for part, quantity, value in measured]
    return pd.DataFrame(rows, columns=["epoch", "part", "quantity", "value"])


def differences(series: pd.DataFrame) -> pd.DataFrame:
    """How far the scales move each series, beside what the theory says.

    Returns:
        A row per backbone, training, part and quantity: ``max_relative_difference`` over the epochs, |a - b| over the
        larger of |a| and |b|; ``invariant`` (below :data:`TOLERANCE`); ``expected_invariant``; and ``holds``, whether
        the two agree.
    """
    trainings = {training.name: training for training in TRAININGS}
    keys = ["backbone", "training", "part", "quantity"]
    wide = series.pivot_table(index=[*keys, "epoch"], columns="scaled", values="value", sort=False)
    relative = (wide[True] - wide[False]).abs() / wide.abs().max(axis=1)
    # Equal zeros differ by nothing.
    largest = relative.fillna(0.0).groupby(keys, sort=False).max()
    table = largest.rename("max_relative_difference").reset_index()
    table["invariant"] = table["max_relative_difference"] < TOLERANCE
    table["expected_invariant"] = [
        trainings[name].expects(backbone, quantity)
        for name, backbone, quantity in zip(table["training"], table["backbone"], table["quantity"], strict=True)
    ]
    return table.assign(holds=table["invariant"] == table["expected_invariant"])


class _Gauge:
    """Takes steps, and measures what the optimizers got and what they made of it."""

    def __init__(self, parts: Parts, update: Update) -> None:
        self._update = update
        heads = {f"head{number}": list(head.parameters()) for number, head in enumerate(parts.heads, start=1)}
        candidates = {**heads, "backbone": parts.shared}
        self._parts = {name: own for name, own in candidates.items() if own[0].requires_grad}
        self._squares = dict.fromkeys(self._parts, 0.0)
        for optimizer in update.optimizers:
            optimizer.register_step_pre_hook(self._read)

    def step(self, batch: Batch) -> tuple[list[float], list[tuple[str, str, float]]]:
        """One step: the losses before it, and (part, quantity, value) for every part's gradient and update."""
        self._squares = dict.fromkeys(self._parts, 0.0)
        before = {name: _flat(own) for name, own in self._parts.items()}
        losses: list[float] = self._update.step(batch).tolist()
        measured = [(name, "gradient", square**0.5) for name, square in self._squares.items()]
        measured += [(name, "update", float((_flat(own) - before[name]).norm())) for name, own in self._parts.items()]
        return losses, measured

    def _read(self, optimizer: torch.optim.Optimizer, _arguments: Any, _keywords: Any) -> None:
        moved = {id(parameter) for group in optimizer.param_groups for parameter in group["params"]}
        for name, own in self._parts.items():
            gradients = [parameter.grad for parameter in own if id(parameter) in moved]
            self._squares[name] += sum(float(own.square().sum()) for own in gradients if own is not None)


def _data(options: Options) -> Batch:
    """All samples as one batch, which the tasks share."""
    generator = torch.Generator().manual_seed(derive_seed(options.seed, "invariance", "inputs"))
    uniform = torch.rand(options.samples, 1, generator=generator, dtype=torch.float64)
    inputs = options.low + (options.high - options.low) * uniform
    return Batch(inputs, [factor * inputs for factor in options.factors], shared=True)


def _model(options: Options) -> MultiTaskModel:
    """Two layers of backbone, two layers per head, always from the same weights."""
    with torch.random.fork_rng(devices=[]):
        # Layers draw from torch's global generator alone; not torch.manual_seed, which seeds every GPU as well.
        torch.default_generator.manual_seed(derive_seed(options.seed, "invariance", "init"))
        backbone = _layers(1, options.width, options.width, last=nn.LeakyReLU())
        heads = {f"head{number}": _layers(options.width, options.width, 1) for number in range(len(options.factors))}
    return MultiTaskModel(backbone, dict(heads))


def _layers(inputs: int, hidden: int, outputs: int, *, last: nn.Module | None = None) -> nn.Sequential:
    """Two linear layers with a LeakyReLU (torch's slope, 0.01) between them."""
    first, second = (nn.Linear(*sizes, dtype=torch.float64) for sizes in ((inputs, hidden), (hidden, outputs)))
    return nn.Sequential(first, nn.LeakyReLU(), second, *([] if last is None else [last]))


def _scaled_l1(scale: float) -> Objective:
    def objective(outputs: Tensor, targets: Tensor) -> Tensor:
        return scale * functional.l1_loss(outputs, targets)

    return objective


def _update(training: Training, parts: Parts, options: Options) -> Update:
    name, method_options = training.method
    method = build(name, len(parts.heads), options.seed, **method_options)
    make, rate = _optimizer(training.optimizer, options)
    return build_update(parts, method, make, rate)


def _optimizer(name: str, options: Options) -> tuple[Callable[[list[nn.Parameter]], torch.optim.Optimizer], float]:
    """What makes an optimizer for a list of parameters, and its learning rate."""
    spec: dict[str, Any]
    if name == "sgd":
        spec, rate = {"name": "sgd", "momentum": options.momentum}, options.sgd_learning_rate
    else:
        spec, rate = {"name": "adam", "eps": options.adam_eps}, options.adam_learning_rate

    def make(parameters: list[nn.Parameter]) -> torch.optim.Optimizer:
        return build_optimizer(spec, parameters, rate)

    return make, rate


def _flat(parameters: list[nn.Parameter]) -> Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in parameters])
