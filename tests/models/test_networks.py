"""ResNet-18, SegNet and DeepLab are the networks that they are said to be, in training as in evaluation."""

import pytest
import torch
import torchvision
from torch import nn
from torch.nn import functional

from tasktrace.config.declarations import declaration
from tasktrace.config.options import check_options
from tasktrace.errors import ConfigError
from tasktrace.measures.base import TaskModel
from tasktrace.measures.norms import SampleGradients
from tasktrace.methods import build
from tasktrace.models import build_model
from tasktrace.models.multitask import uses_batch_statistics
from tasktrace.models.resnet18 import Options as Resnet18Options
from tasktrace.tasks import Task
from tasktrace.training.updates import Batch, Parts, build_update
from tasktrace.training.updates.jacobian import TaskJacobian

SEGMENTATION, DEPTH = Task(name="segmentation", outputs=7), Task(name="depth", outputs=1)
CIFAR = {"name": "resnet18", "version": 1}
CELEBA = {**CIFAR, "pool": "4x4"}
IMAGENET = {**CIFAR, "stem": "imagenet"}
SEGNET = {"name": "segnet", "version": 1}
DEEPLAB = {"name": "deeplab", "version": 1}
SHAPES = {"cifar": (2, 3, 32, 32), "celeba": (2, 3, 64, 64), "imagenet": (2, 3, 64, 64), "dense": (2, 3, 32, 64)}
NEEDS_GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no GPU")


@pytest.fixture(autouse=True)
def _deterministic(torch_as_it_was):
    torch.set_num_threads(1)
    torch.set_deterministic_debug_mode("error")


@pytest.fixture(scope="module")
def built():
    """A function that builds each model once, with two tasks."""
    models = {}

    def model(spec):
        key = str(spec)
        if key not in models:
            models[key] = build_model(spec, [SEGMENTATION, DEPTH], seed=0).to(memory_format=torch.channels_last)
        models[key].zero_grad()
        return models[key].train()

    return model


def pictures(kind, samples=2):
    return torch.randn(samples, *SHAPES[kind][1:], generator=torch.Generator().manual_seed(0))


def count(module):
    return sum(parameter.numel() for parameter in module.parameters())


def numbers(module):
    return torch.cat([parameter.detach().flatten() for parameter in module.parameters()])


def resnet18(stem):
    network = torchvision.models.resnet18(weights=None)
    network.fc = nn.Identity()
    if stem == "cifar":
        network.conv1 = nn.Conv2d(3, 64, 3, padding=1, bias=False)
        network.maxpool = nn.Identity()
    return network


@pytest.mark.parametrize(
    ("spec", "kind", "width"),
    [(CIFAR, "cifar", 512), (CELEBA, "celeba", 2048), (IMAGENET, "imagenet", 512)],
    ids=["cifar", "celeba", "imagenet"],
)
def test_resnet18_is_torchvisions_but_for_stem_and_pooling(built, spec, kind, width):
    model = built(spec)
    reference = resnet18(spec.get("stem", "cifar"))
    if width == 2048:
        reference.avgpool = nn.AvgPool2d(4)
    reference.load_state_dict(model.encoder.state_dict())
    assert count(model.encoder) == count(reference)
    assert count(model.heads["segmentation"]) == 7 * (width + 1)
    inputs = pictures(kind)
    features = model.encoder(inputs)
    assert features.shape == (2, width)
    torch.testing.assert_close(features, reference(inputs), rtol=1e-4, atol=1e-4)
    model.eval(), reference.eval()
    torch.testing.assert_close(model.encoder(inputs), reference(inputs), rtol=1e-4, atol=1e-4)


def test_a_stem_starts_as_torchvisions_convolutions_do(built):
    weight = built(CIFAR).encoder.conv1.weight
    assert weight.std().item() == pytest.approx((2 / (64 * 9)) ** 0.5, rel=0.05)


def test_segnet_is_the_shared_one_of_the_literature(built):
    model = built(SEGNET)
    with_a_head_of_13 = count(model.encoder) + (64 * 64 * 9 + 64) + (64 * 13 + 13)
    assert with_a_head_of_13 == 24_981_069  # which lorenmt/mtan's model_segnet_split.py divides its sizes by
    assert count(model.heads["segmentation"]) == (64 * 64 * 9 + 64) + (64 * 7 + 7)
    widths = [[layer.weight.shape[:2] for layer in stage if isinstance(layer, nn.Conv2d)] for stage in model.encoder.up]
    assert [(own[0][1], own[0][0], len(own)) for own in widths] == [
        (512, 512, 3),
        (512, 256, 3),
        (256, 128, 3),
        (128, 64, 2),
        (64, 64, 2),
    ]
    weight = model.encoder.down[2][3].weight
    assert weight.std().item() == pytest.approx((2 / (9 * (256 + 256))) ** 0.5, rel=0.05)


