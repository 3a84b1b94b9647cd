"""The examples of docs/extending.md, followed to the letter."""

import json
import re
import subprocess
from pathlib import Path

import pandas as pd
import yaml
from safetensors.numpy import load_file

ROOT = Path(__file__).resolve().parents[2]
GUIDE = (ROOT / "docs/extending.md").read_text()


def test_a_method_is_one_file_and_one_block(finished):
    name, block = follow(finished, "A method")
    finished.edit("config/config.yaml", lambda config: config["methods"].update(block["methods"]))
    finished.edit("config/settings/digits.yaml", lambda digits: digits.update(methods=["umtg", "tenth"]))
    run = "results/runs/digits/mtl.with_digits2/tenth/adam/selected/seed0/run.json"
    assert finished.planned(run) == {"train": 2, "select": 1, "train_selected": 1}
    finished.snakemake("--cores", "2", run)
    record = json.loads((finished.folder / run).read_text())
    assert record["outcome"] == {"status": "finished"}
    assert record["spec"]["method"] == {"name": name, "version": 1, "factor": 0.1}


def test_a_setting_is_one_file_and_one_block(fresh):
    name, block = follow(fresh, "A setting")
    (fresh.folder / f"config/settings/{name}.yaml").write_text(block_of("A setting"))
    fresh.edit("config/config.yaml", lambda config: config.update(settings=[name], demo=[], seeds=[0, 1]))
    fetched = fresh.tasktrace("fetch", name)
    assert (fetched.returncode, fetched.stdout) == (0, f"{name}: comes with the installation\n"), fetched.stderr
    figure = f"results/figures/{name}/fig_{next(iter(block['figures']))}.png"
    assert fresh.planned(figure) == {
        "prepare": 1,
        "train": 3,
        "select": 3,
        "train_selected_packed_1": 3,
        "analyse": 1,
        "figure_a1": 1,
    }
    fresh.snakemake("--cores", "2", "--scheduler", "greedy", figure)
    assert (fresh.folder / figure).read_bytes().startswith(b"\x89PNG")
    prepared = load_file(fresh.folder / f"data/prepared/{name}.safetensors")
    assert len(prepared["place/train/index"]) == block["data"]["pictures"]
    plotted = pd.read_csv((fresh.folder / figure).with_suffix(".csv"))
    assert set(plotted["group"]) == {"stl.place", "mtl.both"}
    points = plotted[plotted["kind"] == "point"]
    assert points["metric"].max() > 0.5, "one place in eight would be told by guessing"


def test_an_optimizer_is_one_file_and_one_block(finished):
    name, block = follow(finished, "An optimizer")
    [(chosen, options)] = block["optimizers"].items()
    finished.edit("config/config.yaml", lambda config: config["optimizers"].update(block["optimizers"]))
    finished.edit("config/settings/digits.yaml", lambda digits: digits.update(optimizers=["adam", chosen]))
    run = f"results/runs/digits/stl.digits1/{chosen}/lr0.005_bs64/seed0/run.json"
    assert finished.planned(run) == {"train": 1}
    finished.snakemake("--cores", "1", run)
    record = json.loads((finished.folder / run).read_text())
    assert record["outcome"] == {"status": "finished"}
    assert record["spec"]["optimizer"] == {"name": name, "version": 1, "weight_decay": options["weight_decay"]}


def test_a_measure_is_one_file_and_one_block(finished):
    _, block = follow(finished, "A measure")
    finished.edit("config/config.yaml", lambda config: config["measures"].update(block["measures"]))
    finished.edit("config/settings/digits.yaml", lambda digits: digits["measuring"]["measures"].append("margin"))
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


def follow(project, section):
    """Put a section's module where it says, as the linter and the formatter want it; its name and its YAML."""
    [path] = re.findall(r"^(?:.* )?`(src/tasktrace/[\w/]+\.py)`:$", text_of(section), flags=re.MULTILINE)
    [module] = re.findall(r"```python\n(.*?)```", text_of(section), flags=re.DOTALL)
    (project.folder / path).write_text(module)
    for tool in (["check"], ["format", "--check"]):
        command = ["ruff", *tool, "--config", str(ROOT / "pyproject.toml"), path]
        subprocess.run(command, cwd=project.folder, env=project.environment, check=True)
    return Path(path).stem, yaml.safe_load(block_of(section))


def block_of(section):
    """The YAML of a section."""
    [block] = re.findall(r"```yaml\n(.*?)```", text_of(section), flags=re.DOTALL)
    return block


def text_of(section):
    return GUIDE.split(f"\n## {section}\n")[1].split("\n## ")[0]
