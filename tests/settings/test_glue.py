"""GLUE from miniature tables in the published layouts, and from the published ones where they are."""

import itertools
import json
import re
import subprocess
import sys
from pathlib import Path

import huggingface_hub
import numpy as np
import pytest
import tokenizers
import transformers

from tasktrace.config.declarations import declaration
from tasktrace.config.options import check_options
from tasktrace.errors import ConfigError, DataError
from tasktrace.settings import glue
from tasktrace.settings.glue import Options, prepare
from tasktrace.settings.prepared import read_prepared, write_prepared
from tasktrace.settings.tokens import build_tokenizer, encode

PUBLISHED = Path(__file__).resolve().parents[3] / "shared" / "data" / "glue"
SPLITS = ("train", "validation", "test")

TASKS = tuple(task.name for task in glue.TASKS)


@pytest.fixture
def raw(tmp_path, glue_tables):
    for task in TASKS:
        glue_tables.write(tmp_path / "glue", task)
    return tmp_path / "glue"


def byte_ids():
    """The id of every byte: the rank of the character that stands for it in GPT-2, after four special ones."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    stand_ins = {byte: byte for byte in plain}
    others = [byte for byte in range(256) if byte not in stand_ins]
    stand_ins.update({byte: 256 + number for number, byte in enumerate(others)})
    order = sorted(range(256), key=stand_ins.__getitem__)
    return {byte: 4 + rank for rank, byte in enumerate(order)}


BYTES = byte_ids()


def in_bytes(texts):
    """``<s> a </s>`` or ``<s> a </s></s> b </s>``, byte by byte."""
    parts = [[BYTES[byte] for byte in text.encode()] for text in texts]
    return [0, *parts[0], 2] if len(parts) == 1 else [0, *parts[0], 2, 2, *parts[1], 2]


def rows_of(tensors, task, split):
    """(ids without padding, target) of every sample."""
    ids = tensors["inputs"][tensors[f"{task}/{split}/index"]]
    own = [list(itertools.takewhile(lambda number: number != 1, row)) for row in ids]
    for row, found in zip(ids, own, strict=True):
        assert (row[len(found) :] == 1).all()
    return list(zip(own, tensors[f"{task}/{split}/target"].tolist(), strict=True))


def test_the_eight_tasks_have_glues_metrics():
    found = {task.name: (task.outputs, task.loss, task.metrics) for task in glue.TASKS}
    assert found == {
        "cola": (2, "cross_entropy", ("matthews",)),
        "sst2": (2, "cross_entropy", ("accuracy",)),
        "mrpc": (2, "cross_entropy", ("f1", "accuracy")),
        "stsb": (1, "mse", ("pearson", "spearman")),
        "qqp": (2, "cross_entropy", ("f1", "accuracy")),
        "mnli": (3, "cross_entropy", ("accuracy",)),
        "qnli": (2, "cross_entropy", ("accuracy",)),
        "rte": (2, "cross_entropy", ("accuracy",)),
    }
    assert not declaration("setting", "glue").shared_inputs


@pytest.mark.parametrize("ending", ["\n", "\r\n"])
def test_every_table_is_read_to_the_last_byte_and_label(raw, ending, glue_tables):
    for task in TASKS:
        glue_tables.write_table(
            raw / glue_tables.folders[task] / "train.tsv",
            task,
            "train",
            glue_tables.sentences(task, "train", 20),
            ending,
        )
    tensors = prepare(raw, Options(tokenizer="bytes", validation=0.25, max_length=512))
    assert tensors["inputs"].dtype == np.int32
    for task in TASKS:
        wanted = {
            "train": [
                (in_bytes(texts), glue_tables.target(task, label))
                for texts, label in glue_tables.sentences(task, "train", 20)
            ],
            "test": [
                (in_bytes(texts), glue_tables.target(task, label))
                for texts, label in glue_tables.sentences(task, "test", 8)
            ],
        }
        assert rows_of(tensors, task, "test") == wanted["test"]
        parts = [rows_of(tensors, task, split) for split in ("train", "validation")]
        assert [len(part) for part in parts] == [15, 5]
        assert sorted(parts[0] + parts[1]) == sorted(wanted["train"])
        for part in parts:  # in the file's order
            assert part == [row for row in wanted["train"] if row in part]
        kind = np.float32 if task == "stsb" else np.int64
        assert all(tensors[f"{task}/{split}/target"].dtype == kind for split in SPLITS)


def test_the_prepared_file_has_nothing_to_normalise(raw, tmp_path):
    tensors = prepare(raw, Options(tokenizer="bytes"))
    spec = {"name": "glue", "version": 1, "tokenizer": "bytes"}
    written = write_prepared(tmp_path / "glue.safetensors", tensors, spec)
    found = read_prepared(tmp_path / "glue.safetensors", spec)
    assert (found.mean, found.std) == (written.mean, written.std) == ([], [])
    assert found.content == written.content
    np.testing.assert_array_equal(found.tensors["inputs"], tensors["inputs"])


def test_only_the_tasks_that_are_asked_for_are_read(tmp_path, glue_tables):
    for task in ("rte", "cola"):
        glue_tables.write(tmp_path, task)
    tensors = prepare(tmp_path, Options(tasks=("rte", "cola"), tokenizer="bytes"))
    assert {name.partition("/")[0] for name in tensors} == {"inputs", "cola", "rte"}
    assert len(tensors["inputs"]) == 2 * 28
    with pytest.raises(DataError) as caught:
        prepare(tmp_path, Options(tokenizer="bytes"))
    assert str(caught.value) == (
        f"glue: the files of task sst2 are not in {tmp_path / 'SST-2'}: expected train.tsv and dev.tsv. They are "
        "published at https://dl.fbaipublicfiles.com/glue/data/SST-2.zip; put them there, in the layout of "
        "`glue_data`, or leave sst2 out of the setting's data.tasks"
    )


def test_mrpc_is_read_as_microsoft_publishes_it_unless_glues_tables_are_there(raw, glue_tables):
    folder = raw / "MRPC"
    for split, name in (("train", "train"), ("test", "test")):
        rows = glue_tables.sentences("mrpc", f"microsoft {split}", 10)
        glue_tables.write_table(folder / f"msr_paraphrase_{name}.txt", "mrpc", split, rows, "\r\n", "\ufeff")
    options = Options(tasks=("mrpc",), tokenizer="bytes", max_length=512)
    first = [rows_of(prepare(raw, options), "mrpc", "test")]
    (folder / "dev.tsv").unlink()
    first.append(rows_of(prepare(raw, options), "mrpc", "test"))
    expected = [glue_tables.sentences("mrpc", "test", 8), glue_tables.sentences("mrpc", "microsoft test", 10)]
    assert first == [[(in_bytes(texts), int(label)) for texts, label in rows] for rows in expected]
    (folder / "msr_paraphrase_test.txt").unlink()
    with pytest.raises(DataError, match=r"train\.tsv and dev\.tsv, or msr_paraphrase_train\.txt and msr_.*_test\.txt"):
        prepare(raw, options)


def test_the_few_rows_that_line_breaks_have_cut_are_left_out(raw, glue_tables):
    path = raw / "QQP" / "train.tsv"
    glue_tables.write_table(path, "qqp", "train", glue_tables.sentences("qqp", "train", 2000))
    lines = path.read_text().split("\n")
    lines.insert(1000, "77\t1\t2\tA question that goes on")
    path.write_text("\n".join(lines))
    tensors = prepare(raw, Options(tasks=("qqp",), tokenizer="bytes"))
    assert [len(tensors[f"qqp/{split}/index"]) for split in SPLITS] == [1800, 200, 8]
    assert len(tensors["inputs"]) == 2008
    path.write_text("\n".join([*lines[:5], *lines[999:1003]]))
    with pytest.raises(DataError) as caught:
        prepare(raw, Options(tasks=("qqp",), tokenizer="bytes"))
    assert str(caught.value) == f"{path}: 1 of 8 rows have not 6 fields; fetch it anew"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            "index\tsentence1\tsentence2\n1\ta\tb\n",
            "no column 'label' among index, sentence1, sentence2; fetch it anew",
        ),
        ("index\tsentence1\tsentence2\tlabel\n", "0 of 0 rows have not 4 fields; fetch it anew"),
        (
            "index\tsentence1\tsentence2\tlabel\n0\ta\tb\tmaybe\n",
            "expected one of entailment, not_entailment in every row of column 'label' ('maybe'); fetch it anew",
        ),
        (b"index\tsentence1\tsentence2\tlabel\n0\t\xff\tb\tentailment\n", "not UTF-8 text ("),
    ],
)
def test_a_table_that_is_not_the_published_one_is_named(raw, content, message):
    path = raw / "RTE" / "train.tsv"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    with pytest.raises(DataError) as caught:
        prepare(raw, Options(tasks=("rte",), tokenizer="bytes"))
    assert str(caught.value).startswith(f"{path}: {message}")


def test_a_score_that_is_no_number_is_named(raw):
    path = raw / "STS-B" / "dev.tsv"
    path.write_text(path.read_text().replace("3.8", "three"))
    with pytest.raises(DataError, match=f"{path}: expected a number in every row of column 'score' .*three"):
        prepare(raw, Options(tasks=("stsb",), tokenizer="bytes"))


def test_limit_and_share_count_published_training_samples(raw, glue_tables):
    def sizes(**options):
        tensors = prepare(raw, Options(tasks=("rte", "mnli"), tokenizer="bytes", **options))
        return [[len(tensors[f"{task}/{split}/index"]) for split in SPLITS] for task in ("mnli", "rte")]

    glue_tables.write(raw, "mnli", train=50)
    assert sizes() == [[45, 5, 8], [18, 2, 8]]
    assert sizes(limit=30) == [[27, 3, 8], [18, 2, 8]]
    assert sizes(limit=10, validation=0.5) == [[5, 5, 8]] * 2
    with pytest.raises(
        DataError, match=r"0\.001 of the 50 training samples of task mnli leaves no validation or training"
    ):
        sizes(validation=0.001)


def test_the_seed_chooses_each_tasks_validation_samples(raw, glue_tables):
    def chosen(seed, tasks=("qnli", "rte")):
        options = Options(tasks=tasks, tokenizer="bytes", validation=0.3, max_length=512, seed=seed)
        tensors = prepare(raw, options)
        rows = {task: [in_bytes(texts) for texts, _ in glue_tables.sentences(task, "train", 20)] for task in tasks}
        return {task: [rows[task].index(ids) for ids, _ in rows_of(tensors, task, "validation")] for task in tasks}

    first, second = chosen(0), chosen(1)
    assert chosen(0) == first
    assert chosen(0, ("rte",))["rte"] == first["rte"]  # whatever other tasks there are
    drawn = [tuple(places[task]) for places in (first, second) for task in ("qnli", "rte")]
    assert len(set(drawn)) == 4
    assert {len(places) for places in drawn} == {6}


def test_the_local_tokenizer_is_trained_on_training_texts_alone(raw, glue_tables):
    options = Options(tasks=("sst2", "rte"), tokenizer="local", vocabulary=300)
    before = prepare(raw, options)
    assert before["inputs"].max() < 300
    assert (before["inputs"] >= 260).any()  # it has merged bytes
    glue_tables.write_table(
        raw / "RTE" / "dev.tsv", "rte", "test", [((word, word), "entailment") for word in ["zzzz"] * 100]
    )
    after = prepare(raw, options)
    assert rows_of(after, "rte", "train") == rows_of(before, "rte", "train")
    one_task = prepare(raw, Options(tasks=("sst2",), tokenizer="local", vocabulary=300))
    assert rows_of(one_task, "sst2", "train") != rows_of(before, "sst2", "train")
    short = [len(ids) for ids, _ in rows_of(before, "sst2", "test")]
    long = [len(ids) for ids, _ in rows_of(prepare(raw, Options(tasks=("sst2",), tokenizer="bytes")), "sst2", "test")]
    assert sum(short) < 0.8 * sum(long)


def test_the_local_tokenizer_is_the_same_in_every_process(raw):
    script = (
        "import hashlib, sys\nfrom pathlib import Path\nfrom tasktrace.settings.glue import Options, prepare\n"
        "ids = prepare(Path(sys.argv[1]), Options(tokenizer='local', vocabulary=600))['inputs']\n"
        "print(hashlib.sha256(ids.tobytes()).hexdigest(), 'transformers' in sys.modules)\n"
    )
    command = [sys.executable, "-c", script, str(raw)]
    found = {subprocess.run(command, capture_output=True, text=True, check=True).stdout for _ in range(2)}
    assert len(found) == 1
    assert found.pop().endswith(" False\n")


@pytest.fixture(scope="module")
def published_tokenizer(tmp_path_factory, glue_tables):
    """A tokenizer of RoBERTa's kind as transformers keeps it: the folder, and transformers' own."""
    folder = tmp_path_factory.mktemp("tokenizer")
    trained = tokenizers.ByteLevelBPETokenizer()
    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    texts = [" ".join(texts) for task in TASKS for texts, _ in glue_tables.sentences(task, "train", 20)]
    trained.train_from_iterator(texts, vocab_size=320, special_tokens=special, show_progress=False)
    trained.save_model(str(folder))
    vocabulary, merges = json.loads((folder / "vocab.json").read_text()), (folder / "merges.txt").read_text()
    pairs = [tuple(own.split(" ")) for own in merges.split("\n")[1:] if own]
    own = transformers.RobertaTokenizer(vocab=vocabulary, merges=pairs)
    own.save_pretrained(folder)
    return folder, own


@pytest.mark.parametrize(("name", "room"), [("", 512), ("", 24), ("tokenizer.json", 17), ("tokenizer.json", 8)])
def test_ids_are_those_of_transformers(raw, published_tokenizer, name, room, glue_tables):
    folder, own = published_tokenizer
    tensors = prepare(raw, Options(tokenizer=str(folder / name), max_length=room))
    for task in TASKS:
        texts = [texts for texts, _ in glue_tables.sentences(task, "test", 8)]
        expected = own(*map(list, zip(*texts, strict=True)), truncation="longest_first", max_length=room)["input_ids"]
        found = [ids for ids, _ in rows_of(tensors, task, "test")]
        # Of what spells a special token transformers makes one, which would be padding in the middle of a text.
        plain = [number for number, own_texts in enumerate(texts) if "<pad>" not in "".join(own_texts)]
        assert len(plain) >= 6
        assert [found[number] for number in plain] == [expected[number] for number in plain]


@pytest.mark.parametrize("room", [8, 11, 16])
def test_pairs_of_all_lengths_are_cut_as_transformers_cuts_them(published_tokenizer, room):
    folder, own = published_tokenizer
    pairs = [("ab " * first, "cd " * second) for first, second in itertools.product(range(6), repeat=2)]
    found = encode(build_tokenizer(str(folder), 0, ()), pairs, room)
    expected = own(*map(list, zip(*pairs, strict=True)), truncation="longest_first", max_length=room, padding=True)
    np.testing.assert_array_equal(found, expected["input_ids"])


def test_a_tokenizer_that_pads_otherwise_is_refused(raw, tmp_path):
    other = tokenizers.Tokenizer(tokenizers.models.BPE({"<pad>": 0, "<s>": 1, "</s>": 2}, []))
    other.save(str(tmp_path / "tokenizer.json"))
    with pytest.raises(DataError, match=re.escape(f"{tmp_path / 'tokenizer.json'}: not a tokenizer for RoBERTa")):
        prepare(raw, Options(tokenizer=str(tmp_path)))
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(DataError, match=r"tokenizer.json: not a tokenizer.json that tokenizers .* reads"):
        prepare(raw, Options(tokenizer=str(tmp_path)))


@pytest.fixture
def offline(tmp_path, monkeypatch):
    """No network, and an empty cache of the hub's files, whose folder it is."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path / "hub"


