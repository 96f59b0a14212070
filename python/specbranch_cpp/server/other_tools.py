"""Tools of a request that are no functions: they run on the servers of others, or write free text.

Agents list them in every request, and can do without them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["left_out", "with_functions_only"]


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


def with_functions_only(data: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """The body of a chat without other tools, and the names of the fields with those."""
    tools = data.get("tools")
    if not isinstance(tools, list) or not all(isinstance(tool, dict) for tool in tools):
        return dict(data), []
    kept, others = left_out(tools, ("function", None))
    return {**data, "tools": [tools[index] for index in kept]}, others
