"""Runs counted by where they stand."""

from tasktrace.status.survey import survey
from tasktrace.status.tally import by_setting, rows


def test_tasks_alone_come_first_and_seeds_in_order(study):
    backwards = survey(study, ["digits"])[::-1]
    assert list(rows(backwards, "method")) == ["alone", "umtg"]
    assert list(rows(backwards, "seed")) == ["0", "1", "2"]
    assert next(iter(rows(backwards, "group"))) == "mtl.with_noisy"


def test_every_run_is_in_one_row_of_one_setting(study):
    found = survey(study, list(study.settings))
    for by in ("method", "seed", "group", "optimizer"):
        parts = [part for own in by_setting(found).values() for part in rows(own, by).values()]
        assert sorted(own.run.path for part in parts for own in part) == sorted(study.runs)
