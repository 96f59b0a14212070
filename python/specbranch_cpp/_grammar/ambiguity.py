"""Refuses ambiguous grammars, because llama.cpp follows every way to read a token.

llama.cpp tries the characters of a token along all paths through the rules. It does not merge paths
that have met again, so their number can grow exponentially with the length of the token. That
happens in one call, which cannot be interrupted. This module looks for a short text that can be
read in too many ways, from any place of the grammar.

The search knows an upper bound (`WayBounds`) for what follows. So most grammars need no search at
all.
"""

from __future__ import annotations

from functools import lru_cache

from specbranch_cpp._grammar.ambiguity_bounds import Budget, BudgetError, WayBounds
from specbranch_cpp._grammar.ambiguity_search import Search
from specbranch_cpp._grammar.first_rules import groups_of_first_rules
from specbranch_cpp._grammar.gbnf_rules import rules_of
from specbranch_cpp.errors import InvalidArgument

__all__ = ["LENGTH", "MOST_WAYS", "check_ambiguity"]

LENGTH = 10
"""The number of characters of a text. Longer tokens are rare."""
MOST_WAYS = 30_000
"""The largest number of ways to read a text."""

_MOST_BOUNDS = 4_000_000  # steps for the bounds of a grammar, about two seconds
_MOST_STEPS = 3_000_000  # steps of the search, about two seconds


def check_ambiguity(grammar: str) -> None:
    """Checks that no short text can be read in too many ways. `check_cost` comes first.

    Raises:
        InvalidArgument: a text can be, or the search for one would take too long, or a rule begins
            with itself after a part that can be empty.
    """
    problem = _problem(grammar)
    if problem is not None:
        raise InvalidArgument(problem)


@lru_cache(maxsize=32)
def _problem(grammar: str) -> str | None:
    """What is wrong with a grammar. ``None``: nothing."""
    rules, root = rules_of(grammar, LENGTH)
    if root is None:
        return None  # llama.cpp reports it
    _, recursive = groups_of_first_rules(rules)
    if recursive is not None:
        return (
            f"grammar has the rule {rules.names[recursive]!r}, which can begin with itself; begin "
            "it with a part that cannot be empty"
        )
    bounds = WayBounds(rules, root, LENGTH, Budget(_MOST_BOUNDS))
    try:
        bounds.compute()
    except BudgetError:
        if bounds.grows(MOST_WAYS):
            return _too_complicated(rules.names[bounds.widest()])
        return None
    budget = Budget(_MOST_STEPS)
    search = Search(rules, bounds, MOST_WAYS, LENGTH, budget)
    for start in bounds.starts(MOST_WAYS):
        name = rules.names[rules.owners[start]]
        try:
            text = search.text_from(start)
        except BudgetError:
            return _too_complicated(name)
        if text is not None:
            return (
                f"grammar has more than {MOST_WAYS} ways to read {text!r} in rule {name!r}; "
                f"it must have at most {MOST_WAYS} for {LENGTH} characters; make alternatives and "
                "neighbouring repetitions begin with different characters"
            )
    return None


def _too_complicated(name: str) -> str:
    return (
        f"grammar may have more than {MOST_WAYS} ways to read {LENGTH} characters in rule "
        f"{name!r}, and is too complicated to tell; use fewer alternatives that begin with the "
        "same characters, or fewer repetitions of them"
    )
