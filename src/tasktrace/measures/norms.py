"""Squared norms of every sample's gradient, without the gradients and without a loop over samples.

The gradient of a linear map's weight is g a' for one sample, with a the map's input and g the loss's gradient of its
output, so that its norm follows from a and g (Goodfellow, "Efficient per-example gradient computations", 2015). One
forward pass keeps the inputs of all layers, and a backward pass to the layers' outputs, which forms no gradient of a
weight, gives g. A map that is applied at several positions t has the gradient sum_t g_t a_t', whose squared norm is
also sum_{t,s} (g_t.g_s) (a_t.a_s), the "ghost norm" of Li et al., "Large language models can be strong differentially
private learners" (2022). Of the two forms the one with fewer multiplications is taken, layer by layer.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.autograd.graph import GradientEdge, Node, get_gradient_edge
from torch.func import functional_call, grad, vmap
from torch.nn import functional

_PIECE = {"cpu": 1 << 18}
"""Numbers of a layer that are worked on at once: on a CPU what stays in its cache, from which it is faster to unfold
the inputs anew for every cotangent than to read them from memory."""
_LARGEST_PIECE = 1 << 26
_WHOLE_GRADIENTS = 32
"""Samples whose whole gradients are held at once where the formulas do not apply."""

_Squares = Callable[[Tensor], Tensor]
"""From the gradient of a layer's output, shape (n, ...), to squared norms of its parameters' gradients, shape (n,)."""


class SampleGradients:
    """The gradients of a batch's samples, known by their squared norms.

    The model may be any in which a sample is a row of the first dimension throughout. Formulas know Linear, Conv2d,
    Embedding, BatchNorm, LayerNorm and GroupNorm; the gradients of another layer without children are formed from its
    own inputs and outputs, all samples in parallel. Where a parameter is used more than once or outside of the layer
    that owns it, where a layer with parameters has children or is called in another way than with tensors of n rows,
    or where something that a formula needs is changed in place, the gradients of the whole model are formed
    (``vmap(grad)``): slower, for the same numbers.

    Args:
        model: In eval mode; left as it is.
        inputs: Shape (n, ...).
        only: The parameters that the gradients are of; None for all. The others cost nothing.

    Attributes:
        outputs: Shape (n, O) or (n, O, ...), detached.
        fallback: Why the formulas do not apply; empty where they do.

    Raises:
        ValueError: A layer mixes samples or draws random numbers, or ``only`` has a parameter that the model has not.
    """

    def __init__(self, model: nn.Module, inputs: Tensor, only: Iterable[nn.Parameter] | None = None) -> None:
        _check_layers(model)
        chosen = list(model.parameters()) if only is None else list(only)
        names = {id(parameter): name for name, parameter in model.named_parameters()}
        if not all(id(parameter) in names for parameter in chosen):
            raise ValueError("only: a parameter is not the model's")
        self._model, self._inputs = model, inputs
        self._chosen = {names[id(parameter)]: parameter for parameter in chosen}
        self._layers: list[tuple[GradientEdge, list[_Squares]]] = []
        self.fallback = ""
        with _differentiated(model, chosen), _recorded(model) as calls, torch.enable_grad():
            self._differentiable: Tensor = model(inputs)
            try:
                self._layers = list(_formulas(model, chosen, calls, self._differentiable))
            except _NoFormulaError as error:
                self.fallback = str(error)
        self.outputs = self._differentiable.detach()

    def squared_norms(self, cotangent: Tensor) -> Tensor:
        """Squared norm of every sample's gradient of sum(cotangent * outputs); may be asked for again and again.

        With the gradient of the summed loss with respect to the outputs as cotangent, the gradients are those of the
        samples' losses, and the squared norms are in squared units of the loss per parameter.

        Args:
            cotangent: Of the outputs' shape and type.

        Returns:
            Shape (n,), of the outputs' type.
        """
        if not self.fallback:
            edges = [edge for edge, _ in self._layers]
            found = _backward(self._differentiable, edges, cotangent)
            if found is not None:
                total = cotangent.new_zeros(len(cotangent))
                for (_, parts), of_output in zip(self._layers, found, strict=True):
                    for squares in parts:
                        total += squares(of_output)
                return total
            self.fallback = "a view of a layer's output is changed in place"
        return self._of_whole_gradients(cotangent)

    def _of_whole_gradients(self, cotangent: Tensor) -> Tensor:
        parameters = {name: parameter.detach() for name, parameter in self._chosen.items()}

        def squares(cotangent: Tensor, sample: Tensor) -> Tensor:
            return _square_sum(_sample_gradients(self._model, parameters, (sample,), cotangent))

        found: Tensor = vmap(squares, chunk_size=_WHOLE_GRADIENTS)(cotangent, self._inputs)
        return found


def _backward(outputs: Tensor, edges: list[GradientEdge], cotangent: Tensor) -> tuple[Tensor, ...] | None:
    """Gradients at places in the graph; None if one of them is no longer between parameters and outputs."""
    if not edges:
        return ()
    found = torch.autograd.grad(outputs, edges, cotangent, retain_graph=True, allow_unused=True)
    return None if any(own is None for own in found) else found


def _sample_gradients(
    module: nn.Module, parameters: dict[str, Tensor], sample: tuple[Tensor, ...], cotangent: Tensor
) -> dict[str, Tensor]:
    """Gradients of sum(cotangent * outputs) for the arguments of one sample."""

    def weighted(parameters: dict[str, Tensor]) -> Tensor:
        outputs: Tensor = functional_call(module, parameters, tuple(item[None] for item in sample))
        return (outputs * cotangent[None]).sum()

    gradients: dict[str, Tensor] = grad(weighted)(parameters)
    return gradients


def _square_sum(gradients: dict[str, Tensor]) -> Tensor:
    return torch.stack([own.square().sum() for own in gradients.values()]).sum()


# The forward pass and what is seen of it


class _NoFormulaError(Exception):
    """Says why the norms cannot be had layer by layer."""


@dataclass(frozen=True)
class _Call:
    """One call of a layer.

    Attributes:
        inputs: Its arguments, detached; None if one is no tensor.
        versions: How often each has been changed in place.
        edge: Its output's place in the graph, which stays what it is when the output is changed in place; None if the
            output is not one tensor to differentiate.
        shape: Of the output.
    """

    inputs: tuple[Tensor, ...] | None
    versions: tuple[int, ...]
    edge: GradientEdge | None
    shape: torch.Size

    @classmethod
    def of(cls, inputs: tuple[object, ...], named: dict[str, object], output: object) -> "_Call":
        """What a hook is told."""
        tensors = tuple(item.detach() for item in inputs if isinstance(item, Tensor))
        complete = len(tensors) == len(inputs) and not named
        versions = tuple(item._version for item in tensors)
        edge, shape = None, torch.Size()
        if isinstance(output, Tensor) and output.requires_grad:
            edge, shape = get_gradient_edge(output), output.shape
        return cls(tensors if complete else None, versions, edge, shape)

    def is_unchanged(self) -> bool:
        """Whether the inputs still are what the layer saw."""
        return self.inputs is not None and tuple(item._version for item in self.inputs) == self.versions

    def is_by_sample(self, samples: int) -> bool:
        """Whether inputs and output have a row for every sample."""
        assert self.inputs is not None
        return all(shape[:1] == (samples,) for shape in (self.shape, *(item.shape for item in self.inputs)))


def _check_layers(model: nn.Module) -> None:
    for name, layer in model.named_modules():
        if isinstance(layer, nn.modules.batchnorm._BatchNorm) and (layer.training or layer.running_mean is None):
            raise ValueError(f"{name}: gradients of single samples need BatchNorm's running statistics, in eval mode")
        if isinstance(layer, nn.modules.dropout._DropoutNd) and layer.training:
            raise ValueError(f"{name}: the model must be in eval mode")
        if isinstance(layer, nn.Embedding) and (layer.max_norm is not None or layer.scale_grad_by_freq):
            raise ValueError(f"{name}: max_norm and scale_grad_by_freq depend on the batch")


@contextmanager
def _differentiated(model: nn.Module, chosen: list[nn.Parameter]) -> Iterator[None]:
    """Let the graph lead to the chosen parameters and to no others."""
    flags = [(parameter, parameter.requires_grad) for parameter in model.parameters()]
    try:
        for parameter, _ in flags:
            parameter.requires_grad_(False)
        for parameter in chosen:
            parameter.requires_grad_(True)
        yield
    finally:
        for parameter, flag in flags:
            parameter.requires_grad_(flag)


@contextmanager
def _recorded(model: nn.Module) -> Iterator[dict[nn.Module, list[_Call]]]:
    """The calls of all layers that have parameters of their own."""
    calls: dict[nn.Module, list[_Call]] = defaultdict(list)

    def record(layer: nn.Module, inputs: tuple[object, ...], named: dict[str, object], output: object) -> None:
        calls[layer].append(_Call.of(inputs, named, output))

    layers = [layer for layer in model.modules() if any(True for _ in layer.parameters(recurse=False))]
    handles = [layer.register_forward_hook(record, with_kwargs=True) for layer in layers]
    try:
        yield calls
    finally:
        for handle in handles:
            handle.remove()


def _formulas(
    model: nn.Module, chosen: list[nn.Parameter], calls: dict[nn.Module, list[_Call]], outputs: Tensor
) -> Iterator[tuple[GradientEdge, list[_Squares]]]:
    """Where each layer's output is in the graph, and the formulas of its chosen parameters.

    Raises:
        _NoFormulaError: The gradients of all parameters are not the sum of what the layers' formulas see.
    """
    uses = _uses(outputs)
    owners = Counter(id(own) for layer in model.modules() for own in layer._parameters.values() if own is not None)
    wanted = {id(parameter) for parameter in chosen}
    for name, layer in model.named_modules():
        own = {key: value for key, value in layer.named_parameters(recurse=False) if id(value) in wanted}
        called = calls.get(layer, [])
        if not own or not (called or any(uses[id(parameter)] for parameter in own.values())):
            continue  # nothing is asked of this layer, or the outputs do not depend on it
        if any(uses[id(parameter)] != 1 or owners[id(parameter)] != 1 for parameter in own.values()):
            raise _NoFormulaError(f"{name}: a parameter is not used exactly once")
        if len(called) != 1 or any(True for _ in layer.children()):
            raise _NoFormulaError(f"{name}: a parameter is used outside of a layer without children")
        (call,) = called
        if call.edge is None or not call.is_unchanged() or not call.is_by_sample(len(outputs)):
            raise _NoFormulaError(f"{name}: its inputs are changed in place, or not tensors with a row per sample")
        yield call.edge, list(_parts(layer, own, call))


def _uses(outputs: Tensor) -> Counter[int]:
    """How often each parameter, by its id, enters the graph of the outputs."""
    uses: Counter[int] = Counter()
    seen: set[Node] = set()
    ahead = [] if outputs.grad_fn is None else [outputs.grad_fn]
    while ahead:
        for node, _ in ahead.pop().next_functions:
            if node is None:
                continue
            if node.name() == "torch::autograd::AccumulateGrad":
                uses[id(node.variable)] += 1  # type: ignore[attr-defined]
            elif node not in seen:
                seen.add(node)
                ahead.append(node)
    return uses


# The formulas


def _parts(layer: nn.Module, own: dict[str, nn.Parameter], call: _Call) -> Iterator[_Squares]:
    """The formulas whose sum is that of the layer's chosen parameters."""
    assert call.inputs is not None
    inputs = call.inputs[0]
    if type(layer) is nn.Linear and inputs.ndim >= 2:
        weight, positions = _linear(inputs), range(1, inputs.ndim - 1)
    elif type(layer) is nn.Conv2d and inputs.ndim == 4:
        weight, positions = _convolution(layer, inputs, call.shape), range(2, 4)
    elif type(layer) is nn.Embedding:
        weight, positions = _embedding(layer, inputs), range(0)
    elif type(layer) in (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.GroupNorm):
        positions = range(2, inputs.ndim)
        weight = _scale(_normalised(layer, inputs), positions)
    elif type(layer) is nn.LayerNorm:
        positions = range(1, inputs.ndim - len(layer.normalized_shape))
        weight = _scale(_normalised(layer, inputs), positions)
    else:
        yield _own_gradients(layer, own, call.inputs)
        return
    if "weight" in own:
        yield weight
    if "bias" in own:
        yield lambda cotangents: _squares(_summed(cotangents, positions))


