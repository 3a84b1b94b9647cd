"""Squared norms of per-sample gradients against those gradients, one sample after the other."""

import copy
import warnings

import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

from tasktrace.measures.norms import SampleGradients

SAMPLES = 5


def reference(model, inputs, cotangent, chosen=None):
    """The norms of gradients that autograd gives for one sample at a time."""
    chosen = list(model.parameters()) if chosen is None else chosen
    found = []
    for sample, weights in zip(inputs, cotangent, strict=True):
        value = (model(sample[None]) * weights[None]).sum()
        gradients = torch.autograd.grad(value, chosen, allow_unused=True) if chosen else []
        found.append(sum(float(own.square().sum()) for own in gradients if own is not None))
    return torch.tensor(found, dtype=torch.float64)


class Residual(nn.Module):
    """Convolutions around a shortcut, with functional operations and an activation that works in place."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(2, 4, 3, padding=1, bias=False)
        self.normalise = nn.BatchNorm2d(4)
        self.second = nn.Conv2d(4, 4, 3, padding=1)
        self.shortcut = nn.Conv2d(2, 4, 1)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, inputs):
        path = self.second(self.relu(self.normalise(self.first(inputs))))
        path += self.shortcut(inputs)
        return functional.adaptive_avg_pool2d(self.relu(path), 2).flatten(1)


class Tokens(nn.Module):
    """Indices to vectors, a linear map at every position, and a normalisation of all of them."""

    def __init__(self, padding_idx=None, width=3):
        super().__init__()
        self.embed = nn.Embedding(7, 3, padding_idx=padding_idx)
        self.mix = nn.Linear(3, width)
        self.normalise = nn.LayerNorm(width)

    def forward(self, indices):
        return self.normalise(torch.tanh(self.mix(self.embed(indices)))).square().mean(dim=1)


def conv_net(*layers):
    return nn.Sequential(*layers, nn.Tanh(), nn.Flatten(), nn.LazyLinear(3))


NETS = {
    "mlp": (lambda: nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 3, bias=False)), (4,)),
    "sequence, direct": (lambda: nn.Sequential(nn.Linear(2, 3), nn.ReLU(inplace=True), nn.Flatten(1, 3)), (2, 9, 2)),
    "sequence, ghost": (lambda: nn.Sequential(nn.Linear(20, 30), nn.Tanh(), nn.Flatten()), (2, 20)),
    "layer norm of two dimensions": (lambda: nn.Sequential(nn.LayerNorm((3, 4)), nn.Flatten()), (5, 3, 4)),
    "conv": (lambda: conv_net(nn.Conv2d(1, 3, 5), nn.MaxPool2d(2), nn.ReLU(), nn.Conv2d(3, 4, 2)), (1, 11, 10)),
    "conv, ghost": (lambda: conv_net(nn.Conv2d(16, 20, 3)), (16, 4, 4)),
    "conv, ghost and groups": (lambda: conv_net(nn.Conv2d(32, 40, 3, groups=2)), (32, 4, 4)),
    "strides and dilation": (
        lambda: conv_net(nn.Conv2d(2, 4, (3, 2), stride=(2, 3), padding=(1, 2), dilation=(2, 1), bias=False)),
        (2, 9, 11),
    ),
    "groups": (lambda: conv_net(nn.Conv2d(4, 6, 3, groups=2), nn.ReLU(), nn.Conv2d(6, 6, 3, groups=6)), (4, 8, 8)),
    "same padding": (lambda: conv_net(nn.Conv2d(2, 3, (2, 3), padding="same")), (2, 5, 6)),
    "reflected padding": (lambda: conv_net(nn.Conv2d(2, 3, 3, padding=1, padding_mode="reflect")), (2, 5, 6)),
    "circular padding": (lambda: conv_net(nn.Conv2d(2, 3, 3, padding=(2, 1), padding_mode="circular")), (2, 5, 6)),
    "pointwise with stride": (lambda: conv_net(nn.Conv2d(3, 5, 1, stride=2)), (3, 6, 6)),
    "batch norm of features": (lambda: nn.Sequential(nn.Linear(4, 5), nn.BatchNorm1d(5), nn.ReLU()), (4,)),
    "batch norm of a line": (lambda: nn.Sequential(nn.BatchNorm1d(3), nn.Flatten()), (3, 7)),
    "group norm": (lambda: conv_net(nn.Conv2d(2, 6, 3), nn.GroupNorm(3, 6)), (2, 6, 6)),
    "other layers": (lambda: conv_net(nn.Conv1d(2, 4, 3), nn.PReLU(4), nn.InstanceNorm1d(4, affine=True)), (2, 9)),
    "residual": (Residual, (2, 6, 6)),
    "tokens": (Tokens, (6,)),
    "tokens with padding": (lambda: Tokens(padding_idx=2), (6,)),
}


def build(name, samples=SAMPLES):
    """A net in float64 with running statistics that are not trivial, its inputs, and a cotangent of its outputs."""
    make, shape = NETS[name]
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Lazy modules")
        torch.default_generator.manual_seed(0)
        model = make()
        inputs = torch.randn(samples, *shape, dtype=torch.float64)
        if name.startswith("tokens"):
            inputs = torch.randint(0, 7, (samples, *shape))
            model.double()
        else:
            model(inputs.float())  # once in training mode: statistics and lazy layers
            model.double().eval()
        for parameter in model.parameters():  # normalisations start as ones and zeros
            parameter.data += 0.3 * torch.randn_like(parameter)
        cotangent = torch.randn_like(model(inputs).detach())
    return model, inputs, cotangent


def agrees(found, expected):
    return torch.allclose(found, expected, rtol=1e-10, atol=1e-12 * float(expected.max()))


@pytest.mark.filterwarnings("ignore:Using padding='same'")
@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("name", NETS)
def test_norms_are_those_of_each_samples_gradient(name, channels_last):
    model, inputs, cotangent = build(name)
    # One image with channels last: torch's own gradient of a convolution with groups is wrong in float64 on a CPU.
    expected = [reference(model, inputs, own) for own in (cotangent, cotangent.flip(0) ** 2)]
    if channels_last:
        model = model.to(memory_format=torch.channels_last)
        inputs = inputs.to(memory_format=torch.channels_last) if inputs.ndim == 4 else inputs
    gradients = SampleGradients(model, inputs)
    assert gradients.fallback == ""
    assert torch.equal(gradients.outputs, model(inputs).detach())
    assert not gradients.outputs.requires_grad
    assert agrees(gradients.squared_norms(cotangent), expected[0])
    assert agrees(gradients.squared_norms(cotangent.flip(0) ** 2), expected[1])
    assert agrees(gradients.squared_norms(cotangent), expected[0])  # what was kept of the inputs is as it was


@pytest.mark.parametrize("piece", [1, 2000])
@pytest.mark.parametrize("name", ["conv", "groups", "conv, ghost", "conv, ghost and groups", "sequence, ghost"])
def test_the_size_of_pieces_changes_nothing(name, piece, monkeypatch):
    model, inputs, cotangent = build(name)
    monkeypatch.setattr("tasktrace.measures.norms._PIECE", {"cpu": piece})
    gradients = SampleGradients(model, inputs)
    for _ in range(2):
        assert agrees(gradients.squared_norms(cotangent), reference(model, inputs, cotangent))


@pytest.mark.parametrize("name", ["mlp", "conv", "residual", "tokens", "other layers", "group norm"])
def test_only_some_parameters(name):
    model, inputs, cotangent = build(name)
    parameters = list(model.parameters())
    for chosen in [parameters[:1], parameters[-1:], parameters[1::2], []]:
        gradients = SampleGradients(model, inputs, only=chosen)
        assert gradients.fallback == ""
        assert agrees(gradients.squared_norms(cotangent), reference(model, inputs, cotangent, chosen))


def test_what_a_pass_does_not_need_it_does_not_compute():
    model, inputs, cotangent = build("conv", samples=3)
    with FlopCounterMode(display=False) as counter:
        model(inputs)
    forward = counter.get_flop_counts()["Global"]
    gradients = SampleGradients(model, inputs)
    with FlopCounterMode(display=False) as counter:
        gradients._layers = [(edge, [lambda found: found.flatten(1).sum(dim=1)]) for edge, _ in gradients._layers]
        gradients.squared_norms(cotangent)
    backward = counter.get_flop_counts()["Global"]
    # Gradients of the inputs of all layers but the first, and of no weight.
    assert backward[torch.ops.aten.convolution_backward] == forward[torch.ops.aten.convolution] - 2 * 3 * 3 * 25 * 7 * 6
    assert backward[torch.ops.aten.mm] == forward[torch.ops.aten.addmm]


def test_the_model_is_left_as_it_was():
    model, inputs, cotangent = build("residual")
    model.first.weight.requires_grad_(False)
    model.shortcut.weight.grad = torch.ones_like(model.shortcut.weight)
    state, given = copy.deepcopy(model.state_dict()), inputs.clone()
    for only in (None, [model.first.weight]):
        with torch.no_grad():  # whatever the caller's mode
            found = SampleGradients(model, inputs, only).squared_norms(cotangent)
        assert found.min() > 0
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
    assert torch.equal(inputs, given)
    assert [parameter.requires_grad for parameter in model.parameters()] == [False] + [True] * 6
    assert [parameter.grad is None for parameter in model.parameters()].count(False) == 1
    assert torch.equal(model.shortcut.weight.grad, torch.ones_like(model.shortcut.weight))
    assert not any(layer._forward_hooks for layer in model.modules())
    with pytest.raises(RuntimeError):
        SampleGradients(model, inputs[:, :1])
    assert [parameter.requires_grad for parameter in model.parameters()] == [False] + [True] * 6
    assert not any(layer._forward_hooks for layer in model.modules())


class Tied(nn.Module):
    """The weight of an embedding gives the outputs too."""

    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(7, 3)

    def forward(self, indices):
        return functional.linear(torch.tanh(self.embed(indices)).mean(dim=1), self.embed.weight)


class Shared(nn.Module):
    """One layer, twice."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 4)

    def forward(self, inputs):
        return self.layer(torch.tanh(self.layer(inputs)))


