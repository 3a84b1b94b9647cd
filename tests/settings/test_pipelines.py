"""Every setting of the papers from raw files to tables, by the workflow's verbs and the shipped configuration.

The configuration is cut to few tasks, steps and samples, and the networks to a small one; the papers' own networks see
corners of the pictures.
"""

import itertools
import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from tasktrace import cli
from tasktrace.config import Study
from tasktrace.config.components import named
from tasktrace.config.corruptions import NAMES, SEVERITIES
from tasktrace.config.declarations import declaration
from tasktrace.config.loading import merged
from tasktrace.settings.prepared import read_prepared, write_prepared
from tasktrace.training.checkpoints import kept_epochs
from tasktrace.training.engine import Engine
from tasktrace.training.similarity import KINDS, QUANTITIES, STATISTICS

REPOSITORY = Path(__file__).resolve().parents[2]
SPLITS = ("train", "validation", "test")

MEASURES = {
    "sharpness": {"samples": 4, "batch_size": 2, "iterations": 2},
    "fisher": {"samples": 4, "batch_size": 2, "draws": 2},
    "coherence": {"batches": 2},
    "conflict": {"batches": 2},
}
OF_TASKS = {
    "sharpness.rho0.002",
    "fisher.trace",
    "fisher.minibatch",
    *(f"coherence.{name}" for name in ("covariance", "gradient", "noise_scale", "minibatch_fisher")),
}
OF_PAIRS = {f"conflict.{name}" for name in ("cosine", "magnitude_similarity", "conflicting", "conflicting_nonzero")}
NEVER_NEGATIVE = OF_TASKS - {"coherence.gradient"} | OF_PAIRS - {"conflict.cosine"}

RANGES = {
    **dict.fromkeys(("mean_angle", "median_angle"), (0, 180)),
    **dict.fromkeys(("absolute_error", "relative_error"), (0, np.inf)),
    **dict.fromkeys(("pearson", "spearman", "matthews"), (-1, 1)),
}
"""Of metrics that are no shares from 0 to 1."""

STUDY_A = {
    "training": {"epochs": 2, "checkpoint_every": 1},
    "sweep": {"learning_rates": [0.01], "batch_sizes": [2], "epochs": 1},
    "measuring": {"every": 1},
}
STUDY_B = {
    "methods": {"umtg": ["adam", "sgdm"]},
    "learning_rates": [0.01],
    "batch_size": 2,
    "epochs": 2,
    "seeds": [0],
    "alone": {"learning_rates": [0.01]},
    "similarity": {"every": 1, "most": 2},
}


def only(*names):
    """A block of corruption transfer with these corruptions alone."""
    left_out = [name for name in NAMES if name not in names]
    return {"methods": ["umtg"], "leave_out": left_out, "refit": {"batch_size": 2, "epochs": 1}}


class InterruptedHereError(Exception):
    """Ends a process in the middle of its work."""