def _squares(rows: Tensor) -> Tensor:
    """Squared norm of every row, whatever its shape."""
    norms: Tensor = torch.linalg.vector_norm(rows.flatten(1), dim=1)
    return norms.square()


def _summed(cotangents: Tensor, positions: range) -> Tensor:
    return cotangents.sum(dim=tuple(positions)) if positions else cotangents


def _scale(inputs: Callable[[], Tensor], positions: range) -> _Squares:
    """Of a weight that multiplies normalised inputs at each of the positions: sum_t g_t a_t, entry by entry."""
    return lambda cotangents: _squares(_summed(cotangents * inputs(), positions))


def _normalised(layer: nn.Module, inputs: Tensor) -> Callable[[], Tensor]:
    """What the layer multiplies by its weight; computed when it is needed."""
    if isinstance(layer, nn.GroupNorm):
        return lambda: functional.group_norm(inputs, layer.num_groups, eps=layer.eps)
    if isinstance(layer, nn.LayerNorm):
        return lambda: functional.layer_norm(inputs, layer.normalized_shape, eps=layer.eps)
    assert isinstance(layer, nn.modules.batchnorm._BatchNorm)
    return lambda: functional.batch_norm(inputs, layer.running_mean, layer.running_var, eps=layer.eps)


def _linear(inputs: Tensor) -> _Squares:
    """Of inputs (n, K), or (n, ..., K) at several positions."""
    if inputs.ndim == 2:
        squares = _squares(inputs)
        return lambda cotangents: squares * _squares(cotangents)
    positions = inputs.flatten(1, -2)
    outer = _OuterProducts(positions.__getitem__, len(inputs), (1, *positions.shape[1:]), inputs.device)
    return lambda cotangents: outer(cotangents.flatten(1, -2)[:, None])


