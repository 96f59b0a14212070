"""Translates regular expressions to GBNF: of JSON strings, which stay valid JSON, and of texts."""

from __future__ import annotations

import json
import re
import sys
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from specbranch_cpp._grammar.rust_classes import plain_classes
from specbranch_cpp.errors import InvalidArgument

if sys.version_info >= (3, 11):
    from re import _constants as codes  # type: ignore[attr-defined]
    from re import _parser as parser  # type: ignore[attr-defined]
else:
    import sre_constants as codes
    import sre_parse as parser

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = [
    "MOST_REPEATS",
    "Intervals",
    "class_of",
    "codes",
    "complement",
    "gbnf_of_pattern",
    "gbnf_of_regex",
    "intervals_of",
    "literal_of",
    "parsed",
    "repeated",
    "without",
]

MOST_REPEATS = 2000
"""The largest number of repetitions; llama.cpp refuses grammars with more."""

Intervals = list[tuple[int, int]]

MOST_LENGTH = 10_000
"""The largest number of characters of an expression, whose translation cannot be interrupted."""

_MOST_COPIES = 100_000  # parts of an expression, after anchors inside groups were written out
_NOTHING = '""'
_LAST = 0x10FFFF
# Surrogates, and characters that a JSON string must escape: control characters, the quote,
# the backslash.
_NEVER: Intervals = [(0, 0x1F), (0x22, 0x22), (0x5C, 0x5C), (0x7F, 0x7F), (0xD800, 0xDFFF)]
# Surrogates, and the zero byte, which a grammar cannot contain.
_NEVER_TEXT: Intervals = [(0, 0), (0xD800, 0xDFFF)]
_ESCAPED = '"\\\n\r\t'
_CATEGORIES: dict[Any, Intervals] = {
    codes.CATEGORY_DIGIT: [(0x30, 0x39)],
    codes.CATEGORY_WORD: [(0x30, 0x39), (0x41, 0x5A), (0x5F, 0x5F), (0x61, 0x7A)],
    codes.CATEGORY_SPACE: [(0x20, 0x20)],
}
_SPACE_TEXT: Intervals = [(0x09, 0x0D), (0x20, 0x20)]
_COMPLEMENTS = {
    codes.CATEGORY_NOT_DIGIT: codes.CATEGORY_DIGIT,
    codes.CATEGORY_NOT_WORD: codes.CATEGORY_WORD,
    codes.CATEGORY_NOT_SPACE: codes.CATEGORY_SPACE,
}


# Another escaped character is skipped with its backslash.
_OF_JAVASCRIPT = re.compile(
    r"\\[ux]\{(?P<code>[0-9a-fA-F]{1,8})\}|\\c(?P<control>[A-Za-z])|\\.|(?P<group>\(\?<(?![=!]))",
    re.DOTALL,
)


@dataclass(frozen=True)
class _Pattern:
    """A regular expression, and whether it describes the inside of a JSON string."""

    text: str
    is_json: bool

    def __repr__(self) -> str:
        return repr(self.text)

    def category(self, code: Any) -> Intervals:
        """The characters of a class such as ``\\d``."""
        if code is codes.CATEGORY_SPACE and not self.is_json:
            return _SPACE_TEXT
        return _CATEGORIES[code]


def gbnf_of_regex(regex: str) -> str:
    """The GBNF of the texts that match a regular expression as a whole.

    ``\\d``, ``\\w`` and ``\\s`` are ASCII classes.

    Raises:
        InvalidArgument: see `gbnf_of_pattern`.
    """
    pattern = _Pattern(regex, is_json=False)
    try:
        return _whole(_parsed(pattern), pattern, begins=True, ends=True)
    except RecursionError:
        raise InvalidArgument(f"pattern {pattern!r:.100} is nested too deeply") from None


