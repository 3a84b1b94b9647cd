import pandas as pd
import pytest
import torch

from tasktrace.errors import ConfigError
from tasktrace.studies import invariance
from tasktrace.studies.invariance import TRAININGS, Options, train

WAYS = {training.name: training for training in TRAININGS}
KEPT = {}


@pytest.fixture(autouse=True)
def _one_thread(torch_as_it_was):
    """As the study has it; two threads wait for each other on matrices this small."""
    torch.set_num_threads(1)


@pytest.fixture
def tables(tmp_path_factory):
    """The study as it is by default, run once."""
    if not KEPT:
        folder = tmp_path_factory.mktemp("invariance")
        invariance.run(folder, {})
        KEPT["series"] = pd.read_parquet(folder / "series.parquet")
        KEPT["differences"] = pd.read_csv(folder / "differences.csv")
    return KEPT


def largest(tables, backbone, training, quantity):
    """The largest difference by part."""
    rows = tables["differences"].query("backbone == @backbone and training == @training and quantity == @quantity")
    return rows.set_index("part")["max_relative_difference"]


HEADS, ALL = {"head1", "head2"}, {"head1", "head2", "backbone"}


@pytest.mark.parametrize(
    ("backbone", "training", "quantities", "parts"),
    [
        ("frozen", "ew-adam", ["update"], HEADS),
        ("frozen", "ew-adam_per_task", ["update"], HEADS),
        ("frozen", "uw_o-sgd", ["gradient", "update"], HEADS),
        ("trainable", "ew-adam_per_task", ["update"], ALL),
        ("trainable", "uw_o-sgd", ["gradient", "update"], ALL),
    ],
)
def test_what_the_scales_leave_alone(tables, backbone, training, quantities, parts):
    for quantity in quantities:
        found = largest(tables, backbone, training, quantity)
        assert set(found.index) == parts
        assert (found < 1e-5).all()
    assert (largest(tables, backbone, training, "task_loss") < 1e-5).all()


@pytest.mark.parametrize(
    ("backbone", "training", "quantities"),
    [
        ("frozen", "ew-sgd", ["gradient", "update"]),
        ("frozen", "ew-adam", ["gradient"]),
        ("trainable", "ew-sgd", ["gradient", "update"]),
        ("trainable", "ew-adam", ["gradient", "update"]),
        ("trainable", "ew-adam_per_task", ["gradient"]),
    ],
)
def test_what_the_scales_change(tables, backbone, training, quantities):
    for quantity in quantities:
        assert (largest(tables, backbone, training, quantity) > 0.2).all()


def test_every_row_comes_out_as_the_theory_has_it(tables):
    table = tables["differences"]
    assert len(table) == 4 * (2 * 4) + 4 * (2 * 4 + 2)
    assert table["holds"].all()
    assert set(table["expected_invariant"]) == {True, False}


def test_the_first_step_of_sgd_is_scaled_as_the_losses(tables):
    first = tables["series"].query("backbone == 'frozen' and training == 'ew-sgd' and epoch == 0")
    wide = first.pivot_table(index=["part", "quantity"], columns="scaled", values="value")
    ratios = wide[True] / wide[False]
    for part, scale in (("head1", 10.0), ("head2", 0.1)):
        found = [ratios[part, quantity] for quantity in ("loss", "gradient", "update", "task_loss")]
        assert found == pytest.approx([scale, scale, scale, 1.0])


def test_adam_moves_the_heads_alike_at_the_first_step_only(tables):
    series = tables["series"].query("backbone == 'trainable' and training == 'ew-adam' and quantity == 'update'")
    wide = series[series["part"] != "backbone"].pivot_table(index="epoch", columns=["part", "scaled"], values="value")
    for part in HEADS:
        apart = (wide[part][True] / wide[part][False] - 1).abs()
        assert apart[0] < 1e-5
        assert apart[99] > 1e-2


def test_an_epsilon_of_1e_8_is_felt_at_once():
    options = Options(epochs=1, adam_eps=1e-8)
    plain, scaled = (train(WAYS["ew-adam"], options, frozen=True, scaled=scaled) for scaled in (False, True))
    updates = plain["quantity"] == "update"
    apart = (scaled["value"] / plain["value"] - 1).abs()[updates]
    assert 1e-2 < apart.max() < 1e-1


