"""The search for a short text that a grammar can read in too many ways.

It follows all ways to read a text at once, as llama.cpp's stacks. Equal stacks are one, with the
number of ways to them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from specbranch_cpp._grammar.ambiguity_bounds import MOST_RETURNS
from specbranch_cpp._grammar.gbnf_rules import END

if TYPE_CHECKING:
    from specbranch_cpp._grammar.ambiguity_bounds import Budget, WayBounds
    from specbranch_cpp._grammar.gbnf_rules import Rules

__all__ = ["Search"]

_Stack = tuple[int, int]  # an element, and the number of the stack below
_Place = tuple[int, int, int]  # an element or `END`, the number of the stack below, ways
_Reads = dict[tuple[int, int], int]  # by stack and read characters of its literal: ways


class _State(NamedTuple):
    """What the same text leads to.

    Attributes:
        text: the kinds of its characters.
        returns: what follows the rule of the start in the rule that called it, and so on. Below
            all of a stack is the number ``-1`` for the end of the rule of the start, ``-2`` for the
            end of the rule that called it, and so on.
        owner: the last rule of these.
        reads: the ways to read the text.
    """

    text: tuple[int, ...]
    returns: tuple[int, ...]
    owner: int
    reads: _Reads


class Search:
    """Searches the texts of a grammar.

    Args:
        rules: of the grammar.
        bounds: of the same grammar.
        most: the largest number of ways that is allowed.
        length: of the longest text.
        budget: of steps, for all searches together.
    """

    def __init__(
        self, rules: Rules, bounds: WayBounds, most: int, length: int, budget: Budget
    ) -> None:
        self._rules = rules
        self._bounds = bounds
        self._characters = bounds.characters
        self._most = most
        self._length = length
        self._take = budget.take
        self._stacks: list[_Stack] = []
        self._numbers: dict[_Stack, int] = {}
        self._expanded: dict[_Stack, tuple[list[int], int | None]] = {}

    def text_from(self, start: int) -> str | None:
        """An example of a text that can be read from an element in too many ways.

        Raises:
            BudgetError: the search takes too long.
        """
        empty = _State((), (), self._rules.owners[start], {})
        left = self._continued(empty, [(start, -1, 1)])
        seen = set()
        while left:
            state = left.pop()
            key = len(state.text), state.returns, frozenset(state.reads.items())
            if key in seen or len(state.text) == self._length:
                continue
            seen.add(key)
            following = []
            for kind, reads in self._by_character(state.reads).items():
                if sum(reads.values()) > self._most:
                    return "".join(map(self._characters.example, (*state.text, kind)))
                bound = self._bound(state, reads)
                if bound > self._most:
                    following.append((bound, kind, reads))
            # The most promising one is looked at first.
            for _, kind, reads in sorted(following, key=lambda one: one[0]):
                left += self._read(state, kind, reads)
        return None

    def _bound(self, state: _State, reads: _Reads) -> int:
        """Of the ways to read one of the longest texts."""
        self._take(len(reads))
        left, returns = self._length - len(state.text), state.returns
        total = 0
        for (stack, read), count in reads.items():
            element, below = self._stacks[stack]
            after = END
            if below >= 0:
                after = self._stacks[below][0]
            elif -1 - below < len(returns):
                after = returns[-1 - below]
            total += count * self._bounds.of(element, read, left, after, state.owner)
        return total

    def _by_character(self, reads: _Reads) -> dict[int, _Reads]:
        """The ways that a next character continues. Of kinds that continue the same ones: one."""
        found: dict[int, list[tuple[int, int]]] = {}
        for stack, read in reads:
            content = self._rules.elements[self._stacks[stack][0]]
            if isinstance(content, str):
                kind = self._characters.of_text(content, read)
                ranges = [(kind, kind + 1)]
            else:
                assert isinstance(content, tuple)
                ranges = self._characters.of_class(content)
            for begin, end in ranges:
                self._take(end - begin)
                for kind in range(begin, end):
                    found.setdefault(kind, []).append((stack, read))
        self._take(sum(map(len, found.values())))
        different = {tuple(keys): kind for kind, keys in found.items()}
        return {kind: {key: reads[key] for key in keys} for keys, kind in different.items()}

    def _read(self, state: _State, kind: int, reads: _Reads) -> list[_State]:
        """The states after one more character, one for each rule to which they may return."""
        within: _Reads = {}
        places = []
        for (stack, read), count in reads.items():
            self._take()
            element, below = self._stacks[stack]
            content = self._rules.elements[element]
            if isinstance(content, str) and read + 1 < len(content):
                within[stack, read + 1] = within.get((stack, read + 1), 0) + count
            else:
                places.append((self._rules.after[element], below, count))
        text = (*state.text, kind)
        return self._continued(state._replace(text=text, reads=within), places)

    def _continued(self, state: _State, places: list[_Place]) -> list[_State]:
        """The states after going on to next characters."""
        left = [(state, places)]
        done = []
        while left:
            state, places = left.pop()
            reads = dict(state.reads)
            n_returning = 0
            for element, below, count in places:
                stacks, ends = self._next_stacks(element, below, state.returns)
                n_returning += count * ends
                for stack in stacks:
                    reads[stack, 0] = reads.get((stack, 0), 0) + count
            state = state._replace(reads=reads)
            callers = self._bounds.callers[state.owner] if n_returning else []
            if not callers or len(state.returns) == MOST_RETURNS:
                done.append(state)
                continue
            self._take(len(callers) * (len(reads) + 1))
            for after, owner in callers:
                returns = (*state.returns, after)
                place = after, -1 - len(returns), n_returning
                left.append((state._replace(returns=returns, owner=owner), [place]))
        return done

    def _next_stacks(
        self, element: int, below: int, returns: tuple[int, ...]
    ) -> tuple[list[int], bool]:
        """The stacks with a next character on top, and whether a way leaves all known rules."""
        stacks, bottom = self._expanded_place(element, below)
        while bottom is not None and bottom < len(returns):
            more, bottom = self._expanded_place(returns[bottom], -2 - bottom)
            stacks = stacks + more
        return stacks, bottom is not None

    def _expanded_place(self, element: int, below: int) -> tuple[list[int], int | None]:
        """As far as the stack is known, and the number of returns from the start to its end."""
        key = element, below
        if key in self._expanded:
            self._take(len(self._expanded[key][0]) + 1)
            return self._expanded[key]
        rules = self._rules
        stacks: dict[int, None] = {}
        bottom = None
        seen = set()
        left = [key]
        while left:
            place = left.pop()
            if place in seen:
                continue
            seen.add(place)
            self._take()
            element, below = place
            if element == END:
                if below < 0:
                    bottom = -1 - below
                else:
                    left.append(self._stacks[below])
                continue
            content = rules.elements[element]
            if not isinstance(content, int):
                stacks[self._number(place)] = None
                continue
            after = rules.after[element]
            rest = below if after == END else self._number((after, below))
            left += [(first, rest) for first in rules.firsts[content]]
        self._expanded[key] = list(stacks), bottom
        return self._expanded[key]

    def _number(self, stack: _Stack) -> int:
        if stack not in self._numbers:
            self._numbers[stack] = len(self._stacks)
            self._stacks.append(stack)
        return self._numbers[stack]