def gbnf_of_pattern(pattern: str) -> str:
    """The GBNF of the characters between the quotes of a JSON string.

    The grammar must have a rule ``char``. Every text that the grammar allows matches the pattern.
    Characters that JSON escapes are left out if the pattern allows them only as part of a larger
    set. ``\\d``, ``\\w`` and ``\\s`` are ASCII classes.

    Raises:
        InvalidArgument: the pattern is not a regular expression, or a grammar cannot express it:
            look-around, back references, and anchors or word borders inside the pattern.
    """
    described = _Pattern(pattern, is_json=True)
    return _whole(_parsed(described), described)


def _in_python(found: re.Match[str]) -> str:
    """The spelling of a named group, a character or a control character in JavaScript, or of a
    character in Rust, in Python's.
    """
    if found["code"]:
        return f"\\U{int(found['code'], 16):08x}"
    if found["control"]:
        return f"\\x{ord(found['control']) % 32:02x}"
    return "(?P<" if found["group"] else found[0]


def parsed(regex: str) -> list[Any]:
    """A regular expression as the parser of Python's `re` gives it.

    Raises:
        InvalidArgument: it is too long, or it is not a regular expression.
    """
    return _parsed(_Pattern(regex, is_json=False))


def _parsed(pattern: _Pattern) -> list[Any]:
    if len(pattern.text) > MOST_LENGTH:
        raise InvalidArgument(
            f"a pattern has {len(pattern.text)} characters; it must have at most {MOST_LENGTH}"
        )
    try:
        with warnings.catch_warnings():
            # A later Python may read sets of characters differently.
            warnings.simplefilter("ignore")
            text = _OF_JAVASCRIPT.sub(_in_python, plain_classes(pattern.text))
            found: Any = parser.parse(text)
    except (parser.error, RecursionError, OverflowError) as error:
        raise InvalidArgument(f"pattern {pattern!r} is not a regular expression: {error}") from None
    if found.state.flags & re.IGNORECASE:
        raise InvalidArgument(
            f"pattern {pattern!r:.100} has the flag i, which a grammar cannot express"
        )
    return list(found)


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


def _whole(items: list[Any], pattern: _Pattern, begins: bool = False, ends: bool = False) -> str:
    """The pattern without the anchors at the beginning and the end of all alternatives."""
    while items and items[0] == (codes.AT, codes.AT_BEGINNING):
        items, begins = items[1:], True
    while items and items[-1] == (codes.AT, codes.AT_END):
        items, ends = items[:-1], True
    if len(items) == 1 and items[0][0] is codes.BRANCH:
        ways = [_whole(list(way), pattern, begins, ends) for way in items[0][1][1]]
        return f"({' | '.join(ways)})"
    for place, anchor in ((0, codes.AT_BEGINNING), (-1, codes.AT_END)):
        if items and _is_anchored(items[place], place, anchor):
            left, right = ([], items[1:]) if place == 0 else (items[:-1], [])
            inner = _ways(items[place])
            if len(inner) * len(items) > _MOST_COPIES:
                raise InvalidArgument(
                    f"pattern {pattern!r:.100} has anchors in {len(inner)} alternatives of a "
                    "group; write the anchors outside of the group"
                )
            whole = [_whole([*left, *way, *right], pattern, begins, ends) for way in inner]
            return f"({' | '.join(whole)})"
    before, after = "" if begins else "char* ", "" if ends else " char*"
    return before + _sequence(items, pattern) + after


def _ways(item: Any) -> list[list[Any]]:
    """The alternatives of a group. Empty: this is not a group."""
    code, value = item
    if code is codes.BRANCH:
        return [list(way) for way in value[1]]
    if code is codes.SUBPATTERN and not value[1] and not value[2]:
        inner = list(value[3])
        return _ways(inner[0]) if len(inner) == 1 and inner[0][0] is codes.BRANCH else [inner]
    return []


def _is_anchored(item: Any, place: int, anchor: Any) -> bool:
    """Whether an alternative of a group begins (place 0) or ends (place -1) with an anchor."""
    return any(
        way and (way[place] == (codes.AT, anchor) or _is_anchored(way[place], place, anchor))
        for way in _ways(item)
    )


