"""Every way of updating does what an obvious implementation of its method does."""

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional

from tasktrace.config.declarations import available
from tasktrace.errors import ConfigError
from tasktrace.methods import GramianWeighting, NonFiniteError, build
from tasktrace.models import MultiTaskModel
from tasktrace.training.optimizers.signsgd import Options, SignSGD
from tasktrace.training.session import run
from tasktrace.training.updates import Batch, Parts, build_update
from tasktrace.training.updates.features import FeatureGradients
from tasktrace.training.updates.jacobian import FlatRows, TaskGradients, jacobian_bytes

TASKS, SIZE, STEPS, RATE = 3, 8, 4, 0.05

# GradDrop draws a number for each coordinate: the same only where the coordinates come in the same order.
DETERMINED = [name for name in available("method") if name not in ("graddrop", "mgda_ub", "mtl_io")]


def small_model(norm: bool = False) -> MultiTaskModel:
    torch.manual_seed(0)
    normalisation = [nn.BatchNorm2d(4)] if norm else []
    encoder = nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1),
        *normalisation,
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(64, 10),
        nn.Tanh(),
    )
    heads = {f"task{task}": nn.Linear(10, 5) for task in range(TASKS)}
    return MultiTaskModel(encoder, heads).double().to(memory_format=torch.channels_last)


def parts_of(model: MultiTaskModel) -> Parts:
    return Parts(model, list(model.heads.values()), [functional.cross_entropy] * TASKS)


def batches(shared: bool) -> list[Batch]:
    generator = torch.Generator().manual_seed(1)
    count = SIZE if shared else SIZE * TASKS
    return [
        Batch(
            torch.randn(count, 1, 8, 8, generator=generator, dtype=torch.float64),
            [torch.randint(5, (SIZE,), generator=generator) for _ in range(TASKS)],
            shared,
        )
        for _ in range(STEPS)
    ]


def sgd(parameters: list[nn.Parameter]) -> torch.optim.Optimizer:
    return torch.optim.SGD(parameters, lr=RATE, momentum=0.5)


def obvious(name: str, model: MultiTaskModel, shared: bool) -> list[torch.Tensor]:
    """One gradient per task and step, each from a pass of its own; heads move along theirs."""
    method = build(name, TASKS, 7)
    encoder = list(model.encoder.parameters())
    heads = [parameter for head in model.heads.values() for parameter in head.parameters()]
    if method.replaces_optimizer:
        optimizers = [torch.optim.SGD(encoder, lr=RATE), sgd(heads)]
    else:
        optimizers = [sgd([*encoder, *heads, *method.parameters()])]
    history = []
    for batch in batches(shared):
        rows, losses = [], []
        for head, inputs, targets in zip(model.heads.values(), batch.own(), batch.targets, strict=True):
            loss = functional.cross_entropy(head(model.encoder(inputs)), targets)
            gradients = torch.autograd.grad(loss, [*encoder, *head.parameters()])
            rows.append(torch.cat([gradient.flatten() for gradient in gradients[: len(encoder)]]))
            for parameter, gradient in zip(head.parameters(), gradients[len(encoder) :], strict=True):
                parameter.grad = gradient
            losses.append(loss.detach())
        combined = method.combine(torch.stack(rows), torch.stack(losses))
        for parameter, part in zip(encoder, combined.split([one.numel() for one in encoder]), strict=True):
            parameter.grad = part.view(parameter.shape)
        for optimizer in optimizers:
            optimizer.step()
        if method.needs_losses_after_step:
            with torch.no_grad():
                pairs = zip(model.heads.values(), batch.own(), batch.targets, strict=True)
                method.after_step(torch.stack([functional.cross_entropy(h(model.encoder(x)), y) for h, x, y in pairs]))
        history.append(torch.stack(losses))
    return history


def trained(name: str, model: MultiTaskModel, shared: bool, jacobian: str = "full", change=None) -> list[torch.Tensor]:
    method = build(name, TASKS, 7)
    update = build_update(parts_of(model), method, sgd, RATE, jacobian)
    if change is not None:
        change(update)
    history = []
    for batch in batches(shared):
        history.append(update.step(batch))
        if method.needs_losses_after_step:
            with torch.no_grad():
                method.after_step(update.parts.losses(update.parts.features(batch), batch.targets))
    return history


