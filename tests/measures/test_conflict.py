"""Cosines, magnitudes and signs against loops over coordinates, and the multi-task gradient against training's own."""

import math

import pytest
import torch

from tasktrace.config.declarations import available
from tasktrace.measures.base import BatchGradients, Pass
from tasktrace.measures.conflict import Measure, Options, conflicting_shares, cosines, magnitude_similarities
from tasktrace.measures.walk import walk
from tasktrace.methods import gramian
from tasktrace.seeding import derive_seed
from tasktrace.training.updates import Batch, build_update

TASKS = ["a", "b", "c"]
PAIRS = ["cosine", "magnitude_similarity", "conflicting", "conflicting_nonzero"]

# MTL-IO has no gradient of the step; what stands for it has a test of its own.
METHODS = [(name, {}) for name in available("method") if name != "mtl_io"]
VARIANTS = [
    ("dwa", {"heads": "weighted"}),
    ("gradnorm", {"layer": "last"}),
    ("mgda", {"normalization": "loss+"}),
    ("mgda_ub", {"normalization": "l2"}),
    ("rlw", {"heads": "weighted"}),
    ("torchjd:PCGrad", {}),
    ("torchjd:UW", {}),
]
DRAWING = ["graddrop", "gradvac", "pcgrad", "rlw", "torchjd:PCGrad"]
REMEMBERING = [
    *((name, {}) for name in ("adatask", "db_mtl", "famo", "gradnorm", "imtl", "imtl_l", "moco", "uw")),
    ("dwa", {"window": 1}),
    ("gradvac", {"beta": 0.5}),
    ("nash_mtl", {"update_every": 100}),
]


def gradients(count=6, width=40, sparse=False):
    """Batches of the gradients of three tasks and of what a method makes of them."""
    generator = torch.Generator().manual_seed(0)
    rows = torch.randn(count, 3, width, dtype=torch.float64, generator=generator)
    if sparse:
        rows[torch.rand(rows.shape, generator=generator) < 0.3] = 0.0
    combined = torch.randn(count, width, dtype=torch.float64, generator=generator) + rows.sum(dim=1)
    return rows, combined


def measured(rows, combined, tasks=TASKS, **options):
    measure = Measure(Options(**options))
    measure.begin(tasks, 8, [100] * len(tasks))
    for own, whole in zip(rows, combined, strict=True):
        measure.add(BatchGradients(own, [torch.zeros(2)] * len(tasks), whole))
    return {
        (task, own.name, own.other): own
        for task, quantities in zip(tasks, measure.finish(), strict=True)
        for own in quantities
    }


def dot(first, second):
    return sum(float(one) * float(other) for one, other in zip(first, second, strict=True))


def naive_pair(first, second):
    """The four numbers of two vectors, coordinate by coordinate."""
    a, b = math.sqrt(dot(first, first)), math.sqrt(dot(second, second))
    products = [float(one) * float(other) for one, other in zip(first, second, strict=True)]
    opposite, nonzero = sum(own < 0 for own in products), sum(own != 0 for own in products)
    return {
        "cosine": sum(products) / (a * b),
        "magnitude_similarity": 2 * a * b / (a**2 + b**2),
        "conflicting": opposite / len(products),
        "conflicting_nonzero": opposite / nonzero,
    }


def assert_is_mean_with_error(quantity, values):
    mean = sum(values) / len(values)
    deviation = math.sqrt(sum((value - mean) ** 2 for value in values) / (len(values) - 1))
    assert quantity.value == pytest.approx(mean, rel=1e-10, abs=1e-12)
    assert quantity.stderr == pytest.approx(deviation / math.sqrt(len(values)), rel=1e-8, abs=1e-12)


