"""Checks of options: lists with commas, numbers of layers, options that have no effect."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

import typer

from specbranch_cpp._support.system import usable_cpus

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["comma_list", "cpu_list", "layers", "refuse"]

_Value = TypeVar("_Value")
_MOST_CPUS = 1024  # of a set of CPUs in Linux
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
        typer.BadParameter: it is something else, or this process may use none of them.
    """
    what = f"a CPU from 0 to {_MOST_CPUS - 1}, or a range of CPUs such as 2-5"
    ranges = comma_list(text, _cpu_range, option, what)
    if ranges is None:
        return None
    cpus = [cpu for each in ranges for cpu in each]
    if not set(cpus) & set(usable := usable_cpus()):
        raise typer.BadParameter(
            f"{text!r} has no CPU that this process may use; it may use {_shown(usable)}",
            param_hint=option,
        )
    return cpus


def _shown(cpus: list[int]) -> str:
    """Ascending numbers as a list such as ``0,2-5``."""
    ends: list[list[int]] = []
    for cpu in cpus:
        if ends and ends[-1][1] == cpu - 1:
            ends[-1][1] = cpu
        else:
            ends.append([cpu, cpu])
    return ",".join(f"{a}" if a == b else f"{a}-{b}" for a, b in ends)


def _cpu_range(text: str) -> range:
    first, dash, last = text.partition("-")
    cpus = range(int(first), int(last if dash else first) + 1)
    if not cpus or cpus[-1] >= _MOST_CPUS:
        raise ValueError("an empty range, or a number that no CPU has")
    return cpus


def layers(text: str | None, option: str) -> int | None:
    """A number of layers. ``all``: -1. ``auto``, or no option: ``None``.

    Raises:
        typer.BadParameter: it is something else.
    """
    if text is None or text == "auto":
        return None
    try:
        return -1 if text == "all" else int(text)
    except ValueError:
        raise typer.BadParameter(
            f"{text!r} is not a number of layers, all, or auto", param_hint=option
        ) from None


def refuse(given: Mapping[str, Any], why: str) -> None:
    """Refuses the first option that was given.

    Args:
        given: options and their values; ``None`` or False: not given.
        why: what the option has no part in.
    """
    for option, value in given.items():
        if value is not None and value is not False:
            raise typer.BadParameter(why, param_hint=option)
