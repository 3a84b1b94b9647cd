"""TorchJD's classes as methods: its own results, its state, and training with it."""

import math
from pathlib import Path

import pytest
import torch
import torchjd.aggregation as aggregation
import torchjd.scalarization as scalarization
from safetensors.torch import load_file, save_file
from torch import nn
from torchjd.linalg import QuadprogProjector

from tasktrace.config.declarations import declaration
from tasktrace.config.study import TRAINING_VERSION
from tasktrace.config.torchjd_classes import usable_classes, version
from tasktrace.errors import ConfigError
from tasktrace.methods import GramianWeighting, LossWeighting, NonFiniteError, build
from tasktrace.methods.torchjd_state import ModuleState, UnsavableError
from tasktrace.settings.preparation import prepare
from tasktrace.training.engine import Engine
from tasktrace.training.session import Job, run

TASKS = 4
NUMBERS = [0.5, 0.25, 0.15, 0.1]
VECTOR = torch.tensor(NUMBERS)
BEST = [0.1, 0.0, 0.2, 0.05]

# What a user of TorchJD would construct, next to the options that stand for it.
BY_JACOBIAN = {
    "AlignedMTL": ({"scale_mode": "rmse"}, lambda: aggregation.AlignedMTL(scale_mode="rmse")),
    "CAGrad": ({"c": 0.4}, lambda: aggregation.CAGrad(c=0.4)),
    "ConFIG": ({"pref_vector": NUMBERS}, lambda: aggregation.ConFIG(VECTOR)),
    "Constant": ({"weights": NUMBERS}, lambda: aggregation.Constant(VECTOR)),
    "ConstantWeighting": ({"weights": NUMBERS}, lambda: aggregation.ConstantWeighting(VECTOR)),
    "DualProj": ({}, aggregation.DualProj),
    "ExcessMTL": ({"n_warmup_steps": 2}, lambda: aggregation.ExcessMTL(n_warmup_steps=2)),
    "ExcessMTLWeighting": ({}, aggregation.ExcessMTLWeighting),
    "FairGrad": ({"alpha": 2.0}, lambda: aggregation.FairGrad(2.0)),
    "GradDrop": ({"leak": NUMBERS}, lambda: aggregation.GradDrop(leak=VECTOR)),
    "GradVac": ({"beta": 0.3}, lambda: aggregation.GradVac(beta=0.3)),
    "GramianWeightedAggregator": (
        {"gramian_weighting": "PCDWeighting"},
        lambda: aggregation.GramianWeightedAggregator(aggregation.PCDWeighting()),
    ),
    "IMTLG": ({}, aggregation.IMTLG),
    "Krum": ({"n_byzantine": 1, "n_selected": 2}, lambda: aggregation.Krum(1, 2)),
    "Mean": ({}, aggregation.Mean),
    "MeanWeighting": ({}, aggregation.MeanWeighting),
    "MGDA": ({"max_iters": 50}, lambda: aggregation.MGDA(max_iters=50)),
    "NashMTL": ({"update_weights_every": 2}, lambda: aggregation.NashMTL(TASKS, update_weights_every=2)),
    "PCD": ({"tau": [0.1, 0.2, 0.3]}, lambda: aggregation.PCD(torch.tensor([0.1, 0.2, 0.3]))),
    "PCGrad": ({}, aggregation.PCGrad),
    "Random": ({}, aggregation.Random),
    "RandomWeighting": ({}, aggregation.RandomWeighting),
    "Sum": ({}, aggregation.Sum),
    "SumWeighting": ({}, aggregation.SumWeighting),
    "TrimmedMean": ({"trim_number": 1}, lambda: aggregation.TrimmedMean(1)),
    "UPGrad": (
        {"pref_vector": NUMBERS, "reg_eps": 1e-6},
        lambda: aggregation.UPGrad(VECTOR, QuadprogProjector(reg_eps=1e-6)),
    ),
    "WeightedAggregator": (
        {"weighting": "ExcessMTLWeighting"},
        lambda: aggregation.WeightedAggregator(aggregation.ExcessMTLWeighting()),
    ),
}
BY_GRAMIAN = {
    "AlignedMTLWeighting": ({"pref_vector": NUMBERS}, lambda: aggregation.AlignedMTLWeighting(VECTOR.double())),
    "CAGradWeighting": ({"c": 0.4}, lambda: aggregation.CAGradWeighting(c=0.4)),
    "CRMOGMWeighting": (
        {"weighting": "GradVacWeighting", "initial_weights": NUMBERS},
        lambda: aggregation.CRMOGMWeighting(aggregation.GradVacWeighting(), initial_weights=VECTOR),
    ),
    "DualProjWeighting": (
        {"norm_eps": 1e-5},
        lambda: aggregation.DualProjWeighting(None, QuadprogProjector(norm_eps=1e-5)),
    ),
    "FairGradWeighting": ({"alpha": 0.5, "max_iters": 9}, lambda: aggregation.FairGradWeighting(0.5, 9)),
    "GradVacWeighting": ({}, aggregation.GradVacWeighting),
    "IMTLGWeighting": ({}, aggregation.IMTLGWeighting),
    "KrumWeighting": ({"n_byzantine": 1}, lambda: aggregation.KrumWeighting(1)),
    "MGDAWeighting": ({}, aggregation.MGDAWeighting),
    "PCDWeighting": ({"beta": 0.9}, lambda: aggregation.PCDWeighting(beta=0.9)),
    "PCGradWeighting": ({}, aggregation.PCGradWeighting),
    "UPGradWeighting": ({}, aggregation.UPGradWeighting),
}
BY_LOSSES = {
    "scalarization.Constant": ({"weights": NUMBERS}, lambda: scalarization.Constant(VECTOR)),
    "COSMOS": ({"lambda_": 0.5, "weights": NUMBERS}, lambda: scalarization.COSMOS(0.5, VECTOR)),
    "DWA": ({"window": 2}, scalarization.DWA),
    "FAMO": ({"min_losses": BEST, "lr": 0.1}, lambda: scalarization.FAMO(TASKS, torch.tensor(BEST), lr=0.1)),
    "GeometricMean": ({}, scalarization.GeometricMean),
    "IMTLL": ({}, lambda: scalarization.IMTLL(TASKS)),
    "scalarization.Mean": ({}, scalarization.Mean),
    "PBI": ({"theta": 5.0, "weights": NUMBERS}, lambda: scalarization.PBI(5.0, VECTOR)),
    "scalarization.Random": ({}, scalarization.Random),
    "STCH": ({"mu": 0.1, "reference": BEST}, lambda: scalarization.STCH(0.1, None, torch.tensor(BEST))),
    "scalarization.Sum": ({}, scalarization.Sum),
    "UW": ({}, lambda: scalarization.UW(TASKS)),
}
OPTIONS = {name: given for cases in (BY_JACOBIAN, BY_GRAMIAN, BY_LOSSES) for name, (given, _) in cases.items()}
WITH_THRESHOLDS = ["CAGrad", "DualProj", "GradVac", "IMTLG", "UPGrad"]
WITH_THRESHOLDS += [f"{name}Weighting" for name in WITH_THRESHOLDS]
REMEMBERING = {
    *("CRMOGMWeighting", "DWA", "ExcessMTL", "ExcessMTLWeighting", "FAMO", "GradVac", "GradVacWeighting", "NashMTL"),
    *("GramianWeightedAggregator", "PCD", "PCDWeighting", "WeightedAggregator", "IMTLL", "UW"),
}


