"""How runs are packed into jobs."""

import pytest

from tasktrace.config import Study
from tasktrace.config.arms import Arm, Run
from tasktrace.config.packing import evenly, packs
from tasktrace.config.resources import Resources
from tasktrace.errors import ConfigError

ALONE = Arm("digits", "stl.digits1", ("digits1",), None, "adam")
TOGETHER = Arm("digits", "mtl.both", ("digits1", "digits2"), "umtg", "adam")
OTHER = Arm("fashion", "stl.fashion1", ("fashion1",), None, "adam")


def seeds(number):
    return lambda arm: [Run(arm, "selected", seed) for seed in range(number)]


@pytest.mark.parametrize(
    ("runs", "most", "lengths"), [(1, 4, [1]), (4, 4, [4]), (5, 4, [2, 3]), (7, 3, [2, 2, 3]), (3, 1, [1, 1, 1])]
)
def test_parts_are_few_even_and_in_order(runs, most, lengths):
    given = seeds(runs)(ALONE)
    parts = evenly(given, most)
    assert [len(part) for part in parts] == lengths
    assert [run for part in parts for run in part] == given


def test_arms_with_the_same_runs_share_a_pack():
    first, packed = packs([ALONE, TOGETHER, OTHER], seeds(3), {"digits": 3, "fashion": 1}.get)
    assert first.places == ("{point}/seed{seed}",)
    assert first.arms == (OTHER.path,)
    assert packed.places == ("selected/seed0", "selected/seed1", "selected/seed2")
    assert packed.arms == (ALONE.path, TOGETHER.path)
    assert (first.name, packed.name) == ("{point}/seed{seed}", "selected_seed0_to_selected_seed2")


def test_an_arm_is_packed_as_a_whole_or_not_at_all():
    first, *packed = packs([ALONE], seeds(3), {"digits": 2}.get)
    assert first.arms == ()
    assert sorted(place for pack in packed for place in pack.places) == [f"selected/seed{seed}" for seed in range(3)]


def test_a_single_run_is_not_packed():
    (first,) = packs([ALONE], seeds(1), {"digits": 4}.get)
    assert first.arms == (ALONE.path,)


def test_runs_of_another_arm_are_not_packed_with_it():
    (first, *packed) = packs([TOGETHER], lambda _arm: seeds(3)(ALONE), {"digits": 4}.get)
    assert packed == []
    assert first.arms == (TOGETHER.path,)


def test_what_a_setting_leaves_out_has_a_default_and_attempts_get_more_time():
    resources = Resources.read({"minutes": {"train": 10}, "runs_per_job": 3})
    assert resources.minutes == {"train": 10, "measure": 120, "refit": 120}
    assert (resources.mem_mb, resources.gpu) == (3000, 1)
    assert resources.runtime("train", runs=3, attempt=2) == 60


def test_every_run_of_a_study_is_in_exactly_one_pack_or_has_a_job_of_its_own(configure):
    configure("settings/digits.yaml", resources={"runs_per_job": 2})
    study = Study.load()
    for found, runs_of in ((study.sweep_packs(), study.sweep_runs), (study.selected_packs(), study.selected_runs)):
        packed = [f"{arm}/{place}" for pack in found[1:] for arm in pack.arms for place in pack.places]
        arms = study.arms_by_path.values()
        assert sorted(packed) == sorted(run.path for arm in arms if arm.setting == "digits" for run in runs_of(arm))
        assert set(found[0].arms) == {arm.path for arm in arms if arm.setting == "fashion"}


@pytest.mark.parametrize(
    ("block", "part"),
    [({"mem_mb": 200}, "600"), ({"runs_per_job": 0}, "1"), ({"minutes": {"trian": 5}}, "trian"), ({"gpus": 1}, "gpus")],
)
def test_resources_that_no_job_can_have_are_refused(configure, block, part):
    configure("settings/digits.yaml", resources=block)
    with pytest.raises(ConfigError, match="resources") as raised:
        Study.load()
    assert part in str(raised.value)
