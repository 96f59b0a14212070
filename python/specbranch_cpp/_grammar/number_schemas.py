"""Bounds and multiples of numbers in JSON schemas."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from specbranch_cpp._grammar.numbers import Bounds, bounds_of, decimals, integers
from specbranch_cpp.errors import InvalidArgument

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["MOST_STATES", "number_schema"]

MOST_STATES = 100
"""The largest ``multipleOf`` without bounds. Its grammar has a rule for each remainder."""

_MOST_VALUES = 1000  # the multiples between two bounds that are written out
_INCLUSIVE = ("minimum", "maximum")
_EXCLUSIVE = ("exclusiveMinimum", "exclusiveMaximum")
_BOUNDS = (*_INCLUSIVE, *_EXCLUSIVE)

Prepared = tuple[dict[str, Any], tuple[str, ...]]


def number_schema(node: Mapping[str, Any], kind: str, where: str) -> Prepared:
    """The schema of an integer or a number for the converter, and the keywords that it enforces.

    Raises:
        InvalidArgument: a bound is not a number, or no number is in the bounds.
    """
    bounds = _bounds(node, where)
    step = node.get("multipleOf")
    if step is not None and _number(f"{where}['multipleOf']", step) <= 0:
        raise InvalidArgument(f"{where}['multipleOf'] is {step}; it must be above 0")
    if bounds.is_empty:
        raise _empty(where)
    clipped = bounds.clipped()
    if kind == "integer":
        return _integer(bounds, clipped, step, where)
    if bounds == Bounds() or clipped is None:
        return {"type": "number"}, ()
    return {"gbnf": decimals(clipped)}, _BOUNDS


def _integer(given: Bounds, bounds: Bounds | None, step: Any, where: str) -> Prepared:
    multiple = int(step) if step is not None and step == int(step) else None
    if given == Bounds() or bounds is None:
        if multiple is None or multiple > MOST_STATES:
            return {"type": "integer"}, ()
        return {"type": "integer", "multipleOf": multiple}, ("multipleOf",)
    low, high = bounds.whole()
    if low is not None and high is not None:
        if multiple is not None:
            values = range(-(-low // multiple) * multiple, high + 1, multiple)
            if not values:
                raise _empty(where)
            if len(values) <= _MOST_VALUES:
                return {"enum": list(values)}, (*_BOUNDS, "multipleOf")
        if low > high:
            raise _empty(where)
    return {"gbnf": integers(low, high)}, _BOUNDS


def _bounds(node: Mapping[str, Any], where: str) -> Bounds:
    given: dict[str, Any] = {}
    for key in _BOUNDS:
        value = node.get(key)
        if value is None:
            continue
        if not (isinstance(value, bool) and key in _EXCLUSIVE):
            _number(f"{where}[{key!r}]", value)
        given[key] = value
    return bounds_of(given)


def _number(name: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise InvalidArgument(f"{name} is {value!r}; it must be a number")
    return value


def _empty(where: str) -> InvalidArgument:
    return InvalidArgument(f"{where} allows no number; its bounds must leave one")
