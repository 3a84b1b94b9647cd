"""Measuring a run from its folder to its factors: what is measured, how a killed job continues, what is refused."""

import dataclasses
import io
import json
import re
import shutil
import signal
import subprocess
import sys

import pyarrow.parquet as pq
import pytest
from safetensors.numpy import load_file

from tasktrace.errors import BusyError, ConfigError, DamagedFileError, DataError
from tasktrace.files import file_digest
from tasktrace.measures import session as session_module
from tasktrace.measures.journal import Journal
from tasktrace.measures.session import MeasureJob, measure
from tasktrace.settings.prepared import write_prepared
from tasktrace.training.checkpoints import keep_final
from tasktrace.training.session import Job, run

PATH = "digits/group/adam/point/seed0"
COHERENCE = {"name": "coherence", "version": 1, "batches": 4}
CONFLICT = {"name": "conflict", "version": 1}
BOTH = {"coherence": COHERENCE, "conflict": CONFLICT}
RESULTS = len(BOTH) * 4
"""Lines that four checkpoints add to the journal."""


class InterruptedHereError(Exception):
    """Stands for whatever ends a process in the middle of its work."""


@pytest.fixture(scope="session")
def trained_root(tmp_path_factory, prepared_file, make_spec):
    """A function that gives the folder of a project with one trained run of a spec, trained once."""
    known = {}

    def root(**changes):
        key = json.dumps(changes)
        if key not in known:
            known[key] = tmp_path_factory.mktemp("trained")
            spec = make_spec(**{"method": "graddrop", **changes})
            run(Job(PATH, spec, prepared_file, known[key], "cpu"))
        return known[key]

    return root


@pytest.fixture
def make_job(tmp_path, prepared_file, trained_root):
    """A measuring job of a trained run, in the test's own copy of its project."""

    def make(measures=None, every=1, name="project", **changes):
        root = tmp_path / name
        if not root.exists():
            shutil.copytree(trained_root(**changes), root)
        spec = {"every": every, "measures": BOTH if measures is None else measures}
        return MeasureJob(PATH, spec, prepared_file, root, "cpu")

    return make


@pytest.fixture(scope="session")
def _measured_once():
    """Where :func:`uninterrupted` keeps what it measured."""
    return {}


@pytest.fixture
def uninterrupted(make_job, _measured_once):
    """The bytes of the factors that were measured in one go, computed once."""
    if not _measured_once:
        job = make_job(name="uninterrupted")
        measure(job)
        _measured_once["bytes"] = (job.folder / "factors.parquet").read_bytes()
    return _measured_once["bytes"]


@pytest.fixture
def walks(monkeypatch):
    """The measures of every pass over batches, in turn."""
    passes, walk = [], session_module.walk

    def counted(run, asked, measures):
        passes.append([type(own).__module__.rpartition(".")[2] for own in measures])
        return walk(run, asked, measures)

    monkeypatch.setattr(session_module, "walk", counted)
    return passes


def factors(job):
    return pq.read_table(job.folder / "factors.parquet").to_pylist()


def epochs(job):
    return sorted({row["epoch"] for row in factors(job)})


def test_the_factors_hold_every_number_of_every_checkpoint(make_job):
    job = make_job()
    measure(job)
    rows = factors(job)
    coherence = [f"coherence.{name}" for name in ("covariance", "gradient", "noise_scale", "minibatch_fisher")]
    pairs = ["cosine", "magnitude_similarity", "conflicting", "conflicting_nonzero"]
    expected = []
    for epoch in range(4):
        expected += [(epoch, task, "", name, "model") for task in ("digits1", "digits2") for name in coherence]
        for task, other in (("digits1", "digits2"), ("digits2", "digits1")):
            expected.append((epoch, task, "", "conflict.similarity", "encoder"))
            expected += [(epoch, task, other, f"conflict.{name}", "encoder") for name in pairs]
    assert [tuple(row[key] for key in ("epoch", "task", "other", "measure", "parameters")) for row in rows] == expected
    assert all(row["step"] == 9 * row["epoch"] for row in rows)
    covariances = [row["value"] for row in rows if row["measure"] == "coherence.covariance"]
    assert len(set(covariances)) == 8
    assert min(covariances) > 0


