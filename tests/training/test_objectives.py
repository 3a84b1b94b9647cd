"""Losses and metrics against scikit-learn, scipy and sums over pixels, one by one, in float64."""

import math
import typing
import warnings

import numpy as np
import pytest
import torch
from scipy import stats
from sklearn import metrics
from torch.func import functional_call, grad, vmap

from tasktrace.errors import ConfigError
from tasktrace.figures import style
from tasktrace.tasks import HIGHER_IS_BETTER, Loss, Metric
from tasktrace.training.objectives import (
    LOSSES,
    MAP_METRICS,
    METRICS,
    VOID,
    additive_loss,
    known,
    map_metric,
    metric_value,
)

ANGLES = ("mean_angle", "median_angle", "within_11", "within_22", "within_30")


def random_case(kind, seed=0, samples=5, dtype=torch.float64):
    """Outputs and targets of a loss on maps of 4 x 3 pixels, about a third of them unknown."""
    generator = torch.Generator().manual_seed(seed)
    width = {"cross_entropy": 4, "cosine": 3}.get(kind, 1)
    outputs = torch.randn(samples, width, 4, 3, generator=generator, dtype=dtype)
    unknown = torch.rand(samples, 4, 3, generator=generator) < 0.3
    if kind == "cross_entropy":
        targets = torch.randint(4, (samples, 4, 3), generator=generator, dtype=torch.int8)
        return outputs, targets.masked_fill(unknown, VOID)
    if kind == "cosine":
        targets = torch.randn(samples, 3, 4, 3, generator=generator)
        components = unknown[:, None].repeat(1, 3, 1, 1)
        components[:, 0, 0] = False  # one component that is known makes no direction
        return outputs, targets.masked_fill(components, torch.nan)
    return outputs, torch.randn(samples, 4, 3, generator=generator).masked_fill(unknown, torch.nan)


MAP_LOSSES = ("cross_entropy", "mse", "l1", "cosine")


def of_pixels(kind, outputs, targets):
    """The losses of all known pixels, by plain formulas."""
    found = []
    for sample, own in zip(outputs.double().tolist(), targets.double().tolist(), strict=True):
        columns = np.array(sample)
        for place in np.ndindex(columns.shape[1:]):
            output, target = columns[:, *place], np.array(own)[..., *place]
            if np.isnan(target).any() or (kind == "cross_entropy" and target == VOID):
                continue
            if kind == "cross_entropy":
                found.append(math.log(np.exp(output).sum()) - output[int(target)])
            elif kind == "cosine":
                found.append(1 - output @ target / math.sqrt((output @ output) * (target @ target)))
            else:
                found.append((output[0] - target) ** 2 if kind == "mse" else abs(output[0] - target))
    return np.array(found)


def test_every_name_is_known_everywhere():
    assert set(LOSSES) == set(typing.get_args(Loss))
    names = set(typing.get_args(Metric))
    assert set(METRICS) | set(MAP_METRICS) == names
    assert set(HIGHER_IS_BETTER) == names
    assert set(style.METRICS) == names


def test_losses_of_single_targets_are_torch_s_own():
    generator = torch.Generator().manual_seed(0)
    outputs, classes = torch.randn(33, 7, generator=generator), torch.randint(7, (33,), generator=generator)
    assert torch.equal(LOSSES["cross_entropy"](outputs, classes), torch.nn.functional.cross_entropy(outputs, classes))
    only, numbers = outputs[:, :1], torch.randn(33, generator=generator)
    assert torch.equal(LOSSES["l1"](only, numbers), (only.squeeze(1) - numbers).abs().mean())
    assert torch.equal(LOSSES["mse"](only, numbers), torch.nn.functional.mse_loss(only[:, 0], numbers))


def test_binary_cross_entropy_is_that_of_two_classes():
    generator = torch.Generator().manual_seed(0)
    logits = 4 * torch.randn(20, 1, generator=generator, dtype=torch.float64)
    targets = torch.randint(2, (20,), generator=generator)
    both = torch.cat([torch.zeros_like(logits), logits], dim=1)
    found = LOSSES["binary_cross_entropy"](logits, targets)
    torch.testing.assert_close(found, LOSSES["cross_entropy"](both, targets), rtol=1e-14, atol=0)
    far = LOSSES["binary_cross_entropy"](torch.tensor([[200.0], [-200.0]]), torch.tensor([0, 0]))
    assert far.item() == 100.0  # no overflow


