"""Sharpness against vertices, closed forms and the secular equation; Auto-PGD against a plain one."""

import dataclasses
import itertools
import math

import pytest
import torch
from torch import nn
from torch.func import functional_call
from torch.nn import functional

from tasktrace.errors import ConfigError
from tasktrace.measures.apgd import checkpoints, maximise, random_point
from tasktrace.measures.base import Sample, Subject, TaskModel
from tasktrace.measures.landscape import OneByOne, Together
from tasktrace.measures.sharpness import Measure, Options, normalised, rises
from tasktrace.models import MultiTaskModel, small_cnn
from tasktrace.tasks import Task

NORMS = ["linf", "l2"]
ENOUGH = 1e-3


def generator_of(number):
    return torch.Generator().manual_seed(1000 + number)


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def classes(size, number, seed=0):
    return torch.randint(0, number, (size,), generator=torch.Generator().manual_seed(seed))


def linear(inputs, outputs, bias=False, seed=0):
    layer = nn.Linear(inputs, outputs, bias=bias, dtype=torch.float64)
    for number, parameter in enumerate(layer.parameters()):
        parameter.data = normal(*parameter.shape, seed=seed + number)
    return layer


def rise(module, batches, loss=functional.cross_entropy, together=None, parameters=None, **options):
    options = Options(**{"samples": 10**6, **options})
    parameters = dict(module.named_parameters()) if parameters is None else parameters
    return rises(module, parameters, loss, batches, options, generator_of, together)


def rise_at_vertices(module, batch, rho, names):
    """The largest rise over the vertices of the box of the named parameters, one by one."""
    inputs, targets = batch
    weights = dict(module.named_parameters())
    flat = torch.cat([weights[name].detach().flatten() for name in names])
    sizes = [weights[name].numel() for name in names]
    found = []
    for signs in itertools.product([-1.0, 1.0], repeat=len(flat)):
        moved = (flat + rho * flat.abs() * torch.tensor(signs, dtype=flat.dtype)).split(sizes)
        parts = {name: part.view_as(weights[name]) for name, part in zip(names, moved, strict=True)}
        with torch.no_grad():
            found.append(functional.cross_entropy(functional_call(module, parts, (inputs,)), targets))
    with torch.no_grad():
        return float(max(found) - functional.cross_entropy(module(inputs), targets))


# The search


def test_the_checkpoints_of_20_moves_are_those_of_the_published_code():
    assert checkpoints(20) == [5, 9, 12, 15, 16, 18, 19, 20]


class Waves:
    """Lanes of rugged functions of P numbers: a quadratic and a sine."""

    def __init__(self, lanes, size, seed):
        self.hessian = normal(lanes, size, size, seed=seed)
        self.tilt = normal(lanes, size, seed=seed + 1)
        self.wave = 3 * normal(lanes, size, seed=seed + 2)

    def of(self, points, lane=slice(None)):
        quadratic = (points.unsqueeze(-2) @ self.hessian[lane] @ points.unsqueeze(-1)).squeeze(-1).squeeze(-1)
        return quadratic + (self.tilt[lane] * points).sum(-1) + torch.sin((self.wave[lane] * points).sum(-1))

    def values(self, points):
        return self.of(points)

    def slopes(self, points, lane=slice(None)):
        points = points.detach().clone().requires_grad_()
        values = self.of(points, lane)
        (slopes,) = torch.autograd.grad(values.sum(), points)
        return values.detach(), slopes


