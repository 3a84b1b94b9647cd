"""torchvision's residual networks up to their last feature maps, with weights that others trained where asked for."""

import re
from collections import OrderedDict
from http.client import HTTPException
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
import torchvision
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from tasktrace.errors import DataError
from tasktrace.files import file_digest

IMAGENET = "imagenet"
"""The source of weights that torchvision downloads: its first ones, IMAGENET1K_V1."""

_STATED_DIGEST = re.compile(r"-([0-9a-f]{8,64})\.\w+$")
"""How a file's name states the beginning of its sha256: resnet50-0676ba61.pth."""


def residual_network(name: str, **options: Any) -> nn.Sequential:
    """A network of torchvision without its average pooling and classifier, randomly initialised.

    Its parameters bear torchvision's names. It is an ``nn.Sequential``, so that the Gramian can be had in segments; and
    its ReLUs leave their inputs alone, which the formulas for single samples' gradients read.

    Args:
        name: ``resnet18``, ``resnet50`` and so on.
        options: For torchvision's builder.
    """
    whole = torchvision.models.get_model(name, weights=None, **options)
    children = OrderedDict(whole.named_children())
    del children["avgpool"], children["fc"]
    encoder = nn.Sequential(children)
    for module in encoder.modules():
        if isinstance(module, nn.ReLU):
            module.inplace = False
    return encoder


def load_weights(encoder: nn.Module, name: str, source: str) -> None:
    """Give the encoder weights that others trained on ImageNet, running statistics included.

    They were trained on pixels normalised by ImageNet's mean and standard deviation; settings normalise by their own.

    Args:
        encoder: What :func:`residual_network` gave.
        name: The network's name.
        source: ``imagenet``, for torchvision's file, from torch.hub's cache or else the network; or the path of a state
            dict with torchvision's names, ``.safetensors`` or else of ``torch.save``. Its classifier is left out. Where
            a file's name states its sha256, as torchvision's do, its content is held against that.

    Raises:
        DataError: The file is absent and cannot be fetched, damaged, or of another network.
    """
    path = _downloaded(name) if source == IMAGENET else Path(source)
    if not path.is_file():
        raise DataError(f"model {name}: weights: no such file: {path}; {_ways(name)}")
    stated = _STATED_DIGEST.search(path.name)
    if stated and not (found := file_digest(path)).startswith(stated[1]):
        raise DataError(f"{path}: damaged: its name states a sha256 of {stated[1]}..., found {found}; delete it")
    state = {key: value for key, value in _state(path).items() if not key.startswith("fc.")}
    _check_names(state, encoder, f"{path}: not the weights of torchvision's {name}")
    encoder.load_state_dict(state)


def _ways(name: str) -> str:
    return (
        f"two ways: `weights: {IMAGENET}`, where {_address(name)} can be reached or its file lies in {_cache()}; "
        "or `weights:` with the path of that file, fetched elsewhere"
    )


def _address(name: str) -> str:
    return str(torchvision.models.get_model_weights(name)["IMAGENET1K_V1"].url)


def _cache() -> Path:
    return Path(torch.hub.get_dir()) / "checkpoints"


def _downloaded(name: str) -> Path:
    """The file of torchvision in torch.hub's cache, whole or not at all; other processes may fetch it as well."""
    url = _address(name)
    path = _cache() / url.rpartition("/")[2]
    if path.exists():
        return path
    stated = _STATED_DIGEST.search(path.name)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.hub.download_url_to_file(url, str(path), stated[1] if stated else None, progress=False)
    except (OSError, HTTPException, RuntimeError) as error:
        raise DataError(f"model {name}: weights: cannot fetch {path.name}: {error}; {_ways(name)}") from error
    return path


def _state(path: Path) -> dict[str, Tensor]:
    try:
        if path.suffix == ".safetensors":
            return dict(load_file(path))
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, EOFError, RuntimeError, UnpicklingError, SafetensorError) as error:
        raise DataError(f"{path}: cannot be read as a state dict: {error}") from error
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise DataError(f"{path}: expected a state dict, tensors by name, found {type(state).__name__}")
    return state


def _check_names(state: dict[str, Tensor], encoder: nn.Module, error: str) -> None:
    expected = {
        key: tuple(value.shape)
        for key, value in encoder.state_dict().items()
        if not key.endswith("num_batches_tracked")
    }
    found = {key: tuple(value.shape) for key, value in state.items() if not key.endswith("num_batches_tracked")}
    for key in sorted(expected.keys() | found.keys()):
        if expected.get(key) != found.get(key):
            shapes = [str(some[key]) if key in some else "nothing" for some in (expected, found)]
            raise DataError(f"{error}: {key}: expected {shapes[0]}, found {shapes[1]}")
