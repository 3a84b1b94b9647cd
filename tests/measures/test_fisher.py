"""Fisher traces against gradients of single samples and dense matrices, closed forms, and each other."""

import copy
import dataclasses
import math

import pytest
import torch
from scipy import stats
from torch import nn
from torch.nn import functional

from tasktrace.errors import ConfigError
from tasktrace.measures import fisher
from tasktrace.measures.fisher import Measure, Options, draw_labels, draw_values
from tasktrace.tasks import Task
from tasktrace.training.objectives import LOSSES, VOID


def measured(subject, **options):
    """Trace and mini-batch quantity."""
    options = {"samples": 1024, "batch_size": 4, **options}
    trace, minibatch = Measure(Options(**options)).measure(subject)
    assert (trace.name, minibatch.name) == ("trace", "minibatch")
    return trace, minibatch


def gradient(subject, inputs, labels, parameters="model"):
    """The gradient of the mean loss as one vector."""
    chosen = list(subject.model.chosen(parameters).values())
    loss = subject.loss(subject.model(inputs), labels)
    return torch.cat([own.flatten() for own in torch.autograd.grad(loss, chosen)])


def by_class(subject, parameters="model"):
    """p(c|x) and |grad l(x, c)|^2 of every sample and class, both (n, C), one after the other."""
    squares = [
        [float(gradient(subject, own[None], torch.tensor([label]), parameters).square().sum()) for label in range(4)]
        for own in subject.sample.inputs
    ]
    probabilities = subject.model(subject.sample.inputs).detach().softmax(dim=1)
    return probabilities, torch.tensor(squares, dtype=torch.float64)


@pytest.mark.parametrize("parameters", ["model", "encoder"])
@pytest.mark.parametrize("net", ["mlp", "conv_net"])
def test_all_labels_give_the_trace_of_the_dense_matrix(make_subject, net, parameters):
    subject = make_subject(net)
    probabilities, _ = by_class(subject)
    matrix = 0.0
    for own, weights in zip(subject.sample.inputs, probabilities, strict=True):
        for label, weight in enumerate(weights):
            score = gradient(subject, own[None], torch.tensor([label]), parameters)
            matrix = matrix + float(weight) * torch.outer(score, score) / len(subject.sample)
    trace, minibatch = measured(subject, labels="all", parameters=parameters)
    assert trace.value == pytest.approx(float(matrix.trace()), rel=1e-10)
    assert minibatch.value == pytest.approx(float(matrix.trace()) / 4, rel=1e-10)
    means = torch.stack([weights @ squares for weights, squares in zip(*by_class(subject, parameters), strict=True)])
    assert trace.stderr == pytest.approx(float(means.std()) / 12**0.5, rel=1e-10)
    assert minibatch.stderr == pytest.approx(trace.stderr / 4)


def test_the_closed_form_of_a_linear_softmax(make_subject):
    subject = make_subject("linear")
    inputs = subject.sample.inputs
    probabilities = subject.model(inputs).detach().softmax(dim=1)
    expected = (inputs.square().sum(dim=1) + 1) * (probabilities * (1 - probabilities)).sum(dim=1)
    assert measured(subject, labels="all")[0].value == pytest.approx(float(expected.mean()), rel=1e-12)


@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated:FutureWarning")
def test_a_classifiers_fisher_is_its_generalised_gauss_newton_matrix(make_subject):
    from curvlinops import GGNLinearOperator

    subject = make_subject()
    data = [(subject.sample.inputs, subject.sample.targets)]
    parameters = list(subject.model.parameters())
    operator = GGNLinearOperator(subject.model, nn.CrossEntropyLoss(), parameters, data, check_deterministic=False)
    dense = operator @ torch.eye(operator.shape[0], dtype=torch.float64)
    assert measured(subject, labels="all")[0].value == pytest.approx(float(dense.trace()), rel=1e-10)


