"""Curvature of a task's loss: the Hessian's trace and its largest eigenvalue, from products with vectors.

Products are those of curvlinops (Dangel et al. 2025).
"""

import math
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
from scipy.sparse.linalg import ArpackNoConvergence, eigsh  # type: ignore[import-untyped]
from torch import Tensor, nn

from tasktrace.config.bounds import check_range
from tasktrace.measures.base import Quantity, SampleMeasure, Subject
from tasktrace.training.objectives import Objective

if TYPE_CHECKING:
    from curvlinops import HessianLinearOperator  # type: ignore[import-untyped]

VERSION = 1


@dataclass(frozen=True, kw_only=True)
class Options:
    """How closely, on which data, and of which parameters.

    Attributes:
        samples: Training samples that the loss is averaged over; all of them where the task has fewer.
        batch_size: Samples worked on at once; changes nothing but memory.
        probes: Random vectors of the trace's estimate; a product with the Hessian each.
        deflated: Dimensions whose part of the trace is computed exactly, so that the probes are left with the rest; two
            products each. A classifier's Hessian has about as many large eigenvalues as there are classes.
        tolerance: Of the largest eigenvalue, relative.
        iterations: Most restarts of the Lanczos method.
        parameters: ``model`` (encoder and head) or ``encoder``.
    """

    samples: int = 1024
    batch_size: int = 128
    probes: int = 20
    deflated: int = 10
    tolerance: float = 1e-3
    iterations: int = 100
    parameters: Literal["model", "encoder"] = "model"

    def __post_init__(self) -> None:
        """Refuse what leaves no estimate or no standard error."""
        check_range(self, "samples", "batch_size", "iterations", low=1)
        check_range(self, "probes", low=2)
        check_range(self, "deflated", low=0)
        check_range(self, "tolerance", low=1e-12, below=1)


class Measure(SampleMeasure):
    """Trace and largest eigenvalue of the Hessian of every task's loss, in units of the loss per squared parameter.

    The loss is the mean over the sample, in eval mode; parameters that are left out are constants.

    Quantities:

    - ``hessian_trace``: tr H = tr(Q' H Q) + E v'(I - QQ') H (I - QQ')v for Rademacher vectors v, where Q spans H times
      as many other such vectors as ``deflated`` says: Hutch++ (Meyer et al., "Hutch++: Optimal Stochastic Trace
      Estimation", 2021) with a sketch of any width, and Hutchinson's estimate without one. Unbiased. Standard error:
      over the v, which are independent of each other and of Q;
    - ``largest_eigenvalue``: the algebraically largest, by the Lanczos method (ARPACK) to the relative tolerance; NaN
      where it takes more than ``iterations``, or where the Hessian is not finite. No standard error: nothing is drawn
      but where to start.
    """

    def __init__(self, options: Options) -> None:
        self.samples = options.samples
        self._options = options

    def measure(self, subject: Subject) -> list[Quantity]:
        """See :class:`SampleMeasure`."""
        options, generator = self._options, subject.generator("curvature")
        with warnings.catch_warnings():
            # What curvlinops needs compiles functions when it is imported, and torch at the first product.
            warnings.filterwarnings("ignore", message="`torch.jit.script` is deprecated", category=FutureWarning)
            hessian = _hessian(subject, options)
            trace, error = trace_estimate(hessian, options.deflated, options.probes, generator)
            largest = math.nan
            if math.isfinite(trace):
                largest = largest_eigenvalue(hessian, options.tolerance, options.iterations, generator)
        return [Quantity("hessian_trace", trace, error), Quantity("largest_eigenvalue", largest, math.nan)]


class _MeanLoss(nn.Module):
    """A task's loss as curvlinops takes it."""

    reduction = "mean"

    def __init__(self, objective: Objective) -> None:
        super().__init__()
        self._objective = objective

    def forward(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Mean over samples."""
        return self._objective(outputs, targets)


def _hessian(subject: Subject, options: Options) -> "HessianLinearOperator":
    # Not above: the workflow and the other measures need not wait for it.
    from curvlinops import HessianLinearOperator

    sample, size = subject.sample, options.batch_size
    return HessianLinearOperator(
        subject.model,
        _MeanLoss(subject.loss),
        list(subject.model.chosen(options.parameters).values()),
        list(zip(sample.inputs.split(size), sample.targets.split(size), strict=True)),
        # It compares products of random vectors with themselves, drawn from torch's global generator; in eval mode,
        # on data that is at hand, nothing is left that could differ.
        check_deterministic=False,
        num_data=len(sample),
    )


def trace_estimate(
    operator: "HessianLinearOperator | Tensor", deflated: int, probes: int, generator: torch.Generator
) -> tuple[float, float]:
    """Trace of a symmetric operator, shape (P, P), and its standard error; see :class:`Measure`.

    Args:
        operator: Multiplies vectors.
        deflated: Width of the sketch.
        probes: Random vectors, at least 2.
        generator: On the CPU; (deflated + probes) * P numbers are drawn.
    """
    basis = None
    exact = 0.0
    if deflated:
        sketch = torch.stack([_times(operator, _signs(operator, generator)) for _ in range(deflated)], dim=1)
        basis = torch.linalg.qr(sketch).Q
        exact = sum(float(own @ _times(operator, own)) for own in basis.T)
    values = []
    for _ in range(probes):
        probe = _signs(operator, generator)
        if basis is not None:
            probe = probe - basis @ (basis.T @ probe)
        values.append(float(probe @ _times(operator, probe)))
    return exact + float(np.mean(values)), float(np.std(values, ddof=1)) / probes**0.5


def _signs(operator: "HessianLinearOperator | Tensor", generator: torch.Generator) -> Tensor:
    """A vector of independent signs, float64."""
    signs = 2.0 * torch.randint(0, 2, operator.shape[:1], generator=generator, dtype=torch.float64) - 1.0
    return signs.to(operator.device)


def _times(operator: "HessianLinearOperator | Tensor", vector: Tensor) -> Tensor:
    """The product, float64; computed in the operator's own type."""
    product: Tensor = operator @ vector.to(operator.dtype)
    return product.double()


def largest_eigenvalue(
    operator: "HessianLinearOperator", tolerance: float, iterations: int, generator: torch.Generator
) -> float:
    """The algebraically largest eigenvalue of a symmetric operator; NaN where the iterations do not suffice.

    Args:
        operator: Multiplies vectors.
        tolerance: Relative.
        iterations: Most restarts.
        generator: On the CPU; gives the vector to start from.
    """
    start = torch.randn(operator.shape[0], generator=generator, dtype=torch.float64).numpy()
    matrix = operator.to_scipy(dtype=np.dtype(np.float64))
    if not (matrix @ start).any():
        return 0.0  # of a flat loss, from which ARPACK cannot start
    try:
        found = eigsh(matrix, 1, which="LA", v0=start, tol=tolerance, maxiter=iterations, return_eigenvectors=False)
    except ArpackNoConvergence:
        return math.nan
    return float(found[0])