def test_the_record_says_what_was_measured(make_job):
    job = make_job()
    content = measure(job)
    assert json.loads((job.folder / "factors.json").read_text()) == content
    assert content["run"] == PATH
    assert content["spec"] == job.spec
    assert content["sha256"] == file_digest(job.folder / "factors.parquet")
    assert content["device"] == "cpu"
    assert content["seconds"].keys() == {"coherence", "conflict"}
    assert {task: own["population"] for task, own in content["sample"].items()} == {"digits1": 300, "digits2": 300}


def test_the_encoders_coherence_says_so(make_job):
    job = make_job({"narrow": {**COHERENCE, "parameters": "encoder"}})
    measure(job)
    assert {(row["measure"].partition(".")[0], row["parameters"]) for row in factors(job)} == {("narrow", "encoder")}


def test_the_checkpoints_are_only_read(make_job):
    job = make_job()
    (path,) = (job.root / "checkpoints").rglob("*.safetensors")
    before, record = path.stat(), (job.folder / "run.json").read_bytes()
    written = file_digest(path)
    measure(job)
    after = path.stat()
    assert (after.st_mtime_ns, after.st_ino, after.st_size) == (before.st_mtime_ns, before.st_ino, before.st_size)
    assert file_digest(path) == written
    assert (job.folder / "run.json").read_bytes() == record


def test_measures_of_the_same_batches_share_a_pass(make_job, walks):
    measure(make_job({"coherence": {**COHERENCE, "batches": 20}, "conflict": CONFLICT}))
    assert walks == [["coherence", "conflict"]] * 4


def test_sharing_a_pass_changes_no_number(make_job):
    measures = {"coherence": {**COHERENCE, "batches": 20}, "conflict": CONFLICT}
    together = make_job(measures)
    measure(together)
    apart = []
    for name, spec in measures.items():
        job = make_job({name: spec}, name=f"only_{name}")
        measure(job)
        apart += factors(job)
    assert sorted(map(repr, factors(together))) == sorted(map(repr, apart))


@pytest.mark.parametrize(("every", "expected"), [(1, [0, 1, 2, 3]), (2, [0, 2, 3]), (3, [0, 3]), (5, [0, 3])])
def test_every_so_many_epochs_the_first_and_the_last_are_measured(make_job, uninterrupted, every, expected):
    job = make_job(every=every)
    measure(job)
    assert epochs(job) == expected
    whole = pq.read_table(io.BytesIO(uninterrupted)).to_pylist()
    assert repr(factors(job)) == repr([row for row in whole if row["epoch"] in expected])


def test_only_kept_checkpoints_are_measured(make_job):
    job = make_job(epochs=5, checkpoint_every=2)
    measure(job)
    assert epochs(job) == [0, 2, 4, 5]


@pytest.fixture
def interrupt(monkeypatch):
    """Measure until so many results are on the disk."""

    def measure_part(job, results):
        add, count = Journal.add, []

        def add_until(journal, key, epoch, measured):
            if len(count) == results:
                raise InterruptedHereError
            count.append(epoch)
            add(journal, key, epoch, measured)

        with monkeypatch.context() as patch:
            patch.setattr(Journal, "add", add_until)
            with pytest.raises(InterruptedHereError):
                measure(job)

    return measure_part


@pytest.mark.parametrize("results", range(RESULTS))
def test_interrupted_anywhere_it_ends_with_the_same_bytes(make_job, interrupt, uninterrupted, walks, results):
    job = make_job()
    interrupt(job, results)
    assert not (job.folder / "factors.parquet").exists()
    walks.clear()
    measure(job)
    assert len(walks) == RESULTS - results
    assert (job.folder / "factors.parquet").read_bytes() == uninterrupted


def test_interrupted_again_and_again_it_ends_with_the_same_bytes(make_job, interrupt, uninterrupted):
    job = make_job()
    for results in (0, 1, 2, 0, 3):
        interrupt(job, results)
    measure(job)
    assert (job.folder / "factors.parquet").read_bytes() == uninterrupted


