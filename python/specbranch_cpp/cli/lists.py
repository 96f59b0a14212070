"""Options whose value is a list with commas."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import typer

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["comma_list", "cpu_list"]

_Value = TypeVar("_Value")
_WHAT: dict[object, str] = {int: "a whole number", float: "a number"}


def comma_list(
    text: str | None, kind: Callable[[str], _Value], option: str, what: str | None = None
) -> tuple[_Value, ...] | None:
    """The values of an option such as ``4,7``. ``None``: the option was not given.

    Args:
        text: the value of the option.
        kind: makes a value of a part, and raises ``ValueError`` where it cannot.
        option: the name of the option, for messages.
        what: what a part must be, for messages. ``None`` (default): told by ``kind``.

    Raises:
        typer.BadParameter: a part is empty, or no such value.
    """
    if text is None:
        return None
    values = []
    for part in text.split(","):
        if not part.strip():
            raise typer.BadParameter(f"{text!r} has an empty part", param_hint=option)
        try:
            values.append(kind(part.strip()))
        except ValueError:
            raise typer.BadParameter(
                f"{part!r} is not {what or _WHAT[kind]}", param_hint=option
            ) from None
    return tuple(values)


def cpu_list(text: str | None, option: str) -> list[int] | None:
    """The numbers of a list such as ``0,2-5``.

    Raises:
        typer.BadParameter: it is something else.
    """
    ranges = comma_list(text, _cpu_range, option, "a CPU or a range of CPUs, such as 2-5")
    return None if ranges is None else [cpu for each in ranges for cpu in each]


def _cpu_range(text: str) -> range:
    first, dash, last = text.partition("-")
    return range(int(first), int(last if dash else first) + 1)
