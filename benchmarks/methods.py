"""What gradients of single tasks, and the methods that combine them, cost beside a plain step and beside peers.

    python benchmarks/methods.py [--quick] [--repeats N] [--seconds N] [--only SECTION ...] [--json FILE]

Measured are (1) the step on shared inputs over a plain one, divided by the ratio of their counted operations, (2) that
step over TorchJD's and (3) over the usual loop of whole backward passes, (4) the step of every gradient method where
each task has inputs of its own, (5) the solvers on Gramians of random gradients, and (6) the step that does without
the whole Jacobian in memory. A plain step sums the losses: one forward and one backward pass. No step includes the
optimizer's. The data is random: no download.
"""

import argparse
import dataclasses
import functools
import itertools
import json
import warnings
from collections.abc import Callable, Iterable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode
from torchjd import aggregation
from torchjd.autojac import jac_to_grad, mtl_backward

from measuring import Line, Seconds, as_json, over, table, take_turns, usual_settings
from tasktrace import methods
from tasktrace.models import MultiTaskModel, lenet
from tasktrace.training.device import configure, describe
from tasktrace.training.updates import Batch, Parts, Update, build_update
from tasktrace.training.updates.jacobian import TaskGradients

SECTIONS = ("shared", "torchjd", "loop", "own", "solvers", "chunked")
GRADIENT_METHODS = (
    "mgda",
    "pcgrad",
    "cagrad",
    "gradnorm",
    "imtl_g",
    "nash_mtl",
    "aligned_mtl",
    "gradvac",
    "graddrop",
)
NUMS_TASKS = (2, 3, 20, 40)
CLASSES = 10
SEED = 0
TURN = 0.05
"""Seconds that a turn takes at least: a short step is taken several times."""

Contenders = dict[str, Callable[[], Any]]


@dataclasses.dataclass(frozen=True)
class Sizes:
    """How much to measure.

    Attributes:
        repeats: Turns of every contender.
        seconds: What the turns of one net and number of tasks may take; left out where one round takes half.
        gramians: Random Gramians that a solver solves in a turn.
    """

    repeats: int = 15
    seconds: float = 12.0
    gramians: int = 10


@dataclasses.dataclass(frozen=True)
class Net:
    """An encoder to measure.

    Attributes:
        name: What the table calls it.
        build: Gives the encoder and the width of its features.
        shape: Of one input.
        batch: Samples per task on a CPU and on a GPU.
    """

    name: str
    build: Callable[[], tuple[nn.Module, int]]
    shape: tuple[int, ...]
    batch: tuple[int, int]


def main() -> None:
    """Measure what is asked for, print the table, and write it to a file if asked to."""
    given = _parser().parse_args()
    sizes = Sizes(repeats=3, seconds=3.0, gramians=3) if given.quick else Sizes()
    if given.repeats:
        sizes = dataclasses.replace(sizes, repeats=given.repeats)
    if given.seconds:
        sizes = dataclasses.replace(sizes, seconds=given.seconds)
    lines: list[Line] = []
    left_out: list[str] = []
    for name in ["cpu", "cuda"] if torch.cuda.is_available() else ["cpu"]:
        device = configure(name, threads=1)
        lines += shared_lines(device, sizes, given.only, left_out)
        if "own" in given.only:
            lines += own_lines(device, sizes)
        if "chunked" in given.only:
            lines += chunked_lines(device, sizes)
    if "solvers" in given.only:
        lines += solver_lines(sizes)
    print(table(sorted(lines, key=lambda line: line.section), heading="value"))
    for what in left_out:
        print(f"left out: {what}")
    if given.json:
        versions = {"torch": torch.__version__, "torchjd": version("torchjd")}
        content = {**versions, **dataclasses.asdict(sizes), "left_out": left_out, "lines": list(map(as_json, lines))}
        given.json.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


# 1. - 3. Shared inputs

PLAIN = "plain"
GRADIENTS = "task gradients"
INNER = "with inner products"
MGDA = "mgda"
LOOPED = "task gradients one by one"
BATCHED_PEER = "TorchJD, batched"
PEER = "TorchJD, one by one"
LOOP = "T backward passes"
ORDER = (PLAIN, GRADIENTS, PEER, LOOP, LOOPED, INNER, MGDA, BATCHED_PEER)
"""Of turns."""


CONTENDERS = {
    "shared": [PLAIN, GRADIENTS, INNER, MGDA],
    "torchjd": [GRADIENTS, PEER, BATCHED_PEER],
    "loop": [GRADIENTS, LOOP],
}