# The process dies by SIGKILL in the middle of the journal's sixth line.
PROGRAM = """
import os, signal, sys
from pathlib import Path
from tasktrace.measures import journal
from tasktrace.measures.session import MeasureJob, measure

lines, line = [], journal._line

def cut(*arguments):
    lines.append(line(*arguments))
    if len(lines) < 6:
        return lines[-1]
    path = Path(sys.argv[2]) / "results/runs" / sys.argv[1] / ".measure/journal"
    with path.open("a") as stream:
        stream.write(lines[-1][:100])
    os.kill(os.getpid(), signal.SIGKILL)

journal._line = cut
spec = {"every": 1, "measures": {"coherence": %r, "conflict": %r}}
measure(MeasureJob(sys.argv[1], spec, Path(sys.argv[3]), Path(sys.argv[2]), "cpu"))
"""


def test_a_killed_process_is_continued_to_the_same_bytes(make_job, uninterrupted, walks, capsys):
    job = make_job()
    command = [sys.executable, "-c", PROGRAM % (COHERENCE, CONFLICT), job.path, str(job.root), str(job.prepared)]
    killed = subprocess.run(command, capture_output=True, timeout=120)
    assert killed.returncode == -signal.SIGKILL
    walks.clear()
    capsys.readouterr()
    measure(job)
    assert len(walks) == RESULTS - 5
    assert "1 unreadable or damaged lines, measuring those again" in capsys.readouterr().err
    assert (job.folder / "factors.parquet").read_bytes() == uninterrupted
    assert list(job.root.rglob("*.tmp")) == []


def test_measuring_again_only_writes_the_files_again(make_job, uninterrupted, walks):
    job = make_job()
    first = measure(job)
    walks.clear()
    for name in ("factors.parquet", "factors.json"):
        (job.folder / name).unlink()
    again = measure(job)
    assert walks == []
    assert {**again, "seconds": first["seconds"]} == first
    assert (job.folder / "factors.parquet").read_bytes() == uninterrupted


def test_a_measure_more_is_measured_alone(make_job, walks, uninterrupted):
    job = make_job({"conflict": CONFLICT})
    measure(job)
    walks.clear()
    measure(dataclasses.replace(job, spec={"every": 1, "measures": BOTH}))
    assert walks == [["coherence"]] * 4
    assert (job.folder / "factors.parquet").read_bytes() == uninterrupted


def test_a_measure_less_is_gone_and_comes_back_without_measuring(make_job, walks, uninterrupted):
    job = make_job()
    measure(job)
    walks.clear()
    measure(dataclasses.replace(job, spec={"every": 1, "measures": {"conflict": CONFLICT}}))
    assert {row["measure"].partition(".")[0] for row in factors(job)} == {"conflict"}
    measure(job)
    assert walks == []
    assert (job.folder / "factors.parquet").read_bytes() == uninterrupted


def test_a_renamed_block_is_not_measured_again(make_job, walks):
    job = make_job()
    measure(job)
    before = factors(job)
    walks.clear()
    renamed = {"noise": COHERENCE, "conflict": CONFLICT}
    measure(dataclasses.replace(job, spec={"every": 1, "measures": renamed}))
    assert walks == []
    expected = [{**row, "measure": row["measure"].replace("coherence.", "noise.")} for row in before]
    assert repr(factors(job)) == repr(expected)


@pytest.mark.parametrize("change", [{"batches": 5}, {"version": 2}])
def test_another_option_or_version_is_measured_anew(make_job, walks, change):
    job = make_job()
    measure(job)
    walks.clear()
    changed = {"coherence": {**COHERENCE, **change}, "conflict": CONFLICT}
    measure(dataclasses.replace(job, spec={"every": 1, "measures": changed}))
    assert walks == [["coherence"]] * 4


def test_more_epochs_are_measured_beside_those_that_were(make_job, walks, uninterrupted):
    job = make_job(every=3)
    measure(job)
    walks.clear()
    measure(dataclasses.replace(job, spec={**job.spec, "every": 1}))
    assert len(walks) == 2 * 2
    assert (job.folder / "factors.parquet").read_bytes() == uninterrupted


