"""GLUE (study A): eight tasks of English sentences and pairs of sentences, each with its own inputs."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tasktrace.config.bounds import check_range
from tasktrace.errors import DataError
from tasktrace.seeding import numpy_generator
from tasktrace.settings.prepared import SPLITS, Tensors
from tasktrace.settings.raw import Source
from tasktrace.settings.tables import read_columns
from tasktrace.settings.tokens import Text, build_tokenizer, encode
from tasktrace.tasks import Task

VERSION = 1

TASKS = (
    Task(name="cola", outputs=2, metric="matthews"),
    Task(name="sst2", outputs=2),
    Task(name="mrpc", outputs=2, metric="f1", more_metrics=("accuracy",)),
    Task(name="stsb", outputs=1, loss="mse", metric="pearson", more_metrics=("spearman",)),
    Task(name="qqp", outputs=2, metric="f1", more_metrics=("accuracy",)),
    Task(name="mnli", outputs=3),
    Task(name="qnli", outputs=2),
    Task(name="rte", outputs=2),
)


@dataclass(frozen=True, kw_only=True)
class Options:
    """Which tasks, and how their texts become token ids.

    Attributes:
        tasks: Those that are prepared; the raw files of the others need not be there.
        tokenizer: See :func:`tasktrace.settings.tokens.build_tokenizer`; ``local`` is trained on the training samples
            of ``tasks``.
        vocabulary: Tokens of the tokenizer ``local``.
        max_length: Most tokens of an input, the special ones among them.
        validation: Share of a task's published training samples that is set aside for validation. Proposed.
        limit: At most so many of a task's published training samples are used, for training and validation together.
        seed: Seeds the split.
    """

    tasks: tuple[str, ...] = ("cola", "sst2", "mrpc", "stsb", "qqp", "mnli", "qnli", "rte")
    tokenizer: str = "roberta-base"
    vocabulary: int = 8000
    max_length: int = 128
    validation: float = 0.1
    limit: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse unknown tasks, an empty split, and inputs without room for text."""
        known = [task.name for task in TASKS]
        if not self.tasks or len(set(self.tasks)) < len(self.tasks) or not set(self.tasks) <= set(known):
            raise ValueError(
                f"tasks must be different ones of {', '.join(known)}, found {', '.join(self.tasks) or '[]'}"
            )
        check_range(self, "vocabulary", low=260)
        check_range(self, "max_length", low=8)
        check_range(self, "validation", low=1e-3, below=1)
        if self.limit is not None:
            check_range(self, "limit", low=2)


@dataclass(frozen=True)
class _Layout:
    """The files of a task below its folder and their columns.

    Attributes:
        folder: Its name in ``glue_data``.
        texts: Columns of the sentence, or of the two sentences.
        label: Column of the label.
        classes: Labels as they are written, in the order of the classes; empty for a score.
        test: The file of the published development set.
        header: All columns of files that do not name them.
        address: Where the files are published.
    """

    folder: str
    texts: tuple[str, ...]
    label: str
    address: str
    classes: tuple[str, ...] = ("0", "1")
    test: str = "dev.tsv"
    header: tuple[str, ...] = ()


_PUBLISHED = "https://dl.fbaipublicfiles.com/glue/data"
_SENTENCES = ("sentence1", "sentence2")
_ENTAILMENT = ("entailment", "not_entailment")
_LAYOUTS = {
    "cola": _Layout(
        "CoLA", ("sentence",), "label", f"{_PUBLISHED}/CoLA.zip", header=("source", "label", "star", "sentence")
    ),
    "sst2": _Layout("SST-2", ("sentence",), "label", f"{_PUBLISHED}/SST-2.zip"),
    "mrpc": _Layout(
        "MRPC",
        ("#1 String", "#2 String"),
        "Quality",
        "https://dl.fbaipublicfiles.com/senteval/senteval_data/msr_paraphrase_train.txt and msr_paraphrase_test.txt",
    ),
    "stsb": _Layout("STS-B", _SENTENCES, "score", f"{_PUBLISHED}/STS-B.zip", classes=()),
    "qqp": _Layout("QQP", ("question1", "question2"), "is_duplicate", f"{_PUBLISHED}/QQP-clean.zip"),
    "mnli": _Layout(
        "MNLI",
        _SENTENCES,
        "gold_label",
        f"{_PUBLISHED}/MNLI.zip",
        classes=("entailment", "neutral", "contradiction"),
        test="dev_matched.tsv",
    ),
    "qnli": _Layout("QNLI", ("question", "sentence"), "label", f"{_PUBLISHED}/QNLIv2.zip", classes=_ENTAILMENT),
    "rte": _Layout("RTE", _SENTENCES, "label", f"{_PUBLISHED}/RTE.zip", classes=_ENTAILMENT),
}


