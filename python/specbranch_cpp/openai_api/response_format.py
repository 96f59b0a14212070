"""``response_format`` and ``grammar``: rules for the answer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from specbranch_cpp._engine.rules import own_grammar
from specbranch_cpp._grammar.books import Grammar
from specbranch_cpp._support import checked
from specbranch_cpp.errors import InvalidArgument
from specbranch_cpp.grammars import JsonSchema

__all__ = ["chosen_grammar", "schema_of_format"]


_NAME = "response_format['schema']"


def chosen_grammar(grammar: object, response_format: Any) -> Grammar | None:
    """The rule of a call: its own grammar, or that of its ``response_format``.

    Raises:
        InvalidArgument: both are given, or one of them is wrong.
    """
    own = own_grammar(grammar)
    of_format = schema_of_format(response_format)
    if own is not None and of_format is not None:
        raise InvalidArgument("grammar and response_format are given; give only one of them")
    return of_format if own is None else own


def schema_of_format(response_format: Any) -> JsonSchema | None:
    """The schema that the answer must follow. ``None``: any text is allowed.

    Args:
        response_format: ``None``, ``{"type": "text"}``, ``{"type": "json_object"}``, the same with
            a ``"schema"`` (llama-cpp-python's), or ``{"type": "json_schema", "json_schema":
            {"schema": ..., "strict": ...}}`` (OpenAI's).

    Raises:
        InvalidArgument: the value has another form, or a schema that its type does not read.
    """
    if response_format is None:
        return None
    if not isinstance(response_format, Mapping):
        raise InvalidArgument(f"response_format is {response_format!r}; it must be a dictionary")
    kind = response_format.get("type")
    if kind == "text":
        _refuse_unread(response_format, kind, "schema")
        _refuse_unread(response_format, kind, "json_schema")
        return None
    if kind == "json_object":
        schema = response_format.get("schema")
        if schema is None:
            _refuse_unread(response_format, kind, "json_schema")
        return JsonSchema({"type": "object"} if schema is None else schema, name=_NAME)
    if kind == "json_schema":
        outer = response_format.get("json_schema")
        if not isinstance(outer, Mapping) or outer.get("schema") is None:
            raise InvalidArgument(
                f"response_format['json_schema'] is {outer!r}; it must be a dictionary with schema"
            )
        strict = checked.flag(
            "response_format['json_schema']['strict']", outer.get("strict") or False
        )
        return JsonSchema(outer["schema"], strict, _NAME)
    raise InvalidArgument(
        f"response_format['type'] is {kind!r}; it must be 'text', 'json_object' or 'json_schema'"
    )


def _refuse_unread(response_format: Mapping[str, Any], kind: str, name: str) -> None:
    """Refuses a schema that this type does not read, so that the answer would not follow it."""
    if response_format.get(name) is not None:
        other = "json_object" if name == "schema" else "json_schema"
        raise InvalidArgument(
            f"response_format has {name!r}, but its type is {kind!r}; it must be {other!r}, or the "
            "answer would not follow the schema"
        )