def assert_same(one: nn.Module, other: nn.Module) -> None:
    for (name, value), expected in zip(one.state_dict().items(), other.state_dict().values(), strict=True):
        torch.testing.assert_close(value, expected, rtol=1e-7, atol=1e-9, msg=lambda text, name=name: f"{name}: {text}")


@pytest.mark.parametrize("shared", [True, False], ids=["shared inputs", "own inputs"])
@pytest.mark.parametrize("name", DETERMINED)
def test_an_update_is_the_obvious_one(name, shared):
    model, expected = small_model(), small_model()
    losses, history = trained(name, model, shared), obvious(name, expected, shared)
    torch.testing.assert_close(torch.stack(losses), torch.stack(history), rtol=1e-7, atol=1e-9)
    assert_same(model, expected)


GRAMIAN = [
    name
    for name in DETERMINED
    if isinstance(build(name, TASKS), GramianWeighting) and build(name, TASKS).parameters() == []
]


@pytest.mark.parametrize("shared", [True, False], ids=["shared inputs", "own inputs"])
@pytest.mark.parametrize("name", GRAMIAN)
def test_without_the_jacobian_in_memory_the_update_is_the_same(name, shared):
    model, expected = small_model(), small_model()
    trained(name, model, shared, jacobian="chunked")
    trained(name, expected, shared)
    assert_same(model, expected)


def test_chunked_takes_layers_without_parameters_at_either_end():
    torch.manual_seed(0)
    encoder = nn.Sequential(nn.Flatten(), nn.Tanh(), nn.Linear(64, 12), nn.ReLU(), nn.Linear(12, 10), nn.Tanh())
    model = MultiTaskModel(encoder, {f"task{task}": nn.Linear(10, 5) for task in range(TASKS)}).double()
    expected = copy.deepcopy(model)
    for shared in (True, False):
        trained("cagrad", model, shared, jacobian="chunked")
        trained("cagrad", expected, shared)
    assert_same(model, expected)


def test_all_tasks_in_one_vectorised_pass_give_the_same():
    def batched(update: TaskGradients) -> None:
        update._batched = True

    model, expected = small_model(), small_model()
    trained("pcgrad", model, shared=True, change=batched)
    trained("pcgrad", expected, shared=True)
    assert_same(model, expected)


def test_projections_that_leak_into_the_heads_are_told_apart():
    """The widespread fault: inner products over shared and head parameters, and projections added to the heads."""
    model, wrong = small_model(), small_model()
    trained("pcgrad", model, shared=True)
    method = build("pcgrad", TASKS, 7)
    parameters = list(wrong.parameters())
    optimizer = sgd(parameters)
    for batch in batches(shared=True):
        rows = []
        for head, targets in zip(wrong.heads.values(), batch.targets, strict=True):
            loss = functional.cross_entropy(head(wrong.encoder(batch.inputs)), targets)
            gradients = torch.autograd.grad(loss, parameters, materialize_grads=True)
            rows.append(torch.cat([gradient.flatten() for gradient in gradients]))
        combined = method.combine(torch.stack(rows), torch.zeros(TASKS))
        for parameter, part in zip(parameters, combined.split([one.numel() for one in parameters]), strict=True):
            parameter.grad = part.view(parameter.shape)
        optimizer.step()
    with pytest.raises(AssertionError):
        assert_same(model, wrong)


def test_heads_get_their_own_plain_gradient_whatever_the_method():
    for name in DETERMINED:
        model = small_model()
        update = build_update(parts_of(model), build(name, TASKS, 7), sgd, RATE)
        batch = batches(shared=True)[0]
        update.gradients(batch)
        for head, targets in zip(model.heads.values(), batch.targets, strict=True):
            found = [parameter.grad.clone() for parameter in head.parameters()]
            loss = functional.cross_entropy(head(model.encoder(batch.inputs)), targets)
            torch.testing.assert_close(found, list(torch.autograd.grad(loss, list(head.parameters()))))


