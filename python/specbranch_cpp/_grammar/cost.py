"""Limits the cost of a grammar, because an expensive grammar can stop or crash llama.cpp.

llama.cpp walks from a rule to all possible next characters along every path, in one call that
cannot be interrupted. The number of paths can grow exponentially with the length of the grammar.
llama.cpp would then hang, use all memory or overflow its stack. This module counts the paths in
linear time without walking them.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from specbranch_cpp.errors import InvalidArgument

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["MOST_ELEMENTS", "MOST_EMPTY", "MOST_PATHS", "MOST_SYMBOLS", "check_cost"]

MOST_PATHS = 30_000
"""The largest number of paths to a next character. An ``enum`` has one path for each value."""
MOST_EMPTY = 16
"""The largest number of ways in which a part can be empty. Each character multiplies it."""
MOST_ELEMENTS = 1_000_000
"""The largest number of characters and rules of a grammar, with all repetitions written out."""
MOST_SYMBOLS = 100_000
"""The largest number of names, literals, classes and groups of a grammar, each of which llama.cpp
and this module read."""

_MOST_REPEATS = 2000  # llama.cpp takes a larger number as no limit
_BESIDE = (")", "|", "*", "+", "?")  # tokens that are no symbol
_CAP = 10**12  # counts stop here, because larger counts are refused anyway
_TOKEN = re.compile(
    r"""\#[^\n]* | (?P<name>[a-zA-Z0-9_-]+)(?P<rule>\s*::=)? | (?P<literal>"(?:[^"\\]+|\\.)*"?)
    | \[(?:[^\]\\]+|\\.)*\]? | !?<[^>\n]*>? | \{\s*(?P<least>[0-9]+)\s*(?P<span>,)?\s*
    (?P<most>[0-9]*)\s*\} | [().*+?|]""",
    re.VERBOSE | re.DOTALL,
)


class _Paths(NamedTuple):
    """Numbers of paths through a symbol: to a next character, and without any character."""

    walked: int
    empty: int


class _Item(NamedTuple):
    symbol: str | None  # the name of a rule; None: a character
    least: int = 1
    most: int | None = 1


_CHARACTER = _Paths(1, 0)
_Sequence = list[_Item]
_Rules = dict[str, list[_Sequence]]


def check_cost(grammar: str) -> None:
    """Checks the cost of a GBNF grammar before llama.cpp gets the grammar.

    llama.cpp reports all other errors.

    Raises:
        InvalidArgument: the bounds of a repetition are reversed, or a limit is exceeded.
    """
    rules, n_elements = _read(grammar)
    if n_elements > MOST_ELEMENTS:
        raise InvalidArgument(
            f"grammar has {n_elements} elements after writing out its repetitions; it must have "
            f"at most {MOST_ELEMENTS}"
        )
    known: dict[str, _Paths] = {}
    for name in rules:
        _walk(name, rules, known)
    for name, sequences in rules.items():
        paths = [
            known[name],
            *(one for sequence in sequences for one in _suffixes(sequence, known)),
        ]
        _check_rule(
            name.partition("(")[0], max(p.walked for p in paths), max(p.empty for p in paths)
        )


def _check_rule(name: str, walked: int, empty: int) -> None:
    if walked > MOST_PATHS:
        raise InvalidArgument(
            f"grammar has {_number(walked)} ways to a next character in rule {name!r}; it must "
            f"have at most {MOST_PATHS}; use fewer alternatives, and do not repeat optional "
            "parts inside optional parts"
        )
    if empty > MOST_EMPTY:
        raise InvalidArgument(
            f"grammar has a part in rule {name!r} that can be empty in {_number(empty)} ways; "
            f"it must be at most {MOST_EMPTY}; do not repeat a part that can be empty"
        )


def _number(count: int) -> str:
    return f"more than {_CAP}" if count >= _CAP else str(count)


def _read(grammar: str) -> tuple[_Rules, int]:
    """The rules, where each group is its own rule, and the number of their elements."""
    rules: _Rules = {}
    open_groups: list[tuple[str, _Sequence]] = []
    name, sequence = "", _Sequence()
    n_elements, size = 0, 0  # `size`: elements that a repetition would repeat
    n_symbols = 0
    for token in _TOKEN.finditer(grammar):
        text = token.group()
        if text.startswith("#"):
            continue
        n_symbols += text not in _BESIDE and not token["least"]
        if n_symbols > MOST_SYMBOLS:
            raise InvalidArgument(
                f"grammar has more than {MOST_SYMBOLS} names, literals, classes and groups; "
                "use fewer"
            )
        least = most = None
        if token["rule"]:
            open_groups.clear()
            name, sequence = token["name"], []
            rules.setdefault(name, []).append(sequence)
        elif text == "|":
            sequence = []
            rules.setdefault(name, []).append(sequence)
        elif text == "(":
            open_groups.append((name, sequence))
            name, sequence = f"{name.partition('(')[0]}({token.start()}", []
            rules[name] = [sequence]
        elif text == ")":
            if open_groups:
                group = name
                name, sequence = open_groups.pop()
                sequence.append(_Item(group))
                size = 1
        elif text in {"*", "+", "?"}:
            least, most = int(text == "+"), 1 if text == "?" else None
        elif token["least"]:
            least = int(token["least"][:9])
            most = least if not token["span"] else int(token["most"][:9] or -1)
            most = None if most < 0 else most
        elif token["literal"]:
            size = len(text) - 2
            sequence.append(_Item(None) if size > 0 else _Item(None, 0, 0))
        else:
            size = 1
            sequence.append(_Item(token["name"]))  # a class of characters has no name
        if least is None:
            n_elements += size
        elif sequence:
            if most is not None and most < least:
                raise InvalidArgument(
                    f"grammar repeats {text!r}; the first number must be at most the second"
                )
            sequence[-1] = _repeated_item(sequence[-1], least, most)
            n_elements += size * min(max(least, most or 0), _MOST_REPEATS)
    return rules, n_elements


def _repeated_item(item: _Item, least: int, most: int | None) -> _Item:
    if (item.least, item.most) == (0, 0):
        return item
    if (item.least, item.most) != (1, 1):  # ``a?*``: take the wider repetition
        least, most = min(least, item.least), None
    if most is not None and most > _MOST_REPEATS:
        most = None
    return _Item(item.symbol, min(least, _MOST_REPEATS), most)


def _walk(name: str, rules: _Rules, known: dict[str, _Paths]) -> None:
    """Counts the paths of a rule and of the rules with which it begins, without recursion."""
    if name in known:
        return
    begun = {name}
    walks = [_paths_of(name, rules, known)]
    while walks:
        needed = next(walks[-1], None)
        if needed is None:
            walks.pop()
        elif needed not in begun and needed in rules:
            begun.add(needed)
            walks.append(_paths_of(needed, rules, known))


def _paths_of(name: str, rules: _Rules, known: dict[str, _Paths]) -> Iterator[str]:
    """Adds the number of paths of a rule to `known`. Yields the rules that it needs first."""
    walked = empty = 0
    for sequence in rules[name]:
        walked, ways = walked + 1, 1
        for item in sequence:
            if item.symbol is not None and item.symbol not in known:
                yield item.symbol
            paths = _of_item(item, known)
            walked += ways * paths.walked
            ways *= paths.empty
            if ways == 0:
                break
        empty += ways
        walked, empty = min(walked, _CAP), min(empty, _CAP)
    known[name] = _Paths(walked, empty)


def _of_item(item: _Item, known: dict[str, _Paths]) -> _Paths:
    # A rule that is already being walked is left-recursive: llama.cpp does not follow such a rule.
    one = _CHARACTER if item.symbol is None else known.get(item.symbol, _CHARACTER)
    needed = _times(one, item.least)
    if item.most == item.least:
        return needed
    # llama.cpp repeats a part only after a character.
    more = _Paths(2 + one.walked, 1)
    if item.most is not None:
        more = _up_to(one, item.most - item.least)
    return _capped(needed.walked + needed.empty * more.walked, needed.empty * more.empty)


def _times(one: _Paths, count: int) -> _Paths:
    """A sequence of this number of items."""
    if count == 0:
        return _Paths(0, 1)
    if one.empty <= 1:
        return _capped(one.walked * (count if one.empty else 1), one.empty)
    empty = min(one.empty**count, _CAP)
    return _capped(one.walked * empty, empty)


def _up_to(one: _Paths, count: int) -> _Paths:
    """A sequence of at most this number of items: ``x(n) ::= one x(n-1) |``."""
    if one.empty == 0:
        return _Paths(2 + one.walked, 1)
    if one.empty == 1:
        return _capped(count * (2 + one.walked), count + 1)
    empty = min(one.empty ** (count + 1), _CAP)
    return _capped((2 + one.walked) * empty, empty)


def _suffixes(sequence: _Sequence, known: dict[str, _Paths]) -> Iterator[_Paths]:
    """The paths from the beginning and from the inside of each item to the sequence's end."""
    rest = _Paths(0, 1)
    for item in reversed(sequence):
        before = rest
        for one in (item._replace(least=0), item):
            paths = _of_item(one, known)
            rest = _capped(paths.walked + paths.empty * before.walked, paths.empty * before.empty)
            yield rest


def _capped(walked: int, empty: int) -> _Paths:
    return _Paths(min(walked, _CAP), min(empty, _CAP))
