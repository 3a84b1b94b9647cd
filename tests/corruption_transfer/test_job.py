"""Refitting a run from its folder to its scores: what is fitted and tested, what stays, what is refused."""

import dataclasses
import json
import re
import shutil

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.numpy import load_file

from tasktrace.config.study import identity
from tasktrace.corruption_transfer import heads as heads_module
from tasktrace.corruption_transfer import job as job_module
from tasktrace.corruption_transfer.data import plan, write_corrupted
from tasktrace.corruption_transfer.job import RefitJob, refit
from tasktrace.errors import BusyError, ConfigError, DamagedFileError, DataError
from tasktrace.files import file_digest
from tasktrace.measures.trained import TrainedRun
from tasktrace.training.checkpoints import keep_final, load_checkpoint
from tasktrace.training.data import Order
from tasktrace.training.finals import final_path

TOGETHER = "digit_traits/grid/umtg/adam/selected/seed0"
ALONE = "digit_traits/grid_stl.ink/adam/selected/seed0"
METRICS = [
    ("digit", "accuracy"),
    ("parity", "accuracy"),
    ("ink", "absolute_error"),
    ("ink", "relative_error"),
]
SEVERITIES = range(1, 6)


@pytest.fixture
def make_job(tmp_path, traits_file, corrupted_folder, trained_root, refit_spec):
    """A job on a finished run, in the test's own copy of its project."""

    def make(path=TOGETHER, name="project", spec=refit_spec, **changes):
        tasks = {"tasks": ("ink",)} if path == ALONE else {}
        root = tmp_path / name
        if not root.exists():
            shutil.copytree(trained_root(path, **tasks, **changes), root)
        return RefitJob(path, spec, traits_file, root, "cpu", corrupted=corrupted_folder)

    return make


@pytest.fixture
def runs(monkeypatch):
    """The runs that jobs loaded, as they left them."""
    loaded = []

    class Kept(TrainedRun):
        def __init__(self, *given):
            super().__init__(*given)
            loaded.append(self)

    monkeypatch.setattr(job_module, "TrainedRun", Kept)
    return loaded


def rows(job):
    return pq.read_table(job.folder / "corrupted.parquet").to_pylist()


def record(job):
    return json.loads((job.folder / "run.json").read_text())


def test_the_scores_hold_every_metric_clean_and_under_every_corruption(make_job, refit_spec):
    job = make_job()
    refit(job)
    kinds = [("clean", 0), *((name, own) for name in refit_spec["corruption"]["names"] for own in SEVERITIES)]
    expected = [(*metric, *kind) for kind in kinds for metric in METRICS]
    found = rows(job)
    assert [(row["task"], row["metric"], row["corruption"], row["severity"]) for row in found] == expected
    values = np.array([row["value"] for row in found])
    assert np.isfinite(values).all()
    assert len(set(values.tolist())) > len(values) / 2


def test_the_record_says_of_which_run_and_how(make_job, refit_spec):
    job = make_job()
    content = refit(job)
    assert json.loads((job.folder / "corrupted.json").read_text()) == content
    trained = record(job)
    expected = {
        "run": TOGETHER,
        "identity": identity(trained["spec"]),
        "trajectory": trained["trajectory"],
        "epoch": 2,
        "spec": refit_spec,
        "sha256": file_digest(job.folder / "corrupted.parquet"),
    }
    assert expected.items() <= content.items()


def test_refitting_twice_gives_the_same_bytes(make_job):
    jobs = [make_job(name=name) for name in ("one", "two")]
    for job in (*jobs, jobs[1]):
        refit(job)
    one, two = ((job.folder / "corrupted.parquet").read_bytes() for job in jobs)
    assert one == two


def test_clean_scores_are_the_trajectorys_at_the_best_epoch(make_job, refit_spec, traits, tmp_path):
    corruption = {**refit_spec["corruption"], "names": ["contrast"], "test": None}
    write_corrupted(corruption, traits, 16, tmp_path / "all")
    job = dataclasses.replace(make_job(spec={**refit_spec, "corruption": corruption}), corrupted=tmp_path / "all")
    refit(job)
    trajectory = {
        (row["task"], row["quantity"]): row["value"]
        for row in pq.read_table(job.folder / "trajectory.parquet").to_pylist()
        if row["epoch"] == 2 and row["split"] == "test"
    }
    found = {(row["task"], row["metric"]): row["value"] for row in rows(job) if row["corruption"] == "clean"}
    assert list(found) == METRICS
    for (task, metric), value in found.items():
        quantity = "relative_error" if metric == "relative_error" else "metric"
        assert value == trajectory[task, quantity]


