"""The examples of docs/extending.md, followed to the letter."""

import json
import re
import subprocess
from pathlib import Path

import pandas as pd
import yaml

ROOT = Path(__file__).resolve().parents[2]
GUIDE = (ROOT / "docs/extending.md").read_text()


def test_a_method_is_one_file_and_one_block(finished):
    name = re.search(r"`src/tasktrace/methods/(\w+)\.py`:", GUIDE)[1]
    module, block = (re.search(rf"```{kind}\n(.*?)```", GUIDE, flags=re.DOTALL)[1] for kind in ("python", "yaml"))
    (finished.folder / f"src/tasktrace/methods/{name}.py").write_text(module)
    finished.edit("config/config.yaml", lambda config: config["methods"].update(yaml.safe_load(block)["methods"]))
    finished.edit("config/settings/digits.yaml", lambda digits: digits.update(methods=["umtg", "tenth"]))
    lint = ["ruff", "check", "--config", str(ROOT / "pyproject.toml"), f"src/tasktrace/methods/{name}.py"]
    subprocess.run(lint, cwd=finished.folder, env=finished.environment, check=True)
    run = "results/runs/digits/mtl.with_digits2/tenth/adam/selected/seed0/run.json"
    assert finished.planned(run) == {"train": 2, "select": 1, "train_selected": 1}
    finished.snakemake("--cores", "2", run)
    record = json.loads((finished.folder / run).read_text())
    assert record["outcome"] == {"status": "finished"}
    assert record["spec"]["method"] == {"name": name, "version": 1, "factor": 0.1}


def test_a_measure_is_one_file_and_one_block(finished):
    section = GUIDE.split("## A measure")[1]
    name = re.search(r"`src/tasktrace/measures/(\w+)\.py`:", section)[1]
    module = re.search(r"```python\n(.*?)```", section, flags=re.DOTALL)[1]
    block = yaml.safe_load(re.search(r"`(margin: \{.*?\})`", section)[1])
    (finished.folder / f"src/tasktrace/measures/{name}.py").write_text(module)
    finished.edit("config/config.yaml", lambda config: config["measures"].update(block))
    finished.edit("config/settings/digits.yaml", lambda digits: digits["measuring"]["measures"].append("margin"))
    lint = ["ruff", "check", "--config", str(ROOT / "pyproject.toml"), f"src/tasktrace/measures/{name}.py"]
    subprocess.run(lint, cwd=finished.folder, env=finished.environment, check=True)
    run = "results/runs/digits/stl.digits1/adam/selected/seed0"
    assert finished.planned(f"{run}/factors.parquet") == {"measure": 1}
    before = pd.read_parquet(finished.folder / run / "factors.parquet")
    finished.snakemake("--cores", "1", f"{run}/factors.parquet")
    after = pd.read_parquet(finished.folder / run / "factors.parquet")
    new = after[after["measure"] == "margin.mean"]
    assert sorted(new["epoch"]) == sorted(set(before["epoch"]))
    assert new["value"].notna().all()
    pd.testing.assert_frame_equal(after.drop(new.index).reset_index(drop=True), before)
    seconds = json.loads((finished.folder / run / "factors.json").read_text())["seconds"]
    assert list(seconds) == ["margin"]
