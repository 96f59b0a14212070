"""JSON schemas by llguidance: what comes out is JSON that the schema accepts."""

from __future__ import annotations

import json
import logging
import re
from typing import TYPE_CHECKING, Any

import pytest
from tests.python.support.lark_texts import LarkTexts
from tests.python.support.schemas import GOOD, check_texts

from specbranch_cpp import Engine, InvalidArgument
from specbranch_cpp._grammar.lark_book import LarkBook
from specbranch_cpp._grammar.lark_schema import is_enforced, lark_of_schema
from specbranch_cpp.grammars import JsonSchema

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

# What GBNF cannot express.
MORE: dict[str, Any] = {
    "not the empty name": {"properties": {"": {"const": 1}, "*": {"const": 2}}, "required": [""]},
    "patternProperties": {"type": "object", "patternProperties": {"^a": {"type": "null"}}},
    "a pattern with a length": {"type": "string", "pattern": "^[a-c]+$", "maxLength": 2},
    "letters": {"type": "string", "pattern": r"^\p{Lu}{1,3}$"},
    "halves": {"type": "number", "minimum": 0, "maximum": 9, "multipleOf": 0.5},
    "places": {"prefixItems": [{"const": 1}], "items": {"const": 2}, "maxItems": 3},
    "an intersection": {"allOf": [{"minimum": 3}, {"type": "integer", "maximum": 5}]},
    "beside a reference": {"$ref": "#/$defs/a", "maximum": 4, "$defs": {"a": {"type": "integer"}}},
    "email": {"type": "string", "format": "email", "maxLength": 30},
}


@pytest.fixture(scope="module")
def random(tiny: Path) -> Iterator[Engine]:
    """Writes at random what a grammar allows."""
    with Engine(tiny, n_ctx=512, n_threads=1) as engine:
        yield engine


def texts(schema: Any) -> LarkTexts:
    book = LarkBook()
    return LarkTexts(book.grammar(book.schema(schema, "schema", strict=True)))


@pytest.mark.parametrize("name", [*GOOD, *MORE])
def test_what_comes_out_is_accepted(random: Engine, name: str) -> None:
    schema = GOOD.get(name, MORE.get(name))
    pythons = json.loads(json.dumps(schema).replace(r"\\p{Lu}", "[A-Z\u00c0-\U0010ffff]"))
    check_texts(random, name, JsonSchema(schema), pythons)


@pytest.mark.parametrize(
    ("schema", "reason"),
    [
        (3, "must be a JSON schema"),
        (False, "must be a JSON schema"),
        (None, "must be a JSON schema"),
        ({"type": "text"}, "text"),
        ({"$ref": "#/$defs/x"}, "defs/x"),
        ({"$ref": "https://example.com/x"}, "example.com"),
        ({"enum": []}, "Unsatisfiable"),
        ({"properties": 3}, "properties"),
        ({"const": float("nan")}, "not JSON"),
        ({"const": {1}}, "not JSON"),
        ({"enum": ["\ud800"]}, "not JSON"),
        ({"type": "integer", "minimum": 2, "maximum": 1}, "minimum"),
        ({"type": "object", "required": ["a"], "additionalProperties": False}, ""),
    ],
)
def test_what_is_no_schema_is_refused(schema: Any, reason: str) -> None:
    with pytest.raises(InvalidArgument, match=f"the schema .*{reason}"):
        lark_of_schema(schema, "the schema")


@pytest.mark.parametrize("schema", [{"not": {"const": 1}}, {"uniqueItems": True, "items": {}}])
def test_what_is_not_enforced_is_told(schema: Any, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "specbranch_cpp"):
        lark_of_schema(schema, "this one")
    assert "this one is not enforced as a whole" in caplog.text
    with pytest.raises(InvalidArgument, match="this one cannot be enforced"):
        lark_of_schema(schema, "this one", strict=True)


