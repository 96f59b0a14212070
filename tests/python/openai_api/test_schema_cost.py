"""Schemas over which llguidance would compute for minutes, or overflow its stack."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from specbranch_cpp import InvalidArgument
from specbranch_cpp._grammar import common_ways, lark_schema
from specbranch_cpp._grammar.common_ways import has_too_many_ways
from specbranch_cpp._grammar.lark_book import MOST_PARTS as MOST_OF_BOOK
from specbranch_cpp._grammar.lark_book import LarkBook
from specbranch_cpp._grammar.levels import deepest
from specbranch_cpp._grammar.schema_cost import MOST_LEVELS, MOST_PARTS, n_parts

if TYPE_CHECKING:
    from collections.abc import Callable


def ref(name: str) -> dict[str, Any]:
    return {"$ref": f"#/$defs/{name}"}


def chain(n: int, body: Callable[[dict[str, Any]], dict[str, Any]]) -> dict[str, Any]:
    """Definitions each of which refers to the next, out of a body for its reference."""
    linked = {f"a{i}": body(ref(f"a{i + 1}")) for i in range(n)}
    return {**ref("a0"), "$defs": {**linked, f"a{n}": {"type": "string"}}}


def hard(i: int) -> dict[str, Any]:
    return {"type": "string", "pattern": f".*{chr(97 + i)}.{{{10 + i}}}$"}


def book_of(schema: Any) -> LarkBook:
    book = LarkBook()
    book.schema(schema, "the schema", strict=False)
    return book


def nested(n: int) -> dict[str, Any]:
    """A schema whose text doubles with each level."""
    made: dict[str, Any] = {}
    for _ in range(n):
        made = {"anyOf": [made, {"items": made}]}
    return made


TOO_MANY_PARTS: dict[str, Any] = {
    "values": {"enum": [f"{i}" for i in range(100_000)]},
    "objects as values": {"enum": [{f"k{j}": [i, j] for j in range(50)} for i in range(400)]},
    "an object as a value": {"const": {f"k{i}": i for i in range(20_000)}},
    "texts": {"enum": ["x" * 100_000 + f"{i}" for i in range(100)]},
    "names": {"type": "object", "required": [f"p{i}" for i in range(10_000)]},
    "properties": {"properties": {f"p{i}": {"type": "null"} for i in range(5000)}},
    "patterns": {"patternProperties": {f"^x{i}[a-z]+$": {} for i in range(300)}},
    "alternatives": {"anyOf": [{"properties": {"k": {"const": i}}} for i in range(5000)]},
    "items": {"prefixItems": [{"type": "integer"}] * 10_001},
    "copies": nested(13),
}

TOO_FAR: dict[str, Any] = {
    "references": chain(1500, lambda to: to),
    "properties": chain(1500, lambda to: {"properties": {"x": to}}),
    "patterns": chain(1000, lambda to: {"patternProperties": {"^x": to}}),
    "items": chain(1000, lambda to: {"type": "array", "items": to}),
    "beside others": chain(1000, lambda to: {**to, "minLength": 1}),
    "in all": chain(1000, lambda to: {"allOf": [to, {"title": "x"}]}),
    "a circle": {
        **ref("a0"),
        "$defs": {f"a{i}": {"items": ref(f"a{(i + 1) % 1000}")} for i in range(1000)},
    },
    "anchors": {
        "$ref": "#a0",
        "$defs": {
            f"x{i}": {"$anchor": f"a{i}", "items": {"$ref": f"#a{i + 1}"}} for i in range(1000)
        },
    },
    "in what is no definition": {
        "$ref": "#/x-more/0/a0",
        "x-more": [
            {f"a{i}": {"items": {"$ref": f"#/x-more/0/a{i + 1}"}} for i in range(1000)}
            | {"a1000": {}}
        ],
    },
}

TOO_MANY_WAYS: dict[str, Any] = {
    "beside each other": {"allOf": [hard(i) for i in range(16)]},
    "behind references": {
        **ref("a0"),
        "$defs": {f"a{i}": {**ref(f"a{i + 1}"), **hard(i)} for i in range(16)} | {"a16": {}},
    },
    "of a property": {"allOf": [{"properties": {"x": hard(i)}} for i in range(16)]},
    "of items": {"allOf": [{"items": hard(i)} for i in range(16)]},
    "of one item": {"allOf": [{"prefixItems": [{}, hard(i)]} for i in range(16)]},
    "in alternatives": {
        "allOf": [{"anyOf": [{"properties": {"x": hard(i)}}, {}]} for i in range(16)]
    },
    "of other properties": {"allOf": [{"additionalProperties": hard(i)} for i in range(16)]},
    "of properties with patterns": {
        "allOf": [{"patternProperties": {"^a": hard(i)}} for i in range(15)]
        + [{"properties": {"ab": hard(15)}}]
    },
    "with many classes": {
        "allOf": [
            {"pattern": "^.*(" + "|".join(f"[a-{chr(98 + j)}]{j}{i}" for j in range(24)) + ")"}
            for i in range(3)
        ]
    },
}


@pytest.mark.parametrize("name", TOO_MANY_PARTS)
def test_too_many_parts(name: str) -> None:
    with pytest.raises(InvalidArgument, match=rf"^the schema .* parts; .* most {MOST_PARTS:,}"):
        book_of(TOO_MANY_PARTS[name])


@pytest.mark.parametrize("name", TOO_FAR)
def test_references_that_lead_too_far(name: str) -> None:
    with pytest.raises(InvalidArgument, match=rf"^the schema .* more than {MOST_LEVELS} levels"):
        book_of(TOO_FAR[name])


@pytest.mark.parametrize("name", TOO_MANY_WAYS)
def test_too_many_patterns_of_one_text(name: str) -> None:
    with pytest.raises(InvalidArgument, match=r"^the schema .* too many patterns rule the same"):
        book_of(TOO_MANY_WAYS[name])


@pytest.mark.parametrize(
    "schema",
    [
        {"enum": [f"{i}" for i in range(50_000)]},
        {"type": "object", "properties": {f"p{i}": {"type": "null"} for i in range(1000)}},
        {"type": "object", "patternProperties": {f"^x{i}[a-z]$": {} for i in range(50)}},
        {"anyOf": [{"type": "object", "properties": {"k": {"const": i}}} for i in range(1000)]},
        chain(700, lambda to: to),
        chain(300, lambda to: {"type": "object", "properties": {"x": to, "y": to}}),
        {"properties": {f"p{i}": hard(i % 20) for i in range(100)}},
        {"anyOf": [hard(i) for i in range(20)]},
        {"allOf": [{"properties": {f"x{i}": hard(i % 20)}} for i in range(30)]},
        {"allOf": [{"pattern": "^(?!admin)(?!root)(?=.*[A-Z])(?=.*[a-z])(?=.*\\d).{8,}$"}]},
        {"pattern": "^" + "".join(f"(?!{word})" for word in ("admin", "root", "super", "test"))},
        {"$ref": "#/$defs/a", "$defs": {"a": {"allOf": [{"items": ref("a")}, hard(0)]}}},
    ],
    ids=lambda schema: str(schema)[:30],
)
def test_large_schemas_that_llguidance_can_read(schema: dict[str, Any]) -> None:
    assert not has_too_many_ways(schema)
    book_of(schema)


def test_the_schemas_of_many_tools_count_together() -> None:
    one = {"type": "object", "properties": {f"p{i}": {"type": "string"} for i in range(100)}}
    book = LarkBook()
    n_tools = MOST_OF_BOOK // n_parts({**one, "additionalProperties": False})
    for i in range(n_tools):
        book.schema(one, f"tool {i}", strict=False)
    with pytest.raises(InvalidArgument, match=rf"^one more and .* parts; .* {MOST_OF_BOOK:,} tog"):
        book.schema(one, "one more", strict=False)


def test_few_long_schemas_are_remembered() -> None:
    for i in range(20):
        book_of({"enum": [f"{i}-{j}" for j in range(10_000)]})
    assert lark_schema._of_long.cache_info().currsize <= 4
    before = lark_schema._of_long.cache_info().misses
    book_of({"enum": [f"19-{j}" for j in range(10_000)]})
    assert lark_schema._of_long.cache_info().misses == before


def test_one_pattern_counts_once() -> None:
    assert not has_too_many_ways({"allOf": [hard(0)] * 50})


def test_what_is_not_searched_to_the_end_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    schema = {"properties": {f"p{i}": hard(i) for i in range(20)}}
    assert not has_too_many_ways(schema)
    monkeypatch.setattr(common_ways, "_MOST_STEPS", 10)
    assert has_too_many_ways(schema)


def test_levels_of_parts_that_name_each_other() -> None:
    assert deepest({}) == 0
    assert deepest({"a": (3, ["nothing"])}) == 3
    assert deepest({"a": (1, "bc"), "b": (5, ""), "c": (2, "d"), "d": (2, "b")}) == 10
    assert deepest({"a": (1, "b"), "b": (2, "ca"), "c": (4, "c"), "x": (20, "c")}) == 24
    assert deepest({"a": (1, "b"), "b": (2, "ca"), "c": (4, "")}) == 7
    long = {f"{i}": (1, [f"{i + 1}", f"{i // 2}"]) for i in range(5000)}
    assert deepest(long) == 5000
