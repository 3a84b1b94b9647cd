"""What the worst-case sharpness costs beside plain passes, and one call beside a call per radius and batch.

A unit is a third of a forward and a backward pass of the same batch with the gradients of the same parameters, no
optimizer included. An iteration of the search needs three.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from measuring import Line, over, take_turns
from methods import LENET, MLP, Net
from tasktrace.measures.sharpness import Options, rises
from tasktrace.training.device import configure, describe

BATCH_SIZE = 128
BATCHES = 8
RHOS = (0.001, 0.002, 0.004, 0.008)
CLASSES = 10
SEED = 0
UNITS = 3
TURN = 0.2
"""Seconds that a turn takes at least."""


def lines(repeats: int) -> list[Line]:
    """The lines of the table, with ``repeats`` turns of every contender."""
    found = []
    for name in ["cpu", "cuda"] if torch.cuda.is_available() else ["cpu"]:
        device = configure(name, threads=1)
        found += [iteration_line(net, device, repeats) for net in (LENET, MLP)]
        found.append(calls_line(LENET, device, repeats))
    return found


def iteration_line(net: Net, device: torch.device, repeats: int) -> Line:
    """Units of an iteration: a search with one radius on one batch, everything before and after it included."""
    model, batches = network(net, device), data(net, 1, device)
    options = Options(rhos=RHOS[:1], batch_size=BATCH_SIZE)
    parameters = list(model.parameters())

    def passes() -> None:
        for inputs, targets in batches * options.iterations:
            torch.autograd.grad(functional.cross_entropy(model(inputs), targets), parameters)

    contenders = {"search": search(model, batches, options), "passes": passes}
    seconds = take_turns(contenders, device, repeats, least=TURN)
    ratios, own = over(seconds, "search", "passes")
    what = f"{net.name}, batch {BATCH_SIZE}: units per iteration of the search"
    return Line(section(device), what, [UNITS * ratio for ratio in ratios], own, 3.1)


def calls_line(net: Net, device: torch.device, repeats: int) -> Line:
    """All radii and batches in one call over a call for each.

    On a CPU a call saves only what the radii share, the passes at the weights: counted in units, 235 of 244.
    """
    model, batches = network(net, device), data(net, BATCHES, device)
    apart = [search(model, [batch], Options(rhos=(rho,), batch_size=BATCH_SIZE)) for batch in batches for rho in RHOS]

    def separate() -> None:
        for call in apart:
            call()

    together = search(model, batches, Options(rhos=RHOS, batch_size=BATCH_SIZE))
    seconds = take_turns({"one call": together, "separate calls": separate}, device, repeats, least=TURN)
    what = f"{net.name}, {len(RHOS)} radii x {BATCHES} batches: one call / {len(apart)} calls"
    return Line(section(device), what, *over(seconds, "one call", "separate calls"), 0.6)


def search(model: nn.Module, batches: list[tuple[Tensor, Tensor]], options: Options) -> Callable[[], Any]:
    """A call of the measure's core; one start needs no generator's numbers."""
    parameters = dict(model.named_parameters())
    return lambda: rises(model, parameters, functional.cross_entropy, batches, options, lambda _: torch.Generator())


def network(net: Net, device: torch.device) -> nn.Module:
    """The encoder with one head; on a CPU with channels last, the faster layout there."""
    torch.default_generator.manual_seed(SEED)
    encoder, width = net.build()
    model = nn.Sequential(encoder, nn.Linear(width, CLASSES)).to(device).eval()
    return model.to(memory_format=torch.channels_last) if device.type == "cpu" else model


def data(net: Net, number: int, device: torch.device) -> list[tuple[Tensor, Tensor]]:
    """Random batches, in the layout of :func:`network`."""
    generator = torch.Generator().manual_seed(SEED)
    batches = []
    for _ in range(number):
        inputs = torch.randn(BATCH_SIZE, *net.shape, generator=generator)
        if device.type == "cpu" and inputs.ndim == 4:
            inputs = inputs.contiguous(memory_format=torch.channels_last)
        batches.append((inputs.to(device), torch.randint(CLASSES, (BATCH_SIZE,), generator=generator).to(device)))
    return batches


def section(device: torch.device) -> str:
    """The section of the table."""
    return f"sharpness, {describe(device)}"
