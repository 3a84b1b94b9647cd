"""The trace of the Fisher information matrix, of single samples and of mini-batches (study A, Eq 5 and 8).

Mueller et al. 2024, after Jastrzebski et al. 2021 and Novack et al. 2023.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from tasktrace.config.bounds import check_range
from tasktrace.errors import ConfigError
from tasktrace.measures.base import Quantity, SampleMeasure, Subject
from tasktrace.measures.norms import SampleGradients
from tasktrace.training.objectives import known

VERSION = 1

_CHUNK = 128
"""Samples in one forward pass of the per-sample trace; changes no draw and no result but by rounding."""

_PIXELS = _CHUNK * 64 * 64
"""Of all inputs of such a pass: fewer samples where they are larger than the 64 x 64 pixels of faces."""


@dataclass(frozen=True, kw_only=True)
class Options:
    """Whose labels, how many, and of which parameters.

    Attributes:
        labels: ``sampled``: drawn from the model's p(y|x); ``all``: every class, weighted by p(y|x), which leaves no
            noise and costs a backward pass per class; ``true``: the data's, which gives the empirical Fisher. Where a
            task's loss gives no p(y|x) (regression) the labels are the data's, as in study A. ``modelled``: as
            ``sampled``, and where a regression's loss is -log p(y|x) but for a constant, drawn from that: for ``mse`` a
            normal distribution of variance 1/2 around the output, for ``l1`` a Laplace distribution of scale 1.
        draws: Labels drawn for each sample, and in ``drawn`` mini-batches for each batch. Proposed: the paper's number
            is lost.
        samples: Training samples to average over; all of them where the task has fewer. Proposed.
        batch_size: Samples b of a mini-batch. Proposed; 128 in the code of Novack et al.
        minibatch: ``exact``: from the trace, without noise of its own; ``drawn``: from gradients of mini-batches with
            drawn labels, as the papers do. With the data's labels it is always the latter.
        parameters: ``model`` (encoder and head) or ``encoder``.
    """

    labels: Literal["sampled", "all", "true", "modelled"] = "sampled"
    draws: int = 5
    samples: int = 1024
    batch_size: int = 128
    minibatch: Literal["exact", "drawn"] = "exact"
    parameters: Literal["model", "encoder"] = "model"

    def __post_init__(self) -> None:
        """Refuse what leaves nothing to average."""
        check_range(self, "draws", "samples", "batch_size", low=1)
        check_range(self, "batch_size", low=1, below=self.samples + 1)


class Measure(SampleMeasure):
    """Fisher trace of every task, in squared units of the loss per parameter.

    Quantities:

    - ``trace``: E_x E_y |grad l(x, y)|^2 with y ~ p(y|x) (Eq 5), from squared norms of single samples' gradients that
      are never formed (:mod:`tasktrace.measures.norms`). Standard error: over samples, of each sample's mean of draws;
    - ``minibatch``: E_B E_y |1/b sum_(x in B) grad l(x, y(x))|^2 (Eq 8). Standard error: over batches.

    The second is the first divided by b. Write the squared norm as 1/b^2 times the sum of inner products over all pairs
    of the batch. Labels are drawn independently, and for l = -log p(y|x) the expectation of every sample's gradient
    vanishes, E_(y~p) grad log p(y|x) = sum_y grad p(y|x) = grad 1 = 0; therefore so do the products of different
    samples, and the b that are left have the mean trace/b. This holds for every batch, and for a loss that is a mean
    of such terms over several outputs of a sample. ``exact`` uses it. It does not hold for the data's labels, nor where
    samples have different numbers of known pixels, whose mean over the batch weighs samples by them.

    With drawn labels, an image of outputs has its labels drawn independently at each of its known positions. The loss
    of a single sample is the mean over its own ones.
    """

    def __init__(self, options: Options) -> None:
        self.samples = options.samples
        self._options = options

    def measure(self, subject: Subject) -> list[Quantity]:
        """See :class:`SampleMeasure`.

        Raises:
            ConfigError: The task has too few samples to fill a mini-batch that is to be drawn, ``labels: all`` and a
                sample has more than one label, or ``labels: modelled`` and the loss is no -log p(y|x).
        """
        labelled = _Labelled(subject, self._options)
        trace = Quantity.mean("trace", labelled.squared_norms())
        if labelled.are_the_models and self._options.minibatch == "exact":
            size = self._options.batch_size
            minibatch = Quantity("minibatch", trace.value / size, trace.stderr / size)
        else:
            minibatch = Quantity.mean("minibatch", labelled.squared_norms_of_minibatches())
        return [trace, minibatch]


class _Labelled:
    """A task's sample with the labels that the options ask for.

    Args:
        subject: The task.
        options: Of the measure.

    Attributes:
        are_the_models: Whether the labels follow the model's p(y|x); else they are the data's.

    Raises:
        ConfigError: There is no such distribution.
    """

    def __init__(self, subject: Subject, options: Options) -> None:
        self._subject, self._options = subject, options
        self._chosen = list(subject.model.chosen(options.parameters).values())
        self._generator = subject.generator("fisher")
        task = subject.task
        self._probabilities = None if options.labels == "true" else _PROBABILITIES.get(task.loss)
        self._noise = _NOISES.get(task.loss) if options.labels == "modelled" else None
        self.are_the_models = not (self._probabilities is None and self._noise is None)
        if options.labels == "modelled" and not self.are_the_models:
            raise ConfigError(
                f"measure fisher: labels 'modelled' needs a loss that is -log p(y|x), and {task.name} has "
                f"{task.loss!r}; use 'sampled', which takes the data's"
            )

    def squared_norms(self) -> Tensor:
        """Squared norm of every sample's gradient, mean over its labels, shape (n,), float64, on the CPU."""
        sample = self._subject.sample
        size = max(1, min(_CHUNK, _PIXELS // math.prod(sample.inputs.shape[2:])))
        found = []
        for start in range(0, len(sample), size):
            piece = slice(start, start + size)
            gradients = SampleGradients(self._subject.model, sample.inputs[piece], self._chosen)
            total = torch.zeros(len(gradients.outputs), dtype=torch.float64)
            for weights, labels in self._weighted_labels(gradients.outputs, sample.targets[piece]):
                cotangent = _own_means(self._cotangent(gradients.outputs, labels), labels)
                norms = gradients.squared_norms(cotangent)
                total += weights * norms.double().cpu()
            found.append(total)
        return torch.cat(found)

    def squared_norms_of_minibatches(self) -> Tensor:
        """Squared norm of every mini-batch's gradient, mean over its draws, shape (batches,), float64, on the CPU."""
        sample, size = self._subject.sample, self._options.batch_size
        if len(sample) < size:
            raise ConfigError(
                f"measure fisher: {self._subject.task.name} has {len(sample)} training samples, fewer than batch_size "
                f"{size}; ask for smaller batches"
            )
        found = []
        for inputs, targets in sample.batches(size):
            with torch.enable_grad():
                outputs = self._subject.model(inputs)
            norms = []
            for labels in self._drawn_labels(outputs.detach(), targets):
                cotangent = self._cotangent(outputs.detach(), labels) / size
                gradients = torch.autograd.grad(
                    outputs, self._chosen, cotangent, retain_graph=True, materialize_grads=True
                )
                norms.append(torch.stack([own.double().square().sum() for own in gradients]).sum())
            found.append(torch.stack(norms).mean())
        return torch.stack(found).cpu()

    def _weighted_labels(self, outputs: Tensor, targets: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        """Labels with their weights in the mean over a sample's labels, shape (n,) or (), float64, on the CPU."""
        if self._options.labels == "all" and self._probabilities is not None:
            if outputs.ndim != 2:
                raise ConfigError(
                    f"measure fisher: labels 'all' needs one label per sample, and {self._subject.task.name} has "
                    f"outputs of shape {tuple(outputs.shape[1:])}; use 'sampled'"
                )
            for label, weights in enumerate(self._probabilities(outputs.double()).cpu().T):
                yield weights, torch.full_like(targets, label)
            return
        drawn = list(self._drawn_labels(outputs, targets))
        for labels in drawn:
            yield torch.tensor(1.0 / len(drawn), dtype=torch.float64), labels

    def _drawn_labels(self, outputs: Tensor, targets: Tensor) -> Iterator[Tensor]:
        """As many labels of every sample as are to be drawn, or the data's once; each of the shape of the targets."""
        if not self.are_the_models:
            yield targets
            return
        # On the CPU, where a generator draws the same whatever the device.
        on_cpu = outputs.double().cpu()
        if self._probabilities is not None:
            drawn = draw_labels(self._probabilities(on_cpu), self._options.draws, self._generator)
        else:
            assert self._noise is not None
            drawn = draw_values(on_cpu.squeeze(1), self._noise, self._options.draws, self._generator).to(targets.dtype)
        for labels in drawn.to(targets.device):
            # What is unknown in the data is no part of the loss.
            yield labels if labels.ndim == 1 else torch.where(known(targets), labels, targets)

    def _cotangent(self, outputs: Tensor, labels: Tensor) -> Tensor:
        """Gradient of the summed loss with respect to the outputs; the loss itself is a mean over samples."""
        with torch.enable_grad():
            leaf = outputs.detach().requires_grad_()
            (gradient,) = torch.autograd.grad(len(outputs) * self._subject.loss(leaf, labels), leaf)
        return gradient


def _own_means(cotangent: Tensor, labels: Tensor) -> Tensor:
    """A cotangent of n times a mean over all known positions as one of the sum of the samples' own means."""
    if labels.ndim == 1:
        return cotangent
    positions = known(labels).flatten(1).sum(dim=1, dtype=cotangent.dtype)
    factors = positions.sum() / (len(labels) * positions.clamp(min=1))
    return cotangent * factors.view(-1, *(1,) * (cotangent.ndim - 1))


def _softmax(outputs: Tensor) -> Tensor:
    return outputs.softmax(dim=1)


def _bernoulli(outputs: Tensor) -> Tensor:
    return torch.cat([-outputs, outputs], dim=1).sigmoid()


_PROBABILITIES: dict[str, Callable[[Tensor], Tensor]] = {"cross_entropy": _softmax, "binary_cross_entropy": _bernoulli}
"""p(y|x) of the losses that are -log p(y|x) of classes: from outputs (n, O) or (n, O, ...) to (n, C) or (n, C, ...)."""


def _normal(uniform: Tensor) -> Tensor:
    # erfinv at (-1, 1) gives a standard normal number over the root of 2.
    return torch.erfinv(2 * uniform - 1)


def _laplace(uniform: Tensor) -> Tensor:
    centred = 2 * uniform - 1
    return -centred.sign() * torch.log1p(-centred.abs())


_NOISES: dict[str, Callable[[Tensor], Tensor]] = {"mse": _normal, "l1": _laplace}
"""What p(y|x) of a regression adds to the output: (y - f)^2 and |y - f| are its -log but for a constant. From numbers
in (0, 1), by the inverse of the distribution function."""


def draw_labels(probabilities: Tensor, draws: int, generator: torch.Generator) -> Tensor:
    """Labels from the inverse of the distribution function at uniform numbers.

    Runs that are compared on the same uniform numbers get the same labels but where their probabilities differ.

    Args:
        probabilities: Shape (n, C) or (n, C, ...), on the CPU; NaN gives some label.
        draws: Labels of every sample.
        generator: On the CPU; n * draws numbers for every position of the outputs are drawn, sample after sample.

    Returns:
        Shape (draws, n, ...), int64.
    """
    by_class = probabilities.movedim(1, -1)
    cumulative = by_class.cumsum(dim=-1)
    cumulative = cumulative / cumulative[..., -1:]
    uniform = torch.rand(len(by_class), draws, *by_class.shape[1:-1], generator=generator, dtype=torch.float64)
    # Right of equal numbers, so that a class of probability zero is never drawn.
    labels = torch.searchsorted(cumulative, uniform.movedim(1, -1).contiguous(), right=True)
    return labels.clamp(max=by_class.shape[-1] - 1).movedim(-1, 0)


def draw_values(outputs: Tensor, noise: Callable[[Tensor], Tensor], draws: int, generator: torch.Generator) -> Tensor:
    """Values around outputs, the same uniform numbers for the same place, as :func:`draw_labels` has them.

    Args:
        outputs: Shape (n, ...), float64, on the CPU.
        noise: From uniform numbers to what is added.
        draws: Values of every sample.
        generator: On the CPU.

    Returns:
        Shape (draws, n, ...), float64.
    """
    uniform = torch.rand(len(outputs), draws, *outputs.shape[1:], generator=generator, dtype=torch.float64)
    # Zero is drawn once in 2^53 times, and would be infinity.
    return outputs + noise(uniform.clamp(min=2.0**-53)).movedim(1, 0)