def shared_lines(device: torch.device, sizes: Sizes, sections: Iterable[str], left_out: list[str]) -> list[Line]:
    """Steps on shared inputs, for every net and number of tasks.

    Args:
        device: Where the steps are taken.
        sizes: How much to measure.
        sections: Those to measure; others than the three on shared inputs count for nothing here.
        left_out: Gets what would take too long or does not fit into memory.
    """
    names = {name for section in sections for name in CONTENDERS.get(section, [])}
    if "shared" in sections and device.type == "cuda":
        names.add(LOOPED)
    lines: list[Line] = []
    for net, num_tasks in itertools.product(NETS, NUMS_TASKS) if names else ():
        case = SharedCase(net, num_tasks, device)
        factor = case.counted_ratio()
        plain = take_turns({PLAIN: case.contender(PLAIN)}, device, 1)[PLAIN][0]
        # The batched backward pass of a peer may take more than twice the time that is needed.
        expected = plain * (1 + factor * sum(2 if name == BATCHED_PEER else 1 for name in names - {PLAIN}))
        if expected > sizes.seconds / 2:
            left_out.append(f"{case.what}: about {expected:.0f} s a round")
            continue
        try:
            contenders = {name: case.contender(name) for name in ORDER if name in names}
            seconds = take_turns(contenders, device, sizes.repeats, least=TURN, limit=sizes.seconds)
        except torch.OutOfMemoryError:
            left_out.append(f"{case.what}: out of memory")
            continue
        lines += case_lines(case, factor, seconds, sections, describe(device))
    return lines


def case_lines(case: "SharedCase", factor: float, seconds: Seconds, sections: Iterable[str], place: str) -> list[Line]:
    """The lines of one net and number of tasks.

    Args:
        case: What was measured.
        factor: The ratio of counted operations.
        seconds: What the contenders took.
        sections: Those to give lines for.
        place: The device's name.
    """
    lines: list[Line] = []
    if "shared" in sections:
        title = f"1. step / plain step / counted ratio, {place}"
        for name, bound in {GRADIENTS: 1.10, INNER: None, MGDA: None}.items():
            values, spent = over(seconds, name, PLAIN)
            relative = [value / factor for value in values]
            lines.append(Line(title, f"{case.what}, counted {factor:.2f}: {name}", relative, spent, bound))
        if LOOPED in seconds:
            lines.append(Line(title, f"{case.what}: {GRADIENTS} / {LOOPED}", *over(seconds, GRADIENTS, LOOPED), 1.0))
    if "torchjd" in sections:
        title = f"2. step / TorchJD's, {place}"
        for name, bound in {BATCHED_PEER: 0.80, PEER: 1.0}.items():
            lines.append(Line(title, f"{case.what}: {GRADIENTS} / {name}", *over(seconds, GRADIENTS, name), bound))
    if "loop" in sections:
        title, promised = f"3. step / loop of whole backward passes, {place}", 0.95 if case.num_tasks == 20 else None
        lines.append(Line(title, f"{case.what}: {GRADIENTS} / {LOOP}", *over(seconds, GRADIENTS, LOOP), promised))
    return lines


class SharedCase:
    """One net with T heads and a batch that all tasks share."""

    def __init__(self, net: Net, num_tasks: int, device: torch.device) -> None:
        size = net.batch[device.type == "cuda"]
        self.num_tasks = num_tasks
        self.what = f"{net.name}, T = {num_tasks}, batch {size}"
        self._parts = build_parts(net, num_tasks, device)
        self._batch = random_batch(net, num_tasks, size, device, shared=True)

    def contender(self, name: str) -> Callable[[], Any]:
        """One of the steps."""
        parts, batch = self._parts, self._batch
        if name == LOOPED:
            return taken(TaskGradients(parts, [], Total(), batched=False), batch)
        if name == LOOP:
            return usually(BackwardPasses(parts, batch))
        if name in (PEER, BATCHED_PEER):
            return usually(functools.partial(self._torchjd, 1 if name == PEER else None))
        made: dict[str, Callable[[], methods.Method]] = {
            PLAIN: lambda: methods.build("umtg", self.num_tasks),
            GRADIENTS: Total,
            INNER: Ones,
            MGDA: lambda: methods.build("mgda", self.num_tasks),
        }
        return step(parts, made[name](), batch)

    def counted_ratio(self) -> float:
        """Operations of the step with every task's gradient over those of the plain one.

        Of forward and backward pass through the encoder, and both through the heads, as they run: the first layer
        needs no gradient of its input. Counted are matrix products and convolutions.
        """
        encoder, batch = self._parts.model.encoder, self._batch
        with FlopCounterMode(display=False) as counter:
            features = encoder(batch.inputs)
            forward = counter.get_total_flops()
        with FlopCounterMode(display=False) as counter:
            torch.autograd.grad(features, self._parts.shared, torch.ones_like(features))
            backward = counter.get_total_flops()
        cut = features.detach().requires_grad_()
        with FlopCounterMode(display=False) as counter:
            self._parts.losses([cut] * len(self._parts.heads), batch.targets).sum().backward()
            heads = counter.get_total_flops()
        return (forward + len(self._parts.heads) * backward + heads) / (forward + backward + heads)

    def _torchjd(self, chunk: int | None) -> None:
        parts, batch = self._parts, self._batch
        parts.model.zero_grad()
        features = parts.model.encoder(batch.inputs)
        losses = plain_losses(parts, features, batch)
        mtl_backward(losses, features=features, parallel_chunk_size=chunk)
        jac_to_grad(parts.shared, aggregation.Sum())


