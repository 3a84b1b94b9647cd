"""Windows are cut, enlarged and mirrored as written out pixel by pixel, and every target goes where its pixels go."""

import dataclasses
import math
import sys
import types

import pytest
import torch
from torch import nn
from torch.nn import functional

from tasktrace.errors import ConfigError
from tasktrace.settings.prepared import Prepared
from tasktrace.tasks import Task
from tasktrace.training.augmentation import FACTORS, ScaleCropFlip, augmented, draw_windows, make_windows
from tasktrace.training.updates import Batch

CLASSES = Task(name="segmentation", outputs=4, loss="cross_entropy", metric="mean_iou")
DEPTH = Task(name="depth", outputs=1, loss="l1", metric="absolute_error")
NORMALS = Task(name="normals", outputs=3, loss="cosine", metric="mean_angle")
TASKS = (CLASSES, DEPTH, NORMALS)
SIZE = (12, 18)


def make_batch(count, size=SIZE, seed=0):
    """Random pictures and maps, a fifth of whose pixels are void or invalid."""
    generator = torch.Generator().manual_seed(seed)
    known = torch.rand((count, *size), generator=generator) > 0.2
    normals = functional.normalize(torch.randn((count, 3, *size), generator=generator), dim=1)
    targets = [
        torch.randint(0, 4, (count, *size), generator=generator).where(known, -1).to(torch.int8),
        (1 + torch.rand((count, *size), generator=generator)).where(known, math.nan),
        normals.where(known[:, None], math.nan),
    ]
    return Batch(torch.randn((count, 3, *size), generator=generator), targets, shared=True)


def windows_of(*samples, size=SIZE):
    """Windows of (factor, top, left, mirrored) of each sample."""
    factors, tops, lefts, mirrored = zip(*samples, strict=True)
    return make_windows(
        size,
        torch.tensor(factors, dtype=torch.float64),
        torch.tensor(tops),
        torch.tensor(lefts),
        torch.tensor(mirrored),
    )


