"""Regular expressions of the texts in which a regular expression does not match."""

from __future__ import annotations

from collections import defaultdict
from itertools import pairwise
from typing import Any

from specbranch_cpp._grammar.regex import (
    Intervals,
    codes,
    complement,
    intervals_of,
    parsed,
    without,
)
from specbranch_cpp.errors import InvalidArgument

__all__ = ["without_match"]

MOST_NODES = 2000
MOST_STATES = 60
MOST_LENGTH = 5000
"""Limits of the automaton, and of the result in characters."""

_LINE_ENDS: Intervals = [(0x0A, 0x0A), (0x0D, 0x0D), (0x2028, 0x2029)]
_SURROGATES: Intervals = [(0xD800, 0xDFFF)]
# As ECMA-262 defines them, which JSON schemas refer to.
_CLASSES: dict[Any, Intervals] = {
    codes.CATEGORY_DIGIT: [(0x30, 0x39)],
    codes.CATEGORY_WORD: [(0x30, 0x39), (0x41, 0x5A), (0x5F, 0x5F), (0x61, 0x7A)],
    codes.CATEGORY_SPACE: [
        (0x09, 0x0D), (0x20, 0x20), (0xA0, 0xA0), (0x1680, 0x1680), (0x2000, 0x200A),
        (0x2028, 0x2029), (0x202F, 0x202F), (0x205F, 0x205F), (0x3000, 0x3000), (0xFEFF, 0xFEFF),
    ],
}  # fmt: skip
_NOTHING = r"[^\x{0}-\x{10FFFF}]"

States = frozenset[int]


def without_match(regex: str, *, at_end: bool = False) -> str | None:
    """A regular expression in Rust's syntax of the whole texts in which another does not match.

    Args:
        regex: the other expression.
        at_end: whether it must match at the end of the text. If False: at the beginning.

    Returns:
        ``None``: it is no regular expression, or a small automaton cannot express it.
    """
    try:
        tree = parsed(regex)
        automaton = _Automaton()
        begin = automaton.node()
        if at_end:
            automaton.edge(begin, [(0, 0x10FFFF)], begin)
            tree = [*tree, (codes.AT, codes.AT_END)]
        automaton.last = automaton.sequence(tree, begin)
        text = _Elimination(automaton, begin).text()
    except (InvalidArgument, RecursionError):
        return None
    return text if len(text) <= MOST_LENGTH else None


class _Automaton:
    """An automaton with edges for characters, for nothing, and for the end of the text."""

    def __init__(self) -> None:
        self.last = 0
        self._free: list[list[int]] = []
        self._ends: list[list[int]] = []
        self.edges: list[list[tuple[Intervals, int]]] = []

    def node(self) -> int:
        if len(self.edges) == MOST_NODES:
            raise InvalidArgument("the expression is too large")
        for lists in (self._free, self._ends, self.edges):
            lists.append([])
        return len(self.edges) - 1

    def edge(self, begin: int, intervals: Intervals, end: int) -> None:
        self.edges[begin].append((without(intervals, _SURROGATES), end))

    def sequence(self, items: Any, begin: int) -> int:
        """Adds the parts of an expression after a node; returns the node behind them."""
        for code, value in items:
            begin = self._item(code, value, begin)
        end = self.node()  # also for nothing: so repetitions of nothing are limited, too
        self._free[begin].append(end)
        return end

    def reached(self, nodes: set[int], *, at_end: bool = False) -> States:
        """The nodes that are reached without a character."""
        found, left = set(nodes), list(nodes)
        while left:
            node = left.pop()
            new = set(self._free[node] + (self._ends[node] if at_end else [])) - found
            found |= new
            left += new
        return frozenset(found)

    def _item(self, code: Any, value: Any, begin: int) -> int:
        if code is codes.SUBPATTERN and not value[1] and not value[2]:
            return self.sequence(value[3], begin)
        if code in {codes.MAX_REPEAT, codes.MIN_REPEAT}:
            least, most, inner = value
            return self._repeated(least, most, inner, begin)
        end = self.node()
        if code is codes.BRANCH:
            for way in value[1]:
                self._free[self.sequence(way, begin)].append(end)
        elif code is codes.AT and value is codes.AT_END:
            self._ends[begin].append(end)
        else:
            self.edge(begin, _characters(code, value), end)
        return end

    def _repeated(self, least: int, most: Any, items: Any, begin: int) -> int:
        for _ in range(least):
            begin = self.sequence(items, begin)
        if most is codes.MAXREPEAT:
            loop = self.node()
            self._free[begin].append(loop)
            self._free[self.sequence(items, loop)].append(loop)
            return loop
        end = self.node()
        for _ in range(most - least):
            self._free[begin].append(end)
            begin = self.sequence(items, begin)
        self._free[begin].append(end)
        return end


