"""Gradient coherence: the trace of the per-sample gradients' covariance, from mini-batch gradients (study A, Eq 9-13).

Mueller et al. 2024, after McCandlish et al. 2018, appendix A.1. Lower is more coherent.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from tasktrace.config.bounds import check_range
from tasktrace.measures.base import BatchGradients, GradientMeasure, Pass, Quantity, standard_error
from tasktrace.seeding import derive_seed

VERSION = 1


@dataclass(frozen=True, kw_only=True)
class Options:
    """Which mini-batches, and of which parameters.

    Attributes:
        batch_size: Samples per small batch, b_small; 0 for the run's batch size, whose gradients conflict uses too.
        batches: Number k of disjoint small batches, so that b_big = k * b_small; fewer if the task has no more.
            Proposed: the paper's number is lost.
        parameters: ``model`` (encoder and head) or ``encoder``.
        sketch: Width of the sketches that standard errors are computed from where there are more parameters.
    """

    batch_size: int = 0
    batches: int = 20
    parameters: Literal["model", "encoder"] = "model"
    sketch: int = 65536

    def __post_init__(self) -> None:
        """Refuse what leaves nothing to compare."""
        check_range(self, "batch_size", low=0)
        check_range(self, "batches", low=2)
        check_range(self, "sketch", low=1)


class Measure(GradientMeasure):
    """Covariance trace, squared gradient norm, their ratio, and the mini-batch empirical Fisher trace of every task.

    Cost: a sum and a norm per mini-batch gradient; the gradients are the pass's.

    Quantities, with standard errors by the jackknife over batches, which are too large where the batches cover much of
    the data (by a fifth for the covariance where they cover all of it):

    - ``covariance``: tr Sigma = E |g_i - g|^2 over single samples (Eq 4), in squared loss per squared parameter;
    - ``gradient``: |g|^2 of the whole training data's gradient;
    - ``noise_scale``: their ratio B_simple, in samples (McCandlish et al. 2018, Eq 2.9);
    - ``minibatch_fisher``: E |g_b|^2 with the true labels, the empirical Fisher trace in the form of Eq 8.

    Covariance and gradient are unbiased, the former never negative, the latter negative at times near a minimum; their
    ratio is biased for few batches, and NaN where the gradient's estimate is not positive.
    """

    def __init__(self, options: Options) -> None:
        self.walk = Pass(options.batch_size, options.batches)
        self._encoder_only = options.parameters == "encoder"
        self._width = options.sketch

    def begin(self, tasks: list[str], batch_size: int, populations: list[int]) -> None:
        """See :class:`GradientMeasure`."""
        self._batch_size, self._populations = batch_size, populations
        self._sums: list[Tensor] = []
        self._squares: list[list[Tensor]] = [[] for _ in tasks]
        self._sketches: list[list[Tensor]] = [[] for _ in tasks]
        self._sketch = [Sketch(self._width) for _ in tasks]

    def add(self, gradients: BatchGradients) -> None:
        """See :class:`GradientMeasure`."""
        for task, (shared, head) in enumerate(zip(gradients.shared, gradients.heads, strict=True)):
            own = shared if self._encoder_only else torch.cat([shared, head])
            if len(self._sums) == task:
                self._sums.append(torch.zeros_like(own))
            self._sums[task] += own
            self._squares[task].append(_squared_norm(own))
            self._sketches[task].append(self._sketch[task](own))

    def finish(self) -> list[list[Quantity]]:
        """See :class:`GradientMeasure`."""
        numbers = zip(self._sums, self._squares, self._sketches, self._populations, strict=True)
        return [self._quantities(total, squares, rows, population) for total, squares, rows, population in numbers]

    def _quantities(self, total: Tensor, squares: list[Tensor], rows: list[Tensor], population: int) -> list[Quantity]:
        count = len(squares)
        small = torch.stack(squares).cpu()
        big = _squared_norm(total / count).cpu()
        estimate = from_norms(small.mean(), big, self._batch_size, count, population)
        sketched = torch.stack(rows).double().cpu()
        products = sketched @ sketched.T
        products.diagonal().copy_(small)  # these are known exactly
        errors = jackknife_errors(products, self._batch_size, population)
        return [
            Quantity(name, float(value), float(error))
            for name, value, error in zip(
                ("covariance", "gradient", "noise_scale", "minibatch_fisher"),
                (*estimate, small.mean()),
                (*errors, standard_error(small)),
                strict=True,
            )
        ]


def from_norms(small: Tensor, big: Tensor, batch_size: int, count: int, population: int) -> Tensor:
    """Covariance trace, squared gradient norm and noise scale from squared norms of small and big batch gradients.

    With E|g_b|^2 = |g|^2 + f_b tr(Sigma)/b (Eq 10) and f_b = (N - b)/(N - 1), since batches are drawn without
    replacement: tr(Sigma) = (small - big) / (f_s/b_s - f_B/b_B) (Eq 12-13), and |g|^2 from the same two equations.

    Args:
        small: Mean squared norm of the small batches' gradients, scalar.
        big: Squared norm of their mean, the gradient of all of them as one batch; scalar.
        batch_size: Samples of a small batch, b_s.
        count: Number of small batches; b_B = count * b_s.
        population: Number of samples N that they were drawn from.

    Returns:
        Shape (3,), float64.
    """
    noise_small = _correction(batch_size, population) / batch_size
    noise_big = _correction(count * batch_size, population) / (count * batch_size)
    covariance = (small - big).clamp(min=0) / (noise_small - noise_big)  # below zero only by rounding
    gradient = (big * noise_small - small * noise_big) / (noise_small - noise_big)
    scale = covariance / gradient if gradient > 0 else torch.tensor(torch.nan)
    return torch.stack([covariance, gradient, scale.to(covariance)]).double()


def jackknife_errors(gramian: Tensor, batch_size: int, population: int) -> Tensor:
    """Standard errors of :func:`from_norms` by leaving out each small batch in turn.

    Args:
        gramian: Inner products of the small batches' gradients, shape (k, k), float64.
        batch_size: Samples of a small batch.
        population: Number of samples that they were drawn from.

    Returns:
        Shape (3,); NaN for fewer than three batches.
    """
    count = len(gramian)
    if count < 3:
        return torch.full((3,), torch.nan, dtype=torch.float64)
    squares, left = gramian.diagonal(), count - 1
    without = []
    for batch in range(count):
        small = (squares.sum() - squares[batch]) / left
        big = (gramian.sum() - 2 * gramian[batch].sum() + squares[batch]) / left**2
        without.append(from_norms(small, big, batch_size, left, population))
    deviations = torch.stack(without) - torch.stack(without).mean(dim=0)
    return (deviations.square().sum(dim=0) * left / count).sqrt()


class Sketch:
    """Count sketch: a random linear map to few numbers that keeps inner products on average.

    Charikar, Chen and Farach-Colton 2002. The relative error of a squared norm is about sqrt(2 / width): good for
    standard errors, for which nobody should keep k whole gradients of every task. Vectors that are not longer than the
    width stay as they are.

    Args:
        width: Length of the sketches.
    """

    def __init__(self, width: int) -> None:
        self._width = width
        self._buckets: Tensor | None = None

    def __call__(self, vector: Tensor) -> Tensor:
        """The sketch of a vector (P,); every vector of a sketch has the same length and device."""
        if len(vector) <= self._width:
            return vector.clone()
        if self._buckets is None:
            generator = torch.Generator().manual_seed(derive_seed(0, "measure", "sketch"))
            buckets = torch.randint(self._width, (len(vector),), generator=generator)
            signs = torch.randint(2, (len(vector),), generator=generator) * 2 - 1
            self._buckets, self._signs = buckets.to(vector.device), signs.to(vector)
        return vector.new_zeros(self._width).index_add_(0, self._buckets, vector * self._signs)


def _correction(batch_size: int, population: int) -> float:
    """The variance of a mean of ``batch_size`` samples without replacement over that with replacement, (N-b)/(N-1)."""
    return (population - batch_size) / (population - 1)


def _squared_norm(vector: Tensor) -> Tensor:
    norm: Tensor = torch.linalg.vector_norm(vector, dtype=torch.float64)
    return norm.square()
