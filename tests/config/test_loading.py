import copy

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasktrace.config.loading import merged, read_yaml, validate
from tasktrace.errors import ConfigError

SCHEMA = """
type: object
additionalProperties: false
required: [name, size, kind]
properties:
  name: {type: string}
  size: {type: number, exclusiveMinimum: 0}
  kind: {enum: [small, large]}
  rates: {type: array, items: {type: number}}
  block:
    type: object
    additionalProperties: false
    properties:
      depth: {type: integer}
"""
GOOD = {"name": "a", "size": 1.5, "kind": "small"}


@pytest.fixture
def schema(tmp_path):
    path = tmp_path / "schema.yaml"
    path.write_text(SCHEMA)
    return path


def faults(content, schema):
    with pytest.raises(ConfigError) as caught:
        validate(content, schema, "config/x.yaml")
    return str(caught.value).splitlines()


def test_a_mapping_is_read(tmp_path):
    path = tmp_path / "x.yaml"
    path.write_text("a: {b: [1, 0.5, text]}\n")
    assert read_yaml(path) == {"a": {"b": [1, 0.5, "text"]}}


def test_an_absent_file_is_named_with_what_to_do(tmp_path):
    path = tmp_path / "config.yaml"
    with pytest.raises(ConfigError) as caught:
        read_yaml(path)
    assert str(caught.value) == f"{path}: no such file; run tasktrace from the folder that holds config/"


def test_a_syntax_error_is_named_with_its_line(tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text("a: 1\nb: [1, 2\nc: 3\n")
    with pytest.raises(ConfigError) as caught:
        read_yaml(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: not valid YAML: ")
    assert "line 3" in message


@pytest.mark.parametrize(("text", "found"), [("- a\n- b\n", "list"), ("word\n", "str"), ("", "an empty file")])
def test_anything_else_than_a_mapping_is_refused(tmp_path, text, found):
    path = tmp_path / "config.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        read_yaml(path)
    assert str(caught.value) == f"{path}: expected a mapping of keys to values, found {found}"


def test_content_that_fits_the_schema_passes(schema):
    validate({**GOOD, "rates": [1, 0.5], "block": {"depth": 2}}, schema, "config/x.yaml")


def test_an_unknown_key_names_those_that_are_allowed(schema):
    assert faults({**GOOD, "colour": 1}, schema) == [
        "config/x.yaml: unknown key 'colour'; allowed: name, size, kind, rates, block"
    ]
    assert faults({**GOOD, "block": {"width": 1}}, schema) == [
        "config/x.yaml: block: unknown key 'width'; allowed: depth"
    ]


def test_a_missing_key_names_those_that_are_required(schema):
    assert faults({"name": "a", "kind": "small"}, schema) == [
        "config/x.yaml: missing 'size'; required: name, size, kind"
    ]


def test_several_missing_keys_are_named_once(schema):
    assert faults({"name": "a"}, schema) == ["config/x.yaml: missing 'size', 'kind'; required: name, size, kind"]


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"name": 3}, "config/x.yaml: name: expected string, found 3"),
        ({"size": True}, "config/x.yaml: size: expected number, found True"),
        ({"size": None}, "config/x.yaml: size: expected number, found None"),
        ({"size": "big"}, "config/x.yaml: size: expected number, found 'big'"),
        ({"block": {"depth": 2.5}}, "config/x.yaml: block.depth: expected integer, found 2.5"),
        ({"kind": "huge"}, "config/x.yaml: kind: allowed: small, large; found 'huge'"),
        ({"rates": [0.1, [2]]}, "config/x.yaml: rates[1]: expected number, found [2]"),
    ],
)
def test_a_wrong_value_is_reported_with_key_allowed_and_found(schema, change, line):
    assert faults({**GOOD, **change}, schema) == [line]


def test_a_number_out_of_range_is_reported_with_key_found_and_bound(schema):
    (line,) = faults({**GOOD, "size": -2.5}, schema)
    assert line.startswith("config/x.yaml: size: ")
    assert "-2.5" in line
    assert "minimum of 0" in line


@pytest.mark.parametrize("value", ["1e-3", "1e5", "0.5"])
def test_a_number_that_yaml_reads_as_a_text_gets_a_hint(schema, value):
    (line,) = faults({**GOOD, "rates": [value]}, schema)
    assert line == (
        f"config/x.yaml: rates[0]: expected number, found {value!r} "
        '(YAML reads "1e-3" as a text: write 0.001 or 1.0e-3)'
    )


@pytest.mark.parametrize("text", [".nan", ".inf", "-.inf"])
def test_a_number_that_is_not_finite_is_refused(tmp_path, schema, text):
    path = tmp_path / "x.yaml"
    path.write_text(f"{{name: a, kind: small, size: 1, rates: [{text}]}}")
    (line,) = faults(read_yaml(path), schema)
    assert line.startswith("config/x.yaml: rates[0]: ")
    assert "finite" in line


@pytest.mark.parametrize("value", [2.0, 64.0])
def test_a_float_is_no_whole_number(schema, value):
    assert faults({**GOOD, "block": {"depth": value}}, schema) == [
        f"config/x.yaml: block.depth: expected integer, found {value!r}"
    ]


def test_every_fault_has_a_line(schema):
    lines = faults({"name": 3, "size": "1e-3", "kind": "huge", "colour": 1}, schema)
    assert len(lines) == 4
    for part in ("unknown key 'colour'", "kind: allowed", "name: expected string", "size: expected number"):
        assert sum(part in line for line in lines) == 1


def test_overrides_are_merged_key_by_key():
    base = {"a": {"b": 1, "c": [1, 2]}, "d": 4}
    assert merged(base, {"a": {"c": [3]}, "e": {"f": 5}}) == {"a": {"b": 1, "c": [3]}, "d": 4, "e": {"f": 5}}
    assert merged(base, {"a": 7}) == {"a": 7, "d": 4}
    assert merged({"a": 7}, {"a": {"b": 1}}) == {"a": {"b": 1}}


MAPPINGS = st.recursive(
    st.dictionaries(st.sampled_from("abc"), st.integers()),
    lambda inner: st.dictionaries(st.sampled_from("abc"), st.integers() | inner),
    max_leaves=8,
)


@given(MAPPINGS, MAPPINGS)
def test_merging_again_changes_nothing_and_the_arguments_stay(base, override):
    before = copy.deepcopy((base, override))
    result = merged(base, override)
    assert merged(result, override) == result
    assert merged(base, {}) == base
    assert (base, override) == before