def _convolution(layer: nn.Conv2d, inputs: Tensor, shape: torch.Size) -> _Squares:
    """Of any stride, padding, dilation and number of groups; ``shape`` is the outputs'."""
    (height, width), (tall, wide), groups = shape[2:], layer.kernel_size, layer.groups
    channels = layer.in_channels // groups
    padding = layer._reversed_padding_repeated_twice
    mode = "constant" if layer.padding_mode == "zeros" else layer.padding_mode

    def unfold(piece: slice) -> Tensor:
        own = inputs[piece]
        if any(padding):
            own = functional.pad(own, padding, mode)
        own = own.contiguous(memory_format=torch.channels_last)
        sample, channel, down, right = own.stride()
        across = (down * layer.stride[0], right * layer.stride[1])
        within = (down * layer.dilation[0], right * layer.dilation[1], channel)
        apart = channel * channels
        # What is copied comes in runs of memory: a window's row with all channels, or one entry along a row of windows.
        if wide * channels >= width:
            windows = own.as_strided(
                (len(own), groups, height, width, tall, wide, channels), (sample, apart, *across, *within)
            )
            return windows.reshape(len(own) * groups, height * width, -1)
        windows = own.as_strided(
            (len(own), groups, tall, wide, channels, height, width), (sample, apart, *within, *across)
        )
        return windows.reshape(len(own) * groups, -1, height * width).mT

    outer = _OuterProducts(unfold, len(inputs), (groups, height * width, tall * wide * channels), inputs.device)
    return lambda cotangents: outer(cotangents.unflatten(1, (groups, -1)).flatten(3).mT)


