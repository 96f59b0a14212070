"""GBNF of the numbers between two bounds."""

from __future__ import annotations

import math
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

__all__ = ["LIMIT", "MOST_DIGITS", "Bounds", "bounds_of", "decimals", "integers"]

MOST_DIGITS = 15
"""The largest number of digits after the first digit, and of digits after the point."""

LIMIT = 10 ** (MOST_DIGITS + 1)
"""A number that is larger than every number of this module."""

_FRACTION = f'("." [0-9]{{1,{MOST_DIGITS}}})?'
_NO_FRACTION = f'("." "0"{{1,{MOST_DIGITS}}})?'
_TAIL = f"[0-9]{{0,{MOST_DIGITS - 1}}}"  # any further digits of a fraction
_ZEROS = f'"0"{{0,{MOST_DIGITS - 1}}}'
_ABOVE_ZERO = f"{_ZEROS} [1-9] {_TAIL}"  # the digits of a fraction that is not zero


@dataclass(frozen=True)
class Bounds:
    """The bounds of a number. ``None``: no bound.

    Attributes:
        low: the lower bound.
        high: the upper bound.
        above: whether the number must be larger than the lower bound.
        below: whether the number must be smaller than the upper bound.
    """

    low: Decimal | None = None
    high: Decimal | None = None
    above: bool = False
    below: bool = False

    def negated(self) -> Bounds:
        """The bounds of the number with the other sign."""
        low, high = self.high, self.low
        return Bounds(
            None if low is None else -low, None if high is None else -high, self.below, self.above
        )

    @property
    def is_empty(self) -> bool:
        """Whether no number is in the bounds."""
        if self.low is None or self.high is None:
            return False
        return self.low > self.high or (self.low == self.high and (self.above or self.below))

    def clipped(self) -> Bounds | None:
        """The bounds without those that have more digits than the numbers of this module.

        ``None``: these numbers cannot be in the bounds, or cannot be compared with them.
        """
        low, high = self.low, self.high
        if (low is not None and low >= LIMIT) or (high is not None and high <= -LIMIT):
            return None
        low = None if low is None or low <= -LIMIT else low
        high = None if high is None or high >= LIMIT else high
        given = [abs(bound) for bound in (low, high) if bound is not None]
        if any(len(_parts(one)[1]) > MOST_DIGITS for one in given):
            return None
        return Bounds(low, high, self.above and low is not None, self.below and high is not None)

    def whole(self) -> tuple[int | None, int | None]:
        """The smallest and the largest integer."""
        low = None if self.low is None else math.ceil(self.low)
        high = None if self.high is None else math.floor(self.high)
        if low is not None and low == self.low and self.above:
            low += 1
        if high is not None and high == self.high and self.below:
            high -= 1
        return low, high


def bounds_of(node: dict[str, Any]) -> Bounds:
    """The bounds of a schema, whose values must be numbers.

    The exclusive bounds may be numbers, or flags as in draft 4.
    """
    low, above = _bound(node, "minimum", "exclusiveMinimum", max)
    high, below = _bound(node, "maximum", "exclusiveMaximum", min)
    return Bounds(low, high, above, below)


def _bound(
    node: dict[str, Any], inclusive: str, exclusive: str, narrower: Any
) -> tuple[Decimal | None, bool]:
    given, strict = node.get(inclusive), node.get(exclusive)
    bound = None if given is None else Decimal(str(given))
    if strict is None or isinstance(strict, bool):
        return bound, strict is True and bound is not None
    other = Decimal(str(strict))
    if bound is None or narrower(bound, other) == other:
        return other, True
    return bound, False


def integers(low: int | None, high: int | None) -> str:
    """The integers from `low` to `high`, in at most 16 digits."""
    ways = []
    if low is None or low < 0:
        least = 1 if high is None or high >= 0 else -high
        ways.append(f'"-" {_naturals(least, None if low is None else -low)}')
    if high is None or high >= 0:
        ways.append(_naturals(max(low or 0, 0), high))
    return _either(ways)


def decimals(bounds: Bounds) -> str:
    """The numbers in `bounds`, which are not empty, without an exponent."""
    ways = []
    zero = Decimal(0)
    if bounds.low is None or bounds.low < 0:
        mirrored = bounds.negated()
        if mirrored.low is None or mirrored.low <= 0:
            mirrored = Bounds(zero, mirrored.high, above=True, below=mirrored.below)
        ways.append(f'"-" {_positive(mirrored)}')
    if bounds.high is None or bounds.high > 0 or (bounds.high == 0 and not bounds.below):
        if bounds.low is None or bounds.low < 0:
            bounds = Bounds(zero, bounds.high, above=False, below=bounds.below)
        ways.append(_positive(bounds))
    return _either(ways)


def _either(ways: list[str]) -> str:
    return ways[0] if len(ways) == 1 else f"({' | '.join(ways)})"


def _naturals(low: int, high: int | None) -> str:
    """The integers from `low`, at least 0, to `high`."""
    first = str(low)
    last = "9" * max(len(first), 1) if high is None else str(high)
    ways = []
    for length in range(len(first), len(last) + 1):
        begin = first if length == len(first) else "1" + "0" * (length - 1)
        end = last if length == len(last) else "9" * length
        ways.append(_between(begin, end))
    if high is None and len(first) <= MOST_DIGITS:
        ways.append(f"[1-9] [0-9]{{{len(first)},{MOST_DIGITS}}}")
    return _either(ways)