@pytest.mark.parametrize("net", ["mlp", "conv_net"])
def test_sampled_labels_are_unbiased(make_subject, net):
    subject = make_subject(net)
    draws = 500
    probabilities, squares = by_class(subject)
    means = (probabilities * squares).sum(dim=1)
    variances = (probabilities * squares.square()).sum(dim=1) - means.square()
    error = float((variances / draws).sum().sqrt()) / len(subject.sample)
    trace, minibatch = measured(subject, draws=draws)
    assert 0 < abs(trace.value - float(means.mean())) < 3 * error
    assert error < 0.05 * trace.value
    assert minibatch.value == trace.value / 4
    # More draws, less noise, and the same over samples.
    assert trace.stderr == pytest.approx(float(means.std()) / 12**0.5, rel=0.2)


def test_one_draw_is_one_label_for_every_sample(make_subject):
    subject = make_subject(seed=3)
    probabilities, squares = by_class(subject)
    (labels,) = draw_labels(probabilities, 1, torch.Generator().manual_seed(3))
    expected = squares.gather(1, labels[:, None])[:, 0]
    assert len(set(labels.tolist())) > 1
    trace, _ = measured(subject, draws=1)
    assert trace.value == pytest.approx(float(expected.mean()), rel=1e-10)
    assert trace.stderr == pytest.approx(float(expected.std()) / 12**0.5, rel=1e-10)


@pytest.mark.parametrize("net", ["mlp", "conv_net", "images"])
def test_drawn_mini_batches_have_the_trace_over_their_size(make_subject, net):
    subjects = [make_subject(net, seed=seed) for seed in range(40)]
    drawn = torch.tensor([measured(own, minibatch="drawn", draws=10)[1].value for own in subjects])
    many = (
        measured(subjects[0], draws=2000)[1].value if net == "images" else measured(subjects[0], labels="all")[1].value
    )
    error = float(drawn.std()) / 40**0.5
    assert abs(float(drawn.mean()) - many) < 3 * error
    assert error < 0.05 * many


def test_a_drawn_mini_batch_is_the_gradient_of_its_mean_loss(make_subject):
    subject = make_subject(samples=11, seed=5)
    generator = torch.Generator().manual_seed(5)
    probabilities = subject.model(subject.sample.inputs).detach().softmax(dim=1)
    draw_labels(probabilities, 3, generator)  # those of the single samples come first
    expected = []
    for piece in (slice(0, 4), slice(4, 8)):  # the last three samples fill no batch
        labels = draw_labels(probabilities[piece], 3, generator)
        squares = [gradient(subject, subject.sample.inputs[piece], own).square().sum() for own in labels]
        expected.append(torch.stack(squares).mean())
    _, minibatch = measured(subject, minibatch="drawn", draws=3)
    assert minibatch.value == pytest.approx(float(sum(expected)) / 2, rel=1e-10)
    assert minibatch.stderr == pytest.approx(abs(float(expected[0] - expected[1])) / 2, rel=1e-10)


@pytest.mark.parametrize(("labels", "loss"), [("true", "cross_entropy"), ("sampled", "mse"), ("all", "mse")])
def test_the_empirical_fisher_has_the_data_s_labels(make_subject, labels, loss, monkeypatch):
    monkeypatch.setitem(LOSSES, "mse", functional.mse_loss)
    subject = make_subject(loss=loss)
    inputs, targets = subject.sample.inputs, subject.sample.targets
    pairs = zip(inputs, targets, strict=True)
    single = torch.stack([gradient(subject, x[None], y[None]).square().sum() for x, y in pairs])
    batches = torch.stack([gradient(subject, x, y).square().sum() for x, y in subject.sample.batches(4)])
    for minibatch in ("exact", "drawn"):
        found = measured(subject, labels=labels, minibatch=minibatch)
        for own, expected in zip(found, (single, batches), strict=True):
            assert own.value == pytest.approx(float(expected.mean()), rel=1e-10)
            assert own.stderr == pytest.approx(float(expected.std()) / len(expected) ** 0.5, rel=1e-10)


