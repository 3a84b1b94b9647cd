"""The corrupted pictures are those of the clean ones, the same whenever they are written, and verified when read."""

import json
import re

import numpy as np
import pytest
from safetensors.numpy import load_file

from tasktrace.config.declarations import declaration
from tasktrace.corruption_transfer.data import Corrupted, plan, write_corrupted
from tasktrace.corruptions import SEVERITIES, corrupt
from tasktrace.errors import DamagedFileError, DataError
from tasktrace.seeding import numpy_generator
from tasktrace.settings.scans import load_scans

WHITE = 16


@pytest.fixture
def written(tmp_path, corruption_spec, traits):
    """The folder of corrupted pictures of the test's own."""
    write_corrupted(corruption_spec, traits, WHITE, tmp_path / "corrupted")
    return tmp_path / "corrupted"


def test_writing_twice_gives_the_same_bytes(written, corrupted_folder, corruption_spec):
    names = {"corrupted.json", "train.safetensors", *(f"{name}.safetensors" for name in corruption_spec["names"])}
    assert {path.name for path in written.iterdir()} == names
    assert all((written / name).read_bytes() == (corrupted_folder / name).read_bytes() for name in names)


def test_every_training_picture_has_the_one_corruption_that_was_drawn_for_it(corrupted_folder, corruption_spec, traits):
    found = load_file(corrupted_folder / "train.safetensors")
    clean = traits.tensors["inputs"][np.sort(traits.tensors["digit/train/index"])]
    assert found["inputs"].shape == clean.shape
    expected, names = np.full_like(clean, 255), corruption_spec["names"]
    for number, name in enumerate(names):
        for severity in SEVERITIES:
            own = np.flatnonzero((found["corruption"] == number) & (found["severity"] == severity))
            generator = numpy_generator(0, "corrupt", "train", name, severity)
            expected[own] = corrupt(clean[own], name, severity, generator, WHITE)
    np.testing.assert_array_equal(found["inputs"], expected)
    assert found["inputs"].max() <= WHITE


def test_every_corruption_and_severity_is_drawn_about_as_often(corrupted_folder, corruption_spec):
    found = load_file(corrupted_folder / "train.safetensors")
    for drawn, values in ((found["corruption"], range(len(corruption_spec["names"]))), (found["severity"], SEVERITIES)):
        kinds, counts = np.unique(drawn, return_counts=True)
        assert kinds.tolist() == list(values)
        share = 1 / len(kinds)
        assert np.abs(counts / len(drawn) - share).max() < 4 * np.sqrt(share * (1 - share) / len(drawn))
    assert abs(np.corrcoef(found["corruption"], found["severity"])[0, 1]) < 4 / np.sqrt(len(found["severity"]))


def test_every_test_picture_has_every_corruption_at_every_severity(corrupted_folder, corruption_spec, traits):
    clean = traits.tensors["inputs"][plan(traits, corruption_spec["tasks"], 40).test]
    found = list(Corrupted(corrupted_folder, corruption_spec, traits.content).test())
    asked = [(name, severity) for name in corruption_spec["names"] for severity in SEVERITIES]
    assert [(name, severity) for name, severity, _ in found] == asked
    for name, severity, pictures in found:
        generator = numpy_generator(0, "corrupt", "test", name, severity)
        np.testing.assert_array_equal(pictures, corrupt(clean, name, severity, generator, WHITE))


def test_leaving_a_corruption_out_changes_no_test_picture_of_the_others(
    tmp_path, corrupted_folder, corruption_spec, traits
):
    write_corrupted({**corruption_spec, "names": ["contrast"]}, traits, WHITE, tmp_path)
    name = "contrast.safetensors"
    assert (tmp_path / name).read_bytes() == (corrupted_folder / name).read_bytes()
    assert {path.name for path in tmp_path.iterdir()} == {"corrupted.json", "train.safetensors", name}


