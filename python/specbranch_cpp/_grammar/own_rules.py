"""Gives each use of a small rule its own copy, so that a copy returns to one place only."""

from __future__ import annotations

from specbranch_cpp._grammar.gbnf_rules import Rules

__all__ = ["with_own_rules"]

_MOST_ELEMENTS = 16  # of a small rule, with the small rules that it uses
_MOST_LEVELS = 4  # of small rules that use small rules
_MOST_COPIED = 50_000  # elements of all copies


def with_own_rules(rules: Rules) -> tuple[Rules, list[int], list[int]]:
    """The same rules with copies of small rules.

    Returns:
        The rules, which begin with the given ones, the original of each element, and that of each
        rule.
    """
    copied = Rules()
    copied.names = list(rules.names)
    copied.firsts = list(rules.firsts)
    copied.can_be_empty = list(rules.can_be_empty)
    copied.elements = list(rules.elements)
    copied.after = list(rules.after)
    copied.owners = list(rules.owners)
    origins = list(range(len(rules.elements)))
    rule_origins = list(range(len(rules.names)))
    small = _small_rules(rules)
    sequences = _sequences(rules, small)
    element = 0
    while element < len(copied.elements):
        content, owner = copied.elements[element], copied.owners[element]
        # Inside of a small rule that nothing uses, there is nothing to copy.
        if (
            isinstance(content, int)
            and content in small
            and content != owner
            and (element >= len(rules.elements) or owner not in small)
            and len(copied.elements) - len(rules.elements) < _MOST_COPIED
        ):
            number = copied.elements[element] = copied.rule(rules.names[content])
            rule_origins.append(content)
            copied.can_be_empty[number] = rules.can_be_empty[content]
            for sequence in sequences[content]:
                copied.sequence(
                    number,
                    [
                        number if rules.elements[one] == content else rules.elements[one]
                        for one in sequence
                    ],
                )
                origins += sequence
        element += 1
    return copied, origins, rule_origins


def _small_rules(rules: Rules) -> set[int]:
    """The rules with few elements that use no rules but themselves and such rules."""
    elements: dict[int, list[str | tuple[tuple[int, int], ...] | int]] = {}
    for element, owner in enumerate(rules.owners):
        elements.setdefault(owner, []).append(rules.elements[element])
    sizes: dict[int, int] = {}
    left = [rule for rule, own in elements.items() if len(own) <= _MOST_ELEMENTS]
    for _ in range(_MOST_LEVELS):
        found: dict[int, int] = {}
        for rule in left:
            used = [one for one in elements[rule] if isinstance(one, int) and one != rule]
            if all(one in sizes for one in used):
                found[rule] = len(elements[rule]) + sum(sizes[one] for one in used)
        left = [rule for rule in left if rule not in found]
        sizes.update({rule: size for rule, size in found.items() if size <= _MOST_ELEMENTS})
    return set(sizes)


def _sequences(rules: Rules, wanted: set[int]) -> dict[int, list[list[int]]]:
    """The elements of each sequence of the wanted rules."""
    sequences: dict[int, list[list[int]]] = {}
    for rule in wanted:
        sequences[rule] = []
        for first in rules.firsts[rule]:
            sequence, element = [], first
            while element >= 0:
                sequence.append(element)
                element = rules.after[element]
            sequences[rule].append(sequence)
    return sequences