def _between(begin: str, end: str) -> str:
    """The digits from `begin` to `end`, which have the same length."""
    if begin == end:
        return f'"{begin}"'
    if begin[0] == end[0]:
        return f'"{begin[0]}" {_between(begin[1:], end[1:])}'
    rest = _digits(len(begin) - 1)
    ways = [f'"{begin[0]}" {_at_least(begin[1:])}']
    if middle := _class(int(begin[0]) + 1, int(end[0]) - 1):
        ways.append(f"{middle} {rest}")
    ways.append(f'"{end[0]}" {_at_most(end[1:])}')
    return _either(ways)


def _at_least(digits: str) -> str:
    if not digits.strip("0"):
        return _digits(len(digits))
    ways = [f'"{digits[0]}" {_at_least(digits[1:])}']
    if larger := _class(int(digits[0]) + 1, 9):
        ways.append(f"{larger} {_digits(len(digits) - 1)}")
    return _either(ways)


def _at_most(digits: str) -> str:
    if not digits.strip("9"):
        return _digits(len(digits))
    ways = [f'"{digits[0]}" {_at_most(digits[1:])}']
    if smaller := _class(0, int(digits[0]) - 1):
        ways.append(f"{smaller} {_digits(len(digits) - 1)}")
    return _either(ways)


def _digits(count: int) -> str:
    return f"[0-9]{{{count}}}" if count else '""'


def _class(low: int, high: int) -> str:
    """One of these digits. Empty: there is no such digit."""
    if low > high:
        return ""
    return f"[{low}]" if low == high else f"[{low}-{high}]"


def _positive(bounds: Bounds) -> str:
    """The numbers in `bounds`, whose lower bound is at least 0."""
    assert bounds.low is not None
    whole, part = _parts(bounds.low)
    if bounds.high is None:
        return _either(
            [
                f'"{whole}" {_from(part, bounds.above)}',
                f"{_naturals(whole + 1, None)} {_FRACTION}",
            ]
        )
    top, rest = _parts(bounds.high)
    if whole == top:
        return f'"{whole}" {_inside(part, bounds.above, rest, bounds.below)}'
    ways = [f'"{whole}" {_from(part, bounds.above)}']
    if top - whole > 1:
        ways.append(f"{_naturals(whole + 1, top - 1)} {_FRACTION}")
    if rest:
        ways.append(f'"{top}" ("." {_less(rest, bounds.below)})?')
    elif not bounds.below:
        ways.append(f'"{top}" {_NO_FRACTION}')
    return _either(ways)


def _parts(number: Decimal) -> tuple[int, str]:
    """The integer and the digits after the point, without zeros at the end."""
    whole, _, part = f"{number:f}".partition(".")
    return int(whole), part.rstrip("0")


def _from(part: str, strict: bool) -> str:
    """A fraction that is at least, or more than, the digits of a fraction."""
    if part or strict:
        return f'"." {_more(part, strict)}'
    return _FRACTION


def _inside(low: str, above: bool, high: str, below: bool) -> str:
    """A fraction between the digits of two fractions, which are not both excluded if equal."""
    if low == high:
        return f'"." "{low}" {_ZEROS}' if low else _NO_FRACTION
    if not low and not above:
        return f'("." {_less(high, below)})?'
    return f'"." {_amid(low, above, high, below)}'


def _amid(low: str, above: bool, high: str, below: bool) -> str:
    """The digits of a fraction between two others, of which `low` is the smaller one."""
    first, last = low[:1] or "0", high[0]
    if first == last:
        inner = _amid(low[1:], above, high[1:], below)
        return f'"{first}" ({inner})?' if not low[1:] and not above else f'"{first}" {inner}'
    ways = [f'"{first}" {_tail(low[1:], above)}']
    if middle := _class(int(first) + 1, int(last) - 1):
        ways.append(f"{middle} {_TAIL}")
    if high[1:]:
        ways.append(f'"{last}" ({_less(high[1:], below)})?')
    elif not below:
        ways.append(f'"{last}" {_ZEROS}')
    return _either(ways)


def _tail(part: str, strict: bool) -> str:
    """Further digits, which are at least, or more than, the digits of a fraction."""
    if part:
        return _more(part, strict)
    return _ABOVE_ZERO if strict else _TAIL


def _more(part: str, strict: bool) -> str:
    """The digits of a fraction that is at least, or more than, the given digits."""
    if not part:
        return _ABOVE_ZERO
    ways = [f'"{part[0]}" {_tail(part[1:], strict)}']
    if larger := _class(int(part[0]) + 1, 9):
        ways.append(f"{larger} {_TAIL}")
    return _either(ways)


def _less(part: str, strict: bool) -> str:
    """The digits of a fraction that is at most, or less than, the given digits."""
    ways = []
    if smaller := _class(0, int(part[0]) - 1):
        ways.append(f"{smaller} {_TAIL}")
    if part[1:]:
        ways.append(f'"{part[0]}" ({_less(part[1:], strict)})?')
    elif not strict:
        ways.append(f'"{part[0]}" {_ZEROS}')
    return _either(ways)
