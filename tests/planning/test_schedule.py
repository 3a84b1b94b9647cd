"""Wall time on several devices."""

from hypothesis import given
from hypothesis import strategies as st

from tasktrace.planning.schedule import setting_seconds, stage_seconds, study_seconds

SECONDS = st.lists(st.floats(0, 1e6), max_size=8)
SETTINGS = st.lists(st.lists(SECONDS, max_size=4), max_size=4)


def test_a_stage_takes_its_longest_job_or_an_even_share():
    assert stage_seconds([10, 10, 10, 10], 2) == 20
    assert stage_seconds([10, 1, 1], 2) == 10
    assert stage_seconds([], 3) == 0


def test_stages_wait_for_each_other():
    assert setting_seconds([[4, 4], [6], []], 2) == 10


def test_settings_share_the_devices():
    alone = [[[8.0]], [[2.0], [2.0]]]
    assert study_seconds(alone, 1) == 12
    assert study_seconds(alone, 2) == 8


@given(SETTINGS, st.integers(1, 50))
def test_no_number_of_devices_beats_an_even_share_or_the_longest_chain(settings, devices):
    wall = study_seconds(settings, devices)
    in_all = sum(seconds for stages in settings for jobs in stages for seconds in jobs)
    assert wall >= in_all / devices
    assert wall >= max([setting_seconds(stages, 10**9) for stages in settings], default=0)
    assert study_seconds(settings, 1) <= sum(setting_seconds(stages, 1) for stages in settings) * (1 + 1e-9)
    assert study_seconds(settings, devices + 1) <= wall * (1 + 1e-9)