def apgd_of_one_lane(function, lane, start, norm, iterations):
    """Croce and Hein's algorithm 1 as it reads, with every point kept."""

    def project(point):
        return point.clamp(-1, 1) if norm == "linf" else point / max(1.0, float(point.norm()))

    def uphill(slope):
        return slope.sign() if norm == "linf" else slope / slope.norm()

    value, slope = function.slopes(start, lane)
    points, values, slopes = [start], [value], [slope]
    best, step, last_checkpoint = 0, 2.0, 0
    step_before, best_before = step, float(value)
    current, before = 0, 0
    rose = []
    for number in range(1, iterations + 1):
        ahead = project(points[current] + step * uphill(slopes[current]))
        if number > 1:
            ahead = points[current] + 0.75 * (ahead - points[current]) + 0.25 * (points[current] - points[before])
            ahead = project(ahead)
        value, slope = function.slopes(ahead, lane)
        points.append(ahead)
        values.append(value)
        slopes.append(slope)
        rose.append(bool(value > values[current]))
        before, current = current, number
        if value > values[best]:
            best = number
        if number in checkpoints(iterations):
            few = sum(rose[last_checkpoint:]) < 0.75 * (number - last_checkpoint)
            stuck = step_before == step and best_before == float(values[best])
            step_before, best_before, last_checkpoint = step, float(values[best]), number
            if few or stuck:
                step /= 2
                before = current = best
    return float(values[best])


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("iterations", [1, 5, 20, 50])
def test_lanes_together_and_alone_follow_the_algorithm(norm, iterations):
    lanes, size = 12, 4
    function = Waves(lanes, size, seed=3)
    start = torch.stack([random_point(size, norm, generator_of(lane)) for lane in range(lanes)])
    expected = [apgd_of_one_lane(function, lane, start[lane], norm, iterations) for lane in range(lanes)]
    found = maximise(function, start, *function.slopes(start), norm, iterations)
    assert found.tolist() == pytest.approx(expected, rel=1e-9)

    class Lane:
        def __init__(self, number):
            self.number = number

        def values(self, points):
            return function.of(points, slice(self.number, self.number + 1))

        def slopes(self, points):
            return function.slopes(points, slice(self.number, self.number + 1))

    alone = []
    for lane in range(lanes):
        begin = start[lane : lane + 1]
        alone += maximise(Lane(lane), begin, *Lane(lane).slopes(begin), norm, iterations).tolist()
    assert alone == pytest.approx(expected, rel=1e-9)


class Scripted:
    """A function whose values and slopes come in a given order, wherever it is asked; they rise and fall like a saw."""

    def __init__(self, seed):
        draws = normal(100, seed=seed)
        self.saw = torch.where(draws > 0.7, -4 * draws, 1 + 0.1 * draws).cumsum(0)
        self.hills = normal(100, 3, seed=seed + 500)
        self.points = []

    def values(self, points):
        self.points.append(points.flatten().tolist())
        return self.saw[len(self.points) - 1].view(points.shape[:-1])

    def slopes(self, points, _lane=None):
        return self.values(points), self.hills[len(self.points) - 1].view(points.shape).clone()


@pytest.mark.parametrize("norm", NORMS)
def test_the_moves_are_those_of_the_algorithm(norm):
    start = torch.full((3,), 0.1, dtype=torch.float64)
    for seed in range(100):
        expected, found = Scripted(seed), Scripted(seed)
        best = apgd_of_one_lane(expected, None, start, norm, 20)
        assert maximise(found, start[None], *found.slopes(start[None]), norm, 20).item() == best
        assert torch.allclose(torch.tensor(found.points), torch.tensor(expected.points), rtol=0, atol=1e-9)


@pytest.mark.parametrize("norm", NORMS)
def test_random_points_are_uniform_in_the_ball(norm):
    generator = generator_of(0)
    points = torch.stack([random_point(3, norm, generator) for _ in range(4000)])
    radii = points.abs().amax(1) if norm == "linf" else points.norm(dim=1)
    assert radii.max() <= 1
    # a ball of half the radius holds an eighth of the volume
    assert float((radii < 0.5).double().mean()) == pytest.approx(1 / 8, abs=4 * math.sqrt(7 / 64 / 4000))
    assert points.mean(0).abs().max() < 4 * 0.6 / math.sqrt(4000)


# The largest rise


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize(("rho", "restarts"), [(0.002, 1), (0.05, 1), (0.5, 10)])
def test_linf_reaches_the_best_vertex_and_never_passes_it(seed, rho, restarts):
    # cross-entropy is convex in a linear layer, so its maximum over a box is at a vertex; in a large box not all local
    # maxima are equal, and one search is not enough
    module = linear(2, 3, bias=True, seed=10 * seed)
    batch = (normal(6, 2, seed=seed), classes(6, 3, seed))
    best = rise_at_vertices(module, batch, rho, ["weight", "bias"])
    found = rise(module, [batch], rhos=(rho,), restarts=restarts).item()
    assert best * (1 - ENOUGH) <= found <= best * (1 + 1e-12)


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("rho", [0.001, 0.3, 3.0])
def test_one_sample_of_two_classes_has_a_closed_form(norm, rho):
    module = linear(5, 2, seed=4)
    inputs, targets = normal(1, 5, seed=8), torch.tensor([1])
    with torch.no_grad():
        margin = (module.weight[1] - module.weight[0]) @ inputs[0]
        reach = (module.weight.abs() * inputs.abs()).flatten()
        drop = rho * (reach.sum() if norm == "linf" else reach.norm())
        expected = functional.softplus(drop - margin) - functional.softplus(-margin)
    assert rise(module, [(inputs, targets)], rhos=(rho,), norm=norm).item() == pytest.approx(float(expected), rel=1e-6)