def _sequence(items: Any, pattern: _Pattern) -> str:
    return " ".join(_item(code, value, pattern) for code, value in items) or _NOTHING


def _item(code: Any, value: Any, pattern: _Pattern) -> str:
    if code is codes.LITERAL:
        return _character(value, pattern)
    if code is codes.NOT_LITERAL:
        return _class(complement([(value, value)]), pattern)
    if code is codes.ANY:
        return _class(complement([(0x0A, 0x0A)]), pattern)
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


def _character(code: int, pattern: _Pattern) -> str:
    if 0xD800 <= code <= 0xDFFF:
        raise InvalidArgument(f"a pattern has the lone surrogate {code:#x}")
    if not pattern.is_json:
        return literal_of(chr(code))
    return literal_of(json.dumps(chr(code), ensure_ascii=False)[1:-1])


def intervals_of(items: Any, category: Callable[[Any], Intervals]) -> Intervals:
    """The characters of a set, as the parser gives it.

    Args:
        items: the parts of the set.
        category: gives the characters of a class such as ``\\d``.
    """
    intervals: Intervals = []
    for code, value in items:
        if code is codes.LITERAL:
            intervals.append((value, value))
        elif code is codes.RANGE:
            intervals.append(value)
        elif code is codes.CATEGORY and value in _CATEGORIES:
            intervals += category(value)
        elif code is codes.CATEGORY and value in _COMPLEMENTS:
            intervals += complement(category(_COMPLEMENTS[value]))
    return complement(intervals) if _is_negated(items) else intervals


def _is_negated(items: Any) -> bool:
    return any(code is codes.NEGATE for code, _ in items)


def _set(items: Any, pattern: _Pattern) -> str:
    intervals = intervals_of(items, pattern.category)
    if _is_negated(items):
        return _class(intervals, pattern)
    named = {value for code, value in items if code is codes.LITERAL}
    return _class(intervals, pattern, [c for c in _ESCAPED if ord(c) in named])


def _class(intervals: Intervals, pattern: _Pattern, escaped: list[str] | None = None) -> str:
    """One of these characters in a JSON string. Characters in `escaped` may also be escaped."""
    plain = without(intervals, _NEVER if pattern.is_json else _NEVER_TEXT)
    ways = [class_of(plain)] if plain else []
    if pattern.is_json:
        ways += [_character(ord(character), pattern) for character in escaped or ()]
    if not ways:
        raise InvalidArgument(f"pattern {pattern!r} needs characters that a text cannot contain")
    return ways[0] if len(ways) == 1 else f"({' | '.join(ways)})"


def complement(intervals: Intervals) -> Intervals:
    """All other characters."""
    return without([(0, _LAST)], intervals)


def without(intervals: Intervals, taken: Intervals) -> Intervals:
    """The sorted ranges that are in none of `taken`."""
    rest: Intervals = []
    cuts = _joined(taken)
    place = 0
    for first, last in _joined(intervals):
        while place < len(cuts) and cuts[place][1] < first:
            place += 1
        begin, cut = first, place
        while cut < len(cuts) and cuts[cut][0] <= last:
            low, high = cuts[cut]
            if begin < low:
                rest.append((begin, low - 1))
            begin, cut = high + 1, cut + 1
        if begin <= last:
            rest.append((begin, last))
    return rest


def _joined(intervals: Intervals) -> Intervals:
    """The sorted ranges, of which no two overlap."""
    joined: Intervals = []
    for low, high in sorted(intervals):
        if joined and low <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(joined[-1][1], high))
        else:
            joined.append((low, high))
    return joined


def _code(code: int) -> str:
    character = chr(code)
    if character.isascii() and character.isalnum():
        return character
    return f"\\x{code:02X}" if code < 0x100 else f"\\U{code:08X}"