def test_tasks_with_pictures_of_their_own_have_all_of_them_corrupted(prepared):
    tasks = ["digits1", "digits2"]
    found = plan(prepared, tasks, None)
    for split, rows in (("train", found.train), ("test", found.test)):
        own = [prepared.tensors[f"{task}/{split}/index"] for task in tasks]
        np.testing.assert_array_equal(rows, sorted({int(row) for index in own for row in index}))
    assert not np.isin(prepared.tensors["digits1/train/index"], prepared.tensors["digits2/train/index"]).any()
    assert found.train.size == 600
    for task in tasks:
        np.testing.assert_array_equal(found.tested[task], np.arange(60))


def test_a_limit_takes_the_same_test_samples_of_tasks_with_the_same_pictures(traits, corruption_spec):
    tasks = corruption_spec["tasks"]
    found = plan(traits, tasks, 40)
    rows = [traits.tensors[f"{task}/test/index"][found.tested[task]] for task in tasks]
    assert all(set(own.tolist()) == set(found.test.tolist()) for own in rows)
    assert len(found.test) == 40
    assert (np.diff(found.test) > 0).all()
    assert all((np.diff(own) > 0).all() for own in found.tested.values())
    assert not np.array_equal(found.tested["digit"], np.arange(40)), "the first ones may be all of one kind"
    np.testing.assert_array_equal(plan(traits, ["digit"], 40).tested["digit"], found.tested["digit"])
    assert len(plan(traits, tasks, 61).test) == len(plan(traits, tasks, None).test) == 60


def assert_refused(kind, action, *parts):
    with pytest.raises(kind) as caught:
        action()
    for part in parts:
        assert part in str(caught.value)


def test_absent_pictures_are_named_with_the_remedy(tmp_path, corruption_spec):
    assert_refused(
        DataError,
        lambda: Corrupted(tmp_path, corruption_spec, "any"),
        f"{tmp_path}: no corrupted pictures; run `snakemake --cores 1 {tmp_path / 'corrupted.json'}`",
    )


@pytest.mark.parametrize("change", [{"test": None}, {"names": ["contrast"]}, {"version": 2}])
def test_pictures_of_another_spec_are_refused(corrupted_folder, corruption_spec, traits, change):
    asked = {**corruption_spec, **change}
    parts = (json.dumps(asked, sort_keys=True, separators=(",", ":")), "run `snakemake --cores 1 ")
    assert_refused(DataError, lambda: Corrupted(corrupted_folder, asked, traits.content), str(corrupted_folder), *parts)


def test_pictures_of_other_prepared_data_are_refused(corrupted_folder, corruption_spec, traits):
    parts = (str(corrupted_folder), traits.content, "it now has other", "run `snakemake --cores 1 ")
    assert_refused(DataError, lambda: Corrupted(corrupted_folder, corruption_spec, "other"), *parts)


@pytest.mark.parametrize("name", ["train", "contrast"])
@pytest.mark.parametrize("damage", ["flipped", "absent"])
def test_a_damaged_file_is_named_with_the_remedy(written, corruption_spec, traits, name, damage):
    path = written / f"{name}.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.unlink()
    if damage == "flipped":
        path.write_bytes(content)
    corrupted = Corrupted(written, corruption_spec, traits.content)
    found = r"[0-9a-f]{64}" if damage == "flipped" else "nothing"
    with pytest.raises(DamagedFileError, match=f"^{re.escape(str(path))}: .*, {found} was found; delete ") as caught:
        corrupted.train() if name == "train" else list(corrupted.test())
    assert f"run `snakemake --cores 1 {written / 'corrupted.json'}`" in str(caught.value)


@pytest.mark.parametrize("setting", ["digits", "digit_pairs", "digit_traits"])
def test_settings_of_scans_declare_their_brightest_value(setting):
    assert declaration("setting", setting).white == load_scans()[0].max() == WHITE


def test_a_setting_that_declares_no_brightest_value_has_whole_bytes():
    assert declaration("setting", "fashion").white == 255