@pytest.mark.parametrize("kind", MAP_LOSSES)
def test_a_loss_of_maps_is_the_mean_over_all_known_pixels(kind):
    outputs, targets = random_case(kind)
    found = LOSSES[kind](outputs, targets)
    expected = of_pixels(kind, outputs, targets)
    assert int(known(targets).sum()) == len(expected) < 60
    assert found.item() == pytest.approx(expected.mean(), rel=1e-12)
    narrow = LOSSES[kind](outputs.float(), targets)
    assert narrow.dtype == torch.float32
    assert narrow.item() == pytest.approx(expected.mean(), rel=1e-5)


@pytest.mark.parametrize("kind", MAP_LOSSES)
def test_where_nothing_is_known_the_loss_and_its_gradient_are_zero(kind):
    outputs, targets = random_case(kind)
    nothing = torch.full_like(targets, VOID if kind == "cross_entropy" else torch.nan)
    leaf = outputs.clone().requires_grad_()
    loss = LOSSES[kind](leaf, nothing)
    loss.backward()
    assert loss.item() == 0.0
    assert leaf.grad.abs().max().item() == 0.0
    score = additive_loss(kind)
    assert score.value(score.statistics(outputs, nothing)).item() == 0.0


@pytest.mark.parametrize("kind", MAP_LOSSES)
def test_unknown_pixels_have_no_gradient_and_known_ones_the_right_one(kind):
    outputs, targets = random_case(kind, samples=2)
    leaf = outputs.clone().requires_grad_()
    (found,) = torch.autograd.grad(LOSSES[kind](leaf, targets), leaf)
    assert found.isfinite().all()
    there = known(targets)[:, None].expand_as(found)
    assert (found[~there] == 0).all()
    assert (found[there] != 0).all()
    torch.autograd.gradcheck(lambda own: LOSSES[kind](own, targets), leaf)
    torch.autograd.gradgradcheck(lambda own: LOSSES[kind](own, targets), leaf)


def test_what_the_network_says_of_an_unknown_pixel_does_not_matter():
    for kind in MAP_LOSSES:
        outputs, targets = random_case(kind)
        wild = torch.where(known(targets)[:, None], outputs, torch.inf if kind == "l1" else 1e30)
        assert LOSSES[kind](wild, targets).item() == pytest.approx(LOSSES[kind](outputs, targets).item(), rel=1e-12)


def test_a_direction_without_a_length_has_a_finite_gradient():
    leaf = torch.zeros(1, 3, 1, 1, requires_grad=True)
    target = torch.tensor([0.0, 0.0, 1.0]).view(1, 3, 1, 1)
    loss = LOSSES["cosine"](leaf, target)
    loss.backward()
    assert loss.item() == 1.0
    assert leaf.grad.isfinite().all()


@pytest.mark.parametrize("kind", [*MAP_LOSSES, "binary_cross_entropy"])
def test_gradients_of_single_samples_under_vmap(kind):
    if kind == "binary_cross_entropy":
        layer = torch.nn.Linear(3, 1).double()
        inputs, targets = torch.randn(5, 3, dtype=torch.float64), torch.tensor([0, 1, 1, 0, 1])
    else:
        outputs, targets = random_case(kind)
        layer = torch.nn.Conv2d(2, outputs.shape[1], 1).double()
        inputs = torch.randn(5, 2, 4, 3, dtype=torch.float64)
        targets[2] = VOID if kind == "cross_entropy" else torch.nan

    def of_sample(weights, own, target):
        return LOSSES[kind](functional_call(layer, weights, (own[None],)), target[None])

    weights = {name: value.detach() for name, value in layer.named_parameters()}
    found = vmap(grad(of_sample), in_dims=(None, 0, 0))(weights, inputs, targets)["weight"]
    for own, target, gradient in zip(inputs, targets, found, strict=True):
        loss = LOSSES[kind](layer(own[None]), target[None])
        (expected,) = torch.autograd.grad(loss, layer.weight)
        torch.testing.assert_close(gradient, expected, rtol=1e-10, atol=1e-14)