def test_a_label_at_every_position(make_subject):
    subject = make_subject("images")
    probabilities = subject.model(subject.sample.inputs).detach().softmax(dim=1)
    expected = 0.0
    for own, weights in zip(subject.sample.inputs, probabilities, strict=True):
        for first in range(4):
            for second in range(4):
                score = gradient(subject, own[None], torch.tensor([[first, second]]))
                expected += float(weights[first, 0] * weights[second, 1] * score.square().sum()) / 12
    several = torch.tensor([measured(make_subject("images", seed=seed), draws=40)[0].value for seed in range(20)])
    error = float(several.std()) / 20**0.5
    assert abs(float(several.mean()) - expected) < 3 * error
    assert error < 0.05 * expected
    with pytest.raises(ConfigError, match="labels 'all' needs one label per sample, and own has outputs of shape"):
        measured(subject, labels="all")


@pytest.mark.parametrize("labels", ["sampled", "all", "true"])
def test_samples_in_a_forward_pass_change_nothing(make_subject, labels, monkeypatch):
    subject = make_subject("conv_net")
    whole = measured(subject, labels=labels)
    monkeypatch.setattr(fisher, "_CHUNK", 5)
    for own, expected in zip(measured(subject, labels=labels), whole, strict=True):
        assert own.value == pytest.approx(expected.value, rel=1e-12)
        assert own.stderr == pytest.approx(expected.stderr, rel=1e-12)


def test_parameters_that_nothing_comes_of_add_nothing(make_subject):
    subject = make_subject()
    expected = measured(subject, minibatch="drawn")
    subject.model.encoder.unused = nn.Linear(2, 2)
    subject.model.encoder.forward = lambda inputs: torch.tanh(subject.model.encoder[0](inputs))
    for own, known in zip(measured(subject, minibatch="drawn"), expected, strict=True):
        assert own.value == pytest.approx(known.value, rel=1e-12)


def test_nothing_is_left_changed(make_subject):
    subject = make_subject("conv_net")
    state, random = copy.deepcopy(subject.model.state_dict()), torch.random.get_rng_state()
    for minibatch in ("exact", "drawn"):
        assert measured(subject, minibatch=minibatch) == measured(subject, minibatch=minibatch)
    assert all(torch.equal(value, state[name]) for name, value in subject.model.state_dict().items())
    assert all(own.grad is None and own.requires_grad for own in subject.model.parameters())
    assert torch.equal(torch.random.get_rng_state(), random)


def test_too_few_samples(make_subject):
    subject = make_subject(samples=3)
    assert measured(subject)[1].value == measured(subject)[0].value / 4  # exact needs no batch
    with pytest.raises(ConfigError, match="measure fisher: own has 3 training samples, fewer than batch_size 4"):
        measured(subject, minibatch="drawn")
    assert math.isnan(measured(make_subject(samples=1))[0].stderr)
    assert math.isnan(measured(make_subject(samples=4), minibatch="drawn")[1].stderr)


def test_a_model_that_is_no_number_has_a_fisher_that_is_none(make_subject):
    subject = make_subject()
    next(subject.model.parameters()).data[:] = torch.nan
    for minibatch in ("exact", "drawn"):
        assert all(math.isnan(own.value) for own in measured(subject, minibatch=minibatch))


def test_drawn_labels_follow_their_probabilities():
    probabilities = torch.tensor([[0.0, 0.5, 0.5, 0.0], [0.1, 0.2, 0.3, 0.4]], dtype=torch.float64)
    draws = 10_000
    labels = draw_labels(probabilities, draws, torch.Generator().manual_seed(0))
    assert labels.shape == (draws, 2)
    shares = functional.one_hot(labels, 4).double().mean(dim=0)
    assert ((shares - probabilities).abs() <= 3 * (probabilities * (1 - probabilities) / draws).sqrt()).all()
    positions = draw_labels(probabilities.T[None], 5, torch.Generator().manual_seed(0))
    assert positions.shape == (5, 1, 2)
    # Another model with nearly the same probabilities gets nearly the same labels.
    others = draw_labels(probabilities + 1e-3, draws, torch.Generator().manual_seed(0))
    assert 0 < float((others != labels).double().mean()) < 0.01