@pytest.mark.parametrize("sparse", [False, True])
def test_every_number_is_the_mean_over_batches_of_a_plain_loops(sparse):
    rows, combined = gradients(sparse=sparse)
    found = measured(rows, combined)
    assert len(found) == 3 * (1 + 2 * 4)
    for task, name in enumerate(TASKS):
        similarities = [naive_pair(own[task], whole)["cosine"] for own, whole in zip(rows, combined, strict=True)]
        assert_is_mean_with_error(found[name, "similarity", ""], similarities)
        for other, other_name in enumerate(TASKS):
            if other != task:
                pairs = [naive_pair(own[task], own[other]) for own in rows]
                for quantity in PAIRS:
                    assert_is_mean_with_error(found[name, quantity, other_name], [own[quantity] for own in pairs])


def test_zeros_part_the_two_shares_of_conflict():
    found = conflicting_shares(torch.tensor([[1.0, -1.0, 0.0, 2.0, 0.0], [-3.0, -1.0, 4.0, 0.0, 0.0]]))
    assert found["conflicting"][0, 1] == 1 / 5
    assert found["conflicting_nonzero"][0, 1] == 1 / 2
    assert found["conflicting"].dtype == torch.float64
    apart = conflicting_shares(torch.tensor([[1.0, 0.0], [0.0, -1.0]]))
    assert apart["conflicting"][0, 1] == 0
    assert apart["conflicting_nonzero"][0, 1].isnan()


def test_cosines_and_magnitudes_of_known_vectors():
    products = gramian(torch.tensor([[3.0, 4.0], [4.0, -3.0], [-6.0, -8.0], [0.0, 0.0]]))
    assert cosines(products)[0, :3].tolist() == pytest.approx([1, 0, -1], abs=1e-15)
    assert cosines(products)[0, 3].isnan()
    assert magnitude_similarities(products)[0].tolist() == pytest.approx([1, 1, 0.8, 0])
    assert magnitude_similarities(products)[3, 3].isnan()


@pytest.mark.parametrize("scale", [1e-25, 1e15])
def test_cosines_have_no_unit(scale):
    rows, combined = gradients()
    expected = measured(rows, combined)
    for key, own in measured(scale * rows, 3 * scale * combined).items():
        assert own.value == pytest.approx(expected[key].value, rel=1e-9)


def test_a_batch_with_a_zero_gradient_has_no_cosine_and_is_left_out():
    rows, combined = gradients()
    rows[2, 0] = 0.0
    combined[4] = 0.0
    found = measured(rows, combined)
    cosines_of = [naive_pair(rows[batch, 0], combined[batch])["cosine"] for batch in (0, 1, 3, 5)]
    assert_is_mean_with_error(found["a", "similarity", ""], cosines_of)
    cosines_of = [naive_pair(rows[batch, 1], combined[batch])["cosine"] for batch in (0, 1, 2, 3, 5)]
    assert_is_mean_with_error(found["b", "similarity", ""], cosines_of)
    pairs = [naive_pair(rows[batch, 0], rows[batch, 1])["cosine"] for batch in (0, 1, 3, 4, 5)]
    assert_is_mean_with_error(found["a", "cosine", "b"], pairs)
    # A zero beside a gradient is as far from its norm as can be, and conflicts nowhere.
    magnitudes = [0.0 if batch == 2 else naive_pair(*rows[batch, :2])["magnitude_similarity"] for batch in range(6)]
    assert_is_mean_with_error(found["a", "magnitude_similarity", "b"], magnitudes)
    shares = [0.0 if batch == 2 else naive_pair(*rows[batch, :2])["conflicting"] for batch in range(6)]
    assert_is_mean_with_error(found["a", "conflicting", "b"], shares)


def test_nothing_but_zeros_has_no_number():
    rows, combined = gradients()
    rows[:, 0] = 0.0
    found = measured(rows, combined)
    for key in [("a", "similarity", ""), ("a", "cosine", "b"), ("b", "cosine", "a")]:
        assert math.isnan(found[key].value)
        assert math.isnan(found[key].stderr)
    assert not math.isnan(found["b", "similarity", ""].value)