@pytest.mark.parametrize("kind", LOSSES)
def test_a_loss_and_its_gradient_look_at_no_value(kind):
    """On the meta device there are none, so that whatever would wait for a GPU fails."""
    width = {"cross_entropy": 4, "cosine": 3}.get(kind, 1)
    maps = [] if kind == "binary_cross_entropy" else [random_case(kind)]
    single = torch.zeros(5, dtype=torch.int64 if kind.endswith("entropy") else torch.float32)
    for outputs, targets in maps + ([] if kind == "cosine" else [(torch.zeros(5, width), single)]):
        leaf = outputs.to("meta").requires_grad_()
        LOSSES[kind](leaf, targets.to("meta")).backward()
        assert leaf.grad.shape == outputs.shape


# Metrics of samples


def classified(classes, seed, samples=60):
    """Outputs, classes and predictions; class 0 is predicted at random, and never occurs if there are more than two."""
    generator = torch.Generator().manual_seed(seed)
    width = 1 if classes == "binary" else classes
    outputs = torch.randn(samples, width, generator=generator, dtype=torch.float64)
    targets = torch.randint(1 if width > 2 else 0, max(2, width), (samples,), generator=generator)
    predicted = (outputs[:, 0] > 0).long() if width == 1 else outputs.argmax(dim=1)
    return outputs, targets, predicted.numpy()


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("classes", ["binary", 2, 5])
def test_classification_metrics_are_scikit_learn_s(classes, seed):
    outputs, targets, predicted = classified(classes, seed)
    true = targets.numpy()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of a class that is predicted and does not occur
        expected = {
            "accuracy": metrics.accuracy_score(true, predicted),
            "balanced_accuracy": metrics.balanced_accuracy_score(true, predicted),
            "f1": metrics.f1_score(true == 1, predicted == 1),
            "matthews": metrics.matthews_corrcoef(true, predicted),
        }
    assert 0 < expected["accuracy"] < 1
    for name, value in expected.items():
        found = metric_value(name, outputs, targets)
        assert found.dtype == torch.float64
        assert found.item() == pytest.approx(value, rel=1e-12, abs=1e-15), name


@pytest.mark.parametrize("name", ["f1", "matthews"])
def test_a_constant_prediction_has_no_merit(name):
    targets = torch.tensor([0, 1, 1, 0])
    assert metric_value(name, torch.full((4, 1), -1.0), targets).item() == 0.0
    assert metric_value("balanced_accuracy", torch.full((4, 1), -1.0), targets).item() == 0.5
    assert metric_value(name, torch.full((4, 1), -1.0), torch.zeros(4, dtype=torch.int64)).item() == 0.0


def test_correlations_are_scipy_s():
    generator = torch.Generator().manual_seed(0)
    targets = torch.randint(0, 6, (50,), generator=generator).float()  # with ties
    outputs = targets[:, None].double().exp() + 40 * torch.rand(50, 1, generator=generator, dtype=torch.float64)
    pair = outputs[:, 0].numpy(), targets.numpy()
    assert metric_value("pearson", outputs, targets).item() == pytest.approx(np.corrcoef(*pair)[0, 1], rel=1e-12)
    ranks = [stats.rankdata(own) for own in pair]
    expected = np.corrcoef(*ranks)[0, 1]
    assert metric_value("spearman", outputs, targets).item() == pytest.approx(expected, rel=1e-12)
    assert metric_value("pearson", -outputs, targets).item() < -0.5


@pytest.mark.parametrize("name", ["pearson", "spearman"])
def test_correlations_with_a_constant_are_zero_and_with_no_number_none(name):
    varied = torch.tensor([0.5, 2.0, 3.0])
    assert metric_value(name, torch.full((3, 1), 0.1), varied).item() == 0.0
    assert metric_value(name, varied[:, None], torch.full((3,), 0.1)).item() == 0.0
    assert metric_value(name, torch.tensor([[1.0]]), torch.tensor([2.0])).item() == 0.0
    assert math.isnan(metric_value(name, torch.tensor([[1.0], [torch.nan], [2.0]]), varied).item())


