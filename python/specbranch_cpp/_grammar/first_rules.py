"""With which other rules a rule can begin."""

from __future__ import annotations

from typing import TYPE_CHECKING

from specbranch_cpp._grammar.components import components
from specbranch_cpp._grammar.gbnf_rules import END

if TYPE_CHECKING:
    from collections.abc import Iterator

    from specbranch_cpp._grammar.gbnf_rules import Rules

__all__ = ["first_elements", "groups_of_first_rules"]


def groups_of_first_rules(rules: Rules) -> tuple[list[list[int]], int | None]:
    """Rules in groups of those that begin with each other: strongly connected components.

    Returns:
        The groups, where the rules with which a group begins come before it, and a rule that begins
        with itself and has more to come (left recursion). llama.cpp would put more and more on its
        stack.
    """
    groups = list(components(range(len(rules.names)), lambda rule: _first_rules(rules, rule)))
    group_of = {rule: index for index, group in enumerate(groups) for rule in group}
    for rule in range(len(rules.names)):
        for element in first_elements(rules, rule):
            other = rules.elements[element]
            if (
                isinstance(other, int)
                and rules.after[element] != END
                and group_of[other] == group_of[rule]
            ):
                return groups, rule
    return groups, None


def first_elements(rules: Rules, rule: int) -> Iterator[int]:
    """The elements with which the sequences of a rule can begin."""
    for first in rules.firsts[rule]:
        element = first
        while element != END:
            yield element
            other = rules.elements[element]
            if not isinstance(other, int) or not rules.can_be_empty[other]:
                break
            element = rules.after[element]


def _first_rules(rules: Rules, rule: int) -> Iterator[int]:
    for element in first_elements(rules, rule):
        other = rules.elements[element]
        if isinstance(other, int):
            yield other
