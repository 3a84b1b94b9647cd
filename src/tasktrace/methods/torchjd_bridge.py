"""TorchJD's aggregators, weightings and scalarizers as methods: ``torchjd:<Class>``.

- An aggregator combines the Jacobian, a weighting of the matrix weighs its rows: both are given the Jacobian as it is.
- A weighting of the Gramian gets inner products in float64, on the CPU.
- A scalarizer's weights are the gradient of its scalar by the losses. What it learns (UW, IMTL-L) moves with the model;
  FAMO moves its logits itself, from the losses after the step; DWA's epoch is ``window`` steps.

TorchJD's results are kept as they are, with one exception. CAGrad, UPGrad, DualProj, IMTL-G and GradVac compare
squares or inverses of gradients with absolute numbers (``norm_eps``, 1e-12, ``eps``): they would stop, or turn into the
mean, as the gradients become small, although the rules that they implement are of degree one. They get a Jacobian whose
Frobenius norm has been brought to between 1/2 and 1 by a power of two, which costs no digit, and what they return is
scaled back. Other classes' units are part of what they do and are left alone: Nash-MTL's ``max_norm``, FairGrad's
power, PCD's ``eps`` next to its average over steps (0 is scale-free) and the sums over steps of ExcessMTL.

Random classes draw from torch's global generators, whose state is in every resume state; a method's own seed does not
reach them. Results are those of the TorchJD that is installed, whose version is part of the run's spec.
"""

import math
import warnings
from dataclasses import MISSING
from typing import Any, get_args, get_origin

import torch
import torchjd.aggregation
import torchjd.linalg
import torchjd.scalarization
from torch import Tensor, nn

from tasktrace.config.torchjd_classes import Argument, arguments, locate
from tasktrace.errors import ConfigError
from tasktrace.methods.base import GramianWeighting, LossWeighting, Method, NonFiniteError, check_finite
from tasktrace.methods.torchjd_state import ModuleState, UnsavableError

VERSION = 1

_WITH_THRESHOLDS = ("CAGradWeighting", "DualProjWeighting", "GradVacWeighting", "IMTLGWeighting", "UPGradWeighting")
_EXPONENTS = 120  # of float32: beyond it a power of two and its inverse are not both normal numbers


class _Wrapping(Method):
    """A method around a module of TorchJD."""

    def __init__(self, module: nn.Module) -> None:
        self._module = module
        self._state = ModuleState(module)
        self._has_thresholds = any(type(own).__name__ in _WITH_THRESHOLDS for own in module.modules())

    def to(self, device: torch.device) -> Method:
        """The method with its learned parameters on ``device``."""
        self._state.to(device)
        return self

    def state_dict(self) -> dict[str, Tensor]:
        """What the module remembers; see :mod:`tasktrace.methods.torchjd_state`."""
        return self._state.save()

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Continue from what :meth:`state_dict` gave."""
        self._state.load(state)


class JacobianMethod(_Wrapping):
    """An aggregator, or a weighting that needs the whole matrix. A non-finite gradient raises."""

    def combine(self, jacobian: Tensor, losses: Tensor) -> Tensor:
        """What TorchJD makes of the Jacobian; see :meth:`Method.combine`."""
        del losses
        norms = torch.linalg.vector_norm(jacobian, dim=1, dtype=torch.float64).cpu()
        _check(norms, "gradient")
        self._state.place_like(jacobian)
        if not self._has_thresholds:
            return self._combined(jacobian)
        factor = _power_of_two(float(norms.norm()))
        return self._combined(jacobian / factor) * factor

    def _combined(self, jacobian: Tensor) -> Tensor:
        with warnings.catch_warnings():
            # Nash-MTL's problem as its authors wrote it: cvxpy says at every run that it cannot keep it prepared.
            warnings.filterwarnings("ignore", "You are solving a parameterized problem that is not DPP", UserWarning)
            found: Tensor = self._module(jacobian)
        return found if isinstance(self._module, torchjd.aggregation.Aggregator) else found @ jacobian


class GramianMethod(_Wrapping, GramianWeighting):
    """A weighting of the Gramian; its weights have no unit. A non-finite gradient raises."""

    def to(self, device: torch.device) -> Method:
        """The method as it is: Gramians are on the CPU."""
        del device
        return self

    def weights(self, gramian: Tensor, losses: Tensor) -> Tensor:
        """TorchJD's weights; see :class:`GramianWeighting`."""
        del losses
        check_finite(gramian)
        self._state.place_like(gramian)
        if self._has_thresholds:
            factor = _power_of_two(math.sqrt(float(gramian.trace())))
            gramian = gramian / factor / factor
        found: Tensor = self._module(gramian)
        return found


