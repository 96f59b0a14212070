"""Regular expressions of the texts in which a regular expression does not match."""

from __future__ import annotations

from specbranch_cpp._grammar.automaton import Automaton, States, Work
from specbranch_cpp._grammar.regex import Intervals, codes, parsed
from specbranch_cpp.errors import InvalidArgument

__all__ = ["without_match"]

MOST_STATES = 60
MOST_LENGTH = 5000
"""Limits of the automaton without choices, and of the result in characters."""

_LETTERS = 16  # that cost as much as an edge
_NOTHING = r"[^\x{0}-\x{10FFFF}]"


def without_match(regex: str, *, at_end: bool = False, work: Work | None = None) -> str | None:
    """A regular expression in Rust's syntax of the whole texts in which another does not match.

    Args:
        regex: the other expression.
        at_end: whether it must match at the end of the text. If False: at the beginning.
        work: what may be computed. ``None``: as much as for a whole schema.

    Returns:
        ``None``: it is no regular expression, or a small automaton cannot express it.
    """
    try:
        tree = parsed(regex)
        work = work or Work()
        automaton = Automaton(work)
        begin = automaton.node()
        if at_end:
            automaton.edge(begin, [(0, 0x10FFFF)], begin)
            tree = [*tree, (codes.AT, codes.AT_END)]
        automaton.last = automaton.sequence(tree, begin)
        text = _Elimination(automaton, begin, work).text()
    except (InvalidArgument, RecursionError):
        return None
    return text if len(text) <= MOST_LENGTH else None


class _Elimination:
    """Makes an automaton deterministic, and then removes its states one by one.

    A state in which the expression has matched does not exist.
    """

    def __init__(self, automaton: Automaton, begin: int, work: Work) -> None:
        self._work = work
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
            targets = automaton.targets(state)
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
            length = sum(map(len, ways.values()), len(self._finals.get(source, "")))
            self._work.take(length // _LETTERS)
            if length > MOST_LENGTH:
                raise InvalidArgument("the texts without a match have a long expression")

    def _loop(self, state: States) -> str:
        again = self._ways[state].pop(state, "")
        return f"(?:{again})*" if again else ""


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
