"""JSON schemas that a grammar can express, for both kinds of grammars."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import jsonschema

if TYPE_CHECKING:
    from specbranch_cpp import Engine

__all__ = ["GOOD", "check_texts"]

LINK = {"type": ["object", "null"], "properties": {"next": {"$ref": "#/$defs/link"}}}

GOOD: dict[str, Any] = {
    "escapes in constants": {"enum": ['a"b', "a\\b", "\n\t\x01", "é\u2028", {"k": ['"']}]},
    "null beside texts": {"type": "string", "enum": ["a", None, 1]},
    "null beside texts or null": {"type": ["string", "null"], "enum": ["a", None]},
    "whole numbers with a point": {"type": "integer", "enum": [1.0, 2, "a"]},
    "every kind of constant": {"enum": [1, -2.5, "x", None, True, {"a": [1]}, []]},
    "const": {"const": 'a"\\\n'},
    "names": {
        "properties": {'a"b': {"type": "boolean"}, "a\\b": {"type": "null"}},
        "required": ['a"b', "a\\b"],
    },
    "names of rules": {
        "properties": {
            "space": {"type": "object", "properties": {"root": {"type": "boolean"}}},
            "string": {"type": "boolean"},
            "decimal part": {"type": "boolean"},
            "x": {"type": "number"},
            "value": {"const": 2},
            "ref": {"$ref": "#/$defs/string"},
        },
        "required": ["decimal part", "x", "space", "ref"],
        "$defs": {"string": {"enum": ["one", "two"]}},
    },
    "two definitions of one name": {
        "properties": {"a": {"$ref": "#/$defs/a/$defs/x"}, "b": {"$ref": "#/$defs/b/$defs/x"}},
        "required": ["a", "b"],
        "$defs": {"a": {"$defs": {"x": {"const": 1}}}, "b": {"$defs": {"x": {"const": 2}}}},
    },
    "recursive": {"$ref": "#/$defs/link", "$defs": {"link": LINK}},
    "the whole as a reference": {"type": "object", "properties": {"n": {"$ref": "#"}}},
    "pointer": {
        "$ref": "#/$defs/a~1b%25/anyOf/0",
        "$defs": {"a/b%": {"anyOf": [{"const": 1}]}},
    },
    "nested arrays": {
        "type": "array",
        "items": {"type": "array", "items": {"type": "boolean"}, "maxItems": 2},
        "minItems": 1,
        "maxItems": 3,
    },
    "at least": {"type": "array", "items": {"enum": [0, 1]}, "minItems": 2},
    "no items": {"type": "array", "maxItems": 0},
    "tuple": {"prefixItems": [{"type": "boolean"}, {"const": 3}], "items": False},
    "items of any kind": {"type": "array", "minItems": 2, "maxItems": 2},
    "lengths": {"type": "string", "minLength": 2, "maxLength": 4},
    "long": {"type": "string", "maxLength": 2000},
    "many": {"type": "array", "items": {"type": "boolean"}, "maxItems": 2000},
    "kinds with lengths": {"type": ["string", "integer", "null"], "maxLength": 3},
    "different under names of other letters": {
        "properties": {
            name: {"type": "array", "items": {"enum": ["a", 1]}, "uniqueItems": True}
            for name in ("é", "中", "2")
        },
        "required": ["é", "中", "2"],
    },
    "map": {"type": "object", "additionalProperties": {"type": "boolean"}},
    "closed": {"type": "object", "properties": {}, "additionalProperties": False},
    "open": {"properties": {"a": {"const": 1}}, "additionalProperties": {"type": "null"}},
    "required and unknown": {"type": "object", "required": ["a"]},
    "anyOf": {"anyOf": [{"type": "integer"}, {"type": "string", "format": "date"}]},
    "kind of all": {"type": "object", "anyOf": [{"required": ["a"]}, {"required": ["b"]}]},
    "formats": {
        "properties": {
            name: {"type": "string", "format": name}
            for name in ("uuid", "date", "time", "date-time", "email")
        },
        "required": ["uuid", "date", "time", "date-time"],
    },
    "allOf": {
        "allOf": [{"$ref": "#/definitions/A"}, {"properties": {"b": {"type": "null"}}}],
        "definitions": {"A": {"properties": {"a": {"type": "integer"}}, "required": ["a"]}},
    },
    "allOf of one": {"allOf": [{"enum": ["x", "y"]}], "description": "as pydantic writes it"},
    "anything": {},
    "true": True,
    "pattern": {"type": "string", "pattern": r"^[a-c]+\d{2}$"},
    "pattern of any": {"type": "string", "pattern": "^.{2}$"},
    "pattern without": {"type": "string", "pattern": "^[^a-z]{1,3}$"},
    "pattern with quotes": {"type": "string", "pattern": r'^(a|b"|\\)["\\]?$'},
    "pattern of classes": {"type": "string", "pattern": r"^\w{1,2}[\s\-]\D$"},
    "pattern anywhere": {"type": "string", "pattern": "^x|y$"},
    "pattern of anchors in a group": {"type": "string", "pattern": "^(fo{2}|(ba|z)r$)"},
    "pattern of anchors before": {"type": "string", "pattern": "(^a|^b)c$"},
    "stars": {"type": "integer", "minimum": 1, "maximum": 5},
    "above zero": {"type": "integer", "exclusiveMinimum": 0},
    "below zero": {"type": "integer", "maximum": -1},
    "at most zero": {"type": "integer", "maximum": 0},
    "share": {"type": "number", "minimum": 0, "maximum": 1},
    "largest number": {"type": "integer", "minimum": 1, "maximum": 1.7976931348623157e308},
    "inside a unit": {"type": "number", "exclusiveMinimum": -0.25, "exclusiveMaximum": 0.125},
    "sevens": {"type": "integer", "multipleOf": 7},
    "fives between": {"type": "integer", "minimum": -12, "maximum": 33, "multipleOf": 5},
    "two steps": {
        "properties": {
            "a b": {"type": "integer", "multipleOf": 3},
            "a-b": {"multipleOf": 4, "type": "integer"},
        },
        "required": ["a b", "a-b"],
    },
    "different": {"type": "array", "items": {"enum": ["a", 1, None]}, "uniqueItems": True},
    "some different": {"items": {"type": "boolean"}, "uniqueItems": True, "minItems": 1},
}

_ENDLESS = ("long", "many", "pattern anywhere", "anything", "true")


def check_texts(
    engine: Engine, name: str, grammar: Any, schema: Any, *, is_utf8: bool = True
) -> None:
    """Checks that the schema accepts texts that follow the grammar.

    Args:
        engine: writes at random.
        name: of the schema; the texts of some schemas may all be too long.
        grammar: of the schema.
        schema: as Python's regular expressions read it.
        is_utf8: whether all texts must be whole characters.
    """
    n_checked = 0
    for seed in range(12):
        done = engine.complete("x", grammar=grammar, temperature=2.0, seed=seed, max_tokens=200)
        if done.finish_reason == "stop" and (is_utf8 or "\ufffd" not in done.text):
            jsonschema.validate(json.loads(done.text), schema)
            n_checked += 1
    assert n_checked or name in _ENDLESS