def test_a_run_that_was_trained_anew_is_measured_anew(make_job, make_spec, prepared_file, walks, uninterrupted):
    job = make_job()
    measure(job)
    run(Job(PATH, make_spec(method="graddrop", seed=1), prepared_file, job.root, "cpu"))
    walks.clear()
    measure(job)
    assert len(walks) == RESULTS
    assert (job.folder / "factors.parquet").read_bytes() != uninterrupted


def test_other_checkpoints_of_the_same_spec_are_measured_anew(make_job, walks, trained_root):
    job = make_job()
    measure(job)
    path = job.folder / "run.json"
    record = json.loads(path.read_text())
    other = json.loads((trained_root(seed=1) / path.relative_to(job.root)).read_text())
    for entry in record["checkpoints"]:
        shutil.copy(trained_root(seed=1) / entry["path"], job.root / entry["path"])
    path.write_text(json.dumps({**record, "checkpoints": other["checkpoints"]}))
    walks.clear()
    measure(job)
    assert len(walks) == RESULTS


def test_a_task_alone_has_no_conflict(make_job):
    job = make_job(tasks=["digits1"])
    measure(job)
    assert {row["measure"].partition(".")[0] for row in factors(job)} == {"coherence"}
    assert {row["task"] for row in factors(job)} == {"digits1"}
    nothing = dataclasses.replace(job, spec={"every": 1, "measures": {"conflict": CONFLICT}})
    schema = pq.read_schema(job.folder / "factors.parquet")
    measure(nothing)
    assert factors(job) == []
    assert pq.read_schema(job.folder / "factors.parquet") == schema


def test_a_task_alone_and_together_is_measured_alike_before_training(make_job):
    alone, together = make_job(tasks=["digits1"], name="alone"), make_job()
    for job in (alone, together):
        measure(job)
    chosen = [
        [row for row in factors(job) if (row["epoch"], row["task"]) == (0, "digits1") and "coherence" in row["measure"]]
        for job in (alone, together)
    ]
    assert len(chosen[0]) == 4
    for one, other in zip(*chosen, strict=True):
        assert one["value"] == pytest.approx(other["value"], rel=1e-5, nan_ok=True)


def test_a_run_that_has_not_finished_is_refused(make_job):
    job = make_job()
    (job.folder / "run.json").unlink()
    expected = f"{job.folder}: no finished run here; run `snakemake --cores 1 {job.folder / 'run.json'}`"
    with pytest.raises(DataError, match=re.escape(expected)):
        measure(job)
    absent = dataclasses.replace(job, path="digits/group/adam/point/seed7")
    with pytest.raises(DataError, match="no finished run here"):
        measure(absent)
    assert not absent.folder.exists()


def test_a_run_without_checkpoints_is_refused(make_job):
    job = make_job(checkpoint_every=0)
    where = re.escape(str(job.folder))
    with pytest.raises(ConfigError, match=f"{where}: this run kept no checkpoints.*checkpoint_every"):
        measure(job)


@pytest.mark.parametrize("damage", ["flipped", "absent"])
def test_a_checkpoint_file_that_is_not_as_written_is_refused(make_job, damage):
    job = make_job()
    (path,) = (job.root / "checkpoints").rglob("*.safetensors")
    if damage == "absent":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[:-1] + b"\x01")
    expected = {"absent": "this checkpoint file is absent", "flipped": "damaged checkpoint"}[damage]
    with pytest.raises(DamagedFileError, match=f"{re.escape(str(path))}: {expected}"):
        measure(job)
    assert not (job.folder / "factors.parquet").exists()


@pytest.fixture
def without_checkpoints(make_job):
    """A job on a run that was measured, of whose checkpoints only the final epochs are here still."""
    job = make_job()
    measure(job)
    keep_final(json.loads((job.folder / "run.json").read_text()), job.root)
    (packed,) = (job.root / "checkpoints/digits").rglob("*.safetensors")
    packed.unlink()
    return job