class Aliased(nn.Module):
    """Two layers with one weight, of which one is used."""

    def __init__(self):
        super().__init__()
        self.used, self.other = nn.Linear(4, 3), nn.Linear(4, 3)
        self.other.weight = self.used.weight

    def forward(self, inputs):
        return self.used(inputs)


class Parent(nn.Module):
    """A parameter beside children."""

    def __init__(self):
        super().__init__()
        self.layer, self.scale = nn.Linear(4, 3), nn.Parameter(torch.ones(3))

    def forward(self, inputs):
        return self.layer(inputs) * self.scale


class Uncalled(nn.Module):
    """A layer's parameters, used without the layer."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 3)

    def forward(self, inputs):
        return functional.linear(inputs, self.layer.weight, self.layer.bias)


class Reshaped(nn.Module):
    """Positions in the first dimension."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(2, 3)

    def forward(self, inputs):
        return self.layer(inputs.reshape(-1, 2)).reshape(len(inputs), -1)


class Named(nn.Module):
    """A layer that is called by keyword."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 3)

    def forward(self, inputs):
        return self.layer(input=inputs)


class Viewed(nn.Module):
    """A layer whose output is a view of what it computes."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(4, 4))

    def forward(self, inputs):
        return functional.linear(inputs, self.weight).view(-1, 2, 2)


