"""The tiny study, end to end."""

import hashlib
import json
import re
import shutil
import subprocess
import time
from pathlib import Path

import pandas as pd
import pytest

SWEEP = "results/runs/digits/stl.digits1/adam"
SELECTED = "results/runs/digits/mtl.with_digits2/umtg/adam/selected/seed1"


def test_the_figure_and_its_numbers_are_there(finished):
    folder = finished.folder / "results/figures/digits"
    assert (folder / "fig_a1.png").read_bytes().startswith(b"\x89PNG")
    assert (folder / "fig_a1.pdf").read_bytes().startswith(b"%PDF")
    plotted = pd.read_csv(folder / "fig_a1.csv")
    points = pd.read_parquet(finished.folder / "results/tables/digits/points.parquet")
    alone = plotted[(plotted["kind"] == "point") & (plotted["group"] == "stl.digits1")]
    expected = points[(points["group"] == "stl.digits1") & (points["task"] == "digits1") & (points["epoch"] > 0)]
    assert len(alone) == len(expected) == 2 * 2  # seeds times epochs
    assert sorted(alone["metric"]) == sorted(expected["metric"])


def test_a_diverged_run_is_an_outcome_that_is_never_selected(finished):
    record = json.loads((finished.folder / SWEEP / "lr1e+30_bs64/seed0/run.json").read_text())
    assert record["outcome"]["status"] == "diverged"
    assert record["outcome"]["task"] == "digits1"
    selection = json.loads((finished.folder / "results/selected/digits/stl.digits1/adam.json").read_text())
    assert selection["point"] == {"learning_rate": 0.005, "batch_size": 64}
    assert [candidate["score"] is None for candidate in selection["candidates"]] == [False, True]


def test_the_tables_page_shows_every_run(finished):
    page = (finished.folder / "results/report/digits.html").read_text()
    runs = pd.read_csv(finished.folder / "results/tables/digits/runs.csv")
    assert len(runs) == 6
    assert all(run in page for run in runs["run"])


def test_the_report_is_one_self_contained_file(finished):
    finished.snakemake("all", "--report", "results/report.html")
    page = (finished.folder / "results/report.html").read_text()
    assert not re.findall(r"<(?:script|link|img)[^>]+(?:src|href)=\"?https?:", page)
    assert "fig_a1.png" in page
    _look_in_a_browser(finished.folder / "results/report.html")


def test_a_killed_pipeline_continues_to_the_same_bytes(finished, fresh):
    shutil.copytree(finished.folder / "config", fresh.folder / "config", dirs_exist_ok=True)
    target = f"{SELECTED}/run.json"
    command = ["snakemake", "--cores", "2", "--scheduler", "greedy", target]
    running = subprocess.Popen(
        command, cwd=fresh.folder, env=fresh.environment, start_new_session=True, stderr=subprocess.DEVNULL
    )
    state = fresh.folder / SELECTED / ".resume"
    _wait_for(lambda: any(state.glob("*.state")) or (state / "finished.json").exists())
    subprocess.run(["pkill", "-KILL", "--session", str(running.pid)], check=True)
    running.wait()
    fresh.snakemake("--unlock", target)
    fresh.snakemake("--cores", "2", "--rerun-incomplete", target)
    for name in (f"{SELECTED}/trajectory.parquet", SELECTED.replace("results/runs", "checkpoints") + ".safetensors"):
        assert _sha256(fresh.folder / name) == _sha256(finished.folder / name), name


def test_a_person_can_type_the_verb_of_a_rule(finished):
    before = _sha256(finished.folder / SELECTED / "trajectory.parquet")
    shutil.rmtree(finished.folder / SELECTED)
    done = finished.tasktrace("train", SELECTED)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("epoch") == 3
    assert _sha256(finished.folder / SELECTED / "trajectory.parquet") == before


def test_check_says_what_is_there_and_what_is_missing(finished):
    finished.edit("config/config.yaml", lambda config: config["settings"].append("fashion"))
    output = finished.snakemake("--cores", "1", "check").stdout
    assert "digits: prepared in data/prepared/digits.safetensors" in output
    assert "4 of 4 raw files missing" in output
    assert "MB for the largest Jacobian" in output
    assert "data/raw/fashion/FashionMNIST/raw/train-images-idx3-ubyte.gz" in output
    assert "MD5 8d4fb7e6c68d591d4c3dfef9ec88bf0d" in output


def test_check_checks_every_time(finished):
    for _ in range(2):
        assert "digits: prepared" in finished.snakemake("--cores", "1", "check").stdout


def test_a_run_typed_with_other_options_is_not_used(finished):
    sweep = f"{SWEEP}/lr0.005_bs64/seed0"
    shutil.rmtree(finished.folder / sweep)
    shutil.rmtree(finished.folder / ".snakemake")
    done = finished.tasktrace("train", f"./{sweep}")
    assert done.returncode == 0, done.stderr
    finished.edit("config/settings/digits.yaml", lambda block: block["sweep"].update(epochs=2))
    arm = "digits/stl.digits1/adam"
    assert finished.tasktrace("select", arm).returncode == 1
    target = f"results/selected/{arm}.json"
    assert finished.snakemake("--cores", "1", "-R", "select", "--", target, check=False).returncode != 0
    log = (finished.folder / f"logs/select/{arm}.log").read_text()
    assert f"{sweep}: trained with other options than the study has now" in log


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (["prepare", "nope"], "nope: not a setting of this study; it has: digits"),
        (["analyse", "nope"], "nope: not a setting of this study; it has: digits"),
        (["figure", "a1", "nope"], "nope: not a setting of this study; it has: digits"),
        (["train", "results/runs/nope"], "not a run of this study; runs look like"),
        (["select", "nope"], "not an arm of this study"),
        (["train", SELECTED, "--threads", "0"], "expected a whole number of at least 1, found 0"),
        (["figure", "a1", "digits", "--tables", "nowhere"], "nowhere/points.parquet: no such table yet"),
        (["report", "digits", "--tables", "nowhere"], "nowhere/transfer.csv: no such table yet"),
    ],
)
def test_a_verb_with_a_wrong_argument_says_what_is_wrong(finished, arguments, part):
    done = finished.tasktrace(*arguments)
    assert done.returncode != 0
    assert part in done.stderr
    assert "Traceback" not in done.stderr


def test_check_fails_on_damaged_data(finished):
    path = finished.folder / "data/prepared/digits.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    done = finished.snakemake("--cores", "1", "check", check=False)
    assert done.returncode != 0
    assert "damaged prepared data" in done.stdout + done.stderr


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _wait_for(condition, seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "nothing happened"
        time.sleep(0.01)


def _look_in_a_browser(page: Path) -> None:
    """The report's script must have built its menu; without a browser only the file is checked."""
    browser = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if browser is None:
        pytest.skip("no Chromium on this machine: the report was written but not opened")
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run"]
    flags.append("--host-resolver-rules=MAP * ~NOTFOUND")  # there is no network for it
    profile = f"--user-data-dir={page.parent / 'browser'}"
    done = subprocess.run(
        [browser, *flags, profile, "--virtual-time-budget=8000", "--dump-dom", page.as_uri()],
        capture_output=True,
        text=True,
        timeout=120,
    )
    for entry in ("Workflow", "Claims", "Runs", "Study A", "Study B"):
        assert entry in done.stdout