@pytest.mark.parametrize(
    "options", [{"draws": 0}, {"batch_size": 0}, {"samples": 0}, {"samples": 10, "batch_size": 11}]
)
def test_options_out_of_range_are_refused(options):
    with pytest.raises(ValueError, match=f"{list(options)[-1]} must be at least 1"):
        Options(**options)


def test_samples_that_the_measure_asks_for():
    assert Measure(Options()).samples == 1024


# Other distributions than a softmax's, and positions without a label


def one_output(make_subject, loss, net="mlp", seed=0, samples=12):
    """A subject of a net with one output, and targets of the loss."""
    subject = make_subject(net, seed=seed, samples=samples)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(5)
        head = nn.Linear(subject.model.head.in_features, 1).double()
        numbers = torch.randn(samples, dtype=torch.float64)
    subject.model.head = head
    targets = (numbers > 0).long() if loss == "binary_cross_entropy" else numbers
    sample = dataclasses.replace(subject.sample, targets=targets)
    return dataclasses.replace(subject, task=Task(name="own", outputs=1, loss=loss), sample=sample)


def squared_jacobians(subject):
    """Squared norm of the gradient of every sample's only output, (n,)."""
    chosen = list(subject.model.parameters())
    found = [torch.autograd.grad(subject.model(own[None]).sum(), chosen) for own in subject.sample.inputs]
    return torch.stack([sum(own.square().sum() for own in gradients) for gradients in found])


def test_a_bernoulli_s_trace(make_subject):
    """With the log-odds f, E_y (sigmoid(f) - y)^2 |grad f|^2 = p (1 - p) |grad f|^2."""
    subject = one_output(make_subject, "binary_cross_entropy")
    odds = subject.model(subject.sample.inputs).detach()[:, 0].sigmoid()
    expected = float((odds * (1 - odds) * squared_jacobians(subject)).mean())
    trace, minibatch = measured(subject, labels="all")
    assert trace.value == pytest.approx(expected, rel=1e-10)
    assert minibatch.value == pytest.approx(expected / 4, rel=1e-10)
    sampled = measured(subject, draws=4000)[0].value
    assert 0 < abs(sampled - expected) < 0.05 * expected


def test_the_labels_of_a_regression_are_the_data_s_unless_asked_otherwise(make_subject):
    subject = one_output(make_subject, "mse")
    outputs = subject.model(subject.sample.inputs).detach()[:, 0]
    expected = 4 * (outputs - subject.sample.targets).square() * squared_jacobians(subject)
    assert measured(subject)[0].value == pytest.approx(float(expected.mean()), rel=1e-10)


@pytest.mark.parametrize(("loss", "factor"), [("mse", 2.0), ("l1", 1.0)])
def test_the_modelled_trace_of_a_regression(make_subject, loss, factor):
    """E (2 (f - y))^2 = 4 / 2 for variance 1/2; and the square of a sign is 1."""
    subject = one_output(make_subject, loss)
    expected = factor * float(squared_jacobians(subject).mean())
    trace, minibatch = measured(subject, labels="modelled", draws=4000)
    assert trace.value == pytest.approx(expected, rel=1e-10 if loss == "l1" else 0.05)
    assert minibatch.value == trace.value / 4


@pytest.mark.parametrize("loss", ["mse", "l1"])
def test_modelled_mini_batches_have_the_trace_over_their_size(make_subject, loss):
    subjects = [one_output(make_subject, loss, seed=seed) for seed in range(40)]
    found = [measured(own, labels="modelled", minibatch="drawn", draws=20)[1].value for own in subjects]
    expected = {"mse": 2.0, "l1": 1.0}[loss] * float(squared_jacobians(subjects[0]).mean()) / 4
    error = float(torch.tensor(found).std()) / 40**0.5
    assert abs(sum(found) / 40 - expected) < 3 * error
    assert error < 0.05 * expected