def test_segnet_unpools_to_where_its_maxima_were(built):
    model = built(SEGNET)
    torch.use_deterministic_algorithms(False)
    maps, found = pictures("dense"), []
    for stage in model.encoder.down:
        maps, indices = functional.max_pool2d(stage(maps), 2, return_indices=True)
        found.append(indices)
    for stage in model.encoder.up:
        maps = stage(functional.max_unpool2d(maps, found.pop(), 2))
    features = model.encoder(pictures("dense"))
    assert features.shape == (2, 64, 32, 64)
    torch.testing.assert_close(features, maps)
    assert model(pictures("dense"), "segmentation").shape == (2, 7, 32, 64)


@pytest.fixture(scope="module")
def deeplabv3():
    return torchvision.models.segmentation.deeplabv3_resnet50(weights=None, weights_backbone=None, num_classes=7)


def test_deeplab_is_torchvisions(built, deeplabv3):
    model, inputs = built(DEEPLAB), pictures("dense")
    deeplabv3.backbone.load_state_dict(model.encoder.state_dict())
    deeplabv3.classifier.load_state_dict(model.heads["segmentation"].state_dict())
    model.eval(), deeplabv3.eval()
    features = model.encoder(inputs)
    expected = deeplabv3.backbone(inputs)["out"]
    assert features.shape == (2, 2048, 4, 8)
    torch.testing.assert_close(features, expected, rtol=1e-4, atol=1e-4)
    outputs = functional.interpolate(deeplabv3.classifier(expected), (32, 64), mode="bilinear", align_corners=True)
    torch.testing.assert_close(model(inputs, "segmentation"), outputs, rtol=1e-3, atol=1e-4)
    assert model(inputs, "depth").shape == (2, 1, 32, 64)


def test_deeplab_may_be_deeper():
    with torch.device("meta"):
        model = build_model({**DEEPLAB, "backbone": "resnet101"}, [DEPTH], seed=0)
        assert count(model.encoder) == count(torchvision.models.resnet101()) - 1000 * 2049


