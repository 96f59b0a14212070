"""``response_format``: makes the answer JSON."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from specbranch_cpp._grammar.gbnf import any_object
from specbranch_cpp._grammar.json_schema import grammar_of
from specbranch_cpp._support import checked
from specbranch_cpp.errors import InvalidArgument

__all__ = ["chosen_grammar", "gbnf_of", "grammar_of_format"]


def chosen_grammar(grammar: object, response_format: Any) -> str | None:
    """The grammar of a call: its own, or that of its ``response_format``.

    Raises:
        InvalidArgument: both are given, or one of them is wrong.
    """
    gbnf = gbnf_of(grammar)
    of_format = grammar_of_format(response_format)
    if gbnf is not None and of_format is not None:
        raise InvalidArgument("grammar and response_format are given; give only one of them")
    return of_format if gbnf is None else gbnf


def gbnf_of(grammar: object) -> str | None:
    """GBNF text, or the text of an object like llama-cpp-python's ``LlamaGrammar``."""
    if grammar is None or isinstance(grammar, str):
        return grammar
    text = getattr(grammar, "_grammar", None)
    if not isinstance(text, str):
        raise InvalidArgument(
            f"grammar is {grammar!r}; it must be GBNF text, a LlamaGrammar or None"
        )
    return text


def grammar_of_format(response_format: Any) -> str | None:
    """The grammar that the answer must follow. ``None``: any text is allowed.

    Args:
        response_format: ``None``, ``{"type": "text"}``, ``{"type": "json_object"}``, the same with
            a ``"schema"`` (llama-cpp-python's), or ``{"type": "json_schema", "json_schema":
            {"schema": ..., "strict": ...}}`` (OpenAI's). See `json_schema.grammar_of`.

    Raises:
        InvalidArgument: the value has another form, or a grammar cannot express the schema.
    """
    if response_format is None:
        return None
    if not isinstance(response_format, Mapping):
        raise InvalidArgument(f"response_format is {response_format!r}; it must be a dictionary")
    kind = response_format.get("type")
    if kind == "text":
        return None
    if kind == "json_object":
        schema = response_format.get("schema")
        if schema is None:
            return any_object()
        return grammar_of(schema, "response_format['schema']")
    if kind == "json_schema":
        outer = response_format.get("json_schema")
        if not isinstance(outer, Mapping) or outer.get("schema") is None:
            raise InvalidArgument(
                f"response_format['json_schema'] is {outer!r}; it must be a dictionary with schema"
            )
        strict = checked.flag(
            "response_format['json_schema']['strict']", outer.get("strict") or False
        )
        return grammar_of(outer["schema"], "response_format['schema']", strict=strict)
    raise InvalidArgument(
        f"response_format['type'] is {kind!r}; it must be 'text', 'json_object' or 'json_schema'"
    )
