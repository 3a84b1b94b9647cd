"""The example of docs/extending.md, followed to the letter."""

import json
import re
from pathlib import Path

import yaml

GUIDE = (Path(__file__).resolve().parents[2] / "docs/extending.md").read_text()


def test_a_method_is_one_file_and_one_block(finished):
    name = re.search(r"`src/tasktrace/methods/(\w+)\.py`:", GUIDE)[1]
    module, block = (re.search(rf"```{kind}\n(.*?)```", GUIDE, flags=re.DOTALL)[1] for kind in ("python", "yaml"))
    (finished.folder / f"src/tasktrace/methods/{name}.py").write_text(module)
    finished.edit("config/config.yaml", lambda config: config.update(yaml.safe_load(block)))
    finished.edit("config/settings/digits.yaml", lambda digits: digits.update(methods=["umtg", "tenth"]))
    run = "results/runs/digits/mtl.with_digits2/tenth/adam/selected/seed0/run.json"
    assert finished.planned(run) == {"train": 2, "select": 1, "train_selected": 1}
    finished.snakemake("--cores", "2", run)
    record = json.loads((finished.folder / run).read_text())
    assert record["outcome"] == {"status": "finished"}
    assert record["spec"]["method"] == {"name": name, "version": 1, "factor": 0.1}
