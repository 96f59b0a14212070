"""Tools of OpenAI's type ``custom``, which take a text: the model sees a function of one string."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from specbranch_cpp.errors import InvalidArgument
from specbranch_cpp.openai_api.tool_calls.declared import declared

__all__ = ["CUSTOM", "function_of", "input_of", "is_custom", "is_held_to_grammar"]

CUSTOM = "custom"
_INPUT = "input"
_PARAMETERS: dict[str, Any] = {
    "type": "object",
    "properties": {_INPUT: {"type": "string"}},
    "required": [_INPUT],
    "additionalProperties": False,
}


def is_custom(tool: object) -> bool:
    """Whether a tool, or a choice of a tool, has the type ``custom``."""
    return isinstance(tool, Mapping) and tool.get("type") == CUSTOM


def is_held_to_grammar(tool: Mapping[str, Any]) -> bool:
    """Whether the input of a custom tool must follow a grammar, which is not supported."""
    custom = tool.get(CUSTOM)
    wanted = custom.get("format") if isinstance(custom, Mapping) else None
    return isinstance(wanted, Mapping) and wanted.get("type") == "grammar"


def function_of(name: str, tool: Mapping[str, Any]) -> dict[str, Any]:
    """The function that the model sees in place of a custom tool.

    Args:
        name: the name of the tool in messages.
        tool: the tool.

    Raises:
        InvalidArgument: the tool has no name, or its input must follow a grammar.
    """
    custom, called = declared(name, tool, CUSTOM)
    wanted = custom.get("format")
    if is_held_to_grammar(tool):
        raise InvalidArgument(
            f"{name}['custom']['format'] is a grammar; it must be {{'type': 'text'}}, because the "
            "input of a call cannot be held to a grammar"
        )
    if wanted is not None and not (isinstance(wanted, Mapping) and wanted.get("type") == "text"):
        raise InvalidArgument(
            f"{name}['custom']['format'] is {wanted!r}; it must be {{'type': 'text'}} or None"
        )
    described = {} if custom.get("description") is None else {"description": custom["description"]}
    function = {"name": called, **described, "parameters": _PARAMETERS}
    return {"type": "function", "function": function}


def input_of(arguments: str) -> str:
    """The text with which a custom tool is called.

    A model may write other arguments than the string ``input`` where no grammar holds it. Then the
    text is the value of the only argument, or else the JSON text of the arguments.

    Args:
        arguments: the JSON text of an object.
    """
    given = json.loads(arguments)
    value = given.get(_INPUT, given)
    if _INPUT not in given and len(given) == 1:
        (value,) = given.values()
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
