"""Translates regular expressions of JSON schemas to GBNF, so that strings stay valid JSON."""

from __future__ import annotations

import json
import sys
import warnings
from typing import Any

from specbranch_cpp.errors import InvalidArgument

if sys.version_info >= (3, 11):
    from re import _constants as codes  # type: ignore[attr-defined]
    from re import _parser as parser  # type: ignore[attr-defined]
else:
    import sre_constants as codes
    import sre_parse as parser

__all__ = ["MOST_REPEATS", "class_of", "gbnf_of_pattern", "literal_of", "repeated"]

MOST_REPEATS = 2000
"""The largest number of repetitions; llama.cpp refuses grammars with more."""

Intervals = list[tuple[int, int]]

_NOTHING = '""'
_LAST = 0x10FFFF
# Surrogates, and characters that a JSON string must escape: control characters, the quote,
# the backslash.
_NEVER: Intervals = [(0, 0x1F), (0x22, 0x22), (0x5C, 0x5C), (0x7F, 0x7F), (0xD800, 0xDFFF)]
_ESCAPED = '"\\\n\r\t'
_CATEGORIES: dict[Any, Intervals] = {
    codes.CATEGORY_DIGIT: [(0x30, 0x39)],
    codes.CATEGORY_WORD: [(0x30, 0x39), (0x41, 0x5A), (0x5F, 0x5F), (0x61, 0x7A)],
    codes.CATEGORY_SPACE: [(0x20, 0x20)],
}
_COMPLEMENTS = {
    codes.CATEGORY_NOT_DIGIT: codes.CATEGORY_DIGIT,
    codes.CATEGORY_NOT_WORD: codes.CATEGORY_WORD,
    codes.CATEGORY_NOT_SPACE: codes.CATEGORY_SPACE,
}


def gbnf_of_pattern(pattern: str) -> str:
    """The GBNF of the characters between the quotes of a JSON string.

    The grammar must have a rule ``char``. Every text that the grammar allows matches the pattern.
    Characters that JSON escapes are left out if the pattern allows them only as part of a larger
    set. ``\\d``, ``\\w`` and ``\\s`` are ASCII classes.

    Raises:
        InvalidArgument: the pattern is not a regular expression, or a grammar cannot express it:
            look-around, back references, and anchors or word borders inside the pattern.
    """
    try:
        with warnings.catch_warnings():
            # A later Python may read sets of characters differently.
            warnings.simplefilter("ignore")
            tree = list[Any](parser.parse(pattern))  # type: ignore[call-overload]
    except (parser.error, RecursionError, OverflowError) as error:
        raise InvalidArgument(f"pattern {pattern!r} is not a regular expression: {error}") from None
    return _whole(tree, pattern)


def literal_of(text: str) -> str:
    """Text as a GBNF literal."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return '"' + escaped.replace("\n", "\\n").replace("\r", "\\r") + '"'


def repeated(item: str, least: int, most: int | None) -> str:
    """`item`, repeated ``least`` to ``most`` times. ``None``: no upper limit."""
    if most is None:
        return {0: f"{item}*", 1: f"{item}+"}.get(least, f"{item}{{{least},}}")
    return f"{item}{{{least},{most}}}"


def class_of(intervals: Intervals) -> str:
    """A GBNF character class."""
    return (
        "["
        + "".join(
            _code(low) if low == high else f"{_code(low)}-{_code(high)}" for low, high in intervals
        )
        + "]"
    )


def _whole(items: list[Any], pattern: str, begins: bool = False, ends: bool = False) -> str:
    """The pattern without the anchors at the beginning and the end of all alternatives."""
    while items and items[0] == (codes.AT, codes.AT_BEGINNING):
        items, begins = items[1:], True
    while items and items[-1] == (codes.AT, codes.AT_END):
        items, ends = items[:-1], True
    if len(items) == 1 and items[0][0] is codes.BRANCH:
        ways = [_whole(list(way), pattern, begins, ends) for way in items[0][1][1]]
        return f"({' | '.join(ways)})"
    before, after = "" if begins else "char* ", "" if ends else " char*"
    return before + _sequence(items, pattern) + after


def _sequence(items: Any, pattern: str) -> str:
    return " ".join(_item(code, value, pattern) for code, value in items) or _NOTHING


def _item(code: Any, value: Any, pattern: str) -> str:
    if code is codes.LITERAL:
        return _character(value)
    if code is codes.NOT_LITERAL:
        return _class(_complement([(value, value)]), pattern)
    if code is codes.ANY:
        return _class(_complement([(0x0A, 0x0A)]), pattern)
    if code is codes.IN:
        return _set(value, pattern)
    if code is codes.BRANCH:
        return f"({' | '.join(_sequence(way, pattern) for way in value[1])})"
    if code is codes.SUBPATTERN and not value[1] and not value[2]:
        return f"({_sequence(value[3], pattern)})"
    if code in {codes.MAX_REPEAT, codes.MIN_REPEAT}:
        least, most, items = value
        limit = None if most is codes.MAXREPEAT else int(most)
        if max(least, limit or 0) > MOST_REPEATS:
            raise InvalidArgument(
                f"pattern {pattern!r} repeats {limit or least} times; it must repeat at most "
                f"{MOST_REPEATS} times"
            )
        return repeated(f"({_sequence(items, pattern)})", least, limit)
    raise InvalidArgument(
        f"pattern {pattern!r} has {str(code).lower()}, which a grammar cannot express"
    )


def _character(code: int) -> str:
    if 0xD800 <= code <= 0xDFFF:
        raise InvalidArgument(f"a pattern has the lone surrogate {code:#x}")
    return literal_of(json.dumps(chr(code), ensure_ascii=False)[1:-1])


def _set(items: Any, pattern: str) -> str:
    intervals: Intervals = []
    negated = False
    for code, value in items:
        if code is codes.NEGATE:
            negated = True
        elif code is codes.LITERAL:
            intervals.append((value, value))
        elif code is codes.RANGE:
            intervals.append(value)
        elif code is codes.CATEGORY and value in _CATEGORIES:
            intervals += _CATEGORIES[value]
        elif code is codes.CATEGORY and value in _COMPLEMENTS:
            intervals += _complement(_CATEGORIES[_COMPLEMENTS[value]])
    if negated:
        return _class(_complement(intervals), pattern)
    named = {value for code, value in items if code is codes.LITERAL}
    return _class(intervals, pattern, [c for c in _ESCAPED if ord(c) in named])


def _class(intervals: Intervals, pattern: str, escaped: list[str] | None = None) -> str:
    """One of these characters in a JSON string. Characters in `escaped` may also be escaped."""
    plain = _without(intervals, _NEVER)
    ways = [class_of(plain)] if plain else []
    ways += [_character(ord(character)) for character in escaped or ()]
    if not ways:
        raise InvalidArgument(
            f"pattern {pattern!r} needs characters that a JSON string cannot contain"
        )
    return ways[0] if len(ways) == 1 else f"({' | '.join(ways)})"


def _complement(intervals: Intervals) -> Intervals:
    return _without([(0, _LAST)], intervals)


def _without(intervals: Intervals, taken: Intervals) -> Intervals:
    """The sorted ranges that are in none of `taken`."""
    rest = sorted(intervals)
    for low, high in taken:
        rest = [
            (a, b)
            for first, last in rest
            for a, b in ((first, min(last, low - 1)), (max(first, high + 1), last))
            if a <= b
        ]
    return sorted(set(rest))


def _code(code: int) -> str:
    character = chr(code)
    if character.isascii() and character.isalnum():
        return character
    return f"\\x{code:02X}" if code < 0x100 else f"\\U{code:08X}"