def test_a_pattern_that_nobody_can_follow_is_ignored_unless_strict(
    caplog: pytest.LogCaptureFixture,
) -> None:
    schema = {"properties": {"a": {"type": "string", "pattern": "^a(?!x)"}}, "required": ["a"]}
    book = LarkBook()
    with caplog.at_level(logging.WARNING, "specbranch_cpp"):
        allowed = LarkTexts(book.grammar(book.schema(schema, "this one", strict=False)))
    assert "this one['properties']['a'] has a pattern without a grammar" in caplog.text
    assert allowed.allows('{"a": "y"}')
    assert not allowed.begins('{"a": 1')
    with pytest.raises(InvalidArgument, match="this one cannot be enforced"):
        book.schema(schema, "this one", strict=True)


def test_what_excludes_each_other_is_not_left_to_gbnf() -> None:
    schema = {"oneOf": [{"minLength": 1, "type": "string"}, {"maxLength": 2, "type": "string"}]}
    with pytest.raises(InvalidArgument, match="cannot be enforced"):
        LarkBook().schema(schema, "this one", strict=True)


@pytest.mark.parametrize(
    "more", [{"format": "email"}, {"format": "time", "maxLength": 9}, {"format": "duration"}]
)
def test_strings_that_gbnf_cannot_enforce_are_not_left_to_it(more: dict[str, Any]) -> None:
    letters = {"type": "array", "items": {"enum": ["a", "b"]}, "uniqueItems": True}
    schema = {"properties": {"t": letters, "s": {"type": "string", **more}}, "required": ["t", "s"]}
    with pytest.raises(InvalidArgument, match="cannot be enforced"):
        LarkBook().schema(schema, "this one", strict=True)


@pytest.mark.parametrize("whole", [0, 7, 1000, 10**12])
@pytest.mark.parametrize("far", ["maximum", "exclusiveMaximum"])
def test_an_exclusive_bound_beside_the_other_bound(whole: int, far: str) -> None:
    """llguidance itself would include it."""
    above = texts({"type": "number", "exclusiveMinimum": whole, far: whole + 0.5})
    assert not above.allows(f"{whole}")
    assert not above.allows(f"{whole}.0")
    assert above.allows(f"{whole}.25")
    assert not above.allows(f"{whole}.6")
    opposite = far.replace("Max", "Min").replace("max", "min")
    below = texts({"type": "number", "exclusiveMaximum": -whole, opposite: -whole - 0.5})
    assert not below.allows(f"-{whole}")
    assert below.allows(f"-{whole}.25")


def test_bounds_that_no_double_can_express() -> None:
    with pytest.raises(InvalidArgument, match=r"schema cannot be enforced: .* out of range"):
        texts({"type": "number", "exclusiveMinimum": 10**400, "maximum": 0.5})


def test_deep_schemas_are_refused() -> None:
    deep: dict[str, Any] = {}
    for _ in range(5000):
        deep = {"items": deep}
    with pytest.raises(InvalidArgument, match=r"nested too deeply|cannot be enforced"):
        lark_of_schema(deep, "schema")


def test_spaces_are_few_and_characters_whole() -> None:
    either = texts({"type": "object", "additionalProperties": {"type": "string"}})
    assert either.allows('{"a": "b"}')
    assert either.allows('{"a":"b"}')
    assert either.allows('{ "a" : "\\n\\"" }')
    assert not either.begins('{  "a"')
    assert not either.begins('{\n"a"')
    assert not either.begins('{"a": "b"} ')
    assert not either.begins('{"a": "\\ud800')


@pytest.mark.parametrize(
    ("schema", "sign"),
    [
        ({"type": "integer"}, ""),
        ({"type": "integer"}, "-"),
        ({"type": ["integer", "null"]}, ""),
        ({"type": "integer", "minimum": 0}, ""),
        ({"type": "integer", "exclusiveMaximum": 5}, "-"),
        ({"$ref": "#/$defs/a", "$defs": {"a": {"type": "integer"}}}, ""),
    ],
)
def test_an_integer_ends(schema: dict[str, Any], sign: str) -> None:
    """A model would write digits until the context is full."""
    allowed = texts({"type": "array", "items": schema} | {"$defs": schema.get("$defs", {})})
    assert allowed.allows(f"[{sign}{2**63 - 1024}]")
    assert not allowed.begins(f"[{sign}{2**63}")
    assert not allowed.begins(f"[{sign}{10**19}")


