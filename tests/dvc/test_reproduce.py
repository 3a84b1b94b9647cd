"""`dvc repro` on one machine: DVC decides whether Snakemake is called, Snakemake what runs."""

import json
import os
import signal
import subprocess
import time

import pytest

FIGURES = ("a1", "a2", "a3")


def set_rates(station, *rates):
    station.project.edit("config/settings/digits.yaml", lambda block: block["sweep"].update(learning_rates=list(rates)))


def test_a_fresh_clone_makes_the_figures_and_then_has_nothing_to_do(reproduced):
    for figure in FIGURES:
        assert (reproduced.folder / f"results/figures/digits/fig_{figure}.png").stat().st_size > 5000
    assert reproduced.reproduce() is None
    assert reproduced.git("status", "--short") == ""


def test_a_changed_learning_rate_trains_what_depends_on_it(reproduced):
    """The point that was selected stays: its runs are put back, and measured again nothing."""
    set_rates(reproduced, 0.005, 1e-6)
    before = {path: path.read_bytes() for path in reproduced.folder.glob("checkpoints/**/*.safetensors")}
    jobs = reproduced.reproduce()
    assert jobs["train"] == 3  # one for each arm, of six points
    assert "prepare" not in jobs
    assert {"select": 3, "analyse": 1, "figure_a1": 1}.items() <= jobs.items()
    assert {path: path.read_bytes() for path in before} == before
    logs = [path.read_text() for path in reproduced.folder.glob("logs/train/**/selected/*.log")]
    assert logs
    assert all("finished before" in log.splitlines()[-1] for log in logs)
    assert reproduced.reproduce() is None


def test_a_changed_plotting_option_draws_the_figure_and_nothing_else(reproduced):
    reproduced.project.edit("config/config.yaml", lambda study: study["figures"]["a1"].update(width=6.1))
    assert reproduced.reproduce() == {"figure_a1": 1, "demo": 1}
    assert "results/figures/digits/fig_a1.png" in reproduced.dvc("diff")


def test_a_comment_and_a_default_written_out_run_nothing(reproduced):
    reproduced.project.append("src/tasktrace/training/engine.py", "# a comment\n")
    reproduced.project.append("config/config.yaml", "# another\n")
    reproduced.project.edit("config/settings/digits.yaml", lambda block: block["data"].update(seed=0))
    assert reproduced.reproduce() == {}  # Snakemake is called, and finds nothing to do


def test_other_raw_data_is_prepared_anew(reproduced):
    """What git names the raw data with is a dependency of DVC's and a parameter of Snakemake's."""
    entry = "outs:\n- md5: 00000000000000000000000000000000.dir\n  hash: md5\n  path: data/raw/digits\n"
    (reproduced.folder / "data.dvc").write_text(entry)
    assert "config" in reproduced.dvc("status", "study")
    assert reproduced.project.planned("demo")["prepare"] == 1


@pytest.mark.parametrize("blow", [signal.SIGINT, signal.SIGKILL])
def test_a_killed_reproduction_continues(fresh, undisturbed, blow):
    """Finished runs stay, begun ones continue, and the trajectories are those of an undisturbed study."""
    fresh.project.edit(
        "config/workstation.yaml", lambda asked: asked.update(target="fig_a1")
    )  # trains, measures nothing
    with subprocess.Popen(
        ["dvc", "repro"],
        cwd=fresh.folder,
        env=fresh.project.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    ) as process:
        wait_for_runs(fresh.folder, 2)
        os.killpg(process.pid, blow)
        process.communicate(timeout=60)
    finished = {path: path.read_bytes() for path in fresh.folder.glob("results/runs/**/run.json")}
    assert 2 <= len(finished) < 12
    if blow == signal.SIGKILL:
        assert "--unlock" in fresh.dvc("repro", check=False)  # Snakemake's own word for it
        fresh.project.snakemake("--unlock")
    assert fresh.reproduce()["fig_a1"] == 1
    # Trained once, though those that ended just before may have been put back: a record has the time that it took.
    assert {path: path.read_bytes() for path in finished} == finished
    for path in undisturbed.folder.glob("results/runs/**/trajectory.parquet"):
        assert (fresh.folder / path.relative_to(undisturbed.folder)).read_bytes() == path.read_bytes()


def wait_for_runs(folder, count):
    end = time.monotonic() + 120
    while len(list(folder.glob("results/runs/**/run.json"))) < count:
        assert time.monotonic() < end, "no runs were finished"
        time.sleep(0.05)


def test_without_git_dvc_says_so(fresh):
    fresh.run("rm", "-rf", ".git")
    assert "is not a git repository" in fresh.dvc("repro", check=False)
    assert "git init" in fresh.tasktrace("archive", check=False)


def test_metrics_of_the_tables_are_shown_and_compared(reproduced):
    shown = json.loads(reproduced.dvc("metrics", "show", "--json"))
    files = shown[""]["data"]
    delta = files["results/metrics/digits.json"]["data"]["transfer"]["adam"]
    assert delta
    path = reproduced.folder / "results/metrics/digits.json"
    path.write_text(path.read_text().replace('"delta": ', '"delta": 1'))
    assert "transfer.adam" in reproduced.dvc("metrics", "diff")
    plots = json.loads(reproduced.dvc("plots", "diff", "--json"))
    assert not plots.get("errors")
    (transfer,) = plots["data"]["results/plots/transfer/digits.csv"]
    assert transfer["revisions"] == ["workspace"]  # "HEAD" is the same