class Point(nn.Module):
    """Weights that are their own outputs."""

    def __init__(self, weights):
        super().__init__()
        self.weights = nn.Parameter(weights)

    def forward(self, inputs):
        return self.weights + 0 * inputs.sum()


def quadratic(hessian, slope, centre):
    def loss(outputs, targets):
        away = outputs - centre
        return 0.5 * away @ hessian @ away + slope @ away + 0 * targets.sum()

    return loss


NO_DATA = [(torch.zeros(1, 1, dtype=torch.float64), torch.zeros(1, dtype=torch.float64))]


def secular(hessian, slope, radius):
    """The largest value of u'Au / 2 + b'u in the ball |u| <= radius, from (mu I - A) u = b with |u| = radius."""
    eigenvalues, vectors = torch.linalg.eigh(hessian)
    parts = vectors.T @ slope

    def length(mu):
        return float((parts / (mu - eigenvalues)).norm())

    low, high = float(eigenvalues[-1]), float(eigenvalues[-1].abs() + slope.norm() / radius + 1)
    low = max(low, 0.0)
    if low > float(eigenvalues[-1]) and length(low) <= radius:  # the maximum is inside
        mu = 0.0
    else:
        for _ in range(200):
            middle = (low + high) / 2
            low, high = (middle, high) if length(middle) > radius else (low, middle)
        mu = high
    point = parts / (mu - eigenvalues)
    return float(0.5 * (eigenvalues * point**2).sum() + (parts * point).sum())


@pytest.mark.parametrize("rho", [0.01, 0.3, 2.0])
@pytest.mark.parametrize("definite", [True, False])
@pytest.mark.parametrize("seed", range(4))
def test_l2_reaches_the_maximum_of_a_quadratic(seed, definite, rho):
    weights, slope, root = normal(8, seed=seed), normal(8, seed=seed + 50), normal(8, 8, seed=seed + 100)
    hessian = root @ root.T / 8 if definite else (root + root.T) / 2
    sizes = weights.abs()
    expected = secular(sizes[:, None] * hessian * sizes, sizes * slope, rho)
    options = {"rhos": (rho,), "norm": "l2", "restarts": 3}
    found = rise(Point(weights), NO_DATA, quadratic(hessian, slope, weights), **options).item()
    assert expected * (1 - ENOUGH) <= found <= expected * (1 + 1e-9)


@pytest.mark.parametrize("restarts", [1, 4])
def test_a_restart_gets_away_from_a_minimum(restarts):
    weights = normal(5, seed=1)
    hessian = torch.diag(torch.tensor([9.0, 4.0, 2.0, 1.0, 0.5], dtype=torch.float64) / weights**2)
    loss = quadratic(hessian, torch.zeros(5, dtype=torch.float64), weights)
    found = rise(Point(weights), NO_DATA, loss, rhos=(0.2,), norm="l2", restarts=restarts).item()
    # there the slope is zero, so that the search from the weights stays
    assert found == (0 if restarts == 1 else pytest.approx(0.5 * 9 * 0.2**2, rel=ENOUGH))


@pytest.mark.parametrize("norm", NORMS)
def test_every_point_is_within_the_neighbourhood(norm):
    module = linear(4, 3, bias=True)
    weights = torch.cat([parameter.detach().flatten() for parameter in module.parameters()])
    seen = []

    def note(layer, _inputs, _outputs):
        seen.append(torch.cat([parameter.detach().flatten() for parameter in layer.parameters()]))

    module.register_forward_hook(note)
    rise(module, [(normal(5, 4), classes(5, 3))], rhos=(0.1,), norm=norm, restarts=2)
    shares = (torch.stack(seen) - weights) / weights.abs()
    order = math.inf if norm == "linf" else 2
    assert float(shares.norm(order, dim=1).max()) == pytest.approx(0.1, rel=1e-12)


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("kind", ["worst", "average"])
def test_a_weight_of_zero_does_not_move(norm, kind):
    module = linear(4, 3)
    module.weight.data[:, 1:3] = 0
    batch = (normal(5, 4), classes(5, 3))
    narrow = linear(2, 3)
    narrow.weight.data = module.weight.detach()[:, [0, 3]]
    fewer = (batch[0][:, [0, 3]], batch[1])
    options = {"rhos": (0.1, 0.7), "norm": norm, "kind": kind}
    found = rise(module, [batch], **options)
    assert torch.isfinite(found).all()
    if kind == "worst":
        assert torch.allclose(found, rise(narrow, [fewer], **options), rtol=1e-12)
    module.weight.data.zero_()
    assert not rise(module, [batch], **options).any()