def made(name, **changes):
    return build(f"torchjd:{name}", TASKS, 0, **{**OPTIONS[name], **changes})


def jacobians(count, dtype=torch.float32):
    generator = torch.Generator().manual_seed(3)
    return [torch.randn(TASKS, 30, generator=generator, dtype=dtype) + 0.2 for _ in range(count)]


def losses(count):
    generator = torch.Generator().manual_seed(4)
    return [torch.rand(TASKS, generator=generator) + 0.5 for _ in range(count)]


def step(method, jacobian, own):
    """An update, with the learned parameters moved as an optimizer would."""
    combined = method.combine(jacobian, own)
    if method.needs_losses_after_step:
        method.after_step(0.9 * own)
    with torch.no_grad():
        for parameter in method.parameters():
            parameter -= 0.1 * parameter.grad
    return combined


def steps(method, given=None, seed=0):
    given = zip(jacobians(5), losses(5), strict=True) if given is None else given
    torch.manual_seed(seed)
    return torch.stack([step(method, jacobian, own) for jacobian, own in given])


def test_the_tests_cover_every_usable_class():
    assert set(OPTIONS) == set(usable_classes())


@pytest.mark.filterwarnings("ignore:You are solving a parameterized problem that is not DPP:UserWarning")
@pytest.mark.parametrize("name", BY_JACOBIAN)
def test_a_class_of_the_jacobian_gives_torchjds_own_result(name):
    module = BY_JACOBIAN[name][1]()
    found = steps(made(name))
    torch.manual_seed(0)
    own = [module(jacobian) for jacobian in jacobians(5)]
    if isinstance(module, aggregation.Weighting):
        own = [weights @ jacobian for weights, jacobian in zip(own, jacobians(5), strict=True)]
    if name == "GradVac":  # its eps is added to norms of another scale
        torch.testing.assert_close(found, torch.stack(own), rtol=1e-5, atol=1e-6)
    else:
        assert torch.equal(found, torch.stack(own))


