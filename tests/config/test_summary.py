"""What of a setting is summed up."""

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
    configure("config.yaml", settings=["digit_traits"])
    study = Study.load()
    assert summary_options(study, "digit_traits") == {"groups": [], "experiments": True}
    assert summary_tables(study, "digit_traits") == ["results.csv"]


def test_of_a_setting_with_neither_there_is_no_table(project, configure):
    block = "setting: digits\ndata: {}\nmodel: {model: small_cnn}\n"
    (project / "config/settings/bare.yaml").write_text(block)
    configure("config.yaml", settings=["digits", "bare"])
    study = Study.load()
    assert not study.arms("bare")
    assert summary_tables(study, "bare") == []


def test_a_setting_that_there_is_not_is_told(study):
    with pytest.raises(ConfigError, match="mnist: not a setting of this study"):
        summary_options(study, "mnist")
