"""What the Fisher trace costs beside a plain gradient of the same batch, BackPACK and ``vmap(grad)``.

Measured is the whole of the measure ``fisher`` with one drawn label for every sample of one batch. A plain gradient is
one forward and backward pass of the mean loss. The peers get the true labels: they pay for no draw. One thread of a
CPU, float32, channels last; the data is random.
"""

import copy
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from backpack import backpack, extend
from backpack.extensions import BatchL2Grad, SumGradSquared
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap
from torch.nn import functional
from torchvision.models import resnet18

from measuring import Line, over, take_turns
from tasktrace.measures import fisher
from tasktrace.measures.base import Sample, Subject, TaskModel
from tasktrace.models import MultiTaskModel, lenet
from tasktrace.tasks import Task

CLASSES = 10
TURN = 0.05
"""Seconds that a turn takes at least: a short one is taken several times."""
OURS, PLAIN, VMAP = "fisher", "plain gradient", "vmap(grad)"
PEERS = {"BackPACK BatchL2Grad": BatchL2Grad, "BackPACK SumGradSquared": SumGradSquared}


@dataclass(frozen=True)
class Net:
    """A net to measure.

    Attributes:
        name: What the table calls it.
        build: Gives the encoder and the width of its features.
        shape: Of one input.
        batch: Samples.
        bound: What the Fisher trace may cost, in plain gradients.
    """

    name: str
    build: Callable[[], tuple[nn.Module, int]]
    shape: tuple[int, ...]
    batch: int
    bound: float


def build_mlp() -> tuple[nn.Module, int]:
    """784 inputs, layers of 512, 512 and 256: 0.8 million parameters."""
    layers = [nn.Linear(784, 512), nn.ReLU(), nn.Linear(512, 512), nn.ReLU(), nn.Linear(512, 256), nn.ReLU()]
    return nn.Sequential(*layers), 256


def build_resnet() -> tuple[nn.Module, int]:
    """ResNet-18 for small images: a 3x3 convolution of stride 1 and no pooling in front; 11 million parameters."""
    encoder = resnet18(weights=None)
    encoder.conv1 = nn.Conv2d(3, 64, 3, padding=1, bias=False)
    encoder.maxpool = nn.Identity()
    encoder.fc = nn.Identity()
    return encoder, 512


NETS = (
    Net("MLP 0.8 M", build_mlp, (784,), 128, 1.0),
    Net("LeNet", lambda: lenet.build_encoder(lenet.Options()), (1, 28, 28), 128, 2.2),
    Net("ResNet-18", build_resnet, (3, 32, 32), 16, 2.2),
)


def lines(repeats: int) -> list[Line]:
    """The Fisher trace of a batch over a plain gradient, and over the peers' per-sample gradient norms.

    Args:
        repeats: Turns of every contender.
    """
    found: list[Line] = []
    for net in NETS:
        subject = _subject(net)
        contenders: dict[str, Callable[[], Any]] = {
            OURS: _measured(subject),
            PLAIN: lambda own=subject: _plain_gradient(own),
            **{name: _backpack(subject, extension) for name, extension in PEERS.items()},
            VMAP: lambda own=subject: _vmapped(own),
        }
        seconds = take_turns(contenders, torch.device("cpu"), repeats, least=TURN)
        faster = min(PEERS, key=lambda name: sum(seconds[name]))
        for other, bound in {PLAIN: net.bound, faster: 1.0, VMAP: 0.9}.items():
            what = f"{net.name}, batch {net.batch}: Fisher trace / {other}"
            found.append(Line("Fisher trace", what, *over(seconds, OURS, other), bound))
    return found


def _subject(net: Net) -> Subject:
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        encoder, width = net.build()
        model = MultiTaskModel(encoder, {"own": nn.Linear(width, CLASSES)})
        inputs, targets = torch.randn(net.batch, *net.shape), torch.randint(0, CLASSES, (net.batch,))
    own = TaskModel(model.to(memory_format=torch.channels_last).eval(), "own")
    sample = Sample(inputs, targets, population=net.batch)
    return Subject(Task(name="own", outputs=CLASSES), own, sample, lambda _: torch.Generator().manual_seed(0))


def _measured(subject: Subject) -> Callable[[], Any]:
    size = len(subject.sample)
    measure = fisher.Measure(fisher.Options(draws=1, samples=size, batch_size=size))
    return lambda: measure.measure(subject)


def _plain_gradient(subject: Subject) -> tuple[Tensor, ...]:
    loss = subject.loss(subject.model(subject.sample.inputs), subject.sample.targets)
    return torch.autograd.grad(loss, list(subject.model.parameters()))


def _vmapped(subject: Subject) -> Tensor:
    """Squared norms of per-sample gradients that are formed, as ``torch.func`` has it."""
    parameters = {name: own.detach() for name, own in subject.model.named_parameters()}

    def loss(parameters: dict[str, Tensor], sample: Tensor, target: Tensor) -> Tensor:
        outputs = functional_call(subject.model, parameters, (sample[None],))
        return functional.cross_entropy(outputs, target[None])

    gradients = vmap(grad(loss), in_dims=(None, 0, 0))(parameters, subject.sample.inputs, subject.sample.targets)
    return torch.stack([own.flatten(1).square().sum(dim=1) for own in gradients.values()]).sum(dim=0)


def _backpack(subject: Subject, extension: Callable[[], Any]) -> Callable[[], Any]:
    """A backward pass with squared norms of per-sample gradients, or their squares' sums.

    BackPACK refuses layers that work in place, and knows functional operations and shortcuts by a graph that torch.fx
    traces (``use_converter``).
    """
    model = copy.deepcopy(subject.model)
    for layer in model.modules():
        if isinstance(layer, nn.ReLU):
            layer.inplace = False
    with _without_warnings():
        model = extend(model, use_converter=True).eval()
        objective = extend(nn.CrossEntropyLoss())

    def work() -> None:
        model.zero_grad()
        with _without_warnings(), backpack(extension()):
            objective(model(subject.sample.inputs), subject.sample.targets).backward()

    return work


@contextmanager
def _without_warnings() -> Iterator[None]:
    """Without those of a library that uses hooks as they were meant for something else."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
