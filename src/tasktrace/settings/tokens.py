"""Texts as rows of token ids, in the way of RoBERTa: one text is ``<s> a </s>``, a pair ``<s> a </s></s> b </s>``."""

import itertools
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from tasktrace.errors import DataError

if TYPE_CHECKING:
    from tokenizers import Tokenizer

BYTES = "bytes"
LOCAL = "local"

SPECIAL = ("<s>", "<pad>", "</s>", "<unk>")
"""The special tokens of a tokenizer of our own, with the ids that RoBERTa gives them."""

PADDING = SPECIAL.index("<pad>")
"""The id that fills a row; RoBERTa's."""

SMALLEST_VOCABULARY = len(SPECIAL) + 256
"""The special tokens and one token for each byte."""

_AT_ONCE = 1000
"""Texts tokenised in one call: what the library returns for them takes many times the memory of their ids."""

Text = tuple[str, ...]
"""One sentence, or a pair."""


def build_tokenizer(name: str, vocabulary: int, training: Iterable[Text]) -> "Tokenizer":
    """A tokenizer by its name.

    Args:
        name: ``bytes``: every byte of the UTF-8 text is a token; ``local``: a byte-level BPE trained on ``training``;
            else a ``tokenizer.json``, a folder with one, or a model on the Hugging Face hub that has one.
        vocabulary: Tokens of ``local``, fewer if the texts have not so many.
        training: Texts to train ``local`` on.

    Raises:
        DataError: The package ``tokenizers`` or the file is not here, or the tokenizer is none for RoBERTa.
    """
    try:
        import tokenizers
    except ImportError as error:
        raise DataError(
            "texts need the package tokenizers, which is not installed; run `pip install 'tasktrace[glue]'`"
        ) from error
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")  # a job has one thread
    if name == BYTES:
        return _trained(SMALLEST_VOCABULARY, ())
    if name == LOCAL:
        return _trained(vocabulary, itertools.chain.from_iterable(training))
    path = _tokenizer_file(name)
    try:
        found = tokenizers.Tokenizer.from_file(str(path))
    except Exception as error:  # the library raises nothing more particular
        raise DataError(
            f"{path}: not a tokenizer.json that tokenizers {tokenizers.__version__} reads ({error})"
        ) from error
    start, padding, end = map(found.token_to_id, SPECIAL[:3])
    if start is None or padding != PADDING or end is None:
        raise DataError(
            f"{path}: not a tokenizer for RoBERTa, which has <s>, </s> and, as number {PADDING}, <pad>; "
            f"found {start}, {end} and {padding}"
        )
    return found


def encode(tokenizer: "Tokenizer", texts: Sequence[Text], max_length: int) -> npt.NDArray[np.int32]:
    """Token ids of all texts, filled up with ``PADDING`` on the right to the longest row.

    What spells a special token in a text is text.

    Args:
        tokenizer: See :func:`build_tokenizer`.
        texts: N texts or pairs.
        max_length: Most tokens of a row, the special ones among them; of a pair the longer text loses its end first.

    Returns:
        Shape (N, L) with L <= max_length.
    """
    tokenizer.no_padding()
    # Not the library's own truncation, which makes something of what it cuts off: minutes for long pairs.
    tokenizer.no_truncation()
    tokenizer.encode_special_tokens = True
    start, end = map(tokenizer.token_to_id, ("<s>", "</s>"))
    rows: list[npt.NDArray[np.int32]] = []
    for first in range(0, len(texts), _AT_ONCE):
        some = texts[first : first + _AT_ONCE]
        found = iter(tokenizer.encode_batch_fast(list(itertools.chain.from_iterable(some)), add_special_tokens=False))
        for text in some:
            parts = _cut([next(found).ids for _ in text], max_length - 2 * len(text))
            joined = [start, *parts[0], end] if len(parts) == 1 else [start, *parts[0], end, end, *parts[1], end]
            rows.append(np.array(joined, dtype=np.int32))
    ids = np.full((len(rows), max(map(len, rows), default=0)), PADDING, dtype=np.int32)
    for filled, row in zip(ids, rows, strict=True):
        filled[: len(row)] = row
    return ids


def _cut(parts: list[list[int]], room: int) -> list[list[int]]:
    """The beginnings of one or two texts that have room together, as ``longest_first`` in ``transformers``."""
    if sum(map(len, parts)) <= room:
        return parts
    if len(parts) == 1:
        return [parts[0][:room]]
    first, second = parts
    shorter = min(len(first), len(second), room // 2)
    if len(first) > len(second):
        return [first[: room - shorter], second[:shorter]]
    return [first[:shorter], second[: room - shorter]]


def _trained(vocabulary: int, texts: Iterable[str]) -> "Tokenizer":
    """A byte-level BPE (GPT-2's, RoBERTa's) of these texts; the same for the same texts."""
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=list(SPECIAL),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def _tokenizer_file(name: str) -> Path:
    """A ``tokenizer.json``: this file, in this folder, in the hub's cache, or from the hub."""
    for path in (Path(name), Path(name) / "tokenizer.json"):
        if path.is_file():
            return path
    from huggingface_hub import hf_hub_download

    try:
        return Path(hf_hub_download(name, "tokenizer.json"))
    except (OSError, ValueError) as error:
        raise DataError(
            f"tokenizer {name!r}: neither a tokenizer.json, nor a folder with one, nor to be had from the Hugging Face "
            f"hub ({error}). Run `hf download {name} tokenizer.json` where there is a network and copy its cache "
            f"(~/.cache/huggingface), or give `tokenizer` the path of a tokenizer.json; {LOCAL!r} trains one on the "
            "tasks' own texts"
        ) from error
