"""TorchJD's classes as methods in a configuration, read without importing them."""

import dataclasses
import importlib
import importlib.util
import inspect
import subprocess
import sys

import pytest
import torchjd.linalg

from tasktrace.config import Study, torchjd_classes
from tasktrace.config.components import component_options
from tasktrace.config.declarations import declaration
from tasktrace.config.options import check_options
from tasktrace.config.torchjd_classes import Argument, arguments, locate, options, public_classes, usable_classes
from tasktrace.errors import ConfigError

# Options of every class; a release of TorchJD that adds, drops or changes one shows here.
USABLE = {
    "AlignedMTL": ["pref_vector", "scale_mode"],
    "AlignedMTLWeighting": ["pref_vector", "scale_mode"],
    "CAGrad": ["c", "norm_eps"],
    "CAGradWeighting": ["c", "norm_eps"],
    "ConFIG": ["pref_vector"],
    "Constant": ["weights"],
    "ConstantWeighting": ["weights"],
    "CRMOGMWeighting": ["weighting", "alpha", "initial_weights"],
    "DualProj": ["pref_vector", "norm_eps", "reg_eps"],
    "DualProjWeighting": ["pref_vector", "norm_eps", "reg_eps"],
    "ExcessMTL": ["robust_step_size", "n_warmup_steps"],
    "ExcessMTLWeighting": ["robust_step_size", "n_warmup_steps"],
    "FairGrad": ["alpha", "max_iters"],
    "FairGradWeighting": ["alpha", "max_iters"],
    "GradDrop": ["leak", "f"],
    "GradVac": ["beta", "eps"],
    "GradVacWeighting": ["beta", "eps"],
    "GramianWeightedAggregator": ["gramian_weighting"],
    "IMTLG": [],
    "IMTLGWeighting": [],
    "Krum": ["n_byzantine", "n_selected"],
    "KrumWeighting": ["n_byzantine", "n_selected"],
    "Mean": [],
    "MeanWeighting": [],
    "MGDA": ["epsilon", "max_iters"],
    "MGDAWeighting": ["epsilon", "max_iters"],
    "NashMTL": ["max_norm", "update_weights_every", "optim_niter"],
    "PCD": ["tau", "beta", "eps"],
    "PCDWeighting": ["tau", "beta", "eps"],
    "PCGrad": [],
    "PCGradWeighting": [],
    "Random": [],
    "RandomWeighting": [],
    "Sum": [],
    "SumWeighting": [],
    "TrimmedMean": ["trim_number"],
    "UPGrad": ["pref_vector", "norm_eps", "reg_eps"],
    "UPGradWeighting": ["pref_vector", "norm_eps", "reg_eps"],
    "WeightedAggregator": ["weighting"],
    "scalarization.Constant": ["weights", "heads"],
    "COSMOS": ["lambda_", "weights", "heads"],
    "DWA": ["temperature", "heads", "window"],
    "FAMO": ["min_losses", "lr", "weight_decay", "heads"],
    "GeometricMean": ["heads"],
    "IMTLL": ["heads"],
    "scalarization.Mean": ["heads"],
    "PBI": ["theta", "weights", "reference", "heads"],
    "scalarization.Random": ["heads"],
    "STCH": ["mu", "weights", "reference", "heads"],
    "scalarization.Sum": ["heads"],
    "UW": ["heads"],
}
REFUSED = {
    "Aggregator": "it is abstract",
    "Weighting": "it is abstract",
    "Scalarizer": "it is abstract",
    "MoDoWeighting": "two independent batches at every step",
    "SDMGradWeighting": "two independent batches at every step",
}
REQUIRED = inspect.Parameter.empty


def checked(name, **given):
    return check_options(declaration("method", f"torchjd:{name}").options, given, "config/config.yaml: methods.mine")


def refusal(name, **given):
    with pytest.raises(ConfigError) as caught:
        checked(name, **given)
    return str(caught.value)


@pytest.fixture
def forgotten():
    """Nothing known of the installed TorchJD, before and after."""
    cached = [value for value in vars(torchjd_classes).values() if hasattr(value, "cache_clear")]
    for function in [*cached, declaration]:
        function.cache_clear()
    yield
    for function in [*cached, declaration]:
        function.cache_clear()


