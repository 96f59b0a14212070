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
from specbranch_cpp.openai_api.tool_calls.parameter_schemas import (
    SchemaReader,
    kind_of,
    listed_parameters,
)

if TYPE_CHECKING:
    from specbranch_cpp._grammar.rule_book import RuleBook

__all__ = [
    "AfterValue", "Value", "json_or_text", "json_rule", "parameters_of", "python_value", "typed",
    "value_rule",
]  # fmt: skip

_PYTHON = {"true": True, "false": False, "null": None}


@dataclass(frozen=True)
class Value:
    """The schema of an argument, its name in messages, and whether it is strict."""

    schema: Any
    where: str
    strict: bool


def parameters_of(schema: Any, where: str, *, strict: bool) -> dict[str, tuple[Value, bool]] | None:
    """Each parameter of a function, and whether it is required. ``None``: they are not listed.

    Raises:
        InvalidArgument: the names of required parameters are no list of names.
    """
    known = listed_parameters(schema, where)
    if known is None:
        return None
    return {
        name: (Value(one, f"{where}['properties'][{name!r}]", strict), needed)
        for name, (one, needed) in known.items()
    }


def typed(text: str, function: Mapping[str, Any] | None, name: str) -> str:
    """The JSON text of an argument.

    A parameter that may only be a string keeps its text. Other text is read as JSON, if the schema
    allows the type of the value.
    """
    reader = SchemaReader((function or {}).get("parameters"))
    kinds = reader.kinds(reader.parameter(name))
    if kinds == {"string"}:
        return json_text(text)
    value = json_or_text(text)
    if isinstance(value, str) and kinds and kinds <= {"array", "object", "null"}:
        value = _python_or_text(text)  # as templates write values that they do not convert
    kind = kind_of(value)
    allowed = not kinds or kind in kinds or (kind == "integer" and "number" in kinds)
    if not allowed and kinds and "string" in kinds:
        value = text
    return json_text(value)


@dataclass(frozen=True)
class AfterValue:
    """What may follow the value of an argument, as expressions of a grammar.

    Attributes:
        mark: the mark after the value, which is text.
        rest: what comes behind this mark.
        text: any text, the mark, and the rest.
    """

    mark: str
    rest: str
    text: str


def value_rule(book: RuleBook, value: Value, after: AfterValue) -> str:
    """An expression for the text of an argument and all that follows."""
    schema, reader = value.schema, SchemaReader(value.schema)
    kinds = reader.kinds(schema)
    if kinds == {"string"} and (texts := reader.texts(schema)):
        return f"({' | '.join(map(literal_of, texts))}) {literal_of(after.mark)} {after.rest}"
    if not kinds or "string" in kinds:
        return after.text
    return json_rule(book, value, after)


def json_rule(book: RuleBook, value: Value, after: AfterValue) -> str:
    """The same for a value that is JSON."""
    rule = book.schema(value.schema, value.where, strict=value.strict)
    return f"{rule} {literal_of(after.mark)} {after.rest}"


def json_or_text(text: str) -> Any:
    """The value of JSON, or of a constant of Python; the text itself if it is neither."""
    stripped = text.strip()
    if stripped in {"True", "False", "None"}:
        return ast.literal_eval(stripped)
    try:
        value = json.loads(stripped, strict=False)
        json_text(value)
    except (ValueError, RecursionError, UnreadableError):
        return text
    return value


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


def _python_or_text(text: str) -> Any:
    try:
        value = python_value(text)
        json_text(value)
    except UnreadableError:
        return text
    return value
