"""With which other rules a rule can begin."""

from __future__ import annotations

from typing import TYPE_CHECKING

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
    groups = _components(rules)
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


def _components(rules: Rules) -> list[list[int]]:
    """Tarjan's algorithm, without recursion."""
    groups: list[list[int]] = []
    index: dict[int, int] = {}
    low: dict[int, int] = {}
    stack: list[int] = []
    on_stack: set[int] = set()
    for start in range(len(rules.names)):
        if start in index:
            continue
        walks = [(start, _first_rules(rules, start))]
        while walks:
            rule, others = walks[-1]
            if rule not in index:
                index[rule] = low[rule] = len(index)
                stack.append(rule)
                on_stack.add(rule)
            other = next(others, None)
            if other is None:
                walks.pop()
                if walks:
                    above = walks[-1][0]
                    low[above] = min(low[above], low[rule])
                if low[rule] == index[rule]:
                    group = [stack.pop()]
                    while group[-1] != rule:
                        group.append(stack.pop())
                    on_stack.difference_update(group)
                    groups.append(group)
            elif other not in index:
                walks.append((other, _first_rules(rules, other)))
            elif other in on_stack:
                low[rule] = min(low[rule], index[other])
    return groups


def _first_rules(rules: Rules, rule: int) -> Iterator[int]:
    for element in first_elements(rules, rule):
        other = rules.elements[element]
        if isinstance(other, int):
            yield other
