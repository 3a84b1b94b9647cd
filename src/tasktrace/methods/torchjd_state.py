"""What a module of TorchJD remembers, as flat tensors.

TorchJD keeps state in buffers, parameters and plain attributes: tensors, arrays, numbers, dtypes, lists of these, and
an optimizer of its own (FAMO). Parameters and whatever has elements become tensors of their own; the rest is one tensor
of bytes: JSON that says which attribute each value belongs to. What cannot be written so is refused by name, except
what is the same in every instance (functions, projectors) or can be made anew (Nash-MTL's problem for its solver).
"""

import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torchjd.linalg import DualConeProjector

_VALUES = "values"
_OF_EVERY_MODULE = frozenset(vars(nn.Module()))


class UnsavableError(TypeError):
    """A module keeps something that a resume state cannot hold."""


class ModuleState:
    """The state of a module of TorchJD, and where its constant tensors are.

    Args:
        module: The module as constructed: the tensors that it holds now are its options, not state.

    Attributes:
        module: The same.
        device: Where the run's tensors are.
    """

    def __init__(self, module: nn.Module) -> None:
        self.module = module
        self.device = torch.device("cpu")
        self._constants = {path: value for path, value in _attributes(module) if isinstance(value, Tensor)}
        self._placed: tuple[torch.dtype, torch.device] | None = None

    def place_like(self, tensor: Tensor) -> None:
        """Give the options among the tensors the type and device of ``tensor``: TorchJD leaves them as they came."""
        like = (tensor.dtype, tensor.device)
        if self._placed != like:
            for path, value in self._constants.items():
                _put(self.module, path, value.to(tensor))
            self._placed = like

    def to(self, device: torch.device) -> None:
        """Move the learned parameters, each of which stays the same object."""
        self.device = device
        self.module.to(device)

    def save(self) -> dict[str, Tensor]:
        """Everything that the module remembers.

        Raises:
            UnsavableError: Names the attribute that cannot be saved, and its type.
        """
        state: dict[str, Tensor] = {}
        attributes = [(path, value) for path, value in _attributes(self.module) if path not in self._constants]
        values = {path: _encoded(path, value, state) for path, value in attributes if not _is_remade(value)}
        state.update({name: parameter.detach().clone() for name, parameter in self.module.named_parameters()})
        state[_VALUES] = torch.frombuffer(bytearray(json.dumps(values).encode()), dtype=torch.uint8)
        return state

    def load(self, state: dict[str, Tensor]) -> None:
        """Continue from what :meth:`save` gave; parameters in place, because an optimizer holds them."""
        with torch.no_grad():
            for name, parameter in self.module.named_parameters():
                parameter.copy_(state[name])
        values: dict[str, Any] = json.loads(state[_VALUES].numpy().tobytes())
        for path, value in values.items():
            _put(self.module, path, self._decoded(path, value, state))
        for module in self.module.modules():
            _make_problem(module)

    def _decoded(self, path: str, value: Any, state: dict[str, Tensor]) -> Any:
        """The value that :func:`_encoded` wrote."""
        if not isinstance(value, dict):
            return value
        ((kind, content),) = value.items()
        match kind:
            case "tensor":
                return state[content["key"]].clone().to(self._device(content["device"]))
            case "array":
                return state[content].numpy().copy()
            case "dtype":
                return getattr(torch, content)
            case "device":
                return self._device(content)
            case "optimizer":
                return self._optimizer(path, self._decoded(path, content, state))
            case "mapping":
                return {key: self._decoded(path, item, state) for key, item in content}
        items = [self._decoded(path, item, state) for item in content]
        return tuple(items) if kind == "tuple" else items

    def _device(self, name: str) -> torch.device:
        """The device of that name, or the run's where the run has moved to another kind."""
        device = torch.device(name)
        return device if device.type in ("cpu", self.device.type) else self.device

    def _optimizer(self, path: str, moments: dict[int, dict[str, Tensor]]) -> torch.optim.Optimizer:
        """FAMO's optimizer of its logits, as it makes it at its first update, with the moments of later ones."""
        owner: Any = self.module.get_submodule(path.rpartition(".")[0])
        optimizer = torch.optim.Adam([owner._w], lr=owner.lr, weight_decay=owner.weight_decay)
        optimizer.load_state_dict({"state": moments, "param_groups": optimizer.state_dict()["param_groups"]})
        return optimizer


def _make_problem(module: Any) -> None:
    """Nash-MTL makes its problem at its first step, which the continued run has behind it."""
    if hasattr(module, "_init_optim_problem") and module.step:
        module._init_optim_problem()


def _attributes(module: nn.Module) -> Iterator[tuple[str, Any]]:
    """Buffers and plain attributes of a module and those in it, by path."""
    for prefix, own in module.named_modules():
        plain = {name: value for name, value in vars(own).items() if name not in _OF_EVERY_MODULE}
        for name, value in {**own._buffers, **plain}.items():
            yield f"{prefix}.{name}".removeprefix("."), value


def _put(module: nn.Module, path: str, value: Any) -> None:
    """Set an attribute past the properties and checks of its class."""
    prefix, _, name = path.rpartition(".")
    own = module.get_submodule(prefix)
    (own._buffers if name in own._buffers else vars(own))[name] = value


def _is_remade(value: Any) -> bool:
    if callable(value) or isinstance(value, DualConeProjector):
        return True
    return type(value).__module__.partition(".")[0] == "cvxpy"


def _encoded(path: str, value: Any, state: dict[str, Tensor]) -> Any:
    """What JSON can hold of ``value``; elements of tensors and arrays go into ``state``."""
    match value:
        case None | bool() | int() | float() | str():
            return value
        case Tensor():
            return {"tensor": {"key": _stored(path, value.detach().clone(), state), "device": str(value.device)}}
        case np.ndarray():
            return {"array": _stored(path, torch.from_numpy(value.copy()), state)}
        case torch.dtype():
            return {"dtype": str(value).removeprefix("torch.")}
        case torch.device():
            return {"device": str(value)}
        case torch.optim.Adam():
            return {"optimizer": _encoded(path, value.state_dict()["state"], state)}
        case dict():
            return {"mapping": [[key, _encoded(path, item, state)] for key, item in value.items()]}
        case tuple() | list():
            kind = "tuple" if isinstance(value, tuple) else "list"
            return {kind: [_encoded(path, item, state) for item in value]}
    raise UnsavableError(f"{path} is a {type(value).__qualname__}, which a resume state cannot hold")


def _stored(path: str, value: Tensor, state: dict[str, Tensor]) -> str:
    key = f"{path}/{len(state)}"
    state[key] = value
    return key
