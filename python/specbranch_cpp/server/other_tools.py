"""Tools of a request that the model does not get.

They run on the servers of others, or the input of their calls must follow a grammar. Agents list
them in every request, and can do without them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from specbranch_cpp.openai_api.tool_calls.custom_tools import CUSTOM, is_custom, is_held_to_grammar
from specbranch_cpp.server.errors import BadRequest

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["left_out", "with_served_tools"]


def left_out(
    tools: Sequence[Mapping[str, Any]], kinds: Sequence[str | None]
) -> tuple[list[int], list[str]]:
    """The places of the tools that the model gets, and the names of the fields with the others.

    Args:
        tools: the tools.
        kinds: the types of functions. ``None``: a function needs no type.
    """
    kept, others = [], []
    for index, tool in enumerate(tools):
        kind = tool.get("type")
        # A wrong type is an error, which names it.
        if kind in kinds or not isinstance(kind, str):
            kept.append(index)
        else:
            others.append(f"tools[{index}]")
    return kept, others


def with_served_tools(data: Mapping[str, Any], *, custom: bool) -> tuple[dict[str, Any], list[str]]:
    """The body of a chat without other tools, and the names of the fields with those.

    Args:
        data: the body.
        custom: whether the interface knows tools of the type ``custom``.

    Raises:
        BadRequest: ``tool_choice`` names a custom tool whose input must follow a grammar.
    """
    tools = data.get("tools")
    if not isinstance(tools, list) or not all(isinstance(tool, dict) for tool in tools):
        return dict(data), []
    kinds = ("function", None, *((CUSTOM,) if custom else ()))
    kept, _ = left_out(tools, kinds)
    held = [index for index in kept if is_custom(tools[index]) and is_held_to_grammar(tools[index])]
    _check_choice(data.get("tool_choice"), [tools[index][CUSTOM].get("name") for index in held])
    served = set(kept) - set(held)
    others = [f"tools[{index}]" for index in range(len(tools)) if index not in served]
    return {**data, "tools": [tools[index] for index in sorted(served)]}, others


def _check_choice(choice: Any, held: Sequence[Any]) -> None:
    named = choice.get(CUSTOM) if is_custom(choice) else None
    name = named.get("name") if isinstance(named, dict) else None
    if name is not None and name in held:
        raise BadRequest(
            f"tool_choice names {name!r:.100}, whose format is a grammar; this server cannot hold "
            "the input of a call to a grammar, so leave the format out",
            "tool_choice",
            "unsupported_value",
        )