def by_hand(picture, sample, kind):
    """One picture (C, H, W) as lists, pixel by pixel: the window's place of every place, then what stands there."""
    factor, top, left, mirrored = sample
    _, height, width = picture.shape
    h, w = int(height / factor), int(width / factor)
    result = torch.empty_like(picture)
    for row in range(height):
        for column in range(width):
            place = width - 1 - column if mirrored else column
            if kind == "nearest":
                result[:, row, column] = picture[:, top + row * h // height, left + place * w // width]
                continue
            y, x = row * (h - 1) / (height - 1), place * (w - 1) / (width - 1)
            value = 0
            for near_y in {math.floor(y), math.ceil(y)}:
                for near_x in {math.floor(x), math.ceil(x)}:
                    weight = (1 - abs(y - near_y)) * (1 - abs(x - near_x))
                    value = value + weight * picture[:, top + near_y, left + near_x]
            result[:, row, column] = value
    return result


SAMPLES = [
    (1.0, 0, 0, False),
    (1.0, 0, 0, True),
    (1.2, 0, 0, False),
    (1.2, 2, 3, True),
    (1.5, 4, 6, False),
    (1.5, 1, 5, True),
]


def test_every_sample_is_what_it_is_pixel_by_pixel():
    batch = make_batch(len(SAMPLES))
    found = augmented(batch, TASKS, windows_of(*SAMPLES))
    assert found.shared
    for number, sample in enumerate(SAMPLES):
        factor, *_, mirrored = sample
        classes, depth, normals = (target[number] for target in batch.targets)
        expected = by_hand(batch.inputs[number].double(), sample, "bilinear")
        torch.testing.assert_close(found.inputs[number].double(), expected, rtol=0, atol=2e-6)
        assert torch.equal(found.targets[0][number], by_hand(classes[None], sample, "nearest")[0])
        torch.testing.assert_close(
            found.targets[1][number], by_hand(depth[None], sample, "nearest")[0] / factor, equal_nan=True
        )
        turned = by_hand(normals.nan_to_num(nan=0.0).double(), sample, "bilinear")
        known = turned.abs().sum(dim=0) > 1e-6
        assert torch.equal(found.targets[2][number].isfinite().all(dim=0), known)
        turned[0] *= -1 if mirrored else 1
        torch.testing.assert_close(found.targets[2][number][:, known].double(), turned[:, known], rtol=0, atol=2e-6)


def test_types_and_sizes_stay():
    batch = make_batch(2)
    found = augmented(batch, TASKS, windows_of((1.2, 0, 0, True), (1.5, 4, 6, False)))
    assert found.inputs.dtype == torch.float32
    assert [target.dtype for target in found.targets] == [torch.int8, torch.float32, torch.float32]
    assert [target.shape for target in found.targets] == [target.shape for target in batch.targets]


def test_a_factor_of_one_without_mirror_changes_nothing_at_all():
    batch = make_batch(2)
    found = augmented(batch, TASKS, windows_of((1.0, 0, 0, False), (1.0, 0, 0, False)))
    assert torch.equal(found.inputs, batch.inputs)
    for own, before in zip(found.targets, batch.targets, strict=True):
        torch.testing.assert_close(own, before, rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize("factor", FACTORS)
def test_pictures_are_what_torchs_interpolation_makes_of_the_crop(factor):
    batch = make_batch(1, size=(128, 256))
    h, w = int(128 / factor), int(256 / factor)
    top, left = 128 - h, (256 - w) // 2
    found = augmented(batch, TASKS, windows_of((factor, top, left, True), size=(128, 256)))
    crop = batch.inputs[:, :, top : top + h, left : left + w]
    enlarged = functional.interpolate(crop, size=(128, 256), mode="bilinear", align_corners=True)
    torch.testing.assert_close(found.inputs, enlarged.flip(-1), rtol=0, atol=1e-4)
    nearest = functional.interpolate(batch.targets[0][:, None, top : top + h, left : left + w].float(), size=(128, 256))
    assert (found.targets[0] == nearest[:, 0].flip(-1)).double().mean() > 0.999  # torch's positions are rounded


@pytest.mark.parametrize(("mirrored", "columns"), [(False, {3, 4}), (True, {13, 14})])
def test_a_marked_pixel_lands_where_it_is_computed_by_hand(mirrored, columns):
    """At 1.5 the window is 8 by 12; its row 3 goes to row 5 (5 * 8 // 12 = 3), its column 2 to columns 3 and 4."""
    batch = make_batch(1)
    target = torch.zeros((1, *SIZE), dtype=torch.int8)
    target[0, 2 + 3, 4 + 2] = 3
    batch = dataclasses.replace(batch, targets=[target])
    found = augmented(batch, [CLASSES], windows_of((1.5, 2, 4, mirrored))).targets[0][0]
    rows, places = found.nonzero().unbind(dim=1)
    assert (set(rows.tolist()), set(places.tolist())) == ({5}, columns)


def test_a_flat_wall_comes_nearer_by_the_factor():
    batch = dataclasses.replace(make_batch(3), targets=[torch.full((3, *SIZE), 6.0)])
    found = augmented(batch, [DEPTH], windows_of(*[(factor, 0, 0, False) for factor in FACTORS])).targets[0]
    for own, expected in zip(found, (6.0, 5.0, 4.0), strict=True):
        torch.testing.assert_close(own, torch.full(SIZE, expected))


def test_a_wall_that_faces_right_faces_left_in_the_mirror():
    right = torch.tensor([1.0, 0.0, 0.0])[None, :, None, None].expand(2, 3, *SIZE)
    batch = dataclasses.replace(make_batch(2), targets=[right])
    found = augmented(batch, [NORMALS], windows_of((1.2, 1, 1, False), (1.2, 1, 1, True))).targets[0]
    torch.testing.assert_close(found[0], right[0])
    torch.testing.assert_close(found[1], -right[1])


# What is drawn


def drawn(count=6_000, size=(128, 256), seed=0):
    return draw_windows(count, size, torch.Generator().manual_seed(seed), torch.device("cpu"))


def test_factors_mirrors_and_places_have_their_distribution():
    windows = drawn()
    for factor in FACTORS:
        own = windows.factors == factor
        assert abs(own.double().mean() - 1 / 3) < 0.03
        for axis, size in ((windows.rows, 128), (windows.columns, 256)):
            length = int(size / factor)
            assert (axis.length[own] == length).all()
            starts = axis.start[own]
            assert (starts.min(), starts.max()) == (0, size - length)
            assert abs(starts.double().mean() - (size - length) / 2) < 0.06 * (size - length + 1)
    assert abs(windows.mirrored.double().mean() - 0.5) < 0.03
    assert len(torch.stack([windows.rows.start, windows.columns.start]).unique(dim=1)[0]) > 1_000


def test_every_place_is_inside_the_picture():
    windows = drawn(500)
    for axis, size in ((windows.rows, 128), (windows.columns, 256)):
        low, high, share = axis.neighbours()
        for places, first in ((axis.nearest(), 0), (low, 0), (high, 1)):
            assert (places.min(), places.max()) == (first, size - 1)
        assert 0 <= share.min() <= share.max() < 1


def test_what_is_drawn_depends_on_seed_epoch_and_step_alone():
    batch = make_batch(8)

    def pictures(seed, epoch, step):
        return ScaleCropFlip(TASKS, seed).augment(batch, epoch, step).inputs

    expected = pictures(0, 1, 2)
    torch.rand(3)
    assert torch.equal(pictures(0, 1, 2), expected)
    for other in ((1, 1, 2), (0, 0, 2), (0, 1, 3), (0, 2, 1)):
        assert not torch.equal(pictures(*other), expected)


def test_torchs_own_generator_is_left_alone():
    state = torch.get_rng_state()
    ScaleCropFlip(TASKS, 0).augment(make_batch(2), 0, 0)
    assert torch.equal(torch.get_rng_state(), state)


# In a run


@pytest.fixture
def maps():
    """Prepared data of a dense setting: pictures whose first channel is each pixel's class."""
    generator = torch.Generator().manual_seed(0)
    classes = torch.randint(0, 4, (12, *SIZE), generator=generator)
    tensors = {"inputs": (classes[:, None] * torch.tensor([60, 1, 30]).view(1, 3, 1, 1)).to(torch.uint8).numpy()}
    for split, rows in {"train": range(8), "validation": range(8, 10), "test": range(10, 12)}.items():
        own = list(rows)
        for task, target in (("segmentation", classes.to(torch.int8)), ("depth", classes.float() + 1)):
            tensors[f"{task}/{split}/index"] = torch.tensor(own).numpy()
            tensors[f"{task}/{split}/target"] = target[own].numpy()
    return Prepared(tensors, [0.0, 0.0, 0.0], [60.0, 1.0, 30.0], "")


@pytest.fixture
def one_layer(monkeypatch):
    """A model that is built and never run."""
    module = types.ModuleType("tasktrace.models.one_layer")
    module.Options = dataclasses.make_dataclass("Options", [], frozen=True)
    module.build_encoder = lambda _options: (nn.Conv2d(3, 4, 1), 4)
    monkeypatch.setitem(sys.modules, module.__name__, module)


class Recorder:
    """Stands in for the update: keeps the batches that it is given."""

    def __init__(self):
        self.batches = []
        self.optimizers = []

    def step(self, batch):
        self.batches.append(batch)
        return torch.zeros(len(batch.targets))


@pytest.fixture
def make_recorded(make_spec, maps, one_layer, make_engine):
    def make(**changes):
        engine = make_engine(
            make_spec(
                ("segmentation", "depth"),
                batch_size=4,
                data={"name": "cityscapes", "version": 1},
                model={"name": "one_layer", "version": 1},
                **changes,
            ),
            maps,
        )
        engine.update = Recorder()
        return engine

    return make


def batches(engine, epoch, steps):
    engine.begin_epoch(epoch)
    for step in steps:
        engine.step(step)
    return engine.update.batches


def test_a_run_trains_on_augmented_batches_and_its_targets_follow(make_recorded):
    plain = batches(make_recorded(), 0, range(2))
    changed = batches(make_recorded(augmentation="scale_crop_flip"), 0, range(2))
    for before, after in zip(plain, changed, strict=True):
        assert torch.equal(before.inputs[:, 0].round().to(torch.int8), before.targets[0])
        assert not torch.equal(after.targets[0], before.targets[0])
        assert after.inputs.shape == before.inputs.shape
        untouched = (after.targets[1] == after.targets[0] + 1).flatten(1).all(dim=1)
        assert torch.equal(after.inputs[untouched, 0].round().to(torch.int8), after.targets[0][untouched])
    again = batches(make_recorded(augmentation="scale_crop_flip"), 0, range(2))
    assert all(torch.equal(one.inputs, other.inputs) for one, other in zip(changed, again, strict=True))


def test_a_resumed_run_draws_the_same_again(make_recorded):
    through = make_recorded(augmentation="scale_crop_flip")
    batches(through, 0, range(2))
    expected = batches(through, 1, range(2))[-1]
    resumed = make_recorded(augmentation="scale_crop_flip")
    found = batches(resumed, 1, [1])[-1]
    assert torch.equal(found.inputs, expected.inputs)
    assert all(torch.equal(one, other) for one, other in zip(found.targets, expected.targets, strict=True))


def test_the_watch_sees_the_augmented_batch(make_recorded, monkeypatch):
    seen = []
    engine = make_recorded(augmentation="scale_crop_flip")
    engine.watch = types.SimpleNamespace(look=lambda batch, _epoch, _step: seen.append(batch))
    assert batches(engine, 0, [0]) == seen


def test_an_unknown_augmentation_is_refused(make_recorded):
    with pytest.raises(ConfigError, match="unknown augmentation 'mixup'; allowed: scale_crop_flip"):
        make_recorded(augmentation="mixup")


def test_tasks_without_maps_are_refused(make_spec, make_engine):
    with pytest.raises(ConfigError, match="task 'digits1' has cross_entropy and targets of shape"):
        make_engine(make_spec(augmentation="scale_crop_flip"))


def test_the_gpu_reads_the_same_pixels_and_is_not_waited_for():
    if not torch.cuda.is_available():
        pytest.skip("torch sees no GPU")
    batch = make_batch(16, size=(128, 256))
    on_gpu = Batch(batch.inputs.cuda(), [target.cuda() for target in batch.targets], shared=True)
    augmentation = ScaleCropFlip(TASKS, 0)
    augmentation.augment(on_gpu, 0, 0)
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        found = augmentation.augment(on_gpu, 0, 1)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    expected = augmentation.augment(batch, 0, 1)
    torch.testing.assert_close(found.inputs.cpu(), expected.inputs, rtol=0, atol=1e-5)
    assert torch.equal(found.targets[0].cpu(), expected.targets[0])
    for own, other in zip(found.targets[1:], expected.targets[1:], strict=True):
        torch.testing.assert_close(own.cpu(), other, rtol=0, atol=1e-5, equal_nan=True)