@pytest.mark.parametrize(("loss", "distribution"), [("mse", stats.norm(0, 0.5**0.5)), ("l1", stats.laplace(0, 1))])
def test_drawn_values_follow_their_distribution(loss, distribution):
    outputs = torch.tensor([[[0.0, -3.0]], [[7.0, 2.0]]], dtype=torch.float64)
    values = draw_values(outputs, fisher._NOISES[loss], 5000, torch.Generator().manual_seed(0))
    assert values.shape == (5000, 2, 1, 2)
    centred = (values - outputs).flatten(1).numpy()
    assert all(stats.kstest(own, distribution.cdf).pvalue > 0.01 for own in centred.T)
    # Another model's outputs get the same noise.
    others = draw_values(outputs + 1, fisher._NOISES[loss], 5000, torch.Generator().manual_seed(0))
    torch.testing.assert_close(others, values + 1, rtol=1e-12, atol=1e-12)


def test_labels_of_softmax_classes_are_modelled_as_sampled(make_subject):
    subject = make_subject()
    assert measured(subject, labels="modelled") == measured(subject, labels="sampled")


def test_a_loss_without_a_distribution_cannot_be_modelled(make_subject):
    subject = one_output(make_subject, "cosine")
    with pytest.raises(
        ConfigError, match=r"labels 'modelled' needs a loss that is -log p\(y\|x\), and own has 'cosine'"
    ):
        measured(subject, labels="modelled")


def with_voids(make_subject, seed=0):
    """Two positions per sample, of which a third of all samples have one without a label, and one sample has none."""
    subject = make_subject("images", seed=seed)
    targets = subject.sample.targets.clone()
    targets[::3, 1] = VOID
    targets[5] = VOID
    return dataclasses.replace(subject, sample=dataclasses.replace(subject.sample, targets=targets.to(torch.int8)))


@pytest.mark.parametrize("chunk", [128, 5])
def test_a_sample_s_loss_is_the_mean_over_its_own_known_positions(make_subject, monkeypatch, chunk):
    monkeypatch.setattr(fisher, "_CHUNK", chunk)
    subject = with_voids(make_subject)
    pairs = zip(subject.sample.inputs, subject.sample.targets, strict=True)
    single = torch.stack([gradient(subject, x[None], y[None]).square().sum() for x, y in pairs])
    assert single[5] == 0
    trace, minibatch = measured(subject, labels="true")
    assert trace.value == pytest.approx(float(single.mean()), rel=1e-10)
    batches = [gradient(subject, x, y).square().sum() for x, y in subject.sample.batches(4)]
    assert minibatch.value == pytest.approx(float(sum(batches)) / 3, rel=1e-10)


def test_no_label_is_drawn_where_the_data_have_none(make_subject):
    subject = with_voids(make_subject)
    probabilities = subject.model(subject.sample.inputs).detach().softmax(dim=1)
    expected = 0.0
    for own, weights, target in zip(subject.sample.inputs, probabilities, subject.sample.targets, strict=True):
        for first in range(4):
            for second in range(4):
                labels = torch.where(target == VOID, VOID, torch.tensor([first, second]))
                score = gradient(subject, own[None], labels[None])
                expected += float(weights[first, 0] * weights[second, 1] * score.square().sum()) / 12
    several = torch.tensor([measured(with_voids(make_subject, seed), draws=40)[0].value for seed in range(20)])
    error = float(several.std()) / 20**0.5
    assert abs(float(several.mean()) - expected) < 3 * error
    assert error < 0.05 * expected


def test_large_inputs_go_through_the_model_a_few_at_a_time(make_subject, monkeypatch):
    subject = make_subject("conv_net")
    expected, sizes = measured(subject)[0].value, []
    monkeypatch.setattr(fisher, "_PIXELS", 5 * 36)
    made = fisher.SampleGradients
    monkeypatch.setattr(
        fisher, "SampleGradients", lambda model, own, only: sizes.append(len(own)) or made(model, own, only)
    )
    assert measured(subject)[0].value == pytest.approx(expected, rel=1e-12)
    assert sizes == [5, 5, 2]