def test_gradnorm_can_balance_the_last_shared_layer_alone():
    model = small_model()
    method = build("gradnorm", TASKS, layer="last")
    update = build_update(parts_of(model), method, sgd, RATE)
    batch = batches(shared=True)[0]
    update.gradients(batch)
    expected = small_model()
    last = list(expected.encoder[4].parameters())
    losses = parts_of(expected).losses(parts_of(expected).features(batch), batch.targets)
    rows = [torch.autograd.grad(loss, last, retain_graph=True) for loss in losses]
    jacobian = torch.stack([torch.cat([part.flatten() for part in row]) for row in rows])
    alone = build("gradnorm", TASKS)
    alone.weights(jacobian @ jacobian.T, losses.detach())
    torch.testing.assert_close(method.state_dict()["weights"], alone.state_dict()["weights"])


def test_weighted_heads_see_the_weighted_loss():
    model = small_model()
    update = build_update(parts_of(model), build("uw_o", TASKS, heads="weighted"), sgd, RATE)
    batch = batches(shared=False)[0]
    losses = update.gradients(batch)
    expected = small_model()
    own = parts_of(expected).losses(parts_of(expected).features(batch), batch.targets)
    (own / own.detach()).sum().backward()
    torch.testing.assert_close(losses, own.detach())
    for parameter, other in zip(model.parameters(), expected.parameters(), strict=True):
        torch.testing.assert_close(parameter.grad, other.grad)


def test_with_a_frozen_encoder_heads_get_their_plain_gradient():
    model = small_model()
    model.encoder.requires_grad_(False)
    batch = batches(shared=True)[0]
    build_update(parts_of(model), build("uw_o", TASKS), sgd, RATE).gradients(batch)
    for head, objective, targets in zip(model.heads.values(), parts_of(model).objectives, batch.targets, strict=True):
        loss = objective(head(model.encoder(batch.inputs)), targets)
        assert torch.allclose(head.weight.grad, torch.autograd.grad(loss, head.weight)[0])


@pytest.mark.parametrize("shared", [True, False], ids=["shared inputs", "own inputs"])
def test_mgda_ub_weighs_by_the_gradients_of_the_features(shared):
    model = small_model()
    update = build_update(parts_of(model), build("mgda_ub", TASKS), sgd, RATE)
    assert isinstance(update, FeatureGradients)
    batch = batches(shared)[0]
    update.gradients(batch)
    expected = small_model()
    features = parts_of(expected).features(batch)
    losses = parts_of(expected).losses(features, batch.targets)
    cotangents = []
    for task in range(TASKS):
        rows = torch.autograd.grad(
            losses[task], features if not shared else features[:1], retain_graph=True, materialize_grads=True
        )
        cotangents.append(torch.cat([row.flatten() for row in rows]))
    jacobian = torch.stack(cotangents)
    weights = build("mgda", TASKS).weights(jacobian @ jacobian.T, losses.detach())
    gradients = torch.autograd.grad((weights * losses).sum(), list(expected.encoder.parameters()))
    for parameter, gradient in zip(model.encoder.parameters(), gradients, strict=True):
        torch.testing.assert_close(parameter.grad, gradient)


def test_mtl_io_steps_from_where_the_task_before_left_the_encoder():
    model, expected = small_model(), small_model()
    trained("mtl_io", model, shared=False)
    optimizers = [sgd([*expected.encoder.parameters(), *head.parameters()]) for head in expected.heads.values()]
    for batch in batches(shared=False):
        for task, (optimizer, head) in enumerate(zip(optimizers, expected.heads.values(), strict=True)):
            optimizer.zero_grad()
            functional.cross_entropy(head(expected.encoder(batch.own()[task])), batch.targets[task]).backward()
            optimizer.step()
    assert_same(model, expected)


def test_with_batch_statistics_every_task_passes_the_encoder_alone():
    model, expected = small_model(norm=True), small_model(norm=True)
    trained("pcgrad", model, shared=False)
    obvious("pcgrad", expected, shared=False)
    assert_same(model, expected)
    weighted, alone = small_model(norm=True), small_model(norm=True)
    trained("umtg", weighted, shared=False)
    obvious("umtg", alone, shared=False)
    assert_same(weighted, alone)


