"""What of a setting is summed up."""

import json

import pytest

from tasktrace.config import Study
from tasktrace.config.summary import summary_options, summary_tables
from tasktrace.errors import ConfigError


def test_groups_are_summed_up_and_auxiliary_sets_are_not(project, configure):
    configure("config.yaml", settings=["digit_pairs"])
    study = Study.load()
    assert any("aux_" in arm.group for arm in study.arms("digit_pairs"))
    groups = list(study.settings["digit_pairs"]["groups"])
    assert summary_options(study, "digit_pairs") == {"groups": groups, "experiments": False}
    assert summary_tables(study, "digit_pairs") == ["transfer.csv"]


def test_experiments_are_summed_up(project, configure):
    experiments = {"tasks": ["digits1", "digits2"], "methods": {"umtg": ["adam"]}, "learning_rates": [0.01]}
    alone = {"optimizers": ["adam"], "learning_rates": [0.01]}
    block = {"setting": "digits", "data": {}, "model": {"model": "small_cnn"}}
    block["experiments"] = {**experiments, "batch_size": 16, "epochs": 1, "alone": alone}
    (project / "config/settings/grid.yaml").write_text(json.dumps(block))
    configure("config.yaml", settings=["grid"], demo=[])
    study = Study.load()
    assert summary_options(study, "grid") == {"groups": [], "experiments": True}
    assert summary_tables(study, "grid") == ["results.csv"]


def test_a_setting_that_there_is_not_is_told(study):
    with pytest.raises(ConfigError, match="mnist: not a setting of this study"):
        summary_options(study, "mnist")