def test_one_batch_with_a_number_leaves_no_error():
    rows, combined = gradients(count=2)
    combined[1] = 0.0
    found = measured(rows, combined)["a", "similarity", ""]
    assert found.value == pytest.approx(naive_pair(rows[0, 0], combined[0])["cosine"], rel=1e-12)
    assert math.isnan(found.stderr)


def test_what_is_not_finite_is_left_out():
    rows, combined = gradients()
    combined[0] = torch.nan
    combined[1, 3] = torch.inf
    cosines_of = [naive_pair(rows[batch, 0], combined[batch])["cosine"] for batch in (2, 3, 4, 5)]
    assert_is_mean_with_error(measured(rows, combined)["a", "similarity", ""], cosines_of)


def test_pairs_can_be_left_out():
    rows, combined = gradients()
    found = measured(rows, combined, pairs=False)
    assert list(found) == [(task, "similarity", "") for task in TASKS]
    assert found == {key: own for key, own in measured(rows, combined).items() if key in found}


def test_a_task_alone_has_no_rows():
    rows, _ = gradients()
    assert measured(rows[:, :1], [None] * 6, ["a"]) == {}


@pytest.mark.parametrize("options", [{"batches": 1}, {"batch_size": -1}])
def test_options_that_leave_nothing_to_average_are_refused(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        Options(**options)


TRAINED_ON = {False: ("digits1", "digits2", "noisy_digits"), True: ("digits2", "noisy_digits")}


def batch_of(run, number, size=32):
    """A batch of the pass, from the order in which the run is measured."""
    own = [run.inputs(task, run.rows(task, 300)[number * size : (number + 1) * size]) for task in run.tasks]
    inputs = own[0][0] if run.data.shared else torch.cat([values for values, _ in own])
    return Batch(inputs, [targets for _, targets in own], run.data.shared)


def left_by_training(trained, batches, in_memory_order):
    """What training's own update leaves in the encoder for each batch, each from the method of the checkpoint.

    Only what the method draws goes on from batch to batch.
    """
    method, model = trained.engine.method, trained.engine.model
    remembered = {name: value.clone() for name, value in method.state_dict().items()}
    torch.manual_seed(derive_seed(0, "measure", "method", 1))
    found = []
    for number in range(batches):
        drawn = {name: value for name, value in method.state_dict().items() if name == "generator"}
        method.load_state_dict({**remembered, **drawn})
        model.zero_grad()
        trained.engine.update.gradients(batch_of(trained.run, number))
        found.append(in_memory_order([own.grad for own in model.encoder.parameters()]))
    return found


@pytest.mark.parametrize("shared", [False, True], ids=["own inputs", "shared inputs"])
@pytest.mark.parametrize(("name", "options"), METHODS + VARIANTS)
def test_the_multi_task_gradient_is_what_training_would_apply(
    train, make_spec, in_memory_order, name, options, shared, kept
):
    trained = train(make_spec(TRAINED_ON[shared], name, options=options), shared)
    found = kept(trained.run).combined
    for own, expected in zip(found, left_by_training(trained, 3, in_memory_order), strict=True):
        assert float(expected.norm()) > 0
        assert float((own - expected).norm()) < 1e-5 * float(expected.norm())


@pytest.fixture
def same_batch(monkeypatch):
    """Passes see their first batch again and again."""
    from tasktrace.measures import walk as module

    batches = module._batches

    def repeated(run, size, count):
        first = next(batches(run, size, count))
        yield from [first] * count

    monkeypatch.setattr(module, "_batches", repeated)


@pytest.mark.parametrize(("name", "options"), METHODS + VARIANTS)
def test_only_what_a_method_draws_changes_from_batch_to_batch(train, make_spec, same_batch, name, options, kept):
    run = train(make_spec(TRAINED_ON[False], name, options=options)).run
    first, *others = kept(run, batches=9).combined
    assert all(torch.equal(first, other) for other in others) == (name not in DRAWING)


@pytest.mark.parametrize("name", [*DRAWING, "moco", "mtl_io"])
def test_measuring_again_gives_the_same(train, make_spec, name, kept):
    """Whatever was drawn, before or in between."""
    run = train(make_spec(TRAINED_ON[False], name)).run
    first = kept(run).combined
    torch.rand(3)
    assert all(torch.equal(one, other) for one, other in zip(first, kept(run).combined, strict=True))
    assert all(torch.equal(one, other) for one, other in zip(first, kept(run, batches=2).combined, strict=False))


@pytest.mark.parametrize(("name", "options"), REMEMBERING)
def test_what_a_method_remembers_at_the_checkpoint_counts(train, make_spec, name, options, kept):
    run = train(make_spec(TRAINED_ON[False], name, options=options)).run
    after = kept(run, batches=9).combined
    weights = {name: value.clone() for name, value in run.parts.model.state_dict().items()}
    run.load(0)
    run.parts.model.load_state_dict(weights)
    apart = [
        float((own - new).norm() / own.norm()) for own, new in zip(after, kept(run, batches=9).combined, strict=True)
    ]
    assert max(apart) > 1e-3


def test_gradnorm_weighs_as_at_the_checkpoint(train, make_spec, kept):
    trained = train(make_spec(TRAINED_ON[False], "gradnorm"))
    expected = trained.engine.method.state_dict()["weights"]
    assert float((expected - 1).abs().min()) > 1e-3
    found = kept(trained.run)
    for rows, combined in zip(found.shared, found.combined, strict=True):
        weights = torch.linalg.lstsq(rows.T.double(), combined.double()[:, None]).solution[:, 0]
        torch.testing.assert_close(weights, expected, rtol=1e-4, atol=0)


@pytest.mark.parametrize("shared", [False, True])
def test_with_a_plain_sum_similarity_is_to_the_sum(train, make_spec, shared, kept):
    run = train(make_spec(TRAINED_ON[shared]), shared).run
    found = kept(run)
    (measured_of_tasks,) = walk(run, found.walk, [Measure(Options(batches=3))])
    for task, (similarity, *_) in enumerate(measured_of_tasks):
        expected = [naive_pair(rows[task], rows.sum(dim=0))["cosine"] for rows in found.shared]
        assert similarity.name == "similarity"
        assert similarity.value == pytest.approx(sum(expected) / 3, rel=1e-5)


def test_mtl_ios_steps_follow_the_sum(train, make_spec, in_memory_order, kept):
    """To first order in the learning rate, with plain gradient descent."""
    run = train(make_spec(TRAINED_ON[False], "mtl_io")).run
    found = kept(run).combined[0]
    model, rate = run.parts.model.double(), 1e-6
    before = in_memory_order([own.detach().clone() for own in model.encoder.parameters()])
    method = run.method()

    def descent(parameters):
        return torch.optim.SGD(parameters, lr=rate)

    batch = batch_of(run, 0)
    doubled = Batch(batch.inputs.double(), batch.targets, batch.shared)
    build_update(run.parts, method, descent, rate).step(doubled)
    moved = before - in_memory_order([own.detach() for own in model.encoder.parameters()])
    assert float((moved / rate - found.double()).norm()) < 1e-4 * float(found.norm())


@pytest.mark.parametrize("name", ["mgda", "mgda_ub", "umtg", "gradnorm"])
def test_a_gradient_that_is_not_finite_has_no_similarity_and_stops_nothing(train, make_spec, name):
    run = train(make_spec(TRAINED_ON[False], name)).run
    with torch.no_grad():
        run.parts.heads[1].bias.fill_(torch.inf)
    (quantities,) = walk(run, Pass(0, 3), [Measure(Options(batches=3))])
    for task in range(3):
        assert math.isnan(quantities[task][0].value)
    own = {(quantity.name, quantity.other): quantity.value for quantity in quantities[0]}
    assert math.isfinite(own["cosine", "noisy_digits"])
    assert math.isnan(own["cosine", "digits2"])
