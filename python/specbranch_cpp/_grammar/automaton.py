"""Automata of regular expressions, with a limit on what is computed."""

from __future__ import annotations

from collections import defaultdict
from itertools import groupby
from typing import Any

from specbranch_cpp._grammar.regex import Intervals, codes, complement, intervals_of, without
from specbranch_cpp.errors import InvalidArgument

__all__ = ["Automaton", "States", "Work"]

MOST_NODES = 2000
"""The largest number of nodes of an automaton."""

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

States = frozenset[int]
"""Nodes in which an automaton may be at once."""


class Work:
    """How much may still be computed, of one expression or of several.

    Args:
        left: the number of nodes and edges that may be looked at.
    """

    def __init__(self, left: int = 500_000) -> None:
        self.left = left

    def take(self, count: int = 1) -> None:
        """Counts this much.

        Raises:
            InvalidArgument: there is not that much left.
        """
        self.left -= count
        if self.left < 0:
            raise InvalidArgument("the expression is too complicated")


class Automaton:
    """An automaton with edges for characters, for nothing, and for the end of the text.

    Args:
        work: what it may compute.
    """

    def __init__(self, work: Work) -> None:
        self.last = 0
        self._work = work
        self._free: list[list[int]] = []
        self._ends: list[list[int]] = []
        self.edges: list[list[tuple[Intervals, int]]] = []

    def node(self) -> int:
        if len(self.edges) == MOST_NODES:
            raise InvalidArgument("the expression is too large")
        self._work.take()
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
        self._work.take(len(found))
        return frozenset(found)

    def targets(self, state: States) -> dict[States, Intervals]:
        """Where characters lead, and which."""
        edges = [edge for node in state for edge in self.edges[node]]
        events = [(0, 0, -1), (0x110000, 0, -1)]  # where an edge begins or ends, and which
        for index, (found, _) in enumerate(edges):
            events += [(low, 1, index) for low, _ in found]
            events += [(high + 1, -1, index) for _, high in found]
        targets: dict[States, Intervals] = defaultdict(list)
        events += [(0xD800, 0, -1), (0xE000, 0, -1)]
        events.sort()
        active: dict[int, int] = defaultdict(int)
        low = 0
        for border, group in groupby(events, lambda event: event[0]):
            if border > low and low != 0xD800:
                self._work.take(1 + len(active))
                ends = {edges[index][1] for index in active}
                targets[self.reached(ends)].append((low, border - 1))
            for _, step, index in group:
                if index >= 0:
                    active[index] += step
                    if active[index] == 0:
                        del active[index]
            low = border
        return targets

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
