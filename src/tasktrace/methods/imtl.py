"""IMTL, impartial multi-task learning (Liu et al. 2021, Algorithm 1): IMTL-G on the losses that IMTL-L scales."""

from dataclasses import dataclass

from torch import Tensor, nn

from tasktrace.methods import imtl_g, imtl_l
from tasktrace.methods.base import GramianWeighting, check_finite

VERSION = 1


@dataclass(frozen=True, kw_only=True)
class Options:
    """There are none: IMTL-L starts from s_t = 0 and IMTL-G keeps its defaults."""


class Method(GramianWeighting):
    """The impartial combination of the gradients of e^{s_t} L_t - s_t, with s_t learned as in IMTL-L.

    Those gradients are e^{s_t} g_t and their inner products e^{s_t + s_u} g_t.g_u; IMTL-G's weights alpha_t for them
    become e^{s_t} alpha_t on the gradients as they came. The factors move along their own plain gradient,
    e^{s_t} L_t - 1, not along IMTL-G's combination.

    The update is of degree 1 in the gradients for the losses and factors of the step. A zero gradient is IMTL-G's to
    judge; a non-finite gradient or loss raises :class:`NonFiniteError`.
    """

    def __init__(self, num_tasks: int, _options: Options, seed: int) -> None:
        self._factors = imtl_l.Method(num_tasks, imtl_l.Options(), seed)
        self._gradients = imtl_g.Method(num_tasks, imtl_g.Options(), seed)

    def weights(self, gramian: Tensor, losses: Tensor) -> Tensor:
        """Factor times impartial weight, and the gradient of the factors; see :class:`GramianWeighting`."""
        check_finite(gramian, losses)
        factors = self._factors.weights(losses)
        return factors * self._gradients.weights(factors[:, None] * gramian * factors, factors * losses)

    def parameters(self) -> list[nn.Parameter]:
        """The logarithms of the factors, shape (T,)."""
        return self._factors.parameters()

    def state_dict(self) -> dict[str, Tensor]:
        """The logarithms of the factors."""
        return self._factors.state_dict()

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Continue from what :meth:`state_dict` gave."""
        self._factors.load_state_dict(state)
