import math
from dataclasses import dataclass
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasktrace.config.options import build_options, check_options
from tasktrace.errors import ConfigError
from tasktrace.files import canonical_json

WHERE = "config/config.yaml: methods.mine"


@dataclass(frozen=True, kw_only=True)
class Options:
    rate: float = 0.5
    steps: int = 3
    fast: bool = False
    scale: Literal["sum", "mean"] = "sum"
    order: Literal[1, 2] = 2
    clip: float | None = None
    weights: tuple[float, ...] = (1.0, 2.0)
    label: str = "plain"


@dataclass(frozen=True, kw_only=True)
class Needy:
    width: int

    def __post_init__(self):
        if self.width < 1:
            raise ValueError(f"width must be at least 1, found {self.width}")


def test_options_at_their_defaults_are_left_out():
    written = {"rate": 0.5, "steps": 3, "fast": False, "scale": "sum", "order": 2, "clip": None, "label": "plain"}
    assert check_options(Options, written, WHERE) == {}
    assert check_options(Options, {"weights": [1, 2]}, WHERE) == {}
    assert check_options(Options, {}, WHERE) == {}


def test_options_that_differ_are_kept():
    given_options = {"rate": 0.25, "steps": 4, "fast": True, "scale": "mean", "clip": 1.0, "weights": [1.0, 3.0]}
    assert check_options(Options, given_options, WHERE) == given_options


def test_an_option_without_default_is_always_kept():
    assert check_options(Needy, {"width": 5}, WHERE) == {"width": 5}


def test_a_whole_number_stands_for_the_float_that_it_equals():
    assert check_options(Options, {"rate": 1}, WHERE) == {"rate": 1.0}
    whole, real = (check_options(Options, {"rate": rate}, WHERE) for rate in (1, 1.0))
    assert canonical_json(whole) == canonical_json(real)


@pytest.mark.parametrize(
    ("name", "value", "allowed", "found"),
    [
        ("rate", "fast", "a finite number", "'fast' (str)"),
        ("rate", True, "a finite number", "True (bool)"),
        ("rate", math.nan, "a finite number", "nan (float)"),
        ("rate", math.inf, "a finite number", "inf (float)"),
        ("rate", None, "a finite number", "None (NoneType)"),
        ("steps", 2.5, "a whole number", "2.5 (float)"),
        ("steps", True, "a whole number", "True (bool)"),
        ("steps", "two", "a whole number", "'two' (str)"),
        ("fast", 1, "true or false", "1 (int)"),
        ("fast", "no", "true or false", "'no' (str)"),
        ("scale", "median", "one of 'sum', 'mean'", "'median' (str)"),
        ("scale", ["sum"], "one of 'sum', 'mean'", "['sum'] (list)"),
        ("order", 3, "one of 1, 2", "3 (int)"),
        ("order", True, "one of 1, 2", "True (bool)"),
        ("clip", "none", "a finite number or null", "'none' (str)"),
        ("weights", 1.0, "a list of a finite number", "1.0 (float)"),
        ("weights", [1.0, "2"], "a list of a finite number", "[1.0, '2'] (list)"),
        ("label", 5, "a text", "5 (int)"),
    ],
)
def test_a_value_of_a_wrong_type_is_refused(name, value, allowed, found):
    with pytest.raises(ConfigError) as caught:
        check_options(Options, {name: value}, WHERE)
    assert str(caught.value) == f"{WHERE}.{name}: expected {allowed}, found {found}"


def test_a_number_that_yaml_reads_as_a_text_gets_a_hint():
    with pytest.raises(ConfigError) as caught:
        check_options(Options, {"rate": "1e-8"}, WHERE)
    message = str(caught.value)
    assert message.startswith(f"{WHERE}.rate: expected a finite number, found '1e-8'")
    assert "1.0e-" in message


def test_an_unknown_option_names_those_that_are_allowed():
    with pytest.raises(ConfigError) as caught:
        check_options(Needy, {"width": 3, "widht": 4}, WHERE)
    assert str(caught.value) == f"{WHERE}: unknown option 'widht'; allowed: width"


def test_an_option_of_a_component_without_options_is_unknown():
    @dataclass(frozen=True)
    class Nothing:
        pass

    with pytest.raises(ConfigError) as caught:
        check_options(Nothing, {"dropout": 0.5}, WHERE)
    assert str(caught.value) == f"{WHERE}: unknown option 'dropout'; allowed: none"


def test_a_missing_option_says_what_it_takes():
    with pytest.raises(ConfigError) as caught:
        check_options(Needy, {}, WHERE)
    assert str(caught.value) == f"{WHERE}: option 'width' is missing; it takes a whole number"


def test_a_value_that_the_component_refuses_is_reported_with_its_place():
    with pytest.raises(ConfigError) as caught:
        check_options(Needy, {"width": 0}, WHERE)
    assert str(caught.value) == f"{WHERE}: width must be at least 1, found 0"


@given(
    st.fixed_dictionaries(
        {},
        optional={
            "rate": st.floats(allow_nan=False, allow_infinity=False) | st.integers(-1000, 1000),
            "steps": st.integers(),
            "fast": st.booleans(),
            "scale": st.sampled_from(["sum", "mean"]),
            "clip": st.none() | st.floats(allow_nan=False, allow_infinity=False),
            "weights": st.lists(st.floats(allow_nan=False, allow_infinity=False)),
        },
    )
)
def test_what_is_kept_builds_the_same_options_as_what_was_written(written):
    assert build_options(Options, check_options(Options, written, WHERE)) == build_options(Options, written)


def test_built_options_have_the_declared_types():
    built = build_options(Options, {"rate": 1, "weights": [3.0]})
    assert isinstance(built.rate, float)
    assert built.weights == (3.0,)
