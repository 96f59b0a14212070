"""Rules for a text: the values of ``grammar`` beside GBNF.

    from specbranch_cpp.grammars import JsonSchema, Lark, Regex

    engine.generate("The answer: ", grammar=JsonSchema({"type": "integer", "minimum": 1}))
    engine.generate("Date: ", grammar=Regex(r"\\d{4}-\\d{2}-\\d{2}"))
    engine.generate("Say: ", grammar=Lark('start: "yes" | "no"'))

The objects only describe: they check nothing. The engine checks them when a text begins.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

__all__ = ["JsonSchema", "Lark", "Regex"]


@dataclass(frozen=True)
class Lark:
    """A grammar in llguidance's variant of Lark, which needs llguidance."""

    text: str
    """The grammar. Its rule ``start`` describes the text. ``%json {...}`` is a JSON schema."""


@dataclass(frozen=True)
class Regex:
    """A regular expression that the text must match as a whole."""

    pattern: str
    r"""The expression, without look-around and back references. ``\d``, ``\w`` and ``\s`` are ASCII
    classes."""


@dataclass(frozen=True)
class JsonSchema:
    """A JSON schema that the text must follow."""

    schema: Any
    """The schema, with references inside itself only."""

    strict: bool = False
    """Whether to refuse a schema that cannot be enforced as a whole. False (default): the engine
    ignores keywords that it cannot enforce, and logs a warning."""

    name: str = "schema"
    """Name of the schema in messages."""