@pytest.mark.parametrize("name", BY_GRAMIAN)
def test_a_weighting_of_the_gramian_gives_torchjds_own_weights(name):
    module, method = BY_GRAMIAN[name][1](), made(name)
    assert isinstance(method, GramianWeighting)
    wide = jacobians(5, torch.float64)
    found = steps(method, [(jacobian, torch.ones(TASKS)) for jacobian in wide])
    torch.manual_seed(0)
    own = torch.stack([module(jacobian @ jacobian.T) @ jacobian for jacobian in wide])
    torch.testing.assert_close(found, own, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("name", BY_LOSSES)
def test_a_scalarizer_gives_the_gradient_of_torchjds_own_scalar(name):
    """The losses are the rows' products with a vector, whose gradient by TorchJD's scalar is the update."""
    module, method, found, own = BY_LOSSES[name][1](), made(name), [], []
    assert isinstance(method, LossWeighting)
    for number, (jacobian, value) in enumerate(zip(jacobians(5), losses(5), strict=True)):
        torch.manual_seed(number)
        found.append(step(method, jacobian, value))
        torch.manual_seed(number)
        point = torch.zeros(jacobian.shape[1], requires_grad=True)
        module(jacobian @ point + value).backward()
        own.append(point.grad)
        if name == "FAMO":
            module.update(0.9 * value)
        elif name == "DWA" and number % 2:
            module.step()
        else:
            with torch.no_grad():
                for parameter in module.parameters():
                    parameter -= 0.1 * parameter.grad
                    parameter.grad = None
    torch.testing.assert_close(torch.stack(found), torch.stack(own), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", WITH_THRESHOLDS)
@pytest.mark.parametrize("scale", [1e-12, 1e-4, 1e4, 1e12])
def test_an_absolute_threshold_does_not_show_at_any_scale(name, scale):
    one, other = made(name), made(name)
    plain, small = steps(one), steps(other, [(scale * own, torch.ones(TASKS)) for own in jacobians(5)])
    torch.testing.assert_close(small / scale, plain, rtol=2e-4, atol=1e-5)


def test_torchjd_itself_has_the_thresholds():
    """The reason for scaling; once TorchJD has none, the scaling can go."""
    (jacobian,) = jacobians(1)
    small = aggregation.CAGrad(c=0.4)(1e-4 * jacobian)
    assert small.abs().max() == 0
    assert made("CAGrad").combine(1e-4 * jacobian, torch.ones(TASKS)).abs().max() > 1e-6


@pytest.mark.parametrize("name", WITH_THRESHOLDS)
def test_no_gradient_is_no_update(name):
    for jacobian in (torch.zeros(TASKS, 5), 1e-38 * torch.eye(TASKS), 1e38 * torch.eye(TASKS)):
        combined = made(name).combine(jacobian, torch.ones(TASKS))
        assert combined.isfinite().all()
        assert (combined.abs().max() == 0) or jacobian.any()


@pytest.mark.parametrize("name", OPTIONS)
def test_a_state_continues_bit_for_bit(name, tmp_path):
    """After a pass through a file, as a resume state takes it."""
    given = list(zip(jacobians(8), losses(8), strict=True))
    whole, first, second = made(name), made(name), made(name)
    expected = steps(whole, given)
    torch.manual_seed(0)
    for jacobian, own in given[:3]:
        step(first, jacobian, own)
    drawn = torch.get_rng_state()
    save_file(first.state_dict(), tmp_path / "state")
    held = second.parameters()
    second.load_state_dict(load_file(tmp_path / "state"))
    torch.set_rng_state(drawn)
    for (jacobian, own), update in zip(given[3:], expected[3:], strict=True):
        assert torch.equal(step(second, jacobian, own), update)
    assert all(one is other for one, other in zip(held, second.parameters(), strict=True))
    states = whole.state_dict(), second.state_dict()
    assert states[0].keys() == states[1].keys()
    assert all(torch.equal(value, states[1][key]) for key, value in states[0].items())


@pytest.mark.parametrize("name", OPTIONS)
def test_a_state_is_a_snapshot_and_changes_with_every_class_that_remembers(name):
    method = made(name)
    torch.manual_seed(0)
    step(method, jacobians(1)[0], losses(1)[0])
    before = method.state_dict()
    kept = {key: value.clone() for key, value in before.items()}
    step(method, jacobians(2)[1], losses(2)[1])
    assert all(torch.equal(value, kept[key]) for key, value in before.items())
    after = method.state_dict()
    changed = {key for key in kept.keys() | after.keys() if key not in after or key not in kept}
    changed |= {key for key in kept.keys() & after.keys() if not torch.equal(kept[key], after[key])}
    assert bool(changed - {"steps"}) == (name in REMEMBERING)


@pytest.mark.parametrize("name", [*BY_JACOBIAN, *BY_GRAMIAN])
def test_a_gradient_that_is_not_finite_names_its_task(name):
    (jacobian,) = jacobians(1)
    jacobian[2, 5] = math.nan
    with pytest.raises(NonFiniteError) as caught:
        made(name).combine(jacobian, torch.ones(TASKS))
    assert caught.value.task == 2


@pytest.mark.parametrize("name", BY_LOSSES)
def test_a_loss_that_is_not_finite_names_its_task(name):
    method, bad = made(name), torch.tensor([1.0, math.inf, math.nan, 1.0])
    with pytest.raises(NonFiniteError) as caught:
        method.weights(bad)
    assert caught.value.task == 1


def test_losses_after_the_step_are_asked_for_by_famo_alone():
    asked = {name for name in OPTIONS if made(name).needs_losses_after_step}
    assert asked == {"FAMO"}
    method = made("FAMO")
    assert method.parameters() == []
    method.weights(torch.ones(TASKS))
    with pytest.raises(NonFiniteError):
        method.after_step(torch.tensor([1.0, 1.0, math.nan, 1.0]))


def test_heads_are_weighed_on_request():
    assert not made("UW").weigh_heads
    assert made("UW", heads="weighted").weigh_heads


def test_building_draws_nothing():
    before = torch.get_rng_state()
    for name in ("Random", "GradDrop", "PCGrad", "scalarization.Random"):
        made(name)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(
    ("name", "tasks", "given", "message"),
    [
        ("UPGrad", 3, {"pref_vector": [0.5, 0.5]}, "torchjd:UPGrad for 3 tasks: "),
        ("Krum", 2, {"n_byzantine": 1}, "torchjd:Krum for 2 tasks: .*at least 4 rows"),
        ("CAGrad", 3, {"c": -1.0}, "torchjd:CAGrad for 3 tasks: c must be non-negative"),
        ("PCD", 3, {"tau": [0.1]}, "torchjd:PCD for 3 tasks: .*one value per secondary objective"),
        ("scalarization.Constant", 3, {"weights": [1.0]}, "torchjd:scalarization.Constant for 3 tasks: "),
        ("UPGrad", 3, {"c": 1.0}, "method torchjd:UPGrad: unknown option 'c'"),
        ("UPGrad", 0, {}, "num_tasks must be at least 1"),
    ],
)
def test_what_a_class_refuses_is_refused_when_it_is_built(name, tasks, given, message):
    with pytest.raises(ConfigError, match=message):
        build(f"torchjd:{name}", tasks, **given)


def test_a_missing_package_is_named_when_the_method_is_built(monkeypatch):
    monkeypatch.setattr(QuadprogProjector, "_REQUIRED_DEPS", ["quadprog_that_is_absent"])
    with pytest.raises(ConfigError, match=r"torchjd:UPGrad for 2 tasks: .*quadprog_that_is_absent"):
        build("torchjd:UPGrad", 2)


class _Hoarding(aggregation.Mean):
    """Keeps what no resume state can hold, from its first step on."""

    def forward(self, matrix):
        self.seen = {float(matrix.sum())}
        return super().forward(matrix)


def test_a_state_that_cannot_be_saved_is_refused_when_the_method_is_built(monkeypatch):
    monkeypatch.setattr(aggregation, "Mean", _Hoarding)
    with pytest.raises(ConfigError, match="torchjd:Mean for 2 tasks: seen is a set, which a resume state cannot hold"):
        build("torchjd:Mean", 2)


class _Keeping(nn.Module):
    """One attribute of every kind that can be saved."""

    def __init__(self, factor=1):
        super().__init__()
        self.learned = nn.Parameter(torch.full((2,), float(factor)))
        self.register_buffer("unset", None)
        self.kinds = (None, True, 2 * factor, 0.1 * factor, "text", torch.float64, torch.device("cpu"))
        self.nested = [torch.arange(3) * factor, (torch.tensor(1.5 * factor),)]
        self.huge = factor * math.inf
        self.inner = nn.Module()
        self.inner.array = None


def test_every_kind_of_value_survives():
    module, other = _Keeping(3), _Keeping()
    kept, loaded = ModuleState(module), ModuleState(other)
    module.unset, module.inner.array = torch.ones(2, dtype=torch.bool), torch.tensor([1.0, 2.0]).numpy()
    loaded.load(kept.save())
    assert torch.equal(other.learned, module.learned)
    assert torch.equal(other.unset, module.unset)
    assert (other.kinds, other.huge) == (module.kinds, module.huge)
    assert torch.equal(other.nested[0], module.nested[0])
    assert isinstance(other.nested[1], tuple)
    assert other.inner.array.tolist() == [1.0, 2.0]
    assert (other.inner.array.dtype, other.unset.dtype) == (module.inner.array.dtype, torch.bool)
    module.inner.array = object()
    with pytest.raises(UnsavableError, match=r"inner\.array is a object"):
        kept.save()


# --- training ------------------------------------------------------------------------------------------------------

TRAINED = {
    "NashMTL": {},
    "ExcessMTL": {"n_warmup_steps": 3},
    "GradDrop": {},
    "GradVacWeighting": {},
    "UW": {},
    "FAMO": {},
    "DWA": {"window": 2},
}


class InterruptedHereError(Exception):
    """Stands for whatever ends a process in the middle of its work."""


@pytest.fixture(scope="module")
def data_spec():
    digits = declaration("setting", "digits")
    return {"name": "digits", "version": digits.version, "train": 100, "validation": 40, "test": 40}


@pytest.fixture(scope="module")
def prepared_file(tmp_path_factory, data_spec) -> Path:
    path = tmp_path_factory.mktemp("prepared") / "digits.safetensors"
    prepare(data_spec, path.parent, path)
    return path


@pytest.fixture
def make_job(tmp_path, prepared_file, data_spec):
    def make(name, folder):
        spec = {
            "training": TRAINING_VERSION,
            "setting": "digits",
            "group": "mtl.some",
            "tasks": ["digits1", "digits2"],
            "data": data_spec,
            "model": {"name": "small_cnn", "version": 1, "channels": 2, "features": 4},
            "method": {
                "name": f"torchjd:{name}",
                "version": 1,
                "packages": {"torchjd": version()},
                **TRAINED[name],
            },
            "optimizer": {"name": "adam", "version": 1},
            "point": {"learning_rate": 0.01, "batch_size": 32},
            "epochs": 2,
            "checkpoint_every": 1,
            "seed": 0,
        }
        return Job("digits/group/adam/point/seed0", spec, prepared_file, tmp_path / folder, "cpu", 1, save_minutes=0.0)

    return make


def results(job):
    paths = [job.folder / "trajectory.parquet", *sorted((job.root / "checkpoints").rglob("*.safetensors"))]
    return {str(path.relative_to(job.root)): path.read_bytes() for path in paths}


@pytest.mark.usefixtures("torch_as_it_was")
@pytest.mark.parametrize("name", TRAINED)
def test_a_run_that_was_killed_ends_with_the_same_bytes(make_job, monkeypatch, name):
    whole, broken = make_job(name, "whole"), make_job(name, "broken")
    assert run(whole)["outcome"] == {"status": "finished"}
    advance, seen = Engine.step, []

    def advance_three(engine, number):
        if len(seen) == 3:
            raise InterruptedHereError
        seen.append(number)
        advance(engine, number)

    with monkeypatch.context() as patch:
        patch.setattr(Engine, "step", advance_three)
        with pytest.raises(InterruptedHereError):
            run(broken)
    assert run(broken)["attempts"] == 2
    assert results(broken) == results(whole)