def plain_losses(parts: Parts, features: Tensor, batch: Batch) -> list[Tensor]:
    """The loss of every task on shared features, as one writes it without a library."""
    pairs = zip(parts.heads, batch.targets, strict=True)
    return [functional.cross_entropy(head(features), targets) for head, targets in pairs]


class BackwardPasses:
    """What one writes without a library: a whole backward pass for every loss, whose gradients are copied to a row."""

    def __init__(self, parts: Parts, batch: Batch) -> None:
        self._parts, self._batch = parts, batch
        self._rows = torch.zeros(
            len(parts.heads), sum(parameter.numel() for parameter in parts.shared), device=batch.inputs.device
        )

    def __call__(self) -> None:
        """Leave the sum of the rows in the shared parameters."""
        parts, batch = self._parts, self._batch
        parts.model.zero_grad()
        features = parts.model.encoder(batch.inputs)
        losses = plain_losses(parts, features, batch)
        for row, loss in zip(self._rows, losses, strict=True):
            loss.backward(retain_graph=True)
            start = 0
            for parameter in parts.shared:
                row[start : start + parameter.numel()] = parameter.grad.view(-1)
                start += parameter.numel()
            parts.model.encoder.zero_grad()
        combined = torch.ones(len(losses), device=self._rows.device) @ self._rows
        start = 0
        for parameter in parts.shared:
            parameter.grad = combined[start : start + parameter.numel()].view_as(parameter).clone()
            start += parameter.numel()


class Total(methods.Method):
    """The sum of the task gradients, from all of them."""

    def combine(self, jacobian: Tensor, losses: Tensor) -> Tensor:
        """Weights of one; a matrix-vector product as for any weights."""
        return torch.ones_like(losses) @ jacobian


class Ones(methods.GramianWeighting):
    """Weights of one, after the inner products that they do not need."""

    def weights(self, _gramian: Tensor, losses: Tensor) -> Tensor:
        """Weights that cost nothing."""
        return torch.ones_like(losses)


# 4. Own inputs


def own_lines(device: torch.device, sizes: Sizes) -> list[Line]:
    """The step of every gradient method over a plain one, which passes all tasks' samples at once."""
    num_tasks, size = 20, 64
    parts = build_parts(LENET, num_tasks, device)
    batch = random_batch(LENET, num_tasks, size, device, shared=False)
    contenders = {
        name: step(parts, method, batch)
        for name, method in {
            PLAIN: methods.build("umtg", num_tasks),
            GRADIENTS: Total(),
            **{name: methods.build(name, num_tasks) for name in GRADIENT_METHODS},
        }.items()
    }
    seconds = take_turns(contenders, device, sizes.repeats, least=TURN, limit=2 * sizes.seconds)
    title = f"4. own inputs: step / plain step, {describe(device)}"
    what = f"{LENET.name}, T = {num_tasks}, batch {size} each"
    return [Line(title, f"{what}: {name}", *over(seconds, name, PLAIN), 1.15) for name in list(contenders)[1:]]


# 5. Solvers

ALLOWED_MS = {
    ("pcgrad", 20): 0.5,
    ("pcgrad", 40): 1.0,
    ("cagrad", 20): 0.5,
    ("cagrad", 40): 1.0,
    ("nash_mtl", 20): 1.0,
    ("nash_mtl", 40): None,
    ("mgda", 20): 2.0,
    ("mgda", 40): 5.0,
}
LENGTH = 2
"""Coordinates of the random gradients per task: few, so that many of them conflict."""