def _characters(code: Any, value: Any) -> Intervals:
    if code is codes.LITERAL:
        return [(value, value)]
    if code is codes.NOT_LITERAL:
        return complement([(value, value)])
    if code is codes.ANY:
        return complement(_LINE_ENDS)
    if code is codes.IN:
        return intervals_of(value, _CLASSES.__getitem__)
    raise InvalidArgument(f"{code} has no automaton")


class _Elimination:
    """Makes an automaton deterministic, and then removes its states one by one.

    A state in which the expression has matched does not exist.
    """

    def __init__(self, automaton: _Automaton, begin: int) -> None:
        self._automaton = automaton
        self._begin = automaton.reached({begin})
        self._ways: dict[States, dict[States, str]] = {}
        self._finals: dict[States, str] = {}
        left = [] if automaton.last in self._begin else [self._begin]
        while left:
            state = left.pop()
            if state in self._ways:
                continue
            if len(self._ways) == MOST_STATES:
                raise InvalidArgument("the expression has too many states")
            if automaton.last not in automaton.reached({*state}, at_end=True):
                self._finals[state] = ""
            targets = self._targets(state)
            self._ways[state] = {
                to: _rust_class(found) for to, found in targets.items() if automaton.last not in to
            }
            left += self._ways[state]

    def text(self) -> str:
        if self._begin not in self._ways:
            return _NOTHING
        for state in [*self._ways][:0:-1]:
            self._remove(state)
        loop = self._loop(self._begin)
        return loop + self._finals[self._begin] if self._begin in self._finals else _NOTHING

    def _remove(self, state: States) -> None:
        """Removes a state: ways through it lead past it now."""
        loop = self._loop(state)
        outs = {to: loop + text for to, text in self._ways.pop(state).items()}
        final = loop + self._finals[state] if state in self._finals else None
        for source, ways in self._ways.items():
            if (before := ways.pop(state, None)) is None:
                continue
            for to, text in outs.items():
                _add(ways, to, before + text)
            if final is not None:
                _add(self._finals, source, before + final)
            if sum(map(len, ways.values()), len(self._finals.get(source, ""))) > MOST_LENGTH:
                raise InvalidArgument("the texts without a match have a long expression")

    def _loop(self, state: States) -> str:
        again = self._ways[state].pop(state, "")
        return f"(?:{again})*" if again else ""

    def _targets(self, state: States) -> dict[States, Intervals]:
        """Where characters lead, and which."""
        edges = [edge for node in state for edge in self._automaton.edges[node]]
        borders = sorted(
            {0, 0xD800, 0xE000, 0x110000}
            | {border for found, _ in edges for low, high in found for border in (low, high + 1)}
        )
        targets: dict[States, Intervals] = defaultdict(list)
        for low, after in pairwise(borders):
            if low != 0xD800:
                ends = {end for found, end in edges if any(a <= low <= b for a, b in found)}
                targets[self._automaton.reached(ends)].append((low, after - 1))
        return targets


def _add(ways: dict[States, str], to: States, text: str) -> None:
    ways[to] = f"(?:{ways[to]}|{text})" if to in ways else text


def _rust_class(intervals: Intervals) -> str:
    joined: Intervals = []
    for low, high in intervals:
        if joined and joined[-1][1] + 1 == low:
            joined[-1] = (joined[-1][0], high)
        else:
            joined.append((low, high))
    return "[" + "".join(f"\\x{{{low:X}}}-\\x{{{high:X}}}" for low, high in joined) + "]"
