"""The covariance's trace and its companions against per-sample gradients, all draws, and naive recomputation."""

import itertools

import pytest
import torch
from torch import nn
from torch.nn import functional

from tasktrace.measures.base import BatchGradients
from tasktrace.measures.coherence import Measure, Options, Sketch, from_norms, jackknife_errors

NAMES = ["covariance", "gradient", "noise_scale", "minibatch_fisher"]


@pytest.fixture(scope="module")
def per_sample():
    """Gradients of 500 single samples of a small network, one after the other, shape (500, P)."""
    generator = torch.Generator().manual_seed(3)
    model = nn.Sequential(nn.Linear(5, 6), nn.Tanh(), nn.Linear(6, 3)).double()
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.7, generator=generator)
    inputs = torch.randn(500, 5, dtype=torch.float64, generator=generator)
    targets = torch.randint(3, (500,), generator=generator)
    rows = []
    for sample, target in zip(inputs, targets, strict=True):
        loss = functional.cross_entropy(model(sample[None]), target[None])
        gradients = torch.autograd.grad(loss, list(model.parameters()))
        rows.append(torch.cat([own.flatten() for own in gradients]))
    return torch.stack(rows)


def population_numbers(rows):
    """Eq 4 as it stands, |g|^2, and their ratio."""
    gradient = rows.mean(dim=0)
    covariance = sum(float((row - gradient).square().sum()) for row in rows) / len(rows)
    return covariance, float(gradient.square().sum()), covariance / float(gradient.square().sum())


def drawn(rows, size, count, generator):
    """Gradients of disjoint batches, (count, P)."""
    order = torch.randperm(len(rows), generator=generator)[: size * count]
    return rows[order].view(count, size, -1).mean(dim=1)


def estimated(batches, size, population):
    small, big = batches.square().sum(dim=1).mean(), batches.mean(dim=0).square().sum()
    return from_norms(small, big, size, len(batches), population)


def uncorrected(batches, size):
    """McCandlish et al.'s formulas for draws with replacement."""
    small, big = batches.square().sum(dim=1).mean(), batches.mean(dim=0).square().sum()
    large = size * len(batches)
    return torch.stack([(small - big) / (1 / size - 1 / large), (large * big - size * small) / (large - size)])


def measured(batches, size, population, heads=None, **options):
    """What the measure makes of one task's batch gradients, by name."""
    measure = Measure(Options(**options))
    measure.begin(["task"], size, [population])
    heads = torch.zeros(len(batches), 1, dtype=batches.dtype) if heads is None else heads
    for batch, head in zip(batches, heads, strict=True):
        measure.add(BatchGradients(batch[None], [head], None))
    (quantities,) = measure.finish()
    assert [own.name for own in quantities] == NAMES
    return {own.name: own for own in quantities}


def distance(found, expected):
    """Of the mean of draws from what they should be on average, in standard errors."""
    return abs(float(found.mean()) - expected) / (float(found.std()) / len(found) ** 0.5)


@pytest.mark.parametrize(("samples", "size", "count"), [(6, 2, 2), (6, 1, 3), (6, 2, 3), (6, 3, 2), (7, 1, 4)])
def test_over_all_draws_the_mean_is_exactly_the_populations(per_sample, samples, size, count):
    rows = per_sample[:samples]
    covariance, gradient, _ = population_numbers(rows)
    orders = itertools.permutations(range(samples), size * count)
    draws = [rows[list(order)].view(count, size, -1).mean(dim=1) for order in orders]
    found = torch.stack([estimated(batches, size, samples) for batches in draws]).mean(dim=0)
    assert float(found[0]) == pytest.approx(covariance, rel=1e-10)
    assert float(found[1]) == pytest.approx(gradient, rel=1e-10)
    without = torch.stack([uncorrected(batches, size) for batches in draws]).mean(dim=0)
    assert float(without[0]) == pytest.approx(covariance * samples / (samples - 1), rel=1e-10)
    assert abs(float(without[1]) / gradient - 1) > 0.1