class Pipeline:
    """The workflow's verbs on one setting of the study in the current folder.

    Args:
        study: The study.
        setting: The setting's name.
    """

    def __init__(self, study, setting):
        self.study, self.setting = study, setting
        self.block = study.find_setting(setting)
        self.tasks = declaration("setting", self.block["setting"]).tasks

    def verb(self, *words):
        assert cli.main([str(word) for word in words]) == 0

    def train(self, run, *words):
        """Train a run and hold its trajectory and record against what it was to be."""
        self.verb("train", run.path, "--device", "cpu", *words)
        record = json.loads((self.folder(run) / "run.json").read_text())
        assert record["outcome"] == {"status": "finished"}
        rows = pd.read_parquet(self.folder(run) / "trajectory.parquet")
        rows = rows[rows["task"] != ""]  # of gradient similarity
        epochs = record["spec"]["epochs"]
        expected = {
            (epoch, task, split, quantity)
            for epoch, task, split in itertools.product(range(epochs + 1), run.arm.tasks, SPLITS)
            for quantity in ("loss", "metric", *self.tasks[task].more_metrics)
        }
        expected |= {(epoch, task, "train", "batch_loss") for epoch in range(1, epochs + 1) for task in run.arm.tasks}
        assert set(zip(*(rows[name] for name in ("epoch", "task", "split", "quantity")), strict=True)) == expected
        assert len(rows) == len(expected)
        assert np.isfinite(rows["value"]).all()
        for task, quantity, value in zip(rows["task"], rows["quantity"], rows["value"], strict=True):
            if "loss" not in quantity:
                self.check_metric(task, quantity, value)
        return record

    def check_metric(self, task, metric, value):
        low, high = RANGES.get(self.tasks[task].metric if metric == "metric" else metric, (0, 1))
        assert low <= value <= high, (task, metric)

    def measure(self, run, *words):
        """Measure a run's checkpoints and hold the numbers against what they may be."""
        self.verb("measure", run.path, "--device", "cpu", *words)
        record = json.loads((self.folder(run) / "run.json").read_text())
        check_factors(pd.read_parquet(self.folder(run) / "factors.parquet"), run.arm.tasks, kept_epochs(record))

    def measure_a_little(self, run):
        """Every measure of the study, the costly ones on two samples; a setting of study B asks for none itself."""
        few = {"sharpness": {"samples": 2, "iterations": 1}, "fisher": {"samples": 2, "draws": 1}}
        blocks = merged(self.study.config["measures"], few)
        measures = {name: named("measure", block, name) for name, block in blocks.items()}
        self.measure(run, "--spec", json.dumps({"every": 1, "measures": measures}))

    def choose(self, run, learning_rate, epoch):
        """Select a run's point by hand, and the epoch that its checkpoint is kept of."""
        path = Path("results/selected") / f"{run.arm.path}.json"
        path.parent.mkdir(parents=True)
        point = {"learning_rate": learning_rate, "batch_size": 2}
        path.write_text(json.dumps({"point": point, "epochs": {str(run.seed): epoch}}))

    def cut(self, height, width):
        """Leave of all prepared pictures and maps one corner."""
        path, spec = Path("data/prepared") / f"{self.setting}.safetensors", self.study.data_spec(self.setting)
        tensors = read_prepared(path, spec).tensors
        cut = {name: own if own.ndim < 3 else own[..., :height, :width].copy() for name, own in tensors.items()}
        write_prepared(path, cut, spec)

    def study_a(self):
        """Sweep, selection, training, measuring and tables."""
        arms = self.study.arms(self.setting)
        for run in dict.fromkeys(run for arm in arms for run in self.study.sweep_runs(arm)):
            self.train(run)
        for arm in arms:
            self.verb("select", arm.path)
            for run in self.study.selected_runs(arm):
                self.train(run)
                self.measure(run)
        self.verb("analyse", self.setting)
        self.verb("factors", self.setting)
        groups = {(arm.group, arm.method, task) for arm in arms if arm.method for task in arm.tasks}
        transfer = self.table("transfer.csv")
        assert set(zip(transfer["group"], transfer["method"], transfer["task"], strict=True)) == groups
        assert len(self.table("runs.csv")) == len(self.study.selected_runs_of(self.setting))
        points = self.table("points.parquet")
        assert {(arm.group, task) for arm in arms for task in arm.tasks} == set(
            zip(points["group"], points["task"], strict=True)
        )
        assert np.isfinite(points[["loss", "metric"]].to_numpy()).all()
        deltas = self.table("deltas.csv")
        compared = {own for own in groups if not own[0].startswith("mtl.aux_")}
        assert set(zip(deltas["group"], deltas["method"], deltas["task"], strict=True)) == compared
        by_last = deltas[deltas["rule"] == "table1"]
        assert set(by_last["factor"]) == {"G", "lowest_loss", "sharpness", "fisher", "coherence"}
        assert np.isfinite(by_last["delta"]).all()
        table_a1 = self.table("table_a1.csv")
        assert compared == set(zip(table_a1["group"], table_a1["method"], table_a1["task"], strict=True))

    def study_b(self):
        """The grid with its tables, and what its best runs are trained again for."""
        for run in self.study.grid_runs_of(self.setting):
            self.train(run)
        self.verb("experiments", self.setting)
        experiments = self.block["experiments"]
        columns = [f"{task}.{metric}" for task in experiments["tasks"] for metric in self.tasks[task].metrics]
        table = self.table("experiments.csv")
        asked = [(method, own) for method, optimizers in experiments["methods"].items() for own in optimizers]
        assert list(zip(table["method"], table["optimizer"], strict=True)) == asked
        assert np.isfinite(table[[*columns, "validation_delta_m", "delta_m"]].to_numpy()).all()
        assert list(self.table("baseline.csv")["metric"]) == columns
        assert len(self.table("results.csv")) == len(asked)

    def best_runs(self):
        """Train the runs that are watched and refitted once more."""
        found = {*self.study.watched_runs_of(self.setting), *self.study.refitted_runs_of(self.setting)}
        for run in sorted(found, key=lambda run: run.path):
            self.verb("select", run.arm.path)
            self.train(run)

    def similarity(self):
        """Gradient similarity of the watched runs."""
        self.verb("similarity", self.setting)
        check_similarity(self.table("similarity.parquet"), self.block["experiments"]["epochs"])

    def corruption(self):
        """Heads fitted to corrupted pictures, and what they come to."""
        self.verb("corrupt", self.setting)
        runs = self.study.refitted_runs_of(self.setting)
        for run in runs:
            self.refit(run)
        self.verb("corruption", self.setting)
        table = self.table("corruption_transfer.csv")
        names = self.study.corruption_spec(self.setting)["names"]
        assert set(table["corruption"]) == {*names, "mean"}
        assert np.isfinite(table["delta"]).all()

    def refit(self, run):
        """Fit a run's heads and hold their scores against what they may be."""
        self.verb("refit", run.path, "--device", "cpu")
        rows = pd.read_parquet(self.folder(run) / "corrupted.parquet")
        names = self.study.corruption_spec(self.setting)["names"]
        conditions = [("clean", 0), *itertools.product(names, SEVERITIES)]
        expected = [
            (task, metric, *condition)
            for condition in conditions
            for task in run.arm.tasks
            for metric in self.tasks[task].metrics
        ]
        assert list(zip(*(rows[name] for name in rows.columns[:4]), strict=True)) == expected
        for task, metric, value in zip(rows["task"], rows["metric"], rows["value"], strict=True):
            self.check_metric(task, metric, value)

    def table(self, name):
        path = Path("results/tables") / self.setting / name
        return pd.read_parquet(path) if path.suffix == ".parquet" else pd.read_csv(path)

    def folder(self, run):
        return Path("results/runs") / run.path


