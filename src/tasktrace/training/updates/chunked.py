"""Gramian weightings without a Jacobian in memory: segment by segment, then one weighted backward pass."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from tasktrace.errors import ConfigError
from tasktrace.methods import GramianWeighting, gramian
from tasktrace.training.updates.base import Batch, Parts, Update, gradient_of, heads_first


@dataclass(frozen=True)
class _Passed:
    """One segment's pass: the cut input, and the output with its graph."""

    entry: Tensor
    output: Tensor


class ChunkedGramian(Update):
    """The update of a :class:`GramianWeighting` for models whose Jacobian does not fit into memory.

    The encoder has to be an ``nn.Sequential``. Every task's gradient goes down segment by segment; a segment adds its
    inner products to the Gramian and its T gradients are dropped. What stays is one segment's T x P_segment numbers and
    the activations. The weighted sum then takes one more backward pass (one per task where each has its own inputs).
    """

    def __init__(self, parts: Parts, optimizers: list[torch.optim.Optimizer], method: GramianWeighting) -> None:
        super().__init__(parts, optimizers)
        self._method = method
        encoder = parts.model.encoder
        if not isinstance(encoder, nn.Sequential):
            raise ConfigError(
                f"jacobian: chunked needs an encoder that is an nn.Sequential, found {type(encoder).__name__}; use full"
            )
        self._segments = _segments(encoder)

    def gradients(self, batch: Batch) -> Tensor:
        """A backward pass per task for the Gramian, then the weighted one."""
        inputs = [batch.inputs] if batch.shared else batch.own()
        passes = [self._forward(own) for own in inputs]
        outputs = [own[-1].output for own in passes]
        features = outputs * len(self.parts.heads) if batch.shared else outputs
        losses, cotangents = heads_first(self.parts, batch, features)
        products = self._gramian(passes, cotangents)
        weights = self._method.weights(products, losses.double().cpu()).to(losses)
        weighted = [weight * own for weight, own in zip(weights, cotangents, strict=True)]
        for passed, cotangent in zip(passes, [sum(weighted)] if batch.shared else weighted, strict=True):
            self._backward(passed, torch.as_tensor(cotangent))
        return losses

    def _forward(self, inputs: Tensor) -> list[_Passed]:
        passes = [_Passed(inputs, self._segments[0](inputs))]
        for segment in self._segments[1:]:
            entry = passes[-1].output.detach().requires_grad_()
            passes.append(_Passed(entry, segment(entry)))
        return passes

    def _gramian(self, passes: list[list[_Passed]], cotangents: list[Tensor]) -> Tensor:
        total = torch.zeros(len(cotangents), len(cotangents), dtype=torch.float64)
        for position in reversed(range(len(self._segments))):
            parameters = list(self._segments[position].parameters())
            rows: list[list[Tensor]] = []
            pulled_back: list[Tensor] = []
            for task, cotangent in enumerate(cotangents):
                passed = passes[task % len(passes)][position]
                # Nothing needs the gradient of the encoder's own input.
                wanted = [*parameters, passed.entry] if position else parameters
                found = torch.autograd.grad(passed.output, wanted, cotangent, retain_graph=True)
                rows.append([gradient.flatten() for gradient in found[: len(parameters)]])
                pulled_back.append(found[-1])
            total += gramian(torch.stack([torch.cat(row) for row in rows]))
            cotangents = pulled_back
        return total

    def _backward(self, passes: list[_Passed], cotangent: Tensor) -> None:
        for passed in reversed(passes):
            passed.output.backward(cotangent)
            if passed.entry.requires_grad:
                cotangent = gradient_of(passed.entry)


def _segments(encoder: nn.Sequential) -> list[nn.Module]:
    """The encoder cut before every child with parameters but the first; layers without go with a neighbour."""
    segments: list[list[nn.Module]] = [[]]
    for child in encoder.children():
        has_parameters = any(True for _ in child.parameters())
        if has_parameters and any(True for own in segments[-1] for _ in own.parameters()):
            segments.append([])
        segments[-1].append(child)
    return [nn.Sequential(*own) for own in segments]
