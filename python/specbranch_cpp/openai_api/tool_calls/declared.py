"""What a tool of a request declares."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from specbranch_cpp._support import checked
from specbranch_cpp.errors import InvalidArgument

__all__ = ["declared"]


def declared(name: str, tool: Mapping[str, Any], kind: str) -> tuple[Mapping[str, Any], str]:
    """The declaration of a tool, and the name in it.

    Args:
        name: the name of the tool in messages.
        tool: the tool.
        kind: its type, which is also the field with the declaration.

    Raises:
        InvalidArgument: the tool has no declaration, or no name.
    """
    found = tool.get(kind)
    if not isinstance(found, Mapping):
        raise InvalidArgument(f"{name}[{kind!r}] is {found!r}; it must be a dictionary")
    called = checked.text(f"{name}[{kind!r}]['name']", found.get("name"))
    if not called:
        raise InvalidArgument(f"{name}[{kind!r}]['name'] is empty")
    return found, called
