"""GradDrop, gradient sign dropout (Chen et al. 2020, Algorithm 1), on the gradients of the shared parameters."""

from dataclasses import dataclass

import torch
from torch import Tensor

from tasktrace.methods.drawing import Drawing, method_generator

VERSION = 1


@dataclass(frozen=True, kw_only=True)
class Options:
    """How much of its gradient a task keeps in any case.

    Attributes:
        leak: One value from 0 (proposed and LibMTL's default: the pure method) to 1 (the task is never masked) for
            each task, in the order of the group's tasks; empty for 0 everywhere.
    """

    leak: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        """Hold every leak to its range."""
        if not all(0 <= leak <= 1 for leak in self.leak):
            raise ValueError(f"leak must lie between 0 and 1 for every task, found {list(self.leak)}")


class Method(Drawing):
    """At every coordinate either the positive or the negative parts of the task gradients.

    With P = (1 + sum_k g_k / sum_k |g_k|) / 2 and U drawn uniformly from [0, 1), both per coordinate: where P > U the
    positive entries stay, elsewhere the negative ones. Task k's entries count l_k + (1 - l_k) times whether they stay,
    with its leak l_k.

    The paper masks the gradients of an activation, multiplied with the activation's sign and summed over the batch;
    here every coordinate of the shared parameters' gradient is masked by itself, so that the method asks nothing of
    the encoder. In expectation, without leak, the update is sum_k |g_k| (P p + (1 - P) n), with p and n the shares of
    the positive and the negative entries in sum_k |g_k|, the latter with its sign. Where all entries agree in sign, the
    update is their plain sum: negative entries stay for P = U = 0, which the paper's strict P < U would drop.

    P has no unit and is the same when all gradients are scaled, so the update is of degree 1. A coordinate where all
    gradients are zero gives zero. A non-finite gradient makes the update NaN there, which ends the run as diverged;
    losses play no part.
    """

    def __init__(self, num_tasks: int, options: Options, seed: int) -> None:
        leak = options.leak or (0.0,) * num_tasks
        if len(leak) != num_tasks:
            raise ValueError(f"leak needs one value for each of the {num_tasks} tasks, found {list(leak)}")
        self._leak = torch.tensor(leak, dtype=torch.float64)
        self._generator = method_generator(seed, "graddrop")

    def combine(self, jacobian: Tensor, _losses: Tensor) -> Tensor:
        """The masked sum of the rows; see :meth:`Method.combine <tasktrace.methods.base.Method.combine>`."""
        draws = torch.rand(jacobian.shape[1], generator=self._generator).to(jacobian.device)
        leak = self._leak.to(jacobian)
        positive, negative = jacobian.clamp(min=0), jacobian.clamp(max=0)
        # P as the share of the positive part: exactly 1 without a negative one, NaN (which is not above U) for zeros.
        total = positive.sum(dim=0)
        stays = total / (total - negative.sum(dim=0)) > draws
        # The leaked part is added even where it is zero: zero times infinity is how a non-finite entry shows.
        return torch.where(stays, (1 - leak) @ positive, (1 - leak) @ negative) + leak @ jacobian