def test_errors_of_single_targets():
    outputs, targets = torch.tensor([[1.0], [3.0], [7.0]]), torch.tensor([2.0, -4.0, 0.0])
    assert metric_value("absolute_error", outputs, targets).item() == pytest.approx(5.0)
    assert metric_value("relative_error", outputs, targets).item() == pytest.approx((1 / 2 + 7 / 4) / 2)


# Metrics of maps


def logits(classes, count):
    """Outputs (n, C, H, W) whose largest is at the classes given."""
    return torch.nn.functional.one_hot(torch.tensor(classes), count).movedim(-1, 1).double()


def test_segmentation_by_hand():
    """Class 2 is predicted once and does not occur, class 3 neither: three classes count."""
    targets = torch.tensor([[[0, 0, 1], [1, -1, -1]]], dtype=torch.int8)
    outputs = logits([[[0, 1, 1], [2, 0, 3]]], 4)
    assert metric_value("pixel_accuracy", outputs, targets).item() == 2 / 4
    assert metric_value("mean_iou", outputs, targets).item() == pytest.approx((1 / 2 + 1 / 3 + 0) / 3, rel=1e-14)


@pytest.mark.parametrize("seed", range(3))
def test_segmentation_is_scikit_learn_s(seed):
    outputs, targets = random_case("cross_entropy", seed)
    targets[targets == 2] = VOID
    there = known(targets)
    true, predicted = targets[there].numpy(), outputs.argmax(dim=1)[there].numpy()
    expected = metrics.jaccard_score(true, predicted, average="macro")
    assert metric_value("mean_iou", outputs, targets).item() == pytest.approx(expected, rel=1e-12)
    accuracy = metrics.accuracy_score(true, predicted)
    assert metric_value("pixel_accuracy", outputs, targets).item() == pytest.approx(accuracy, rel=1e-12)


def test_class_maps_of_many_classes_do_not_overflow_their_type():
    classes = np.arange(100).reshape(1, 10, 10)
    found = metric_value("mean_iou", logits(classes.tolist(), 100), torch.from_numpy(classes).to(torch.int8))
    assert found.item() == 1.0


def test_depth_errors_are_means_over_the_known_pixels():
    targets = torch.tensor([[[1.0, torch.nan], [4.0, 0.0]], [[torch.nan, torch.inf], [torch.nan, 2.0]]])
    outputs = torch.tensor([[[1.5, 9.0], [3.0, 1.0]], [[9.0, 9.0], [9.0, 2.0]]], dtype=torch.float64)[:, None]
    found = metric_value("absolute_error", outputs, targets)
    assert found.dtype == torch.float64
    assert found.item() == pytest.approx((0.5 + 1 + 1 + 0) / 4, rel=1e-14)
    found = metric_value("relative_error", outputs, targets).item()
    assert found == pytest.approx((0.5 + 1 / 4 + 0) / 3, rel=1e-14)  # a depth of 0 has no relative error


def turned(degrees):
    """Vectors (n, 3, 1, 1) at these angles from the z axis, of lengths other than 1."""
    radians = np.deg2rad(degrees)
    rows = np.stack([np.sin(radians), np.zeros(len(degrees)), np.cos(radians)], axis=1)
    return torch.from_numpy(rows * np.linspace(0.5, 3.0, len(degrees))[:, None])[:, :, None, None]


def upwards(count):
    return torch.tensor([0.0, 0.0, 1.0]).expand(count, 3).reshape(count, 3, 1, 1).contiguous()


