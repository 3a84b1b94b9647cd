"""A model starts from its seed alone: the encoder alike in every group, each head alike wherever its task is."""

import pytest
import torch
from torch import nn

from tasktrace.config.declarations import declaration
from tasktrace.config.options import check_options
from tasktrace.errors import ConfigError
from tasktrace.models import MultiTaskModel, build_model
from tasktrace.tasks import Task

A, B, C = (Task(name=name, outputs=outputs) for name, outputs in (("a", 10), ("b", 10), ("c", 3)))
SMALL = {"name": "small_cnn", "version": 1}
LENET = {"name": "lenet", "version": 1}
SHAPES = {"small_cnn": (1, 8, 8), "lenet": (1, 28, 28)}


def numbers(module):
    return torch.cat([parameter.detach().flatten() for parameter in module.parameters()])


@pytest.mark.parametrize(
    ("spec", "encoder", "width"),
    [
        (LENET, 10 * (25 + 1) + 20 * (250 + 1) + 50 * (320 + 1), 50),
        (SMALL, 8 * (9 + 1) + 16 * (72 + 1) + 32 * (64 + 1), 32),
        ({**SMALL, "channels": 3, "features": 5}, 3 * (9 + 1) + 6 * (27 + 1) + 5 * (24 + 1), 5),
    ],
    ids=["lenet", "small_cnn", "small_cnn with options"],
)
def test_sizes_are_the_documented_ones(spec, encoder, width):
    model = build_model(spec, [A, C], seed=0)
    assert numbers(model.encoder).numel() == encoder
    inputs = torch.randn(4, *SHAPES[spec["name"]], generator=torch.Generator().manual_seed(0))
    assert model.encoder(inputs).shape == (4, width)
    assert model(inputs, "a").shape == (4, 10)
    assert model(inputs, "c").shape == (4, 3)
    assert numbers(model.heads).numel() == 13 * (width + 1)


def test_the_small_network_takes_other_pictures():
    model = build_model({**SMALL, "channels": 4, "colours": 3, "size": 30}, [A], seed=0)
    inputs = torch.randn(2, 3, 30, 30, generator=torch.Generator().manual_seed(0))
    assert model.encoder(inputs).shape == (2, 32)
    assert numbers(model.encoder).numel() == 4 * (27 + 1) + 8 * (36 + 1) + 32 * (8 * 7 * 7 + 1)


def test_a_tasks_outputs_are_its_head_on_the_shared_features():
    model = build_model(SMALL, [A, B], seed=0)
    inputs = torch.randn(4, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    head = model.heads["b"]
    expected = model.encoder(inputs) @ head.weight.T + head.bias
    assert torch.allclose(model(inputs, "b"), expected, atol=1e-6)
    assert not torch.allclose(model(inputs, "a"), expected, atol=1e-2)


@pytest.mark.parametrize("spec", [SMALL, LENET], ids=["small_cnn", "lenet"])
def test_a_task_starts_alike_alone_and_in_any_group(spec):
    alone = build_model(spec, [B], seed=5)
    for group in ([A, B], [B, A], [C, B, A]):
        together = build_model(spec, group, seed=5)
        assert torch.equal(numbers(together.encoder), numbers(alone.encoder))
        assert torch.equal(numbers(together.heads["b"]), numbers(alone.heads["b"]))
        assert list(together.heads) == [task.name for task in group]


def test_seeds_and_tasks_have_weights_of_their_own():
    model, other = (build_model(SMALL, [A, B], seed) for seed in (0, 1))
    own, others = numbers(model.encoder), numbers(other.encoder)
    assert (own != others).float().mean() > 0.99
    heads = [numbers(one.heads[name]) for one in (model, other) for name in ("a", "b")]
    assert all((heads[i] != heads[j]).all() for i in range(4) for j in range(i))


def test_building_neither_reads_nor_moves_the_global_generator():
    torch.manual_seed(11)
    first = numbers(build_model(SMALL, [A, B], seed=3))
    drawn = torch.rand(3)
    torch.manual_seed(11)
    assert torch.equal(drawn, torch.rand(3))
    torch.manual_seed(12)
    assert torch.equal(numbers(build_model(SMALL, [A, B], seed=3)), first)


def test_batch_statistics_are_seen_in_the_encoder():
    heads = {"a": nn.Linear(4, 2)}
    assert MultiTaskModel(nn.Sequential(nn.Sequential(nn.BatchNorm1d(4))), heads).uses_batch_statistics
    assert not MultiTaskModel(nn.Sequential(nn.LayerNorm(4)), heads).uses_batch_statistics
    assert not build_model(LENET, [A], seed=0).uses_batch_statistics


@pytest.mark.parametrize("given", [{"channels": 0}, {"features": -1}])
def test_a_network_without_units_is_refused(given):
    with pytest.raises(ConfigError, match=r"(channels|features) must be at least 1, found (0|-1)"):
        check_options(declaration("model", "small_cnn").options, given, "settings/x.yaml: model")


def test_lenet_has_no_options():
    with pytest.raises(ConfigError, match="unknown option 'dropout'; allowed: none"):
        check_options(declaration("model", "lenet").options, {"dropout": 0.5}, "settings/x.yaml: model")