def check_factors(rows, tasks, epochs):
    """A number of every measure for every task and checkpoint, each in its range."""
    together = [(task, other) for task, other in itertools.permutations(tasks, 2)]
    own = OF_TASKS | ({"conflict.similarity"} if together else set())
    expected = {(epoch, task, "", name) for epoch, task, name in itertools.product(epochs, tasks, own)}
    expected |= {(epoch, *pair, name) for epoch, pair, name in itertools.product(epochs, together, OF_PAIRS)}
    assert set(zip(*(rows[name] for name in ("epoch", "task", "other", "measure")), strict=True)) == expected
    assert len(rows) == len(expected)
    values = rows.set_index(["epoch", "task", "other", "measure"])["value"]
    for (epoch, task, _, name), value in values.items():
        if name == "coherence.noise_scale" and values[epoch, task, "", "coherence.gradient"] <= 0:
            assert np.isnan(value)
            continue
        assert np.isfinite(value), name
        assert value >= 0 or name not in NEVER_NEGATIVE, name
        if name in ("conflict.similarity", "conflict.cosine"):
            assert abs(value) <= 1 + 1e-6, name
        if name == "fisher.trace":
            assert value > 0


def check_similarity(table, epochs):
    """Every statistic of every epoch, cosines and shares in their ranges."""
    asked = set(itertools.product(range(1, epochs + 1), KINDS, QUANTITIES, STATISTICS))
    assert set(zip(*(table[name] for name in ("epoch", "kind", "quantity", "statistic")), strict=True)) == asked
    means = table[table["statistic"] == "mean"]
    assert np.isfinite(means["value"]).all()
    for quantity, low in (("cosine", -1), ("magnitude_similarity", 0), ("conflicting", 0)):
        assert means[means["quantity"] == quantity]["value"].between(low - 1e-9, 1 + 1e-9).all()


@pytest.fixture(autouse=True)
def _torch_as_it_was(torch_as_it_was):
    """After every pipeline."""