def test_every_public_class_is_usable_or_refused():
    found = {}
    for module in ("aggregation", "scalarization"):
        exported = importlib.import_module(f"torchjd.{module}").__all__
        shared = set(exported) & set(importlib.import_module("torchjd.aggregation").__all__)
        is_second = module == "scalarization"
        found |= {f"{module}." * (is_second and name in shared) + name: f"torchjd.{module}" for name in exported}
    assert public_classes() == found
    assert set(found) == USABLE.keys() | REFUSED.keys()
    assert set(usable_classes()) == USABLE.keys()


@pytest.mark.parametrize(("name", "expected"), USABLE.items())
def test_the_options_of_a_class(name, expected):
    assert [field.name for field in dataclasses.fields(options(f"torchjd:{name}"))] == expected


@pytest.mark.parametrize("name", USABLE)
def test_the_arguments_read_are_those_that_the_constructor_has(name):
    module, class_name = locate(f"torchjd:{name}")
    found = arguments(f"torchjd:{name}")
    assert_same(found, getattr(importlib.import_module(module), class_name))
    for argument in found:
        if argument.projector:
            assert_same(argument.projector, torchjd.linalg.QuadprogProjector)


def assert_same(found: tuple[Argument, ...], constructed):
    signature = inspect.signature(constructed).parameters
    assert [argument.name for argument in found] == list(signature)
    for argument in found:
        default = signature[argument.name].default
        assert (argument.default is dataclasses.MISSING) == (default is REQUIRED)
        if default is not REQUIRED and not callable(default):
            assert (argument.default, type(argument.default)) == (default, type(default))


@pytest.mark.parametrize(("name", "reason"), REFUSED.items())
def test_a_class_that_cannot_be_a_method_is_refused_with_its_reason(name, reason):
    with pytest.raises(ConfigError, match=f"method 'torchjd:{name}': {name} cannot be used: .*{reason}"):
        declaration("method", f"torchjd:{name}")


@pytest.mark.parametrize("name", ["UPgrad", "aggregation.Mean", "_NashMTLWeighting", "scalarization.UPGrad", ""])
def test_an_unknown_class_names_those_that_there_are(name):
    with pytest.raises(ConfigError) as caught:
        declaration("method", f"torchjd:{name}")
    assert str(caught.value) == (
        f"unknown class {name!r} of TorchJD {torchjd_classes.version()} in method 'torchjd:{name}'; "
        f"available: {', '.join(USABLE)}"
    )


def test_an_unknown_method_points_at_torchjd():
    with pytest.raises(ConfigError, match=r"unknown method 'upgrad2'; available: .*umtg.*, torchjd:<Class>$"):
        declaration("method", "upgrad2")
    with pytest.raises(ConfigError, match=r"unknown optimizer 'torchjd:UPGrad'; available: [^<]*$"):
        declaration("optimizer", "torchjd:UPGrad")


def test_defaults_are_left_out_and_numbers_become_what_torchjd_expects():
    assert checked("UPGrad", norm_eps=1e-4, reg_eps=1e-6) == {"reg_eps": 1e-6}
    assert checked("UPGrad", pref_vector=[0.25, 0.75]) == {"pref_vector": [0.25, 0.75]}
    assert checked("UPGrad", pref_vector=None) == {}
    assert checked("CAGrad", c=1) == {"c": 1.0}
    assert checked("PCD", tau=[0.1, 0.2]) == {"tau": [0.1, 0.2]}
    assert checked("GradDrop", leak=[0, 0.5], f=None) == {"leak": [0, 0.5]}