def test_the_jacobian_lies_in_memory_as_the_parameters_do():
    parameter = torch.randn(4, 3, 2, 2).to(memory_format=torch.channels_last)
    rows = FlatRows([parameter, torch.randn(5)], rows=2)
    rows.fill(1, [parameter, torch.ones(5)])
    assert rows.views[1][0].stride() == parameter.stride()
    assert torch.equal(rows.views[1][0], parameter)
    assert rows.matrix[0].count_nonzero() == 0
    assert rows.matrix.numel() * rows.matrix.element_size() == jacobian_bytes(2, 53)


def test_chunked_needs_a_sequential_encoder_and_a_gramian_method():
    model = small_model()
    with pytest.raises(ConfigError, match=r"chunked does not serve tasktrace\.methods\.graddrop"):
        build_update(parts_of(model), build("graddrop", TASKS), sgd, RATE, "chunked")
    with pytest.raises(ConfigError, match=r"chunked does not serve tasktrace\.methods\.gradnorm"):
        build_update(parts_of(model), build("gradnorm", TASKS, layer="last"), sgd, RATE, "chunked")
    wrapped = MultiTaskModel(nn.ModuleList([model.encoder]), dict(model.heads))
    with pytest.raises(ConfigError, match=r"an encoder that is an nn\.Sequential, found ModuleList"):
        build_update(parts_of(wrapped), build("pcgrad", TASKS), sgd, RATE, "chunked")


def test_a_non_finite_gradient_moves_nothing_and_names_the_task():
    model = small_model()
    before = copy.deepcopy(model.state_dict())
    update = build_update(parts_of(model), build("pcgrad", TASKS), sgd, RATE)
    batch = batches(shared=False)[0]
    batch.inputs[SIZE] = torch.nan
    with pytest.raises(NonFiniteError) as caught:
        update.step(batch)
    assert caught.value.task == 1
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_signsgd_is_the_sign_of_the_averaged_gradient(momentum):
    parameter = nn.Parameter(torch.tensor([1.0, -2.0, 3.0]))
    optimizer = SignSGD([parameter], 0.1, Options(momentum=momentum, weight_decay=0.01))
    expected, average = parameter.detach().clone(), torch.zeros(3)
    for gradient in ([1.0, -1.0, 0.0], [-0.2, -1.0, 0.0], [0.1, 5.0, -4.0]):
        parameter.grad = torch.tensor(gradient)
        optimizer.step()
        decayed = torch.tensor(gradient) + 0.01 * expected
        average = momentum * average + (1 - momentum) * decayed
        expected = expected - 0.1 * average.sign()
        torch.testing.assert_close(parameter.detach(), expected)


@pytest.mark.parametrize("name", available("method"))
def test_every_method_trains_resumes_exactly_and_follows_its_seed(
    name, make_job, make_spec, interrupt, results, tmp_path
):
    spec = make_spec(("digits1", "digits2", "noisy_digits"), name, epochs=2)
    whole = make_job(spec, root=tmp_path / "whole", save_minutes=0.0)
    assert run(whole)["outcome"] == {"status": "finished"}
    broken = make_job(spec, root=tmp_path / "broken", save_minutes=0.0)
    interrupt(broken, 1, 4)
    run(broken)
    assert results(broken) == results(whole)
    other = make_job({**spec, "seed": 1}, root=tmp_path / "other")
    run(other)
    assert results(other) != results(whole)


def test_adam_moves_a_head_the_same_whatever_the_scale_of_its_loss():
    """Study B, appendix A1: both moments of a head scale with its loss, and so its step does not (but for eps)."""

    def adam(parameters: list[nn.Parameter]) -> torch.optim.Optimizer:
        return torch.optim.Adam(parameters, lr=RATE, eps=1e-12)

    def moved(factor: float) -> list[torch.Tensor]:
        model = small_model()
        parts = parts_of(model)
        objectives = [
            lambda outputs, targets: factor * functional.cross_entropy(outputs, targets),
            *parts.objectives[1:],
        ]
        update = build_update(Parts(model, parts.heads, objectives), build("umtg", TASKS), adam, RATE)
        update.step(batches(shared=True)[0])
        return [parameter.detach() for parameter in model.heads.parameters()]

    torch.testing.assert_close(moved(10.0), moved(1.0), rtol=1e-7, atol=1e-9)