def test_batches_that_are_half_of_the_population_need_the_correction(per_sample):
    covariance, gradient, _ = population_numbers(per_sample)
    generator = torch.Generator().manual_seed(0)
    draws = [drawn(per_sample, 32, 8, generator) for _ in range(1500)]
    found = torch.stack([estimated(batches, 32, 500) for batches in draws])
    assert distance(found[:, 0], covariance) < 3
    assert distance(found[:, 1], gradient) < 3
    without = torch.stack([uncorrected(batches, 32) for batches in draws])
    assert distance(without[:, 1], gradient) > 10
    assert float(without[:, 0].mean() / found[:, 0].mean()) == pytest.approx(500 / 499, rel=1e-12)


def test_of_an_endless_population_the_formula_is_mccandlishs():
    spread = torch.linspace(0.1, 2, 30, dtype=torch.float64)
    mean = torch.full((30,), 0.2, dtype=torch.float64)
    generator = torch.Generator().manual_seed(0)
    draws = [
        mean + spread * torch.randn(10, 16, 30, dtype=torch.float64, generator=generator).mean(dim=1)
        for _ in range(2000)
    ]
    found = torch.stack([estimated(batches, 16, 10**12) for batches in draws])
    assert distance(found[:, 0], float(spread.square().sum())) < 3
    assert distance(found[:, 1], float(mean.square().sum())) < 3
    without = torch.stack([uncorrected(batches, 16) for batches in draws])
    torch.testing.assert_close(found[:, :2], without, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("count", [2, 3, 7, 20])
@pytest.mark.parametrize("noise", [0.0, 1e-6, 1.0])
def test_the_covariance_is_never_negative(dtype, count, noise):
    generator = torch.Generator().manual_seed(count)
    for scale in (1e-6, 1.0, 1e6):
        common = torch.randn(1, 1000, generator=generator, dtype=torch.float64)
        own = noise * torch.randn(count, 1000, generator=generator, dtype=torch.float64)
        found = measured((scale * (common + own)).to(dtype), 8, 1000)
        assert found["covariance"].value >= 0
        if noise == 1.0:
            assert found["covariance"].value > 0.1 * scale**2


def test_the_noise_scale_is_the_ratio_and_nan_without_a_positive_gradient(per_sample):
    batches = drawn(per_sample, 32, 8, torch.Generator().manual_seed(1))
    found = measured(batches, 32, 500)
    assert found["gradient"].value > 0
    assert found["noise_scale"].value == pytest.approx(found["covariance"].value / found["gradient"].value, rel=1e-12)
    opposed = torch.stack([batches[0], -batches[0], batches[1], -batches[1]])
    found = measured(opposed, 32, 500)
    assert found["gradient"].value < 0
    assert found["covariance"].value > 0
    assert found["noise_scale"].value != found["noise_scale"].value


def test_all_samples_one_by_one_give_the_populations_noise_scale(per_sample):
    """Once all samples are in the batches, nothing is left to chance."""
    _, _, scale = population_numbers(per_sample[:60])
    batches = drawn(per_sample[:60], 1, 60, torch.Generator().manual_seed(1))
    assert measured(batches, 1, 60)["noise_scale"].value == pytest.approx(scale, rel=1e-9)


def test_the_minibatch_fisher_is_the_mean_squared_norm(per_sample):
    batches = drawn(per_sample, 32, 8, torch.Generator().manual_seed(2))
    squares = [sum(float(value) ** 2 for value in batch) for batch in batches]
    mean = sum(squares) / 8
    deviation = (sum((square - mean) ** 2 for square in squares) / 7) ** 0.5
    fisher = measured(batches, 32, 500)["minibatch_fisher"]
    assert fisher.value == pytest.approx(mean, rel=1e-12)
    assert fisher.stderr == pytest.approx(deviation / 8**0.5, rel=1e-12)


def naive_jackknife(batches, size, population):
    """Leave out each batch, estimate again from the vectors that are left, take the spread."""
    count = len(batches)
    left_out = [estimated(torch.cat([batches[:own], batches[own + 1 :]]), size, population) for own in range(count)]
    means = sum(left_out) / count
    return (sum((own - means) ** 2 for own in left_out) * (count - 1) / count).sqrt()


@pytest.mark.parametrize(("size", "count"), [(32, 8), (16, 3), (50, 10)])
def test_errors_are_those_of_leaving_out_each_batch(per_sample, size, count):
    batches = drawn(per_sample, size, count, torch.Generator().manual_seed(3))
    expected = naive_jackknife(batches, size, 500)
    torch.testing.assert_close(jackknife_errors(batches @ batches.T, size, 500), expected, rtol=1e-9, atol=0)
    found = measured(batches, size, 500)
    for name, error in zip(NAMES, expected, strict=False):
        assert found[name].stderr == pytest.approx(float(error), rel=1e-9)


def spreads(rows, size, count, population, draw):
    """Root mean squared jackknife error over the standard deviation of the estimates, (3,), over many draws."""
    found, errors = [], []
    for _ in range(300):
        batches = draw(rows, size, count)
        found.append(estimated(batches, size, population))
        errors.append(jackknife_errors(batches @ batches.T, size, population))
    return torch.stack(errors).square().mean(dim=0).sqrt() / torch.stack(found).std(dim=0)


@pytest.mark.parametrize("count", [8, 16])
def test_errors_are_the_spread_over_draws(per_sample, count):
    generator = torch.Generator().manual_seed(4)

    def draw(rows, size, count):
        drawn_ones = torch.randint(len(rows), (size * count,), generator=generator)
        return rows[drawn_ones].view(count, size, -1).mean(dim=1)

    ratios = spreads(per_sample, 32, count, 10**9, draw)
    assert all(0.8 < ratio < 1.4 for ratio in ratios.tolist())


def test_errors_are_rather_too_large_than_too_small_where_batches_are_half_of_the_population(per_sample):
    """Leaving out a batch does not know that the others nearly exhaust the samples."""
    generator = torch.Generator().manual_seed(4)
    ratios = spreads(per_sample, 32, 8, 500, lambda *arguments: drawn(*arguments, generator))
    assert all(0.95 < ratio < 1.7 for ratio in ratios.tolist())


def test_two_batches_leave_no_error(per_sample):
    found = measured(drawn(per_sample, 32, 2, torch.Generator().manual_seed(5)), 32, 500)
    for name in NAMES[:3]:
        assert found[name].value == found[name].value
        assert found[name].stderr != found[name].stderr


def test_every_task_has_its_own_numbers_and_population(per_sample):
    generator = torch.Generator().manual_seed(6)
    batches = [drawn(per_sample, 8, 5, generator), 3 * drawn(per_sample, 8, 5, generator)]
    heads = [torch.randn(5, width, dtype=torch.float64, generator=generator) for width in (2, 4)]
    measure = Measure(Options())
    measure.begin(["a", "b"], 8, [500, 60])
    shared = torch.empty(2, per_sample.shape[1], dtype=torch.float64)
    for number in range(5):
        shared.copy_(torch.stack([own[number] for own in batches]))  # overwritten by the next batch, as in a pass
        measure.add(BatchGradients(shared, [own[number] for own in heads], shared.sum(dim=0)))
    for quantities, own, head, population in zip(measure.finish(), batches, heads, (500, 60), strict=True):
        whole = torch.cat([own, head], dim=1)
        expected = estimated(whole, 8, population)
        errors = naive_jackknife(whole, 8, population)
        for quantity, value, error in zip(quantities, expected, errors, strict=False):
            assert quantity.value == pytest.approx(float(value), rel=1e-9, nan_ok=True)
            assert quantity.stderr == pytest.approx(float(error), rel=1e-9, nan_ok=True)


def test_a_measure_begins_afresh(per_sample):
    batches = drawn(per_sample, 8, 5, torch.Generator().manual_seed(7))
    measure = Measure(Options())
    results = []
    for factor in (5.0, 1.0):
        measure.begin(["task"], 8, [500])
        for batch in batches:
            measure.add(BatchGradients(factor * batch[None], [torch.zeros(1, dtype=torch.float64)], None))
        results.append(measure.finish())
    assert results[1][0][0].value == pytest.approx(measured(batches, 8, 500)["covariance"].value, rel=1e-12)


def test_the_encoder_alone_leaves_the_head_out(per_sample):
    generator = torch.Generator().manual_seed(8)
    batches = drawn(per_sample, 8, 6, generator)
    heads = torch.randn(6, 9, dtype=torch.float64, generator=generator)
    alone = measured(batches, 8, 500)
    encoder = measured(batches, 8, 500, heads, parameters="encoder")
    whole = measured(batches, 8, 500, heads)
    joined = measured(torch.cat([batches, heads], dim=1), 8, 500)
    for name in NAMES:
        assert encoder[name].value == pytest.approx(alone[name].value, rel=1e-12, nan_ok=True)
        assert whole[name].value == pytest.approx(joined[name].value, rel=1e-12, nan_ok=True)
    assert whole["covariance"].value > 2 * encoder["covariance"].value


def test_a_short_vector_is_its_own_sketch_and_not_the_same_memory():
    vector = torch.randn(50, generator=torch.Generator().manual_seed(0))
    sketched = Sketch(50)(vector)
    assert torch.equal(sketched, vector)
    sketched += 1
    assert not torch.equal(sketched, vector)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_sketch_is_a_linear_map_that_is_always_the_same(dtype):
    generator = torch.Generator().manual_seed(1)
    first, second = torch.randn(2, 3000, generator=generator, dtype=torch.float64).to(dtype)
    sketch = Sketch(256)
    assert sketch(first).shape == (256,)
    assert sketch(first).dtype == dtype
    torch.testing.assert_close(sketch(2 * first - second), 2 * sketch(first) - sketch(second))
    assert torch.equal(sketch(second), Sketch(256)(second))


@pytest.mark.parametrize("width", [256, 4096])
def test_a_sketch_keeps_inner_products(width):
    """To within |a| |b| sqrt((1 + cos^2) / width), their standard deviation; and without a bias."""
    generator = torch.Generator().manual_seed(2)
    sketch, errors = Sketch(width), []
    for _ in range(200):
        first = 0.5 + torch.randn(20000, generator=generator, dtype=torch.float64)
        second = first + torch.randn(20000, generator=generator, dtype=torch.float64)
        cosine = float(first @ second / (first.norm() * second.norm()))
        error = float(sketch(first) @ sketch(second) - first @ second) / float(first.norm() * second.norm())
        errors.append(error / ((1 + cosine**2) / width) ** 0.5)
    found = torch.tensor(errors)
    assert float(found.abs().max()) < 5
    assert 0.8 < float(found.std()) < 1.2
    assert abs(float(found.mean())) < 4 / 200**0.5


def test_a_sketch_leaves_values_and_moves_errors_little():
    """Noise in few directions, as in networks: else the sketch's own would be the larger."""
    generator = torch.Generator().manual_seed(9)
    directions = torch.randn(20, 20000, dtype=torch.float64, generator=generator)
    batches = 0.5 + torch.randn(10, 20, dtype=torch.float64, generator=generator) @ directions
    exact, sketched = measured(batches, 8, 10**6), measured(batches, 8, 10**6, sketch=8192)
    for name in NAMES:
        assert sketched[name].value == pytest.approx(exact[name].value, nan_ok=True, rel=0, abs=0)
    for name in NAMES[:2]:
        assert sketched[name].stderr != exact[name].stderr
        assert sketched[name].stderr == pytest.approx(exact[name].stderr, rel=0.1)


@pytest.mark.parametrize("options", [{"batches": 1}, {"batch_size": -1}, {"sketch": 0}])
def test_options_that_leave_nothing_to_compare_are_refused(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        Options(**options)