@pytest.mark.parametrize(
    ("spec", "kind"), [(CIFAR, "cifar"), (SEGNET, "dense"), (DEEPLAB, "dense")], ids=["resnet18", "segnet", "deeplab"]
)
class TestEveryNetwork:
    def test_a_loss_reaches_every_parameter_and_only_its_own_head(self, built, spec, kind):
        model = built(spec)
        model(pictures(kind), "segmentation").square().mean().backward()
        reached = [*model.encoder.named_parameters(), *model.heads["segmentation"].named_parameters()]
        assert [name for name, own in reached if own.grad is None or not own.grad.any()] == []
        assert all(own.grad is None for own in model.heads["depth"].parameters())

    def test_a_task_starts_alike_alone_and_in_a_group(self, built, spec, kind):
        alone, together = build_model(spec, [DEPTH], seed=0), built(spec)
        fresh = build_model(spec, [SEGMENTATION, DEPTH], seed=0)
        assert torch.equal(numbers(alone.encoder), numbers(fresh.encoder))
        assert torch.equal(numbers(alone.heads["depth"]), numbers(fresh.heads["depth"]))
        assert torch.equal(numbers(fresh.encoder), numbers(together.encoder))
        other = build_model(spec, [DEPTH], seed=1)
        assert (numbers(other.encoder) != numbers(fresh.encoder)).float().mean() > 0.99

    def test_batch_statistics_are_kept_in_training_and_used_in_evaluation(self, built, spec, kind):
        model, inputs = build_model(spec, [DEPTH], seed=0), pictures(kind)
        assert model.uses_batch_statistics
        assert uses_batch_statistics(model.heads["depth"]) == (spec is DEEPLAB)
        layer = next(layer for layer in model.modules() if isinstance(layer, nn.BatchNorm2d))
        model(inputs, "depth")
        assert layer.running_mean.any()
        kept = layer.running_mean.clone()
        model.eval()
        with torch.no_grad():
            whole = model(inputs, "depth")
            torch.testing.assert_close(model(inputs[:1], "depth"), whole[:1], rtol=1e-3, atol=1e-4)
        assert torch.equal(layer.running_mean, kept)

    def test_gradients_of_single_samples_need_no_fallback(self, built, spec, kind):
        model, inputs = built(spec).eval(), pictures(kind)
        gradients = SampleGradients(TaskModel(model, "depth"), inputs)
        assert gradients.fallback == ""
        found = gradients.squared_norms(torch.ones_like(gradients.outputs))
        model(inputs[:1], "depth").sum().backward()
        squares = [own.grad.square().sum() for own in model.parameters() if own.grad is not None]
        torch.testing.assert_close(found[0], torch.stack(squares).sum(), rtol=1e-3, atol=0)

    def test_the_jacobians_rows_are_the_tasks_gradients(self, built, spec, kind):
        model, inputs = built(spec), pictures(kind)
        heads = list(model.heads.values())
        shape = model(inputs, "depth").shape[2:]
        targets = torch.randn(2, 1, *shape, generator=torch.Generator().manual_seed(1))
        jacobian = TaskJacobian(Parts(model, heads, [functional.mse_loss, functional.l1_loss]))
        wide = targets.expand(-1, 7, *(-1 for _ in shape)).contiguous()
        torch.manual_seed(0)
        losses = jacobian.fill(Batch(inputs, [wide, targets], shared=True))
        torch.manual_seed(0)
        features = model.encoder(inputs)
        own = [functional.mse_loss(heads[0](features), wide), functional.l1_loss(heads[1](features), targets)]
        torch.testing.assert_close(losses, torch.stack(own).detach())
        for row, loss in zip(jacobian.matrix, own, strict=True):
            expected = torch.autograd.grad(loss, list(model.encoder.parameters()), retain_graph=True)
            for part, gradient in zip(row.split(jacobian.sizes), expected, strict=True):
                part = part.as_strided(gradient.shape, gradient.stride())
                assert (part - gradient).norm() <= 1e-4 * gradient.norm() + 1e-5

    @NEEDS_GPU
    def test_steps_on_a_gpu_are_deterministic(self, spec, kind):
        found = []
        for _ in range(2):
            model = build_model(spec, [DEPTH], seed=0).cuda().to(memory_format=torch.channels_last)
            torch.manual_seed(0)
            model(pictures(kind, 8).cuda(), "depth").square().mean().backward()
            found.append(torch.cat([own.grad.flatten() for own in model.parameters()]))
        assert torch.equal(*found)


@pytest.mark.parametrize(("spec", "kind"), [(CIFAR, "cifar"), (DEEPLAB, "dense")], ids=["resnet18", "deeplab"])
def test_the_gramian_can_be_had_in_segments(built, spec, kind):
    model, inputs = built(spec), pictures(kind)
    targets = [torch.zeros_like(model(inputs, name)) for name in model.heads]
    parts = Parts(model, list(model.heads.values()), [functional.mse_loss] * 2)
    found = []
    for jacobian in ("full", "chunked"):
        model.zero_grad()
        update = build_update(parts, build("cagrad", 2), lambda own: torch.optim.SGD(own, lr=0.1), 0.1, jacobian)
        torch.manual_seed(0)
        update.gradients(Batch(inputs, targets, shared=True))
        found.append(torch.cat([own.grad.flatten() for own in model.parameters()]))
    assert (found[0] - found[1]).norm() <= 1e-4 * found[0].norm()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"stem": "imagenet", "pool": "4x4"}, "pool '4x4' is for the cifar stem"),
        ({"weights": "imagenet"}, "weights are for the imagenet stem, found 'imagenet' with stem 'cifar'"),
    ],
)
def test_what_does_not_go_with_a_stem_is_refused(given, message):
    with pytest.raises(ConfigError, match=message):
        check_options(declaration("model", "resnet18").options, given, "settings/x.yaml: model")
    with pytest.raises(ValueError, match=message):
        Resnet18Options(**given)


@pytest.mark.parametrize(("spec", "multiple"), [(SEGNET, 32), (DEEPLAB, 8)], ids=["segnet", "deeplab"])
def test_inputs_that_would_not_come_back_at_their_size_are_refused(built, spec, multiple):
    with pytest.raises(ConfigError, match=f"{spec['name']} takes .* multiples of {multiple}, found 36x64"):
        built(spec).encoder(torch.zeros(2, 3, 36, 64))
