"""Arguments that a model writes as plain text: their types come from the function's schema."""

from __future__ import annotations

import ast
import json
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from specbranch_cpp._grammar.regex import literal_of
from specbranch_cpp.openai_api.tool_calls.incoming_text import UnreadableError, json_text

if TYPE_CHECKING:
    from specbranch_cpp._grammar.rule_book import RuleBook

__all__ = ["Value", "parameters_of", "python_value", "typed", "value_rule"]

_PYTHON = {"true": True, "false": False, "null": None}
_KINDS: tuple[tuple[type | tuple[type, ...], str], ...] = (
    (bool, "boolean"),
    (int, "integer"),
    (float, "number"),
    (str, "string"),
    (list, "array"),
    (dict, "object"),
    (type(None), "null"),
)
_MOST_REFERENCES = 8


@dataclass(frozen=True)
class Value:
    """The schema of an argument, its name in messages, and whether it is strict."""

    schema: Any
    where: str
    strict: bool


def parameters_of(schema: Any) -> Mapping[str, Any] | None:
    """The schemas of a function's parameters by name. ``None``: they are not listed."""
    if not isinstance(schema, Mapping) or any(
        key in schema for key in ("anyOf", "oneOf", "allOf", "$ref")
    ):
        return None
    properties = schema.get("properties")
    if isinstance(properties, Mapping):
        return {name: _with_definitions(one, schema) for name, one in properties.items()}
    return {} if schema.get("additionalProperties") is False else None


def typed(text: str, function: Mapping[str, Any] | None, name: str) -> str:
    """The JSON text of an argument.

    A parameter that may only be a string keeps its text. Other text is read as JSON, if the schema
    allows the type of the value.
    """
    known = parameters_of((function or {}).get("parameters")) or {}
    kinds = _kinds_of(known.get(name))
    if kinds == {"string"}:
        return json_text(text)
    value = _json_or_text(text)
    kind = _kind_of(value)
    allowed = not kinds or kind in kinds or (kind == "integer" and "number" in kinds)
    if not allowed and kinds and "string" in kinds:
        value = text
    return json_text(value)


def value_rule(book: RuleBook, value: Value, end: str) -> str:
    """An expression for the text of an argument and the mark after it."""
    schema = value.schema
    kinds = _kinds_of(schema)
    texts = schema.get("enum") if isinstance(schema, Mapping) else None
    if (
        kinds == {"string"}
        and isinstance(texts, (list, tuple))
        and all(isinstance(one, str) for one in texts)
    ):
        return f"({' | '.join(literal_of(one) for one in texts)}) {literal_of(end)}"
    if not kinds or "string" in kinds:
        return book.until({end: ""})
    return f"{book.schema(schema, value.where, strict=value.strict)} {literal_of(end)}"


def python_value(text: str) -> Any:
    """The value of a Python literal, also with the names of JSON.

    Raises:
        UnreadableError: the text is no literal, or JSON has no such value.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of escapes in strings that Python does not know
        return _value_of(text)


def _value_of(text: str) -> Any:
    for written in (text.strip(), text.strip().replace("\n", "\\n")):  # raw line breaks in strings
        try:
            return _evaluated(ast.parse(written, mode="eval").body)
        except (SyntaxError, ValueError, TypeError, RecursionError, MemoryError):
            continue
    raise UnreadableError


def _evaluated(node: ast.expr) -> Any:
    if isinstance(node, ast.Name) and node.id in _PYTHON:
        return _PYTHON[node.id]
    if isinstance(node, (ast.List, ast.Tuple)):
        return [_evaluated(one) for one in node.elts]
    if isinstance(node, ast.Dict):
        keys = [None if key is None else _evaluated(key) for key in node.keys]
        if not all(isinstance(key, str) for key in keys):
            raise UnreadableError
        return dict(zip(keys, map(_evaluated, node.values), strict=True))
    return ast.literal_eval(node)


def _json_or_text(text: str) -> Any:
    stripped = text.strip()
    if stripped in {"True", "False", "None"}:
        return ast.literal_eval(stripped)
    try:
        value = json.loads(stripped, strict=False)
        json_text(value)
    except (ValueError, RecursionError, UnreadableError):
        return text
    return value


def _kind_of(value: Any) -> str:
    return next((name for kind, name in _KINDS if isinstance(value, kind)), "")


def _kinds_of(schema: Any) -> set[str]:
    """The types that a schema allows; empty: any type, or not known."""
    for _ in range(_MOST_REFERENCES):
        if not isinstance(schema, Mapping) or "$ref" not in schema:
            break
        schema = _target(schema)
    if not isinstance(schema, Mapping):
        return set()
    kind = schema.get("type")
    if isinstance(kind, str):
        return {kind}
    if isinstance(kind, (list, tuple)):
        return {one for one in kind if isinstance(one, str)}
    for key in ("enum", "const"):
        if key in schema:
            values = schema[key] if key == "enum" else [schema[key]]
            return {_kind_of(one) for one in values} if isinstance(values, (list, tuple)) else set()
    for key in ("anyOf", "oneOf"):
        ways = schema.get(key)
        if isinstance(ways, (list, tuple)) and ways:
            kinds = [_kinds_of(_with_definitions(way, schema)) for way in ways]
            return set().union(*kinds) if all(kinds) else set()
    return set()


def _target(schema: Mapping[str, Any]) -> Any:
    """The schema that a reference names. ``None``: there is none."""
    place: Any = schema
    reference = schema["$ref"]
    if not isinstance(reference, str) or not reference.startswith("#/"):
        return None
    for step in reference[2:].split("/"):
        place = place.get(step) if isinstance(place, Mapping) else None
    return _with_definitions(place, schema)


def _with_definitions(schema: Any, root: Mapping[str, Any]) -> Any:
    """A part of a schema with the definitions of the whole, so that references stay valid."""
    if not isinstance(schema, Mapping):
        return schema
    kept = {key: root[key] for key in ("$defs", "definitions") if key in root}
    return {**kept, **schema}
