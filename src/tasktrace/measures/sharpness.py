"""Sharpness: how much a task's loss rises, at worst or on average, when every weight moves by a share of its size."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from tasktrace.config.bounds import check_range
from tasktrace.errors import ConfigError
from tasktrace.measures.apgd import maximise, random_point
from tasktrace.measures.base import Quantity, Subject, standard_error
from tasktrace.measures.landscape import Around, Landscape, Loss, OneByOne, Together

VERSION = 1

Batches = Sequence[tuple[Tensor, Tensor]]
"""Inputs and targets of each batch, all of one size."""

GeneratorOf = Callable[[int], torch.Generator]
"""Gives the generator, on the CPU, of the batch with this number."""


@dataclass(frozen=True, kw_only=True)
class Options:
    """What is measured, on how much, and how hard the search is.

    Attributes:
        rhos: Radii of the neighbourhood: shares of every weight's size for ``linf``; for ``average`` the standard
            deviation of such shares.
        kind: ``worst``: the largest rise in the neighbourhood; ``average``: the mean rise under Gaussian noise.
        norm: Of the shares; has no part in ``average``.
        samples: Training samples at most.
        batch_size: Samples per batch, m of the m-sharpness; samples that do not fill a batch are left out.
        iterations: Moves of a search.
        restarts: Searches per batch and radius: the first from the weights, others from random points.
        draws: Draws of the noise per batch for ``average``.
        logits: ``normalised``: every sample's outputs are centred and divided by their norm before the loss.
        parameters: What moves: the encoder and the task's head, or the encoder alone.
    """

    rhos: tuple[float, ...] = (0.002,)
    kind: Literal["worst", "average"] = "worst"
    norm: Literal["linf", "l2"] = "linf"
    samples: int = 1024
    batch_size: int = 128
    iterations: int = 20
    restarts: int = 1
    draws: int = 20
    logits: Literal["plain", "normalised"] = "plain"
    parameters: Literal["model", "encoder"] = "model"

    def __post_init__(self) -> None:
        """Hold sizes and radii to their ranges."""
        check_range(self, "samples", "batch_size", "iterations", "restarts", "draws", low=1)
        if self.batch_size > self.samples:
            raise ValueError(f"batch_size must be at most samples, {self.samples}, found {self.batch_size}")
        if not self.rhos or not all(0 <= rho < float("inf") for rho in self.rhos):
            raise ValueError(f"rhos must be one or more finite numbers of at least 0, found {list(self.rhos)}")
        if len({f"{rho:g}" for rho in self.rhos}) < len(self.rhos):
            raise ValueError(f"rhos must differ in their first six digits, found {list(self.rhos)}")


class Measure:
    """Elementwise-adaptive m-sharpness S = E_B[ max over ||delta / |w|||_p <= rho of L_B(w + delta) - L_B(w) ].

    Source: Andriushchenko et al., "A Modern Look at the Relationship between Sharpness and Generalization" (2023),
    Eq. 2, with c = |w|, as in Eq. 3 and 7 of the study of optimisation trajectories; ``average`` is their Eq. 1, with
    delta from N(0, rho^2 w^2) and E for max. Units: those of the loss. ``worst`` is a lower bound of the maximum, found
    by Auto-PGD; it is at least 0, and no less for a larger rho of the same call. A weight of zero does not move.

    One number per rho, ``rho<rho>``: the mean over batches and its standard error.

    Args:
        options: See :class:`Options`.

    Attributes:
        samples: Training samples that a subject's sample should have, at most.
    """

    def __init__(self, options: Options) -> None:
        self._options = options
        self.samples = options.samples

    def measure(self, subject: Subject) -> list[Quantity]:
        """The sharpness for every rho, in their given order.

        Raises:
            ConfigError: The task has fewer samples than one batch.
        """
        options = self._options
        batches = list(subject.sample.batches(options.batch_size))
        if not batches:
            raise ConfigError(
                f"sharpness: batch_size {options.batch_size} is larger than the {len(subject.sample)} training samples "
                f"of task {subject.task.name!r}; take a smaller one in the measure's options"
            )
        found = rises(
            subject.model,
            subject.model.chosen(options.parameters),
            subject.loss,
            batches,
            options,
            lambda number: subject.generator(f"sharpness/{number}"),
        )
        numbers = zip(options.rhos, found.mean(dim=0).tolist(), standard_error(found).tolist(), strict=True)
        return [Quantity(f"rho{rho:g}", value, stderr) for rho, value, stderr in numbers]


def rises(
    module: nn.Module,
    parameters: Mapping[str, Tensor],
    loss: Loss,
    batches: Batches,
    options: Options,
    generator: GeneratorOf,
    together: bool | None = None,
) -> Tensor:
    """How much each batch's loss rises for each rho, float64, shape (B, R), on the CPU.

    Args:
        module: The network, in the mode in which its loss is meant; it is left as it is.
        parameters: Those of its parameters that move, by name.
        loss: Outputs and targets to the mean over samples.
        batches: The batches.
        options: See :class:`Options`.
        generator: Gives the generator of a batch.
        together: Whether radii and batches are evaluated in one pass; by default on a GPU alone.
    """
    if together is None:
        together = batches[0][0].is_cuda
    kind = Together if together else OneByOne
    landscape = kind(module, parameters, loss if options.logits == "plain" else _of_normalised(loss))
    radii = sorted(rho for rho in options.rhos if rho > 0)
    columns = {0.0: torch.zeros(len(batches), dtype=torch.float64)}
    if radii:
        search = _worst if options.kind == "worst" else _average
        at_once = max(1, landscape.lanes // len(radii))
        found = []
        for first in range(0, len(batches), at_once):
            some = batches[first : first + at_once]
            inputs, targets = (torch.stack(parts) for parts in zip(*some, strict=True))
            generators = [generator(number) for number in range(first, first + len(some))]
            scene = _Scene(landscape, inputs, targets, radii, generators)
            found.append(search(scene, options).cpu())
        columns.update(zip(radii, torch.cat(found).unbind(1), strict=True))
    return torch.stack([columns[rho] for rho in options.rhos], dim=1)


@dataclass(frozen=True)
class _Scene:
    """B batches and R radii to search: inputs and targets (B, m, ...), radii rising, one generator per batch."""

    landscape: Landscape
    inputs: Tensor
    targets: Tensor
    radii: list[float]
    generators: list[torch.Generator]

    def at_weights(self) -> tuple[Around, Tensor]:
        """The losses around the weights as functions of shares of their sizes, and no shares, (B, 1, P)."""
        sizes = self.landscape.weights.abs().unsqueeze(0)
        return self.landscape.around(sizes, self.inputs, self.targets), self._spread(torch.zeros_like(sizes))

    def around(self) -> Iterator[Around]:
        """The losses as functions of points of unit balls, for some radii after the others."""
        sizes = self.landscape.weights.abs()
        for radii in torch.tensor(self.radii, dtype=torch.float64).split(self.landscape.lanes):
            yield self.landscape.around(radii.to(sizes).unsqueeze(1) * sizes, self.inputs, self.targets)

    def drawn(self, draw: Callable[[int, torch.Generator], Tensor]) -> Tensor:
        """A vector for each batch from its generator, shape (B, 1, P)."""
        size = len(self.landscape.weights)
        return torch.stack([self.landscape.arranged(draw(size, own)) for own in self.generators]).unsqueeze(1)

    def _spread(self, vector: Tensor) -> Tensor:
        return vector.expand(len(self.inputs), 1, -1)


def _worst(scene: _Scene, options: Options) -> Tensor:
    """The largest rise of each batch's loss that is found for each radius, shape (B, R)."""
    at_weights, zero = scene.at_weights()
    # Up to a factor the slope at the weights is that of every radius.
    loss, slope = at_weights.slopes(zero)
    best = loss
    for restart in range(options.restarts):
        start = scene.drawn(lambda size, own: random_point(size, options.norm, own)) if restart else zero
        found = []
        for function in scene.around():
            points = start.expand(-1, len(function.reach), -1)
            begin = function.slopes(points) if restart else (loss.expand(points.shape[:-1]), slope.expand_as(points))
            found.append(maximise(function, points, *begin, options.norm, options.iterations))
        best = torch.maximum(best, torch.cat(found, dim=1))
    # What a smaller ball holds, a larger one holds too.
    return (best - loss).cummax(dim=1).values


def _average(scene: _Scene, options: Options) -> Tensor:
    """The mean rise of each batch's loss under Gaussian noise, the same draws for each radius, shape (B, R)."""
    at_weights, zero = scene.at_weights()
    loss = at_weights.values(zero)
    draws = []
    for _ in range(options.draws):
        noise = scene.drawn(lambda size, own: torch.randn(size, generator=own, dtype=torch.float64))
        values = [function.values(noise.expand(-1, len(function.reach), -1)) for function in scene.around()]
        draws.append(torch.cat(values, dim=1) - loss)
    return torch.stack(draws).mean(dim=0)


def normalised(outputs: Tensor) -> Tensor:
    """Every sample's outputs, (N, C, ...), centred over C and divided by their norm, or by 1e-10 if that is larger.

    Source: Andriushchenko et al. (2023), section 3: the scale of the logits then has no part in the sharpness.
    """
    centred = outputs - outputs.mean(dim=1, keepdim=True)
    norms: Tensor = torch.linalg.vector_norm(centred, dim=1, keepdim=True)
    return centred / norms.clamp(min=1e-10)


def _of_normalised(loss: Loss) -> Loss:
    return lambda outputs, targets: loss(normalised(outputs), targets)