def test_radii_of_a_call_are_separate_searches_of_which_the_smaller_count_for_the_larger():
    weights = normal(3, seed=2)

    def loss(outputs, targets):
        return torch.sin(9 * outputs).sum() + 0 * targets.sum()

    rhos = (0.9, 0.1, 0.0, 0.3, 1.7, 0.5)
    apart = {rho: rise(Point(weights), NO_DATA, loss, rhos=(rho,), iterations=3).item() for rho in sorted(rhos)}
    highest = dict(zip(apart, itertools.accumulate(apart.values(), max), strict=True))
    assert apart != highest  # or this shows nothing
    assert apart[0.0] == 0
    assert rise(Point(weights), NO_DATA, loss, rhos=rhos, iterations=3).tolist() == [[highest[rho] for rho in rhos]]


# On average


def test_the_average_is_that_of_its_draws():
    module = linear(4, 3, bias=True)
    batches = [(normal(5, 4, seed=seed), classes(5, 3, seed)) for seed in range(3)]
    rhos, draws = (0.3, 0.05), 7
    found = rise(module, batches, rhos=rhos, kind="average", draws=draws)
    expected = torch.zeros(3, 2, dtype=torch.float64)
    for number, (inputs, targets) in enumerate(batches):
        generator = generator_of(number)
        base = functional.cross_entropy(module(inputs), targets)
        for _ in range(draws):
            noise = torch.randn(15, generator=generator, dtype=torch.float64)
            for column, rho in enumerate(rhos):
                weight = module.weight * (1 + rho * noise[:12].view(3, 4) * module.weight.sign())
                bias = module.bias + rho * module.bias.abs() * noise[12:]
                outputs = inputs @ weight.T + bias
                expected[number, column] += ((functional.cross_entropy(outputs, targets) - base) / draws).detach()
    assert torch.allclose(found, expected, rtol=1e-12, atol=1e-15)


def test_the_average_of_a_quadratic_is_half_its_weighted_trace():
    weights, root = normal(6, seed=3), normal(6, 6, seed=4)
    rho, draws = 0.4, 4000
    scaled = rho**2 * weights.abs()[:, None] * (root @ root.T) * weights.abs()
    loss = quadratic(root @ root.T, torch.zeros(6, dtype=torch.float64), weights)
    found = rise(Point(weights), NO_DATA, loss, rhos=(rho,), kind="average", draws=draws).item()
    error = math.sqrt(0.5 * float((scaled**2).sum()) / draws)  # a quadratic form's variance is |A|_F^2 / 2
    assert found == pytest.approx(0.5 * float(scaled.trace()), abs=4 * error)


# What is searched, and how