def test_what_was_measured_is_written_again_without_checkpoints(without_checkpoints, walks, uninterrupted):
    job = without_checkpoints
    for name in ("factors.parquet", "factors.json"):
        (job.folder / name).unlink()
    measure(job)
    assert walks == []
    assert (job.folder / "factors.parquet").read_bytes() == uninterrupted
    fewer = {"every": 3, "measures": {"conflict": CONFLICT}}
    measure(dataclasses.replace(job, spec=fewer))
    assert epochs(job) == [0, 3]


def test_a_measure_more_needs_the_checkpoints_and_names_those_that_are_absent(without_checkpoints, walks):
    job = without_checkpoints
    before = (job.folder / "factors.parquet").read_bytes()
    packed = job.root / f"checkpoints/{PATH}.safetensors"
    more = {**BOTH, "encoder": {**COHERENCE, "parameters": "encoder"}}
    with pytest.raises(DamagedFileError, match=f"{re.escape(str(packed))}: this checkpoint file is absent; fetch it"):
        measure(dataclasses.replace(job, spec={"every": 1, "measures": more}))
    assert walks == []
    assert (job.folder / "factors.parquet").read_bytes() == before


def test_a_damaged_checkpoint_is_no_hindrance_where_all_was_measured(make_job, uninterrupted):
    job = make_job()
    measure(job)
    (path,) = (job.root / "checkpoints").rglob("*.safetensors")
    path.write_bytes(path.read_bytes()[:-1] + b"\x01")
    measure(job)
    assert (job.folder / "factors.parquet").read_bytes() == uninterrupted
    with pytest.raises(DamagedFileError, match=f"{re.escape(str(path))}: damaged checkpoint"):
        measure(dataclasses.replace(job, spec={"every": 1, "measures": {"other": {**COHERENCE, "batches": 5}}}))


def test_absent_data_is_refused(make_job):
    job = dataclasses.replace(make_job(), prepared=make_job().root / "nothing.safetensors")
    with pytest.raises(DataError, match="no prepared data"):
        measure(job)


def test_data_of_another_content_is_refused(make_job, tmp_path, prepared, prepared_file, data_spec):
    tensors = load_file(prepared_file)
    tensors["inputs"][0, 0, 0, 0] ^= 1
    other = write_prepared(tmp_path / "other.safetensors", tensors, data_spec)
    job = dataclasses.replace(make_job(), prepared=tmp_path / "other.safetensors")
    with pytest.raises(DataError) as raised:
        measure(job)
    for expected in (str(job.folder), prepared.content, other.content, str(job.prepared), "train the run again"):
        assert expected in str(raised.value)


def test_a_run_that_another_process_measures_is_refused(make_job, held_elsewhere, uninterrupted):
    job = make_job()
    with held_elsewhere(job.folder / ".measure/lock"), pytest.raises(BusyError) as raised:
        measure(job)
    assert str(raised.value).startswith(f"{job.folder}: process 4711 on elsewhere is measuring this run")
    measure(job)
    assert (job.folder / "factors.parquet").read_bytes() == uninterrupted


def test_a_damaged_line_of_the_journal_costs_its_own_result_alone(make_job, walks, uninterrupted, capsys):
    job = make_job()
    measure(job)
    journal = job.folder / ".measure/journal"
    lines = journal.read_text().splitlines(keepends=True)
    lines[3] = lines[3].replace("0.", "1.", 1)
    journal.write_text("".join(lines))
    walks.clear()
    capsys.readouterr()
    measure(job)
    assert len(walks) == 1
    assert "1 unreadable or damaged lines" in capsys.readouterr().err
    assert (job.folder / "factors.parquet").read_bytes() == uninterrupted


def test_batches_too_large_for_a_task_are_refused_and_leave_what_was_measured(make_job):
    job = make_job({"coherence": COHERENCE, "large": {**COHERENCE, "batch_size": 200}})
    with pytest.raises(ConfigError, match="two batches of 200 samples are needed"):
        measure(job)
    assert len((job.folder / ".measure/journal").read_text().splitlines()) == 1
    assert not (job.folder / "factors.parquet").exists()
