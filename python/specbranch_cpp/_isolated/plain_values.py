"""Values of the caller without the caller's classes, which another process cannot import."""

from __future__ import annotations

import copy
from dataclasses import fields, is_dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["plain"]

_OURS = "specbranch_cpp"
_PLAIN = frozenset({str, int, float, bool, bytes, type(None)})
# A member of an enumeration says its name if it is asked by ``str``, not its value.
_BASES: tuple[tuple[type[Any], Callable[[Any], Any]], ...] = (
    (str, str.__str__),
    (int, int.__int__),
    (float, float.__float__),
)


def plain(value: Any) -> Any:
    """The same value, with Python's own texts and numbers instead of those of other classes.

    Lists, tuples, dictionaries and our dataclasses get plain values. Other objects stay.
    """
    kind = type(value)
    if kind in _PLAIN:
        return value
    if kind in (list, tuple):
        return kind(map(plain, value))
    if kind is dict:
        return {plain(key): plain(of) for key, of in value.items()}
    if kind.__module__.partition(".")[0] == _OURS:
        return _plain_fields(value) if is_dataclass(value) else value
    for base, own in _BASES:
        if isinstance(value, base):
            return own(value)
    return value


def _plain_fields(value: Any) -> Any:
    made = copy.copy(value)
    for field in fields(value):
        object.__setattr__(made, field.name, plain(getattr(value, field.name)))
    return made