class ChangedView(nn.Module):
    """A view of a layer's output that is changed in place: the graph leaves the view's place in it aside."""

    def __init__(self):
        super().__init__()
        self.layer = Viewed()

    def forward(self, inputs):
        return self.layer(inputs).relu_().flatten(1)


class ChangedInput(nn.Module):
    """Inputs of a layer that are changed in place after it."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 4)

    def forward(self, inputs):
        given = inputs.clone()
        outputs = self.layer(given)
        given += 1
        return outputs + given


class Several(nn.Module):
    """A layer with two outputs."""

    def __init__(self):
        super().__init__()
        self.layer = nn.GRU(4, 3)

    def forward(self, inputs):
        return self.layer(inputs)[0]


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (Tied, "embed: a parameter is not used exactly once"),
        (Shared, "layer: a parameter is not used exactly once"),
        (Aliased, "used: a parameter is not used exactly once"),
        (Parent, ": a parameter is used outside of a layer without children"),
        (Uncalled, "layer: a parameter is used outside of a layer without children"),
        (Reshaped, "layer: its inputs are changed in place, or not tensors with a row per sample"),
        (Named, "layer: its inputs are changed in place, or not tensors with a row per sample"),
    ],
)
def test_where_formulas_do_not_apply_whole_gradients_are_formed(make, reason):
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        model = make().double()
        inputs = torch.randint(0, 7, (40, 4)) if make is Tied else torch.randn(40, 4, dtype=torch.float64)
        cotangent = torch.randn_like(model(inputs).detach())
    gradients = SampleGradients(model, inputs)
    assert gradients.fallback == reason
    assert agrees(gradients.squared_norms(cotangent), reference(model, inputs, cotangent))
    chosen = list(model.parameters())[:1]
    found = SampleGradients(model, inputs, chosen).squared_norms(cotangent)
    assert agrees(found, reference(model, inputs, cotangent, chosen))


def test_a_changed_view_of_an_output():
    model = ChangedView().double()
    inputs = torch.linspace(-1, 1, 12, dtype=torch.float64).reshape(3, 4)
    cotangent = torch.linspace(1, 2, 12, dtype=torch.float64).reshape(3, 4)
    gradients = SampleGradients(model, inputs)
    assert agrees(gradients.squared_norms(cotangent), reference(model, inputs, cotangent))
    assert gradients.fallback == "a view of a layer's output is changed in place"


def test_inputs_that_are_changed_after_a_layer_give_no_wrong_number():
    model, inputs = ChangedInput().double(), torch.ones(2, 4, dtype=torch.float64)
    gradients = SampleGradients(model, inputs)
    assert gradients.fallback == "layer: its inputs are changed in place, or not tensors with a row per sample"
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):  # as in training
        gradients.squared_norms(torch.ones_like(inputs))
    biases = SampleGradients(model, inputs, [model.layer.bias])
    assert biases.squared_norms(torch.ones_like(inputs)).tolist() == [4.0, 4.0]


def test_a_layer_with_several_outputs_has_no_formula():
    reason = SampleGradients(Several().double(), torch.ones(2, 4, dtype=torch.float64)).fallback
    assert reason.startswith("layer: ")


@pytest.mark.parametrize("name", ["residual", "tokens", "groups", "other layers"])
def test_whole_gradients_equal_the_formulas(name):
    model, inputs, cotangent = build(name)
    gradients = SampleGradients(model, inputs)
    assert agrees(gradients._of_whole_gradients(cotangent), gradients.squared_norms(cotangent))


def test_layers_that_the_outputs_do_not_depend_on_have_no_gradient():
    model = nn.ModuleDict({"used": nn.Linear(4, 3), "other": nn.Linear(4, 3)}).double()
    model.forward = lambda inputs: model["used"](inputs)
    inputs, cotangent = torch.ones(2, 4, dtype=torch.float64), torch.ones(2, 3, dtype=torch.float64)
    gradients = SampleGradients(model, inputs)
    assert gradients.fallback == ""
    assert gradients.squared_norms(cotangent).tolist() == pytest.approx([15.0, 15.0])
    assert SampleGradients(model, inputs, model["other"].parameters()).squared_norms(cotangent).tolist() == [0.0, 0.0]


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        (nn.BatchNorm1d(4).train(), "^0: gradients of single samples need BatchNorm's running statistics"),
        (nn.BatchNorm1d(4, track_running_stats=False).eval(), "need BatchNorm's running statistics, in eval mode"),
        (nn.Dropout(0.5).train(), "^0: the model must be in eval mode"),
        (nn.Embedding(4, 2, max_norm=1.0), "depend on the batch"),
        (nn.Embedding(4, 2, scale_grad_by_freq=True), "depend on the batch"),
    ],
)
def test_layers_without_gradients_of_single_samples_are_refused(layer, message):
    with pytest.raises(ValueError, match=message):
        SampleGradients(nn.Sequential(layer), torch.zeros(2, 4))


def test_parameters_of_another_model_are_refused():
    with pytest.raises(ValueError, match="only: a parameter is not the model's"):
        SampleGradients(nn.Linear(4, 2), torch.zeros(2, 4), only=nn.Linear(4, 2).parameters())