@pytest.fixture
def pipeline(project, monkeypatch):
    """A function that prepares a setting of the shipped configuration, cut to what it is given, from raw files.

    What it is given goes on top of the setting's file key by key; a model, groups and the grid's methods replace it.
    """

    def make(setting, raw, **changes):
        shipped = REPOSITORY / "config"
        config = yaml.safe_load((shipped / "config.yaml").read_text())
        config.update(settings=[setting], demo=[], seeds=[0, 1], measures=merged(config["measures"], MEASURES))
        (project / "config/config.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
        block = yaml.safe_load((shipped / f"settings/{setting}.yaml").read_text())
        for name in ("model", "groups"):
            if name in changes:
                del block[name]
        if "experiments" in changes:
            del block["experiments"]["methods"]
        path = project / f"config/settings/{setting}.yaml"
        path.write_text(yaml.safe_dump(merged(block, changes), sort_keys=False))
        study = Study.load()
        monkeypatch.setattr(Study, "load", lambda: study)
        made = Pipeline(study, setting)
        made.verb("prepare", setting, "--raw", raw)
        return made

    return make


# Study A


def test_cifar100(pipeline, cifar100_archive, cifar100_members, small_network):
    made = pipeline(
        "cifar100",
        cifar100_archive(cifar100_members),
        data={"train": 10, "validation": 5, "test": 5},
        model={"model": small_network},
        groups={"all": {"tasks": ["fish", "people"], "label": "+people"}},
        methods=["umtg", "pcgrad"],
        auxiliary={"targets": ["fish"], "sets": 1, "size": 1},
        **STUDY_A,
    )
    made.study_a()
    (group,) = made.study.auxiliary["cifar100"]["fish"]
    assert set(made.table("auxiliary.csv")["group"]) == {f"mtl.{group}"}


def test_celeba(pipeline, faces, publish_faces, tmp_path, small_network):
    faces.write(tmp_path / "faces", packed=True)
    publish_faces(tmp_path / "faces")
    attributes = ["no_beard", "wearing_necklace"]
    made = pipeline(
        "celeba",
        tmp_path / "faces",
        model={"model": small_network},
        groups={"all": {"tasks": attributes, "label": "+wearing necklace"}},
        figures={"a1": {"task": "no_beard"}},
        # Fast enough for the attributes to be found in the few pictures that have them: F1 has to be other than 0.
        experiments={**STUDY_B, "tasks": attributes, "learning_rates": [0.1], "alone": {"learning_rates": [0.1]}},
        **STUDY_A,
    )
    made.study_a()
    made.study_b()
    made.best_runs()
    made.similarity()


def test_notmnist(pipeline, write_fashion, write_letters, monkeypatch):
    monkeypatch.setattr("tasktrace.settings.fashion._TRAIN_IMAGES", 100)
    raw = write_fashion(100, 40, 28)
    images = np.random.default_rng(0).integers(0, 256, (50, 28, 28), dtype=np.uint8)
    write_letters(raw, images, np.arange(50) % 10)
    sizes = {"train": 20, "validation": 10, "test": 20}
    made = pipeline(
        "fashion",
        raw,
        data={**sizes, "notmnist": True, **{f"notmnist_{split}": 10 for split in SPLITS}},
        groups={"with_notmnist": {"tasks": ["fashion1", "notmnist"], "label": "+NotMNIST"}},
        figures={"a1": {"groups": ["with_notmnist"]}},
        methods=["umtg"],
        **STUDY_A,
    )
    made.study_a()


def test_glue(pipeline, glue_tables, tmp_path):
    tasks = ["cola", "stsb", "mnli"]
    for task in tasks:
        glue_tables.write(tmp_path / "glue", task, train=10)
    made = pipeline(
        "glue",
        tmp_path / "glue",
        data={"tasks": tasks, "validation": 0.4, "max_length": 24, "tokenizer": "bytes"},
        model={"model": "roberta", "layers": 1, "width": 8, "heads": 2, "vocabulary": 260, "positions": 32},
        groups={"all": {"tasks": tasks, "label": "+2 others"}},
        figures={"a1": {"task": "cola"}},
        methods=["umtg", "gradnorm"],
        **merged(STUDY_A, {"measuring": {"options": {"coherence": {"batch_size": 2}}}}),
    )
    made.study_a()


CITYSCAPES = {"release": {"train": 4, "validation": 1, "test": 2}, "official": {"train": 2, "validation": 1, "test": 1}}


def test_cityscapes_in_study_a(pipeline, cityscapes_release, small_network):
    made = pipeline(
        "cityscapes",
        cityscapes_release,
        data=CITYSCAPES["release"],
        model={"model": small_network},
        methods=["umtg", "mgda"],
        **STUDY_A,
    )
    made.study_a()


# Study B


@pytest.mark.parametrize("form", CITYSCAPES)
def test_cityscapes_in_study_b(request, pipeline, small_network, form):
    made = pipeline(
        "cityscapes_segnet",
        request.getfixturevalue(f"cityscapes_{form}"),
        data=CITYSCAPES[form],
        model={"model": small_network},
        experiments={**STUDY_B, "corruption": only("shot_noise", "jpeg_compression")},
    )
    made.study_b()
    made.best_runs()
    made.similarity()
    made.corruption()


def test_nyuv2(pipeline, nyuv2_release, small_network):
    made = pipeline(
        "nyuv2_segnet",
        nyuv2_release,
        data={"train": 2, "validation": 1, "test": 1},
        model={"model": small_network},
        experiments={**STUDY_B, "methods": {"umtg": ["adam"]}, "epochs": 1, "corruption": only("jpeg_compression")},
    )
    made.study_b()
    made.best_runs()
    made.similarity()
    made.corruption()


def test_a_killed_run_with_augmented_maps_continues_to_the_same_bytes(
    pipeline, cityscapes_release, small_network, monkeypatch
):
    made = pipeline(
        "cityscapes_deeplab",
        cityscapes_release,
        data=CITYSCAPES["release"],
        model={"model": small_network},
        experiments={**STUDY_B, "epochs": 3, "corruption": only("fog")},
    )
    (run,) = made.study.watched_runs_of(made.setting)
    made.choose(run, 0.01, 3)
    assert made.train(run)["spec"]["augmentation"] == "scale_crop_flip"
    paths = [made.folder(run) / "trajectory.parquet", Path("checkpoints") / f"{run.path}.safetensors"]
    expected = [path.read_bytes() for path in paths]
    shutil.rmtree(made.folder(run))
    paths[1].unlink()
    advance, steps = Engine.step, []

    def killed(engine, step):
        steps.append(step)
        if len(steps) == 4:
            raise InterruptedHereError
        advance(engine, step)

    with monkeypatch.context() as patch:
        patch.setattr(Engine, "step", killed)
        with pytest.raises(InterruptedHereError):
            made.train(run, "--save-minutes", "0")
    assert steps == [0, 1, 0, 1]  # the last one was never finished
    assert made.train(run)["attempts"] == 2
    assert [path.read_bytes() for path in paths] == expected


# The papers' networks


def test_resnet18(pipeline, cifar100_archive, cifar100_members):
    made = pipeline(
        "cifar100",
        cifar100_archive(cifar100_members),
        data={"train": 5, "validation": 5, "test": 5},
        groups={"all": {"tasks": ["fish", "people"], "label": "+people"}},
        methods=["pcgrad"],
        auxiliary={"targets": ["fish"], "sets": 1, "size": 1},
        **merged(STUDY_A, {"training": {"epochs": 1}}),
    )
    arm = made.study.find_arm("cifar100/mtl.all/pcgrad/adam")
    run = made.study.selected_runs(arm)[0]
    made.choose(run, 0.0001, 1)
    made.train(run)
    made.measure_a_little(run)


@pytest.mark.parametrize("network", [{"model": "segnet"}, {"model": "deeplab", "backbone": "resnet50"}], ids=str)
def test_networks_of_maps(pipeline, cityscapes_release, network):
    made = pipeline(
        f"cityscapes_{network['model']}",
        cityscapes_release,
        data={"train": 4, "validation": 1, "test": 1},
        model=network,
        experiments={
            **STUDY_B,
            "epochs": 1,
            "similarity": {"every": 2, "most": 2},
            "corruption": only("jpeg_compression"),
        },
    )
    made.cut(32, 64)
    (run,) = made.study.watched_runs_of(made.setting)
    made.choose(run, 0.001, 1)
    made.train(run)
    made.similarity()
    made.measure_a_little(run)
    made.verb("corrupt", made.setting)
    made.refit(run)
