"""Heads are fitted to what a frozen encoder makes of pictures, and nothing else changes."""

import copy

import numpy as np
import pytest
import torch
from torch import nn

from tasktrace.corruption_transfer import heads as heads_module
from tasktrace.corruption_transfer.heads import Features, Fitting, fit_head
from tasktrace.seeding import derive_seed
from tasktrace.training import tallies
from tasktrace.training.data import DeviceData, Order
from tasktrace.training.objectives import LOSSES

BATCH, EPOCHS, RATE, MOMENTUM = 32, 4, 0.1, 0.9
SGDM = {"name": "sgd", "version": 1, "momentum": MOMENTUM}


@pytest.fixture
def data(traits):
    return DeviceData(traits, ["digit", "parity", "ink"], torch.device("cpu"), shared=True)


@pytest.fixture
def encoder():
    """In eval mode, with batch statistics that are far from those of any batch."""
    generator = torch.Generator().manual_seed(1)
    layers = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(144, 8))
    for parameter in layers.parameters():
        parameter.data = torch.randn(parameter.shape, generator=generator) / parameter.shape[-1] ** 0.5
    layers[1].running_mean = torch.randn(4, generator=generator)
    layers[1].running_var = torch.rand(4, generator=generator) + 0.5
    return layers.eval()


@pytest.fixture
def head():
    generator = torch.Generator().manual_seed(2)
    layer = nn.Linear(8, 10)
    for parameter in layer.parameters():
        parameter.data = torch.randn(parameter.shape, generator=generator) / 3
    return layer


@pytest.fixture
def pictures(data):
    """Other pictures than the task's, and in another order."""
    return data.inputs[torch.arange(300, 0, -1)]


@pytest.fixture
def fit(data):
    """A function that fits a head to digits at 200 of the 300 places of the features."""

    def fitted(head, features, optimizer=SGDM):
        how = Fitting(optimizer, RATE, BATCH, EPOCHS)
        positions = torch.arange(250, 50, -1)
        targets = data.targets["digit", "train"]
        return fit_head(
            head, LOSSES["cross_entropy"], features, positions, targets, how, Order("refit digit", 200, BATCH, 7)
        )

    return fitted


def by_hand(head, features, targets):
    """Weight and bias after the same steps of gradient descent with momentum, from the gradient's formula, float64."""
    parameters = [own.detach().double() for own in (head.weight, head.bias)]
    velocities = [torch.zeros_like(own) for own in parameters]
    for number in range(EPOCHS):
        generator = torch.Generator().manual_seed(derive_seed(7, "order", "refit digit", number))
        order = torch.randperm(200, generator=generator)
        for start in range(0, 200 - BATCH + 1, BATCH):
            batch = order[start : start + BATCH]
            inputs, labels = features[250 - batch].double(), targets[batch]
            errors = torch.softmax(inputs @ parameters[0].T + parameters[1], dim=1)
            errors[torch.arange(BATCH), labels] -= 1
            gradients = [errors.T @ inputs / BATCH, errors.mean(dim=0)]
            for place, gradient in enumerate(gradients):
                velocities[place] = MOMENTUM * velocities[place] + gradient
                parameters[place] = parameters[place] - RATE * velocities[place]
    return parameters


def test_features_are_the_encoders_of_the_pictures_normalised_like_the_training_data(data, encoder, pictures, traits):
    pixels = (pictures.double().numpy() - traits.mean[0]) / traits.std[0]
    with torch.no_grad():
        expected = copy.deepcopy(encoder).double()(torch.from_numpy(pixels))
    positions = torch.tensor([299, 0, 7, 7])
    found = Features(encoder, data, pictures)[positions]
    torch.testing.assert_close(found.double(), expected[positions], rtol=1e-4, atol=1e-5)
    assert not found.requires_grad


def test_remembered_features_run_the_encoder_once_and_others_give_the_same(
    data, encoder, head, pictures, fit, monkeypatch
):
    seen = []
    encoder.register_forward_pre_hook(lambda _, inputs: seen.append(len(inputs[0])))
    remembered = fit(head, Features(encoder, data, pictures))
    assert sum(seen) == 1 + len(pictures), "a picture shows how large features are"
    monkeypatch.setattr(heads_module, "REMEMBERED_BYTES", 0)
    seen.clear()
    computed = fit(head, Features(encoder, data, pictures))
    assert sum(seen) == 1 + EPOCHS * (200 // BATCH) * BATCH
    for one, other in zip(remembered.parameters(), computed.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


def test_many_pictures_go_through_the_encoder_in_parts(data, encoder, pictures, monkeypatch):
    whole = Features(encoder, data, pictures)[torch.arange(300)]
    monkeypatch.setattr(heads_module, "REMEMBERED_BYTES", 0)
    monkeypatch.setattr(tallies, "_CHUNK", 7)
    seen = []
    encoder.register_forward_pre_hook(lambda _, inputs: seen.append(len(inputs[0])))
    parts = Features(encoder, data, pictures)[torch.arange(300)]
    assert max(seen) == 7
    torch.testing.assert_close(parts, whole, rtol=1e-4, atol=1e-5)


def test_a_fit_is_gradient_descent_from_the_trained_head_on_its_own_pictures(data, encoder, head, pictures, fit):
    features = Features(encoder, data, pictures)
    fitted = fit(head, features)
    expected = by_hand(head, features[torch.arange(300)], data.targets["digit", "train"])
    moved = float((fitted.weight - head.weight).detach().abs().max())
    assert moved > 0.1
    for found, own in zip((fitted.weight, fitted.bias), expected, strict=True):
        np.testing.assert_allclose(found.detach().double(), own, rtol=0, atol=1e-4 * moved)


@pytest.mark.parametrize("limit", [0, 2**31])
def test_the_encoder_with_its_statistics_and_the_trained_head_stay_as_they_are(
    data, encoder, head, pictures, fit, monkeypatch, limit
):
    monkeypatch.setattr(heads_module, "REMEMBERED_BYTES", limit)
    before = copy.deepcopy(encoder.state_dict()), copy.deepcopy(head.state_dict())
    fitted = fit(head, Features(encoder, data, pictures), {"name": "adam", "version": 1})
    for layers, expected in zip((encoder, head), before, strict=True):
        after = layers.state_dict()
        assert after.keys() == expected.keys()
        assert all(torch.equal(after[name], value) for name, value in expected.items())
        assert all(parameter.grad is None for parameter in layers.parameters())
    assert "1.running_mean" in encoder.state_dict()
    assert not torch.equal(fitted.weight, head.weight)
    assert not encoder.training


def test_a_head_that_drops_features_out_does_so_while_it_is_fitted_alone(data, encoder, head, pictures, fit):
    features = Features(encoder, data, pictures)
    dropping = nn.Sequential(nn.Dropout(0.5), head).eval()
    torch.manual_seed(0)
    fitted = fit(dropping, features)
    assert not any(layer.training for layer in fitted.modules())
    assert not any(layer.training for layer in dropping.modules())
    assert not torch.allclose(fitted[1].weight, fit(head, features).weight, atol=1e-3)