@pytest.mark.parametrize(
    ("name", "given", "message"),
    [
        ("UPGrad", {"eps": 1.0}, ": unknown option 'eps'; allowed: pref_vector, norm_eps, reg_eps"),
        ("NashMTL", {"n_tasks": 2}, ": unknown option 'n_tasks'; allowed: max_norm, "),
        ("UPGrad", {"norm_eps": "1e-4"}, ".norm_eps: expected a finite number, found '1e-4' (str)"),
        ("UPGrad", {"norm_eps": True}, ".norm_eps: expected a finite number, found True (bool)"),
        ("MGDA", {"max_iters": 1.5}, ".max_iters: expected a whole number, found 1.5 (float)"),
        ("UPGrad", {"pref_vector": 0.5}, ".pref_vector: expected a list of a finite number or null, found 0.5 (float)"),
        ("UPGrad", {"pref_vector": ["a"]}, ".pref_vector: expected a list of a finite number or null"),
        ("AlignedMTL", {"scale_mode": "max"}, ".scale_mode: expected one of 'min', 'median', 'rmse', found 'max'"),
        ("CAGrad", {}, ": option 'c' is missing; it takes a finite number"),
        ("Constant", {}, ": option 'weights' is missing; it takes a list of a finite number"),
        ("GradDrop", {"f": "tanh"}, ": f takes a Callable, which a configuration cannot give"),
        ("CRMOGMWeighting", {"weighting": "CAGradWeighting"}, ".weighting: expected one of 'AlignedMTLWeighting', "),
        ("GramianWeightedAggregator", {"gramian_weighting": "MeanWeighting"}, ".gramian_weighting: expected one of "),
        ("DWA", {"window": 0}, ": window must be at least 1, found 0"),
        ("UW", {"heads": "none"}, ".heads: expected one of 'plain', 'weighted', found 'none'"),
    ],
)
def test_a_wrong_option_is_refused(name, given, message):
    assert refusal(name, **given).startswith(f"config/config.yaml: methods.mine{message}")


def test_a_run_is_stale_after_another_torchjd(configure, monkeypatch, forgotten):
    block = {"method": "torchjd:UPGrad", "norm_eps": 0.001}
    configure("config.yaml", methods={"upgrad": block, "plain": {"method": "umtg"}})
    configure("settings/digits.yaml", methods=["upgrad", "plain"])
    study = Study.load()
    specs = {run.arm.method: study.run_spec(run)["method"] for run in study.runs.values() if run.arm.method}
    installed = {"torchjd": torchjd_classes.version()}
    assert specs["upgrad"] == {"name": "torchjd:UPGrad", "version": 1, "packages": installed, "norm_eps": 0.001}
    assert component_options(specs["upgrad"]) == {"norm_eps": 0.001}
    assert "packages" not in specs["plain"]
    monkeypatch.setattr(torchjd_classes, "version", lambda: "99.0")
    declaration.cache_clear()
    assert Study.load()._method("upgrad")["packages"] == {"torchjd": "99.0"}


@pytest.mark.parametrize(
    ("block", "message"),
    [
        ({"method": "torchjd:UPGard"}, "config/config.yaml: methods.mine: unknown class 'UPGard' of TorchJD"),
        ({"method": "torchjd:CAGrad"}, "config/config.yaml: methods.mine: option 'c' is missing"),
        ({"method": "torchjd:MoDoWeighting"}, "config/config.yaml: methods.mine: method 'torchjd:MoDoWeighting'"),
    ],
)
def test_a_fault_is_refused_with_file_and_key_before_any_job(configure, block, message):
    configure("config.yaml", methods={"mine": block})
    with pytest.raises(ConfigError) as caught:
        Study.load()
    assert str(caught.value).startswith(message)


def test_planning_imports_neither_torch_nor_torchjd(configure):
    blocks = {"mine": {"method": "torchjd:UPGrad"}, "learned": {"method": "torchjd:UW"}}
    configure("config.yaml", methods=blocks)
    configure("settings/digits.yaml", methods=["mine", "learned"])
    script = (
        "import sys\n"
        "from tasktrace.config import Study\n"
        "study = Study.load()\n"
        "count = sum(1 for run in study.runs.values() if (study.run_spec(run)['method'] or {}).get('packages'))\n"
        "print(count > 0, sorted({'torch', 'torchjd', 'cvxpy', 'numpy', 'tasktrace.methods'} & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "True []\n"


def test_without_torchjd_the_message_says_what_to_install(monkeypatch, forgotten):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match="needs TorchJD, which is not installed"):
        declaration("method", "torchjd:UPGrad")
    assert declaration("method", "umtg").version