def test_without_network_and_file_the_message_names_both_ways(raw, offline):
    with pytest.raises(DataError) as caught:
        prepare(raw, Options())
    message = str(caught.value)
    assert message.startswith(
        "tokenizer 'roberta-base': neither a tokenizer.json, nor a folder with one, nor to be had"
    )
    assert "`hf download roberta-base tokenizer.json`" in message
    assert "give `tokenizer` the path of a tokenizer.json" in message
    assert "'local'" in message


def test_the_hubs_cache_serves_without_network(raw, offline, published_tokenizer):
    folder, _ = published_tokenizer
    model = offline / "models--roberta-base"
    (model / "snapshots" / "0123").mkdir(parents=True)
    (model / "refs").mkdir()
    (model / "refs" / "main").write_text("0123")
    (model / "snapshots" / "0123" / "tokenizer.json").write_bytes((folder / "tokenizer.json").read_bytes())
    found = prepare(raw, Options(tasks=("cola",)))
    expected = prepare(raw, Options(tasks=("cola",), tokenizer=str(folder)))
    np.testing.assert_array_equal(found["inputs"], expected["inputs"])


def test_without_the_package_the_message_says_what_to_install(raw, monkeypatch):
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    with pytest.raises(DataError, match=re.escape("not installed; run `pip install 'tasktrace[glue]'`")):
        prepare(raw, Options(tokenizer="bytes"))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"tasks": ["rte", "wnli"]}, "tasks must be different ones of cola, sst2, .*, rte, found rte, wnli"),
        ({"tasks": ["rte", "rte"]}, "found rte, rte"),
        ({"tasks": []}, r"found \[\]"),
        ({"tasks": "rte"}, "tasks: expected a list of a text, found 'rte'"),
        ({"vocabulary": 259}, "vocabulary must be at least 260"),
        ({"max_length": 4}, "max_length must be at least 8"),
        ({"validation": 1.0}, "validation must be at least 0.001 and below 1"),
        ({"limit": 1}, "limit must be at least 2"),
    ],
)
def test_options_out_of_their_range_are_refused(given, message):
    with pytest.raises(ConfigError, match=message):
        check_options(declaration("setting", "glue").options, given, "settings/glue.yaml: data")


def test_options_at_their_defaults_leave_no_trace():
    given = {"tasks": list(TASKS), "limit": None, "tokenizer": "roberta-base"}
    assert check_options(declaration("setting", "glue").options, given, "x") == {}
    assert check_options(declaration("setting", "glue").options, {"tasks": ["rte"]}, "x") == {"tasks": ["rte"]}


@pytest.mark.parametrize(
    ("task", "train", "test"), [("cola", 8551, 1043), ("rte", 2490, 277), ("sst2", 67349, 872), ("stsb", 5749, 1500)]
)
def test_the_published_files_have_their_published_numbers_of_rows(task, train, test, glue_tables):
    if not (PUBLISHED / glue_tables.folders[task]).is_dir():
        pytest.skip(f"no {glue_tables.folders[task]} in {PUBLISHED}")
    tensors = prepare(PUBLISHED, Options(tasks=(task,), tokenizer="bytes", max_length=8))
    aside = round(0.1 * train)
    assert [len(tensors[f"{task}/{split}/index"]) for split in SPLITS] == [train - aside, aside, test]
    targets = np.concatenate([tensors[f"{task}/{split}/target"] for split in SPLITS])
    assert (targets.min(), targets.max()) == ((0, 5) if task == "stsb" else (0, 1))