class _OuterProducts:
    """Squared norms of sum_t g_t a_t', the gradient of the weight of linear maps from a_t to an output of gradient g_t.

    Args:
        unfold: Gives the a of some samples, shape (m * groups, T, K).
        samples: Number of samples n.
        sizes: Number of groups (maps side by side), T and K.
        device: Where it is computed.
    """

    def __init__(
        self, unfold: Callable[[slice], Tensor], samples: int, sizes: tuple[int, int, int], device: torch.device
    ) -> None:
        self._unfold, self._samples, self._device = unfold, samples, device
        self._groups, self._positions, self._entering = sizes
        self._kept: dict[int, Tensor] = {}

    def __call__(self, cotangents: Tensor) -> Tensor:
        """The squared norms, shape (n,), for the g, shape (n, groups, T, O)."""
        positions, entering, leaving = self._positions, self._entering, cotangents.shape[-1]
        # Inner products of the a and of the g, or their outer products.
        ghost = positions * (entering + leaving) < entering * leaving
        largest = max(positions * entering, positions * positions if ghost else entering * leaving)
        size = max(1, _PIECE.get(self._device.type, _LARGEST_PIECE) // (self._groups * largest))
        found = []
        for start in range(0, self._samples, size):
            piece = slice(start, start + size)
            own = cotangents[piece].flatten(0, 1)
            given = self._given(piece, ghost, size >= self._samples)
            found.append(_ghost_squares(given, own) if ghost else _squares(torch.bmm(own.mT, given)))
        by_group: Tensor = torch.cat(found).view(-1, self._groups)
        return by_group.sum(dim=1)

    def _given(self, piece: slice, ghost: bool, small: bool) -> Tensor:
        """The a of some samples or their inner products; kept for other g unless they are many numbers."""
        if piece.start in self._kept:
            return self._kept[piece.start]
        given = self._unfold(piece)
        if ghost:
            given = torch.bmm(given, given.mT)
        if ghost or small:
            self._kept[piece.start] = given
        return given


def _ghost_squares(inner: Tensor, cotangents: Tensor) -> Tensor:
    """sum_{t,s} (a_t.a_s) (g_t.g_s) of the (a_t.a_s), (n, T, T), and the g, (n, T, O)."""
    products = torch.bmm(cotangents, cotangents.mT)
    squares: Tensor = torch.linalg.vecdot(inner.flatten(1), products.flatten(1))
    return squares.clamp(min=0)  # rounding may leave less than nothing of terms that cancel


def _embedding(layer: nn.Embedding, indices: Tensor) -> _Squares:
    """Of indices (n, ...): the g of positions with the same index add up."""
    indices = indices.reshape(len(indices), -1)
    same = indices[:, :, None] == indices[:, None]
    if layer.padding_idx is not None:
        same &= (indices != layer.padding_idx)[:, None]
    return lambda cotangents: _ghost_squares(same.to(cotangents), cotangents.reshape(*indices.shape, -1))


def _own_gradients(layer: nn.Module, own: dict[str, nn.Parameter], inputs: tuple[Tensor, ...]) -> _Squares:
    """Of any layer, from its own gradients for every sample."""
    parameters = {name: parameter.detach() for name, parameter in own.items()}

    def squares(cotangent: Tensor, *sample: Tensor) -> Tensor:
        return _square_sum(_sample_gradients(layer, parameters, sample, cotangent))

    def over_samples(cotangents: Tensor) -> Tensor:
        found: Tensor = vmap(squares)(cotangents, *inputs)
        return found

    return over_samples