def solver_lines(sizes: Sizes) -> list[Line]:
    """Milliseconds a call, and over TorchJD's own weighting, on inner products of normal gradients."""
    device = configure("cpu", threads=1)
    warnings.filterwarnings("ignore", module="torchjd")
    rng = np.random.default_rng(SEED)
    title = "5. solvers, cpu"
    lines: list[Line] = []
    for (name, num_tasks), allowed in ALLOWED_MS.items():
        rows = [torch.from_numpy(rng.standard_normal((num_tasks, LENGTH * num_tasks))) for _ in range(sizes.gramians)]
        gramians = [own @ own.T for own in rows]
        method = methods.build(name, num_tasks)
        assert isinstance(method, methods.GramianWeighting)
        losses = torch.ones(num_tasks, dtype=torch.float64)
        ours = functools.partial(_weights, method, losses)
        peer = peer_weighting(name, num_tasks)
        contenders: Contenders = {
            "ours": lambda ours=ours, given=gramians: [ours(own) for own in given],
            "TorchJD": usually(lambda peer=peer, given=gramians: [peer(own) for own in given]),
        }
        seconds = take_turns(contenders, device, sizes.repeats, least=TURN / 5, limit=sizes.seconds / 4)
        calls = {who: [value / sizes.gramians for value in values] for who, values in seconds.items()}
        what = f"{name}, T = {num_tasks}"
        lines += [
            Line(title, f"{what}: ms a call", [1e3 * value for value in calls["ours"]], calls["ours"], allowed),
            Line(title, f"{what}: / TorchJD", *over(calls, "ours", "TorchJD")),
        ]
        if name == "mgda":
            lines += [
                Line(title, f"{what}: excess of |d|^2, {who}", [excess(solve(own), own) for own in gramians], [], bound)
                for who, solve, bound in (("ours", ours, 1e-10), ("TorchJD", peer, None))
            ]
    return lines


def _weights(method: methods.GramianWeighting, losses: Tensor, gramian: Tensor) -> Tensor:
    return method.weights(gramian, losses)


def peer_weighting(name: str, num_tasks: int) -> Callable[[Tensor], Tensor]:
    """TorchJD's weights from inner products, with its defaults where it has any."""
    if name == "nash_mtl":
        # It takes the gradients: any with these inner products will do.
        weighting = aggregation.NashMTL(n_tasks=num_tasks).weighting
        return lambda gramian: weighting(torch.linalg.cholesky(gramian))
    return {
        "mgda": aggregation.MGDAWeighting,
        "pcgrad": aggregation.PCGradWeighting,
        "cagrad": functools.partial(aggregation.CAGradWeighting, c=0.5),
    }[name]()


def excess(weights: Tensor, gramian: Tensor) -> float:
    """How far |d|^2 is at most above the smallest of the convex hull, relative to itself: the duality gap.

    For w on the simplex and d = sum_k w_k g_k the smallest is at least 2 min_k g_k.d - |d|^2.
    """
    products = gramian @ weights
    square = float(weights @ products)
    return max(0.0, 2.0 * (square - float(products.min())) / square)


# 6. The Jacobian in memory


def chunked_lines(device: torch.device, sizes: Sizes) -> list[Line]:
    """The step without the whole Jacobian over that with it: time, and bytes of task gradients held at once.

    Bytes are those of the T gradients of all shared parameters, or of the largest segment of the encoder.
    """
    title = f"6. step without the whole Jacobian / with it, {describe(device)}"
    lines: list[Line] = []
    num_tasks = 20
    for net in (LENET, MLP):
        size = net.batch[device.type == "cuda"]
        parts = build_parts(net, num_tasks, device)
        for shared in (True, False):
            batch = random_batch(net, num_tasks, size, device, shared=shared)
            contenders = {
                "full": step(parts, Ones(), batch),
                "chunked": taken(build(parts, Ones(), jacobian="chunked"), batch),
            }
            seconds = take_turns(contenders, device, sizes.repeats, least=TURN, limit=sizes.seconds / 2)
            what = f"{net.name}, T = {num_tasks}, {'shared' if shared else 'own'} batch {size}: "
            lines.append(Line(title, f"{what}time", *over(seconds, "chunked", "full")))
        segments = [
            sum(parameter.numel() for parameter in segment.parameters()) for segment in parts.model.encoder.children()
        ]
        bytes_full, bytes_chunked = (4 * num_tasks * numbers for numbers in (sum(segments), max(segments)))
        what = f"{net.name}, T = {num_tasks}: bytes ({bytes_chunked:,} / {bytes_full:,})"
        lines.append(Line(title, what, [bytes_chunked / bytes_full], []))
    return lines


