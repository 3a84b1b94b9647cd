"""RoBERTa, published or of any size: the network of Hugging Face's ``transformers`` without its pooler."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from tasktrace.config.bounds import check_range
from tasktrace.errors import ConfigError, DataError

if TYPE_CHECKING:
    from transformers import RobertaModel

VERSION = 1

_PADDING = 1


@dataclass(frozen=True, kw_only=True)
class Options:
    """Where the weights come from, or how large a network to initialise at random; the sizes are RoBERTa-base's.

    Attributes:
        weights: A model on the Hugging Face hub (``roberta-base``) or a folder that ``save_pretrained`` wrote, whose
            sizes are taken; empty for random weights.
        layers: Transformer layers.
        width: Width of the hidden states, a multiple of ``heads``; a layer's feed-forward part is four times as wide.
        heads: Attention heads of a layer.
        vocabulary: Number of token ids; at least as many as the setting's tokenizer has.
        positions: Tokens of the longest input.
        dropout: Of hidden states and attention weights, while training.
    """

    weights: str = ""
    layers: int = 12
    width: int = 768
    heads: int = 12
    vocabulary: int = 50265
    positions: int = 512
    dropout: float = 0.1

    def __post_init__(self) -> None:
        """Refuse a network without units, and sizes where published weights have theirs."""
        sizes = ("layers", "width", "heads", "vocabulary", "positions")
        check_range(self, "layers", "width", "heads", "positions", low=1)
        check_range(self, "vocabulary", low=4)
        check_range(self, "dropout", low=0, below=1)
        if self.width % self.heads:
            raise ValueError(f"width must be a multiple of heads, found {self.width} and {self.heads}")
        given = [name for name in sizes if getattr(self, name) != getattr(type(self), name)]
        if self.weights and given:
            raise ValueError(f"{given[0]} is that of the weights {self.weights!r}; leave one of them out")


class Encoder(nn.Module):
    """Token ids to the last hidden state of their first token, which stands for the whole input.

    Args:
        network: Without a pooler; its attention is a plain product of matrices, since other kernels are neither
            deterministic on a GPU nor differentiable twice.
    """

    def __init__(self, network: "RobertaModel") -> None:
        super().__init__()
        self.network = network

    def forward(self, tokens: Tensor) -> Tensor:
        """Features of token ids.

        Args:
            tokens: int64, shape (N, L), padded on the right.

        Returns:
            Shape (N, width).

        Raises:
            ConfigError: The network is too small for the ids or the length (on a GPU, for the length alone).
        """
        tokens = _without_common_padding(tokens)
        config = self.network.config
        longest = config.max_position_embeddings - _PADDING - 1
        if tokens.shape[1] > longest:
            raise ConfigError(
                f"inputs have up to {tokens.shape[1]} tokens, but the model has {longest} positions; "
                "set the model's positions, or the setting's data.max_length"
            )
        try:
            states = self.network(tokens, attention_mask=_added_to_attention(tokens))
        except IndexError as error:
            raise ConfigError(
                f"an input has the token id {int(tokens.max())}, but the model's vocabulary is {config.vocab_size}; "
                "set it to that of the setting's tokenizer"
            ) from error
        features: Tensor = states.last_hidden_state[:, 0]
        return features


def build_encoder(options: Options) -> tuple[nn.Module, int]:
    """RoBERTa without its pooler: features (N, width).

    Raises:
        DataError: The package ``transformers`` or the weights are not here.
    """
    try:
        from transformers import RobertaConfig, RobertaModel
    except ImportError as error:
        raise DataError(
            "the model roberta needs the package transformers, which is not installed; run "
            "`pip install 'tasktrace[glue]'`"
        ) from error
    if options.weights:
        network = _published(options)
    else:
        network = RobertaModel(RobertaConfig(**_sizes(options), **_how(options)), add_pooling_layer=False)
    return Encoder(network), network.config.hidden_size


def _sizes(options: Options) -> dict[str, Any]:
    """What the published networks have in common, and the sizes of this one."""
    return {
        "vocab_size": options.vocabulary,
        "hidden_size": options.width,
        "num_hidden_layers": options.layers,
        "num_attention_heads": options.heads,
        "intermediate_size": 4 * options.width,
        # Positions are counted from the padding's number on.
        "max_position_embeddings": options.positions + _PADDING + 1,
        "type_vocab_size": 1,
        "pad_token_id": _PADDING,
        "layer_norm_eps": 1e-5,
    }


def _how(options: Options) -> dict[str, Any]:
    """How the network computes; see :class:`Encoder`."""
    return {
        "attn_implementation": "eager",
        "hidden_dropout_prob": options.dropout,
        "attention_probs_dropout_prob": options.dropout,
    }


def _published(options: Options) -> "RobertaModel":
    from transformers import RobertaModel

    try:
        with _quietly():
            network: RobertaModel = RobertaModel.from_pretrained(
                options.weights, add_pooling_layer=False, dtype=torch.float32, **_how(options)
            )
    except (OSError, ValueError) as error:
        raise DataError(
            f"the weights {options.weights!r} are neither a folder with a RoBERTa nor to be had from the Hugging Face "
            f"hub ({error}). Run `hf download {options.weights}` where there is a network and copy its cache "
            "(~/.cache/huggingface), or give the model's `weights` a folder that save_pretrained wrote; without "
            "`weights` they are random"
        ) from error
    return network


@contextmanager
def _quietly() -> Iterator[None]:
    """Without a bar, and without a report that the weights of the pooler and of the head are not used."""
    from transformers.utils import logging as reports

    level, has_bar = reports.get_verbosity(), reports.is_progress_bar_enabled()
    reports.set_verbosity(logging.ERROR)
    reports.disable_progress_bar()
    try:
        yield
    finally:
        reports.set_verbosity(level)
        if has_bar:
            reports.enable_progress_bar()


def _without_common_padding(tokens: Tensor) -> Tensor:
    """The columns in which some row has a token: a batch costs as much as its longest input.

    All columns where a function transform (``torch.func``) does not let the values be looked at.
    """
    if torch._C._functorch.is_functorch_wrapped_tensor(tokens):
        return tokens
    return tokens[:, : int((tokens != _PADDING).any(dim=0).sum())]


def _added_to_attention(tokens: Tensor) -> Tensor:
    """What takes padding out of the softmax of the attention, shape (N, 1, 1, L)."""
    added = torch.zeros(tokens.shape, device=tokens.device)
    return added.masked_fill(tokens == _PADDING, torch.finfo(added.dtype).min)[:, None, None]