@pytest.mark.parametrize(
    "schema", [{"type": ["integer", "number"]}, {"type": "integer", "multipleOf": 10}]
)
def test_larger_integers_where_a_schema_says_more(schema: dict[str, Any]) -> None:
    assert texts(schema).allows(f"{10**20}")


def test_bounds_beyond_those_integers() -> None:
    parts = {"allOf": [{"minimum": 10**19, "maximum": 10**20}, {"type": "integer"}]}
    with pytest.raises(InvalidArgument, match=r"Unsatisfiable schema: minimum .* greater than"):
        texts(parts)
    assert texts({"anyOf": [parts, {"type": "null"}]}).allows("null")


def test_objects_with_properties_are_closed() -> None:
    closed = texts({"properties": {"a": {"properties": {"b": {"const": 1}}}}, "type": "object"})
    assert closed.allows('{"a": {"b": 1}}')
    assert not closed.begins('{"c"')
    assert not closed.begins('{"a": {"c"')
    opened = texts({"properties": {"a": {}}, "additionalProperties": {"const": 2}})
    assert opened.allows('{"a": 1, "c": 2}')
    # A closed part of an intersection would forbid the properties of the others.
    parts = {"allOf": [{"properties": {"a": {}}}, {"properties": {"b": {}}, "required": ["b"]}]}
    assert texts({"type": "object", **parts}).allows('{"a": 1, "b": 2}')


def test_unknown_formats_say_nothing() -> None:
    assert texts({"type": "string", "format": "password"}).allows('"x"')
    named = {"type": "object", "properties": {"format": {"const": {"format": "x"}}}}
    assert texts(named).allows('{"format": {"format": "x"}}')


def test_references_keep_their_targets_in_a_frame() -> None:
    book = LarkBook()
    link = {"type": "object", "properties": {"next": {"$ref": "#"}, "v": {"$ref": "#/$defs/v"}}}
    schemas = [({**link, "$defs": {"v": {"const": i}}}, f"schema {i}", True) for i in (1, 2)]
    root = book.objects([{"name": "f"}, {"name": "g"}], schemas, "arguments")
    framed = LarkTexts(book.grammar(root))
    assert framed.allows('{"name": "f", "arguments": {"next": {"v": 1}, "v": 1}}')
    assert framed.allows('{"name": "g", "arguments": {"next": {"next": {"v": 2}}}}')
    assert not framed.begins('{"name": "g", "arguments": {"next": {"v": 1')
    assert not framed.begins('{"name": "h"')


@pytest.mark.parametrize(
    ("pattern", "good", "bad"),
    [
        (r"^(?<year>\d{4})$", "2024", "20a4"),
        (r"^\u{1F600}$", "\U0001f600", "x"),
        (r"^a\/b$", "a/b", "ab"),
        (r"^\p{L}+$", "\u00e9", "1"),
        (r"\d", "a1b", "ab"),
    ],
)
def test_patterns(pattern: str, good: str, bad: str) -> None:
    schema = {"type": "string", "pattern": pattern}
    allowed = texts(schema)
    assert allowed.allows(json.dumps(good, ensure_ascii=False))
    assert not allowed.allows(json.dumps(bad, ensure_ascii=False))
    if pattern == r"\d":
        assert re.search(pattern, good)


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "integer", "multipleOf": 2**31},
        {"type": "number", "multipleOf": 12345.678},
        {"type": "number", "multipleOf": 1e300},
        {"type": "number", "multipleOf": 1e-300},
        {"allOf": [{"type": "integer", "multipleOf": 99991}, {"multipleOf": 99989}]},
        {"type": "object", "properties": {"a": {"items": {"multipleOf": 100_003}}}},
    ],
)
def test_steps_with_too_many_remainders_are_not_enforced(schema: dict[str, Any]) -> None:
    """llguidance would compute for hours, in all of the memory."""
    assert not is_enforced(schema)
    assert "multipleOf" not in lark_of_schema(schema, "schema")
    with pytest.raises(InvalidArgument, match="multipleOf has more than 100,000 remainders"):
        lark_of_schema(schema, "schema", strict=True)


@pytest.mark.parametrize("step", [1, 7, 0.01, 2.5, 100_000, 1e-6])
def test_other_steps_are_enforced(step: float) -> None:
    assert is_enforced({"type": "number", "multipleOf": step})