def reference(options, step):
    """Losses and norms of updates of three epochs; ``step`` gets the model, the losses' function and the state."""
    batch, model = invariance._data(options), invariance._model(options)
    parts = {**model.heads, "backbone": model.encoder}
    rows = []

    def losses():
        outputs = [head(model.encoder(batch.inputs)) for head in model.heads.values()]
        pairs = zip(outputs, batch.targets, options.scales, strict=True)
        return [scale * (output - target).abs().mean() for output, target, scale in pairs]

    for epoch in range(options.epochs):
        before = {name: [p.detach().clone() for p in part.parameters()] for name, part in parts.items()}
        gradients = step(model, losses)
        for name, part in parts.items():
            moves = [p.detach() - old for p, old in zip(part.parameters(), before[name], strict=True)]
            rows.append((epoch, name, "update", sum(float(move.square().sum()) for move in moves) ** 0.5))
            rows.append((epoch, name, "gradient", gradients[name] ** 0.5))
    return {row[:3]: row[3] for row in rows}


def squares(part):
    return sum(float(p.grad.square().sum()) for p in part.parameters() if p.grad is not None)


def sgd_step(momentum=0.9, rate=0.001):
    velocities = {}

    def step(model, losses):
        model.zero_grad()
        sum(losses()).backward()
        found = {name: squares(part) for name, part in {**model.heads, "backbone": model.encoder}.items()}
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                velocities[name] = momentum * velocities.get(name, 0.0) + parameter.grad
                parameter -= rate * velocities[name]
        return found

    return step


def adam_per_task_step(rate=0.001, eps=1e-14):
    moments, steps = {}, [0]

    def step(model, losses):
        steps[0] += 1
        found = {"backbone": 0.0}
        for task in range(2):
            model.zero_grad()
            losses()[task].backward()
            found[f"head{task}"] = squares(model.heads[f"head{task}"])
            found["backbone"] += squares(model.encoder)
            with torch.no_grad():
                for name, parameter in model.named_parameters():
                    if parameter.grad is None:
                        continue
                    first, second = moments.get((task, name), (0.0, 0.0))
                    first = 0.9 * first + 0.1 * parameter.grad
                    second = 0.999 * second + 0.001 * parameter.grad**2
                    moments[task, name] = first, second
                    unbiased = second / (1 - 0.999 ** steps[0])
                    parameter -= rate * first / (1 - 0.9 ** steps[0]) / (unbiased.sqrt() + eps)
        return found

    return step


@pytest.mark.parametrize(("training", "make"), [("ew-sgd", sgd_step), ("ew-adam_per_task", adam_per_task_step)])
def test_trainings_are_those_written_out_by_hand(training, make):
    options = Options(epochs=3)
    expected = reference(options, make())
    series = train(WAYS[training], options, frozen=False, scaled=True)
    found = series.set_index(["epoch", "part", "quantity"])["value"]
    names = {"head0": "head1", "head1": "head2", "backbone": "backbone"}
    assert {key: found[key[0], names[key[1]], key[2]] for key in expected} == pytest.approx(expected, rel=1e-9)


def test_the_same_seed_gives_the_same_numbers_and_another_one_others():
    one, same, other = (
        train(WAYS["uw_o-sgd"], Options(epochs=2, seed=seed), frozen=False, scaled=True)["value"] for seed in (0, 0, 1)
    )
    assert one.equals(same)
    assert (one != other).all()


def test_equal_zeros_differ_by_nothing():
    names = {"backbone": "frozen", "training": "ew-sgd", "part": "head1", "quantity": "update", "epoch": 0}
    series = pd.DataFrame([{**names, "scaled": scaled, "value": 0.0} for scaled in (False, True)])
    assert invariance.differences(series)["max_relative_difference"].tolist() == [0.0]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"scale": [1.0, 1.0]}, "unknown option 'scale'"),
        ({"scales": [10.0]}, "factors and scales must be as many"),
        ({"scales": [10.0, 0.0]}, "scales must be above 0"),
        ({"epochs": 0}, "epochs must be at least 1"),
    ],
)
def test_options_that_make_no_sense_are_refused(tmp_path, options, message):
    with pytest.raises(ConfigError, match=message):
        invariance.run(tmp_path, options)