def small_network(seed=0):
    """A task's convolutional network, float64, with BatchNorm in eval mode."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        encoder, width = small_cnn.build_encoder(small_cnn.Options(channels=2, features=5))
        encoder.insert(1, nn.BatchNorm2d(2))
        encoder[1].running_mean.normal_()
        return TaskModel(MultiTaskModel(encoder, {"a": nn.Linear(width, 3)}), "a").double().eval()


def images(size, seed=0):
    return normal(size, 1, 8, 8, seed=seed), classes(size, 3, seed)


@pytest.mark.parametrize("options", [{"norm": "linf"}, {"norm": "l2"}, {"kind": "average"}], ids=str)
def test_lanes_together_give_what_they_give_alone(options, monkeypatch):
    module, batches = small_network(), [images(4, seed) for seed in range(5)]
    options = {"rhos": (0.01, 0.0, 0.2), "restarts": 2, "draws": 3, "iterations": 8, **options}
    alone = rise(module, batches, together=False, **options)
    assert torch.allclose(rise(module, batches, together=True, **options), alone, rtol=1e-7)
    for lanes in (1, 4):  # radii apart, or two batches at once
        monkeypatch.setattr(Together, "lanes", lanes)
        assert torch.allclose(rise(module, batches, together=True, **options), alone, rtol=1e-7)


def test_a_call_is_as_good_as_one_for_each_batch_and_radius():
    module, batches = small_network(), [images(4, seed) for seed in range(3)]
    rhos = (0.01, 0.05)
    found = rise(module, batches, rhos=rhos, iterations=6)
    for number, batch in enumerate(batches):
        apart = [rise(module, [batch], rhos=(rho,), iterations=6).item() for rho in rhos]
        assert found[number].tolist() == list(itertools.accumulate(apart, max))


@pytest.mark.parametrize("rhos", [(0.01,), (0.01, 0.02, 0.04)])
def test_an_iteration_costs_one_forward_and_one_backward_pass(rhos):
    module, passes = small_network(), {"forward": 0, "backward": 0}

    def count(which):
        passes[which] += 1

    module.head.register_forward_hook(lambda *_: count("forward"))
    module.head.register_full_backward_hook(lambda *_: count("backward"))
    rise(module, [images(4)], rhos=rhos, iterations=20)
    # one at the weights for all radii; the last move of a search needs no slope
    assert passes == {"forward": 1 + 20 * len(rhos), "backward": 1 + 19 * len(rhos)}


def test_normalised_logits():
    outputs = torch.tensor([[1.0, 2.0, 6.0], [5.0, 5.0, 5.0]], dtype=torch.float64)
    expected = torch.tensor([[-2.0, -1.0, 3.0], [0.0, 0.0, 0.0]], dtype=torch.float64) / math.sqrt(14)
    assert torch.allclose(normalised(outputs), expected, rtol=1e-12)

    class Normalising(nn.Module):
        def __init__(self, module):
            super().__init__()
            self.module = module

        def forward(self, inputs):
            outputs = self.module(inputs)
            centred = outputs - outputs.mean(1, keepdim=True)
            return centred / centred.norm(dim=1, keepdim=True)

    module, batch = linear(4, 3), (normal(5, 4), classes(5, 3))
    found = rise(module, [batch], rhos=(0.1,), logits="normalised")
    assert torch.allclose(found, rise(Normalising(module), [batch], rhos=(0.1,)), rtol=1e-12)
    module.weight.data *= 100
    assert torch.allclose(found, rise(module, [batch], rhos=(0.1,), logits="normalised"), rtol=1e-9)


def test_channels_last_is_kept_and_makes_no_difference():
    layers = [nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 1, 3), nn.Flatten(), nn.Linear(16, 3)]
    module = nn.Sequential(*layers).double()
    for number, parameter in enumerate(module.parameters()):
        parameter.data = normal(*parameter.shape, seed=number)
    batches = [(normal(4, 3, 8, 8, seed=seed), classes(4, 3)) for seed in range(2)]
    strides = set()
    for layer in (layers[0], layers[2]):
        layer.register_forward_hook(lambda own, given, _: strides.add((own.weight.stride(), given[0].stride())))
    for options in ({"iterations": 5}, {"kind": "average", "draws": 3}):
        module.to(memory_format=torch.contiguous_format)
        strides.clear()
        plain = rise(module, batches, rhos=(0.05,), **options)
        contiguous = set(strides)
        module.to(memory_format=torch.channels_last)
        fast = [(inputs.contiguous(memory_format=torch.channels_last), targets) for inputs, targets in batches]
        strides.clear()
        module(fast[0][0])
        expected = set(strides)
        assert not expected & contiguous
        strides.clear()
        assert torch.allclose(rise(module, fast, rhos=(0.05,), **options), plain, rtol=1e-9)
        assert strides == expected


@pytest.mark.parametrize("kind", [OneByOne, Together])
@pytest.mark.parametrize("fails", [False, True])
def test_the_network_is_left_as_it_was(kind, fails):
    module, (inputs, targets) = small_network(), images(4)
    module.head.bias.requires_grad_(False)
    module(inputs).sum().backward()
    before = {name: value.clone() for name, value in module.state_dict(keep_vars=False).items()}
    parameters = dict(module.named_parameters())
    places = {name: value.data_ptr() for name, value in parameters.items()}
    gradients = {name: value.grad.clone() for name, value in parameters.items() if value.grad is not None}

    def loss(outputs, targets):
        if fails and torch.is_grad_enabled():
            raise ArithmeticError
        return functional.cross_entropy(outputs, targets)

    with torch.no_grad():
        if fails:
            with pytest.raises(ArithmeticError):
                rise(module, [(inputs, targets)], loss, kind is Together)
        else:
            assert rise(module, [(inputs, targets)], loss, kind is Together, restarts=2).item() > 0
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())
    assert {name: value.data_ptr() for name, value in module.named_parameters()} == places
    assert {name for name, value in parameters.items() if not value.requires_grad} == {"head.bias"}
    assert gradients.keys() == parameters.keys() - {"head.bias"}
    assert all(torch.equal(parameters[name].grad, value) for name, value in gradients.items())
    assert not any(part.training for part in module.modules())


def test_a_loss_that_is_no_number_gives_none():
    module = linear(4, 3)
    module.weight.data[0, 0] = math.nan
    assert rise(module, [(normal(5, 4), classes(5, 3))], rhos=(0.1, 0.2)).isnan().all()


# The measure


def subject(size=12, seed=0, model=None, inputs=None):
    model = small_network() if model is None else model
    inputs = images(size)[0] if inputs is None else inputs
    sample = Sample(inputs, classes(len(inputs), 3), population=100)
    return Subject(
        Task(name="a", outputs=3),
        model,
        sample,
        lambda purpose: torch.Generator().manual_seed(seed + sum(map(ord, purpose))),
    )


def test_the_measure_is_the_mean_over_batches_with_its_error():
    options = Options(rhos=(0.02, 0.0, 0.005), samples=15, batch_size=4, iterations=5)
    given = subject(size=14)  # three batches, and two samples left
    measure = Measure(options)
    assert measure.samples == 15
    found = measure.measure(given)
    inputs, targets = given.sample.inputs, given.sample.targets
    batches = [(inputs[first : first + 4], targets[first : first + 4]) for first in (0, 4, 8)]
    expected = rises(
        given.model, dict(given.model.named_parameters()), functional.cross_entropy, batches, options, generator_of
    )
    assert [quantity.name for quantity in found] == ["rho0.02", "rho0", "rho0.005"]
    assert [quantity.value for quantity in found] == pytest.approx(expected.mean(0).tolist(), rel=1e-12)
    stderrs = (((expected - expected.mean(0)) ** 2).sum(0) / 2 / 3).sqrt()
    assert [quantity.stderr for quantity in found] == pytest.approx(stderrs.tolist(), rel=1e-12)
    assert found[1].value == 0
    (alone,) = Measure(dataclasses.replace(options, rhos=(0.02,), batch_size=12)).measure(given)
    assert alone.value > 0
    assert math.isnan(alone.stderr)


@pytest.mark.parametrize("drawn", [{"kind": "average", "draws": 2}, {"restarts": 2, "iterations": 1, "norm": "linf"}])
def test_the_subjects_generators_decide_what_is_drawn(drawn):
    measure = Measure(Options(rhos=(0.5,), samples=12, batch_size=4, **drawn))
    first, again, other = (measure.measure(subject(seed=seed)) for seed in (0, 0, 5))
    assert first == again
    assert first != other


def test_the_encoder_alone_leaves_the_head():
    model = TaskModel(MultiTaskModel(linear(2, 2, seed=3), {"a": linear(2, 3, seed=5)}), "a").eval()
    given = subject(model=model, inputs=normal(6, 2))
    batch = (given.sample.inputs, given.sample.targets)
    for parameters, names in [("model", ["encoder.weight", "head.weight"]), ("encoder", ["encoder.weight"])]:
        options = Options(rhos=(0.02,), samples=6, batch_size=6, parameters=parameters)
        (found,) = Measure(options).measure(given)
        assert found.value == pytest.approx(rise_at_vertices(model, batch, 0.02, names), rel=ENOUGH)


def test_too_few_samples_for_a_batch():
    with pytest.raises(ConfigError, match=r"batch_size 16 is larger than the 12 training samples of task 'a'; take"):
        Measure(Options(batch_size=16)).measure(subject(size=12))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rhos": (0.1, -0.1)}, r"rhos must be .* at least 0, found \[0.1, -0.1\]"),
        ({"rhos": ()}, r"rhos must be one or more"),
        ({"rhos": (0.1, 0.1)}, r"rhos must differ"),
        ({"iterations": 0}, "iterations must be at least 1, found 0"),
        ({"restarts": 0}, "restarts must be at least 1, found 0"),
        ({"draws": 0}, "draws must be at least 1, found 0"),
        ({"batch_size": 0}, "batch_size must be at least 1, found 0"),
        ({"samples": 100}, "batch_size must be at most samples, 100, found 128"),
    ],
    ids=str,
)
def test_options_out_of_range(options, message):
    with pytest.raises(ValueError, match=message):
        Options(**options)
