"""What a grammar would enforce more weakly: ``oneOf`` whose alternatives overlap, and others."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import jsonschema
import pytest

from specbranch_cpp import InvalidArgument
from specbranch_cpp._grammar import alternatives
from specbranch_cpp._grammar.alternatives import MOST_COMPARED, exclude_each_other
from specbranch_cpp._grammar.json_schema import grammar_of

if TYPE_CHECKING:
    from collections.abc import Callable


def tagged(tag: Any, **more: Any) -> dict[str, Any]:
    kind = {"type": "object", "properties": {"kind": {"const": tag}}, "required": ["kind"]}
    return {**kind, **more}


APART: dict[str, list[Any]] = {
    "types": [{"type": "string"}, {"type": "integer"}, {"type": ["null", "boolean"]}],
    "constants": [{"const": 1}, {"const": "1"}, {"enum": [2, 3]}],
    "a constant and a type": [{"const": 1}, {"type": "string"}],
    "tags": [tagged("a"), tagged("b")],
    "tags by reference": [{"$ref": "#/$defs/a"}, {"$ref": "#/$defs/b"}],
    "tags deeper": [
        {"type": "object", "properties": {"x": tagged(tag)}, "required": ["x"]} for tag in "ab"
    ],
    "an unknown property": [
        {"type": "object", "properties": {"a": {}}, "required": ["a"]},
        {"type": "object", "properties": {"b": {}}, "additionalProperties": False},
    ],
    "never": [False, {}],
    "one alone": [{}],
}
TOGETHER: dict[str, list[Any]] = {
    "lengths": [{"minLength": 1, "type": "string"}, {"maxLength": 2, "type": "string"}],
    "integers are numbers": [{"type": "integer"}, {"type": "number"}],
    "equal numbers": [{"const": 1}, {"const": 1.0}],
    "an optional tag": [{**tagged(tag), "required": []} for tag in "ab"],
    "the same tag": [tagged("a"), tagged("b"), tagged("a")],
    "open objects": [
        {"type": "object", "properties": {name: {}}, "required": [name]} for name in "ab"
    ],
    "itself": [{"$ref": "#"}, {"$ref": "#"}],
    "lost": [{"$ref": "#/$defs/none"}, {"type": "string"}],
    "anything": [True, {"type": "string"}],
}
DEFS = {"$defs": {"a": tagged("a"), "b": tagged("b")}}
VALUES: list[Any] = [
    None, True, False, 0, 1, 1.0, 2, 2.5, "", "1", "ab", "abc", [], [1], {}, {"kind": "a"},
    {"kind": "b"}, {"x": {"kind": "a"}}, {"a": 1}, {"b": 1}, {"a": 1, "b": 1},
]  # fmt: skip


@pytest.mark.parametrize("name", APART)
def test_alternatives_that_exclude_each_other(name: str) -> None:
    schema = {**DEFS, "oneOf": APART[name]}
    assert exclude_each_other(schema, schema["oneOf"])
    # It is true: no value satisfies two of them.
    for value in VALUES:
        ways = [{**DEFS, "allOf": [way]} for way in APART[name]]
        assert sum(jsonschema.Draft202012Validator(way).is_valid(value) for way in ways) <= 1
    if name not in ("never", "one alone"):
        assert grammar_of(schema, "schema", strict=True)


@pytest.mark.parametrize("name", TOGETHER)
def test_alternatives_that_may_have_a_value_in_common(
    name: str, caplog: pytest.LogCaptureFixture
) -> None:
    schema = {**DEFS, "oneOf": TOGETHER[name]}
    assert not exclude_each_other(schema, schema["oneOf"])
    with pytest.raises(InvalidArgument, match="'oneOf', which a grammar cannot enforce"):
        grammar_of(schema, "schema", strict=True)
    if name in ("itself", "lost"):
        return
    with caplog.at_level(logging.WARNING, logger="specbranch_cpp"):
        assert grammar_of(schema, "schema")
    assert "'oneOf'" in caplog.text


@pytest.fixture
def n_compared(monkeypatch: pytest.MonkeyPatch) -> Callable[[], int]:
    """How many schemas were looked at."""
    seen: list[Any] = []
    resolved = alternatives._resolved

    def counted(root: Any, node: Any) -> Any:
        seen.append(None)
        return resolved(root, node)

    monkeypatch.setattr(alternatives, "_resolved", counted)
    return lambda: len(seen)


def test_many_constants_are_compared_at_once(n_compared: Callable[[], int]) -> None:
    ways = [{"const": i} for i in range(500)]
    assert exclude_each_other({}, ways)
    assert not exclude_each_other({}, [*ways, {"enum": [1000, 7]}])
    assert n_compared() == 1001


def test_comparisons_have_a_limit(n_compared: Callable[[], int]) -> None:
    names = [f"p{i}" for i in range(30)]
    defs: dict[str, Any] = {"d4": {"type": "object"}}
    for i in range(4):
        properties = {name: {"$ref": f"#/$defs/d{i + 1}"} for name in names}
        defs[f"d{i}"] = {"type": "object", "properties": properties, "required": names}
    schema = {"$defs": defs, "oneOf": [{"$ref": "#/$defs/d0"}] * 2}
    assert not exclude_each_other(schema, schema["oneOf"])
    twice = {"properties": {"a": {"oneOf": schema["oneOf"]}, "b": {"oneOf": schema["oneOf"]}}}
    grammar_of({"$defs": defs, **twice}, "schema")
    assert n_compared() < 5 * MOST_COMPARED
    assert exclude_each_other({}, [tagged(i) for i in range(100)])


OBJECT = {"type": "object", "properties": {"a": {}}}


@pytest.mark.parametrize(
    ("schema", "key"),
    [
        ({**OBJECT, "propertyNames": False}, "propertyNames"),
        ({**OBJECT, "propertyNames": {"maxLength": 3}}, "propertyNames"),
        ({**OBJECT, "unevaluatedProperties": False}, "unevaluatedProperties"),
        ({"allOf": [OBJECT, {"not": {"required": ["a"]}}]}, "not"),
        ({"allOf": [OBJECT, {"minProperties": 1}]}, "minProperties"),
        ({"allOf": [OBJECT, {"propertyNames": False}]}, "propertyNames"),
        ({"allOf": [OBJECT, {"unevaluatedProperties": False}]}, "unevaluatedProperties"),
        ({"allOf": [OBJECT, {"patternProperties": {"b": False}}]}, "patternProperties"),
    ],
)
def test_what_is_not_enforced_is_refused_in_every_place(schema: Any, key: str) -> None:
    with pytest.raises(InvalidArgument, match=f"the keyword '{key}'"):
        grammar_of(schema, "schema", strict=True)


@pytest.mark.parametrize("value", [True, {}, None])
def test_names_that_exclude_nothing(value: Any) -> None:
    assert grammar_of({**OBJECT, "propertyNames": value}, "schema", strict=True)