@dataclass(frozen=True)
class _Part:
    """Samples of a task: n texts and their targets, (n,)."""

    texts: list[Text]
    targets: npt.NDArray[Any]

    def __getitem__(self, rows: npt.NDArray[np.int64]) -> "_Part":
        return _Part([self.texts[row] for row in rows], self.targets[rows])


PLACED_BY_USER = "the files of each task in the layout of glue_data, e.g. RTE/train.tsv and RTE/dev.tsv"


def sources(_raw: Path) -> list[Source]:
    """None: GLUE's files have addresses but no published checksums; whoever uses them puts them there."""
    return []


def prepare(raw: Path, options: Options) -> Tensors:
    """Token ids of every task's samples, its parts one after the other, each in the order of its file.

    The published development sets are the test sets, since the published test sets have no labels; a random share of
    the published training set is the validation set.
    """
    names = [task.name for task in TASKS if task.name in options.tasks]
    files = {name: _files(raw, name) for name in names}
    parts = {name: _split(name, files[name], options) for name in names}
    training = (text for name in names for text in parts[name]["train"].texts)
    tokenizer = build_tokenizer(options.tokenizer, options.vocabulary, training)
    tensors: Tensors = {}
    texts: list[Text] = []
    for name, split in ((name, split) for name in names for split in SPLITS):
        part = parts[name][split]
        tensors[f"{name}/{split}/index"] = np.arange(len(texts), len(texts) + len(part.texts))
        tensors[f"{name}/{split}/target"] = part.targets
        texts += part.texts
    return {"inputs": encode(tokenizer, texts, options.max_length), **tensors}


def _files(raw: Path, task: str) -> tuple[Path, Path]:
    """A task's training and test file.

    MRPC is published as two text files, its test set with labels, and cut into train, dev and test by GLUE's own
    script; the script's files come first where both are there.
    """
    layout = _LAYOUTS[task]
    folder = raw / layout.folder
    choices = [(folder / "train.tsv", folder / layout.test)]
    if task == "mrpc":
        choices.append((folder / "msr_paraphrase_train.txt", folder / "msr_paraphrase_test.txt"))
    for train, test in choices:
        if train.exists() and test.exists():
            return train, test
    wanted = ", or ".join(f"{train.name} and {test.name}" for train, test in choices)
    raise DataError(
        f"glue: the files of task {task} are not in {folder}: expected {wanted}. They are published at "
        f"{layout.address}; put them there, in the layout of `glue_data`, or leave {task} out of the setting's "
        "data.tasks"
    )


def _read(path: Path, task: str) -> _Part:
    layout = _LAYOUTS[task]
    rows = read_columns(path, [*layout.texts, layout.label], layout.header)
    labels = [row[-1] for row in rows]
    try:
        if layout.classes:
            numbers = {label: number for number, label in enumerate(layout.classes)}
            targets = np.array([numbers[label] for label in labels], dtype=np.int64)
        else:
            targets = np.array(labels, dtype=np.float32)
    except (KeyError, ValueError) as error:
        expected = f"one of {', '.join(layout.classes)}" if layout.classes else "a number"
        raise DataError(
            f"{path}: expected {expected} in every row of column {layout.label!r} ({error}); fetch it anew"
        ) from error
    return _Part([row[:-1] for row in rows], targets)


def _split(task: str, files: tuple[Path, Path], options: Options) -> dict[str, _Part]:
    training, test = (_read(path, task) for path in files)
    order = numpy_generator(options.seed, "split", task).permutation(len(training.texts))[: options.limit]
    aside = round(options.validation * len(order))
    if not 0 < aside < len(order):
        raise DataError(
            f"glue: {options.validation} of the {len(order)} training samples of task {task} leaves no validation or "
            "training set; choose another data.validation or data.limit"
        )
    return {
        "train": training[np.sort(order[aside:])],
        "validation": training[np.sort(order[:aside])],
        "test": test,
    }