@pytest.mark.parametrize(
    "degrees", [[5.0, 20.0, 28.0, 90.0], [11.2, 11.3, 22.4, 22.6, 29.9], [0.0], [180.0], [0.0, 180.0], [60.0, 3.0, 8.0]]
)
def test_angles_that_are_known(degrees):
    outputs, targets = turned(degrees), upwards(len(degrees))
    found = {name: metric_value(name, outputs, targets).item() for name in ANGLES}
    assert found["mean_angle"] == pytest.approx(np.mean(degrees), abs=1e-5)
    assert found["median_angle"] == pytest.approx(np.median(degrees), abs=0.005 + 1e-5)
    for name, limit in (("within_11", 11.25), ("within_22", 22.5), ("within_30", 30.0)):
        assert found[name] == pytest.approx(np.mean(np.array(degrees) < limit), abs=1e-15), name


def test_angles_of_random_normals():
    outputs, targets = random_case("cosine", samples=40)
    there = known(targets)
    pairs = zip(outputs.movedim(1, -1)[there].numpy(), targets.movedim(1, -1)[there].double().numpy(), strict=True)
    # Kahan's formula, which is exact for small angles as well.
    angles = []
    for first, second in pairs:
        a, b = first / np.linalg.norm(first), second / np.linalg.norm(second)
        angles.append(np.degrees(2 * np.arctan2(np.linalg.norm(a - b), np.linalg.norm(a + b))))
    assert metric_value("mean_angle", outputs, targets).item() == pytest.approx(np.mean(angles), rel=1e-10)
    assert metric_value("median_angle", outputs, targets).item() == pytest.approx(np.median(angles), abs=0.0051)
    expected = np.mean(np.array(angles) < 30)
    assert 0 < metric_value("within_30", outputs, targets).item() == pytest.approx(expected, rel=1e-12)


def test_a_direction_that_is_no_number_has_no_mean_angle():
    outputs = torch.full((2, 3, 1, 1), torch.nan, dtype=torch.float64)
    assert math.isnan(metric_value("mean_angle", outputs, upwards(2)).item())
    assert metric_value("within_30", outputs, upwards(2)).item() == 0.0
    assert metric_value("median_angle", outputs, upwards(2)).item() > 179


def kind_of(metric):
    return "cosine" if metric in ANGLES else "l1" if metric.endswith("error") else "cross_entropy"


@pytest.mark.parametrize("name", MAP_METRICS)
def test_sums_of_chunks_are_those_of_the_whole(name):
    outputs, targets = random_case(kind_of(name), samples=11)
    targets[3:6] = VOID if kind_of(name) == "cross_entropy" else torch.nan  # a chunk of which nothing is known
    metric = map_metric(name)
    parts = [metric.statistics(*pair) for pair in zip(outputs.split(3), targets.split(3), strict=True)]
    whole = metric_value(name, outputs, targets)
    assert whole.isfinite()
    torch.testing.assert_close(metric.value(sum(parts)), whole, rtol=1e-14, atol=0)


@pytest.mark.parametrize("kind", MAP_LOSSES)
def test_sums_of_a_loss_s_chunks_weigh_pixels_and_not_chunks(kind):
    outputs, targets = random_case(kind, samples=7)
    targets[0] = VOID if kind == "cross_entropy" else torch.nan
    targets[3:6, ..., 1:] = targets[0, ..., 1:]
    score = additive_loss(kind)
    parts = [score.statistics(*pair) for pair in zip(outputs.split(3), targets.split(3), strict=True)]
    expected = of_pixels(kind, outputs, targets).mean()
    assert score.value(sum(parts)).item() == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("name", MAP_METRICS)
def test_a_metric_of_no_pixel_is_no_number(name):
    outputs, targets = random_case(kind_of(name))
    nothing = torch.full_like(targets, VOID if kind_of(name) == "cross_entropy" else torch.nan)
    assert math.isnan(metric_value(name, outputs, nothing).item())


def test_a_metric_of_other_targets_is_refused():
    with pytest.raises(ConfigError, match="metric 'accuracy' is not one of maps of targets; those are: absolute_error"):
        metric_value("accuracy", *random_case("cross_entropy"))
    with pytest.raises(ConfigError, match="metric 'mean_iou' is not one of single targets; those are: accuracy"):
        metric_value("mean_iou", torch.randn(3, 2), torch.tensor([0, 1, 1]))