# What the sections share


def build_parts(net: Net, num_tasks: int, device: torch.device) -> Parts:
    """The net with a linear head for each of the tasks."""
    torch.manual_seed(SEED)
    encoder, width = net.build()
    heads: dict[str, nn.Module] = {f"task{number}": nn.Linear(width, CLASSES) for number in range(num_tasks)}
    model = MultiTaskModel(encoder, heads).to(device).train()
    return Parts(model, list(model.heads.values()), [functional.cross_entropy] * num_tasks)


def random_batch(net: Net, num_tasks: int, size: int, device: torch.device, *, shared: bool) -> Batch:
    """Normal inputs with random labels."""
    generator = torch.Generator().manual_seed(SEED)
    inputs = torch.randn(size if shared else num_tasks * size, *net.shape, generator=generator)
    targets = torch.randint(0, CLASSES, (num_tasks, size), generator=generator)
    return Batch(inputs.to(device), list(targets.to(device)), shared)


def build(parts: Parts, method: methods.Method, **options: Any) -> Update:
    """The update that training takes for a method."""
    return build_update(parts, method, lambda parameters: torch.optim.SGD(parameters, lr=0.0), 0.0, **options)


def step(parts: Parts, method: methods.Method, batch: Batch) -> Callable[[], Any]:
    """The gradients of a step of a method, as training gets them."""
    return taken(build(parts, method), batch)


def taken(update: Update, batch: Batch) -> Callable[[], Any]:
    """The gradients of a step, after those of the step before are gone."""

    def gradients() -> None:
        update.parts.model.zero_grad()
        update.gradients(batch)

    return gradients


def usually(work: Callable[[], Any]) -> Callable[[], Any]:
    """Work with torch's usual settings."""

    def under_usual_settings() -> None:
        with usual_settings():
            work()

    return under_usual_settings


def build_mlp() -> tuple[nn.Module, int]:
    """784 inputs, layers of 512, 512 and 256: 0.8 million parameters."""
    widths = (784, 512, 512, 256)
    layers: list[nn.Module] = []
    for before, after in itertools.pairwise(widths):
        layers += [nn.Linear(before, after), nn.ReLU()]
    return nn.Sequential(*layers), widths[-1]


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions with group normalisation around a shortcut."""

    def __init__(self, before: int, after: int, stride: int) -> None:
        super().__init__()
        self.path = nn.Sequential(
            nn.Conv2d(before, after, 3, stride, padding=1, bias=False),
            nn.GroupNorm(GROUPS, after),
            nn.ReLU(),
            nn.Conv2d(after, after, 3, padding=1, bias=False),
            nn.GroupNorm(GROUPS, after),
        )
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or before != after:
            self.shortcut = nn.Sequential(nn.Conv2d(before, after, 1, stride, bias=False), nn.GroupNorm(GROUPS, after))

    def forward(self, inputs: Tensor) -> Tensor:
        """The block's outputs."""
        return functional.relu(self.path(inputs) + self.shortcut(inputs))


GROUPS = 8


def build_resnet() -> tuple[nn.Module, int]:
    """ResNet-18 for small images: a 3x3 convolution of stride 1 and no pooling in front; 11 million parameters."""
    layers: list[nn.Module] = [nn.Conv2d(3, 64, 3, padding=1, bias=False), nn.GroupNorm(GROUPS, 64), nn.ReLU()]
    before = 64
    for after in (64, 128, 256, 512):
        layers += [ResidualBlock(before, after, 1 if after == 64 else 2), ResidualBlock(after, after, 1)]
        before = after
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten()), before


LENET = Net("LeNet", lambda: lenet.build_encoder(lenet.Options()), (1, 28, 28), (256, 256))
MLP = Net("MLP 0.8 M", build_mlp, (784,), (256, 256))
RESNET = Net("ResNet-18", build_resnet, (3, 32, 32), (8, 128))
NETS = (LENET, MLP, RESNET)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="few repeats and no long cases: does it run at all?")
    parser.add_argument("--repeats", type=int, help=f"most turns of every contender (default: {Sizes.repeats})")
    parser.add_argument(
        "--only", nargs="+", choices=SECTIONS, default=SECTIONS, metavar="SECTION", help=", ".join(SECTIONS)
    )
    seconds = f"what the turns of one net and number of tasks may take (default: {Sizes.seconds:.0f})"
    parser.add_argument("--seconds", type=float, help=seconds)
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write every number to FILE")
    return parser


if __name__ == "__main__":
    main()
