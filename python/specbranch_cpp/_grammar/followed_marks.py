"""A text up to a mark that counts only before certain others, as an automaton over characters.

A value in a tool call may contain the mark that ends values: a file that documents such calls has
it. So the mark ends the value only if another argument or the end of the call follows, behind white
space or at once.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["BLANKS", "State", "states"]

BLANKS = " \t\r\n"
"""White space between the mark and what follows."""

# How much has been read: of the mark (-1, n), or of a follower behind the mark (its index, n).
_Place = tuple[int, int]


@dataclass
class State:
    """A state; 0 is the beginning, and where all characters lead that are not listed.

    Attributes:
        steps: the index of the next state for each character.
        ends: the index of the follower that is complete after each of these characters.
    """

    steps: dict[str, int] = field(default_factory=dict)
    ends: dict[str, int] = field(default_factory=dict)


def states(mark: str, followers: Sequence[str]) -> list[State]:
    """The automaton of a text that ends with the mark, white space, and one of the followers.

    Args:
        mark: the mark, not empty.
        followers: none of them begins with white space, or with another of them.
    """
    letters = sorted({*mark, *"".join(followers), *BLANKS})
    begin = frozenset({(-1, 0)})
    index = {begin: 0}
    found = [State()]
    waiting = [begin]
    while waiting:
        places = waiting.pop()
        state = found[index[places]]
        for letter in letters:
            reached = frozenset(
                begin.union(*(_next(one, letter, mark, followers) for one in places))
            )
            ended = [k for k, n in reached if k >= 0 and n == len(followers[k])]
            if ended:
                state.ends[letter] = ended[0]
                continue
            if reached not in index:
                index[reached] = len(found)
                found.append(State())
                waiting.append(reached)
            if reached != begin:
                state.steps[letter] = index[reached]
    return found


def _next(place: _Place, letter: str, mark: str, followers: Sequence[str]) -> set[_Place]:
    which, n_read = place
    if which < 0:
        if mark[n_read] != letter:
            return set()
        is_whole = n_read + 1 == len(mark)
        return {(k, 0) for k in range(len(followers))} if is_whole else {(which, n_read + 1)}
    if n_read == 0 and letter in BLANKS:
        return {place}
    return {(which, n_read + 1)} if followers[which][n_read] == letter else set()