def scores_by_hand(job, traits, spec):
    """All scores of refitted heads, by a loop over whole models on the pictures themselves."""
    asked, trained = spec["corruption"], record(job)
    run = TrainedRun(trained, traits, job.root, torch.device("cpu"))
    run.load(2)
    chosen = plan(traits, asked["tasks"], asked["test"])
    pictures = load_file(job.corrupted / "train.safetensors")["inputs"]
    place_of = {int(row): place for place, row in enumerate(chosen.train)}

    def features(images):
        with torch.no_grad():
            pixels = (torch.from_numpy(images).float() - torch.tensor(traits.mean)) / torch.tensor(traits.std)
            return run.parts.model.encoder(pixels)

    heads = {}
    for task in run.tasks:
        head = heads[task.name] = run.parts.model.heads[task.name]
        mine = features(pictures[[place_of[int(row)] for row in traits.tensors[f"{task.name}/train/index"]]])
        targets = torch.from_numpy(traits.tensors[f"{task.name}/train/target"])
        optimizer = torch.optim.SGD(head.parameters(), lr=spec["learning_rate"], momentum=0.9)
        order = Order(f"refit {task.name}", len(targets), spec["batch_size"], trained["spec"]["seed"])
        for batch in order.batches(0, spec["epochs"] * (len(targets) // spec["batch_size"])):
            outputs = head(mine[batch])
            optimizer.zero_grad()
            if task.name == "ink":
                (outputs[:, 0] - targets[batch]).abs().mean().backward()
            else:
                torch.nn.functional.cross_entropy(outputs, targets[batch]).backward()
            optimizer.step()
    found = {}
    row_of = {int(row): place for place, row in enumerate(chosen.test)}
    for name in asked["names"]:
        for severity, images in ((own, load_file(job.corrupted / f"{name}.safetensors")) for own in SEVERITIES):
            for task, head in heads.items():
                index = traits.tensors[f"{task}/test/index"]
                tested = [place for place, row in enumerate(index) if int(row) in row_of]
                picked = images[f"severity{severity}"][[row_of[int(index[place])] for place in tested]]
                outputs = head(features(picked)).detach().double().numpy()
                targets = traits.tensors[f"{task}/test/target"][tested]
                if task == "ink":
                    errors = np.abs(outputs[:, 0] - targets)
                    found[task, "absolute_error", name, severity] = errors.mean()
                    found[task, "relative_error", name, severity] = (errors / targets).mean()
                else:
                    found[task, "accuracy", name, severity] = (outputs.argmax(axis=1) == targets).mean()
    return found


@pytest.mark.parametrize("limit", [0, 2**31], ids=["computed", "remembered"])
def test_scores_are_those_of_a_plain_loop(make_job, refit_spec, traits, monkeypatch, limit):
    monkeypatch.setattr(heads_module, "REMEMBERED_BYTES", limit)
    job = make_job()
    refit(job)
    key = ("task", "metric", "corruption", "severity")
    found = {tuple(row[name] for name in key): row["value"] for row in rows(job) if row["corruption"] != "clean"}
    assert found == pytest.approx(scores_by_hand(job, traits, refit_spec), rel=1e-4)


def test_the_model_that_was_loaded_is_as_it_was_trained(make_job, runs):
    job = make_job()
    refit(job)
    (run,) = runs
    checkpoint = load_checkpoint(record(job), 2, job.root)
    state = run.parts.model.state_dict()
    assert {"encoder.1.running_mean", "encoder.1.running_var", "heads.digit.weight"} <= state.keys()
    assert all(torch.equal(value, checkpoint[name]) for name, value in state.items())


def test_a_task_alone_is_tested_on_the_same_samples(make_job, traits, runs):
    jobs = [make_job(TOGETHER, "together"), make_job(ALONE, "alone")]
    for job in jobs:
        refit(job)
    assert {row["task"] for row in rows(jobs[1])} == {"ink"}
    assert len(rows(jobs[1])) == 2 * (1 + 3 * 5)
    assert [record(job)["spec"]["tasks"] for job in jobs] == [["digit", "parity", "ink"], ["ink"]]
    index = traits.tensors["ink/test/index"]
    chosen = plan(traits, ["digit", "parity", "ink"], 40)
    testing = [job_module._Testing(run, chosen, torch.device("cpu")) for run in runs]
    for own in testing:
        assert chosen.test[own._positions["ink"]].tolist() == [row for row in index if row in set(chosen.test)]
    assert torch.equal(testing[0]._targets["ink"], testing[1]._targets["ink"])


def assert_refused(kind, job, *parts):
    with pytest.raises(kind) as caught:
        refit(job)
    for part in parts:
        assert part in str(caught.value)
    assert not (job.folder / "corrupted.json").exists()


def test_an_absent_run_is_named_with_the_remedy(make_job, tmp_path):
    job = dataclasses.replace(make_job(), root=tmp_path / "elsewhere")
    run = job.folder / "run.json"
    assert_refused(DataError, job, f"{job.folder}: no finished run here; run `snakemake --cores 1 {run}`")


@pytest.mark.parametrize(
    ("changes", "found"),
    [({"learning_rate": 1e30}, "(2); it ended as diverged"), ({"best_epoch": None}, "(None); it ended as finished")],
    ids=["diverged", "not kept"],
)
def test_a_run_without_the_checkpoint_of_its_best_epoch_is_refused(make_job, changes, found):
    job = make_job(**changes)
    remedy = f"delete the folder and run `snakemake --cores 1 {job.folder / 'run.json'}`"
    assert_refused(DataError, job, f"{job.folder}: ", f"did not keep the checkpoint of its best epoch {found}", remedy)


def test_a_run_that_another_process_refits_is_left_alone(make_job, held_elsewhere):
    job = make_job()
    with held_elsewhere(job.folder / ".refit/lock"):
        assert_refused(BusyError, job, f"{job.folder}: process 4711 on elsewhere is refitting this run")
    refit(job)


def test_a_damaged_checkpoint_is_refused(make_job):
    job = make_job()
    path = job.root / record(job)["checkpoints"][0]["path"]
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    assert_refused(DamagedFileError, job, f"{path}: damaged checkpoint")


@pytest.fixture
def finals_alone(make_job):
    """A job on a run of several checkpoints, of which only the final epochs are here."""
    job = make_job(name="finals", checkpoint_every=1)
    assert record(job)["checkpoints"][0]["epochs"] == [0, 1, 2, 3]
    keep_final(record(job), job.root)
    (job.root / record(job)["checkpoints"][0]["path"]).unlink()
    return job


def test_the_final_epochs_alone_give_the_same_bytes(finals_alone, make_job):
    refit(finals_alone)
    whole = make_job(name="whole", checkpoint_every=1)
    refit(whole)
    scores = (whole.folder / "corrupted.parquet").read_bytes()
    assert (finals_alone.folder / "corrupted.parquet").read_bytes() == scores


def test_a_damaged_file_of_final_epochs_is_refused(finals_alone):
    path = finals_alone.root / final_path(record(finals_alone))
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    assert_refused(DamagedFileError, finals_alone, f"{path}: damaged, or of another run")


def test_an_absent_checkpoint_is_named(finals_alone):
    (finals_alone.root / final_path(record(finals_alone))).unlink()
    path = finals_alone.root / record(finals_alone)["checkpoints"][0]["path"]
    assert_refused(DamagedFileError, finals_alone, f"{path}: this checkpoint file is absent; fetch it")


def test_pictures_of_another_spec_are_refused(make_job, refit_spec):
    job = make_job(spec={**refit_spec, "corruption": {**refit_spec["corruption"], "test": 41}})
    assert_refused(DataError, job, f"{job.corrupted}: corrupted as ", '"test":41')


def test_batches_larger_than_a_tasks_data_are_refused_with_their_place(make_job, refit_spec):
    job = make_job(spec={**refit_spec, "batch_size": 201})
    parts = ("batch size 201 is larger than the 200 training samples of task 'digit'", "refit.batch_size")
    assert_refused(ConfigError, job, *parts)


def test_a_head_that_diverges_is_refused_with_its_task(make_job, refit_spec):
    job = make_job(spec={**refit_spec, "learning_rate": 1e38})
    where = re.escape(str(job.folder))
    with pytest.raises(DataError, match=rf"^{where}: the refitted head of '\w+' diverged; .*refit\.learning_rate$"):
        refit(job)
    assert not (job.folder / "corrupted.parquet").exists()


def test_the_remains_of_a_killed_job_are_removed(make_job):
    job = make_job()
    stale = job.folder / ".corrupted.parquet.4194305.tmp"
    stale.write_bytes(b"part of a table")
    refit(job)
    names = {path.name for path in job.folder.iterdir()}
    assert names == {"run.json", "trajectory.parquet", ".resume", ".refit", "corrupted.parquet", "corrupted.json"}
