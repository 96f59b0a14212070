"""How many ways a pattern can go on with one character: the price of combining it with others."""

from __future__ import annotations

import re

from specbranch_cpp._grammar.automaton import Automaton, States, Work
from specbranch_cpp._grammar.regex import Intervals, codes, parsed
from specbranch_cpp.errors import InvalidArgument

__all__ = ["few_ways", "most_ways"]

_MOST_STATES = 64
_CLASS = re.compile(
    r"\\[pP](?:\{[^}]*\}|.)|\\[dwsDWS]|\\.|\[\^?\]?(?:\\.|[^\]\\])*\]?|\.", re.DOTALL
)
_CLASSES = ("[", ".", "\\d", "\\w", "\\s", "\\D", "\\W", "\\S", "\\p", "\\P")


def most_ways(pattern: str) -> int:
    """At most that many: each class of characters can be one, and the single characters are one."""
    found = {part for part in _CLASS.findall(pattern) if part.startswith(_CLASSES)}
    return 1 + len(found)


def few_ways(pattern: str, work: Work) -> int:
    """The same, where few states tell it: of a pattern in which no class meets another, 1."""
    try:
        return _in_states(pattern, Automaton(work))
    except (InvalidArgument, RecursionError):
        return most_ways(pattern)


def _in_states(pattern: str, automaton: Automaton) -> int:
    begin = automaton.node()
    if not pattern.startswith("^"):
        automaton.edge(begin, [(0, 0x10FFFF)], begin)
    automaton.sequence([item for item in parsed(pattern) if item[0] is not codes.AT], begin)
    most = 1
    seen: set[States] = set()
    left = [automaton.reached({begin})]
    while left:
        state = left.pop()
        if state in seen:
            continue
        if len(seen) == _MOST_STATES:
            return most_ways(pattern)
        seen.add(state)
        most = max(most, _meeting([one for node in state for one, _ in automaton.edges[node]]))
        left += automaton.targets(state)
    return most


def _meeting(classes: list[Intervals]) -> int:
    """The largest number of different classes that have a character in common."""
    different = {tuple(one) for one in classes}
    borders = [(low, 1) for one in different for low, _ in one]
    borders += [(high + 1, -1) for one in different for _, high in one]
    most = now = 0
    for _, step in sorted(borders):
        now += step
        most = max(most, now)
    return most