class LossMethod(_Wrapping, LossWeighting):
    """A scalarizer. A non-finite loss raises; a non-finite gradient makes the update non-finite.

    Attributes:
        needs_losses_after_step: Whether the scalarizer has to be told the losses after the step (FAMO).
    """

    def __init__(self, module: nn.Module, options: Any) -> None:
        super().__init__(module)
        self.weigh_heads = options.heads == "weighted"
        self.needs_losses_after_step = hasattr(module, "update")
        self._window: int | None = getattr(options, "window", None)
        self._steps = 0

    def weights(self, losses: Tensor) -> Tensor:
        """The gradient of the scalar by the losses, and that by what is learned; see :class:`LossWeighting`."""
        _check(losses, "loss")
        values = self._values(losses).requires_grad_()
        learned = self.parameters()
        with torch.enable_grad():
            scalar = self._module(values)
        own, *others = torch.autograd.grad(scalar, [values, *learned])
        for parameter, gradient in zip(learned, others, strict=True):
            parameter.grad = gradient
        self._steps += 1
        if self._window is not None and self._steps % self._window == 0:
            self._scalarizer.step()
        return own.to(losses.dtype)

    def after_step(self, losses: Tensor) -> None:
        """Move the logits; see :meth:`Method.after_step`."""
        _check(losses, "loss")
        self._scalarizer.update(self._values(losses))

    def parameters(self) -> list[nn.Parameter]:
        """What the scalarizer learns, unless it moves that itself."""
        return [] if self.needs_losses_after_step else list(self._module.parameters())

    def state_dict(self) -> dict[str, Tensor]:
        """What the scalarizer remembers, and the number of steps."""
        return {**super().state_dict(), "steps": torch.tensor(self._steps)}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Continue from what :meth:`state_dict` gave."""
        super().load_state_dict(state)
        self._steps = int(state["steps"])

    @property
    def _scalarizer(self) -> Any:
        """The module, with the methods that only some scalarizers have."""
        return self._module

    def _values(self, losses: Tensor) -> Tensor:
        """The losses in the type of what the scalarizer learns: its own gradients mix no types."""
        self._state.place_like(losses)
        dtypes = [parameter.dtype for parameter in self._module.parameters()]
        return losses.detach().clone().to(dtypes[0] if dtypes else losses.dtype)


def wrap(name: str, num_tasks: int, options: Any) -> Method:
    """The method ``torchjd:<Class>``.

    Args:
        name: Its name in the configuration.
        num_tasks: Number of tasks T.
        options: An instance of the dataclass that :func:`tasktrace.config.torchjd_classes.options` gives.

    Raises:
        ConfigError: The class refuses its options or this number of tasks, lacks a package that it needs, or keeps
            something that a resume state cannot hold.
    """
    try:
        # On an instance of its own, with nothing drawn: shapes show at the first call, and so does what a class keeps.
        with torch.random.fork_rng(devices=[]):
            _try(_method(name, num_tasks, options), num_tasks)
        return _method(name, num_tasks, options)
    except (ImportError, ValueError, RuntimeError, UnsavableError) as error:
        raise ConfigError(f"method {name} for {num_tasks} tasks: {error}") from error


def _try(method: Method, num_tasks: int) -> None:
    """One step of plain numbers, and its state."""
    losses = torch.ones(num_tasks)
    method.combine(torch.eye(num_tasks, num_tasks + 1), losses)
    if method.needs_losses_after_step:
        method.after_step(losses)
    method.state_dict()


def _method(name: str, num_tasks: int, options: Any) -> Method:
    module_name, class_name = locate(name)
    is_scalarizer = module_name == torchjd.scalarization.__name__
    package = torchjd.scalarization if is_scalarizer else torchjd.aggregation
    given = _given(arguments(name), num_tasks, options)
    module: nn.Module = getattr(package, class_name)(**given)
    if is_scalarizer:
        return LossMethod(module, options)
    if _statistic(module) is torchjd.linalg.PSDMatrix:
        return GramianMethod(module)
    return JacobianMethod(module)


def _given(found: tuple[Argument, ...], num_tasks: int, options: Any) -> dict[str, Any]:
    """The constructor's arguments from the options; those at TorchJD's own defaults are left out."""
    given: dict[str, Any] = {}
    for argument in found:
        if argument.is_num_tasks:
            given[argument.name] = num_tasks
        elif argument.projector:
            given[argument.name] = torchjd.linalg.QuadprogProjector(**_given(argument.projector, num_tasks, options))
        elif argument.hint is not None:
            value = getattr(options, argument.name)
            if argument.default is MISSING or value != argument.default:
                given[argument.name] = _as_argument(argument, value)
    return given


def _as_argument(argument: Argument, value: Any) -> Any:
    """Lists of numbers as tensors, names of weightings as weightings."""
    if isinstance(value, tuple):
        return torch.tensor(value, dtype=torch.float64)
    if argument.annotation.startswith("Weighting["):
        return getattr(torchjd.aggregation, value)()
    return value


def _statistic(module: Any) -> Any:
    """What a weighting weighs by: ``Matrix`` or ``PSDMatrix``, or that of the one it wraps; None for an aggregator."""
    if not isinstance(module, torchjd.aggregation.Weighting):
        return None
    for own in type(module).__mro__:
        for base in vars(own).get("__orig_bases__", ()):
            if get_origin(base) is torchjd.aggregation.Weighting:
                (statistic,) = get_args(base)
                return statistic if isinstance(statistic, type) else _statistic(module.weighting)
    return None


def _power_of_two(norm: float) -> float:
    """The power of two that brings ``norm`` to between 1/2 and 1; 1 for zero."""
    exponent = math.frexp(norm)[1]
    return math.ldexp(1.0, max(-_EXPONENTS, min(_EXPONENTS, exponent)))


def _check(values: Tensor, what: str) -> None:
    """Refuse the first task whose value, of shape (T,), is not finite."""
    bad = ~torch.isfinite(values)
    if bad.any():
        raise NonFiniteError(int(bad.int().argmax()), what)
