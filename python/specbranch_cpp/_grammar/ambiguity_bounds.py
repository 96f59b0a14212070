"""Upper bounds of the ways in which a short text can be read from a place of a grammar.

A bound lets each way choose its own next characters, and forgets which rule called the current one,
if that is not a small one. So it takes a time that is linear in the size of the grammar.
"""

from __future__ import annotations

import time
from bisect import bisect_left
from collections import deque
from typing import TYPE_CHECKING

from specbranch_cpp._grammar.common_beginnings import Beginnings
from specbranch_cpp._grammar.first_rules import first_elements, groups_of_first_rules
from specbranch_cpp._grammar.gbnf_rules import END
from specbranch_cpp._grammar.own_rules import with_own_rules

if TYPE_CHECKING:
    from specbranch_cpp._grammar.gbnf_rules import Rules, Spans

__all__ = ["MOST_RETURNS", "Budget", "BudgetError", "Characters", "WayBounds"]

MOST_RETURNS = 8
"""Through how many calling rules a way may leave the rule in which it begins."""

_STEPS_AT_ONCE = 2000  # about a millisecond
_PAUSE_S = 1e-5  # after 0 this thread may have the lock again before another one wakes up
_MOST_KINDS = 200  # of characters, in a bound; more are put together
_CAP = 10**12  # counts stop here, because larger counts are refused anyway
_EXAMPLES = "a0 A"

_Ways = dict[int, int]  # by the kind of the next character


class BudgetError(Exception):
    """Too many steps."""


class Budget:
    """How many steps may still be made. Between them, other threads get their turns.

    Python passes its lock on only after 5 ms, and an event loop asks for the lock many times for
    one request.

    Args:
        left: the number of steps.
    """

    def __init__(self, left: int) -> None:
        self._left = left
        self._pause_at = self._next_pause()

    def take(self, count: int = 1) -> None:
        """Counts steps.

        Raises:
            BudgetError: there are not that many left.
        """
        self._left -= count
        if self._left <= self._pause_at:
            self._pause()

    def _pause(self) -> None:
        if self._left < 0:
            raise BudgetError
        self._pause_at = self._next_pause()
        time.sleep(_PAUSE_S)

    def _next_pause(self) -> int:
        return max(self._left - _STEPS_AT_ONCE, -1)


class Characters:
    """Kinds of characters: those of a kind are in the same classes of a grammar.

    Args:
        rules: of the grammar.
    """

    def __init__(self, rules: Rules) -> None:
        begins = {0}
        for text in {element for element in rules.elements if isinstance(element, str)}:
            begins.update(map(ord, text))
            begins.update(ord(character) + 1 for character in text)
        for spans in {element for element in rules.elements if isinstance(element, tuple)}:
            for first, last in spans:
                begins.update((first, last + 1))
        self._begins = sorted(begins)
        self._kinds = {begin: index for index, begin in enumerate(self._begins)}
        self._of_class: dict[Spans, list[tuple[int, int]]] = {}

    def __len__(self) -> int:
        return len(self._begins)

    def of_text(self, text: str, index: int) -> int:
        """The kind of a character of a literal."""
        return self._kinds[ord(text[index])]

    def of_class(self, spans: Spans) -> list[tuple[int, int]]:
        """The kinds of a class: the first of each range, and the one after its last."""
        if spans not in self._of_class:
            ranges: list[tuple[int, int]] = []
            for first, last in sorted(spans):
                begin, end = self._kinds[first], bisect_left(self._begins, last + 1)
                if ranges and begin <= ranges[-1][1]:  # no kind twice
                    begin, end = ranges[-1][0], max(end, ranges.pop()[1])
                if begin < end:
                    ranges.append((begin, end))
            self._of_class[spans] = ranges
        return self._of_class[spans]

    def example(self, kind: int) -> str:
        """A character of a kind."""
        first, end = self._begins[kind], [*self._begins, 0x110001][kind + 1]
        for character in _EXAMPLES:
            if first <= ord(character) < end:
                return character
        return chr(first) if first < 0x110000 else "<token>"


class WayBounds:
    """The bounds of each element of a grammar, and of what comes after each rule.

    Args:
        rules: of the grammar.
        root: the number of the rule with which a text begins.
        length: of the longest text.
        budget: of steps.
    """

    def __init__(self, rules: Rules, root: int, length: int, budget: Budget) -> None:
        self.characters = Characters(rules)
        self._given = rules
        self._root = root
        self._given_reachable = _reachable(rules, root)
        self.callers = _all_callers(rules, self._given_reachable)
        rules, self._origins, self._rule_origins = with_own_rules(rules)
        self._rules = rules
        self._length = length
        self._budget = budget
        self._reachable = _reachable(rules, root)
        reachable = set(self._reachable)
        groups, _ = groups_of_first_rules(rules)
        self._groups = [group for group in groups if group[0] in reachable]
        self._elements = [
            element for element, owner in enumerate(rules.owners) if owner in reachable
        ]
        self._ends = self._which_can_end()
        self._callers = _all_callers(rules, self._reachable)
        self._trees: dict[int, list[tuple[int, Beginnings]]] = {}  # of rules
        self._in_trees: set[int] = set()
        self._grow_trees()
        # By the number of characters: of each element, and after each rule.
        self._ways = [[1] * len(rules.elements)]
        self._ways_after = [[1] * len(rules.names)]
        self._n_kinds = len(self.characters)
        self._kinds: dict[int, tuple[int, ...]] = {}

    def compute(self) -> None:
        """Computes the bounds.

        Raises:
            BudgetError: that takes too long.
        """
        while len(self._ways) <= self._length:
            self._next_level()
            if max(self._ways[-1], default=1) == 1:  # one way always: then for longer texts, too
                while len(self._ways) <= self._length:
                    self._ways.append(self._ways[-1])
                    self._ways_after.append(self._ways_after[-1])

    def starts(self, most: int) -> list[int]:
        """The elements from which there may be more ways than this, with the most ways first.

        Any other place has no more ways than one of these: a text or class has the ways of what
        follows; the first element of a sequence is one way of those who call its rule; and what can
        be empty has all ways of what follows.
        """
        rules, ways = self._given, self._ways[self._length]
        others = set()
        for rule, firsts in enumerate(rules.firsts):
            if rule != self._root:
                others.update(firsts)
        for element, content in enumerate(rules.elements):
            if isinstance(content, int) and rules.can_be_empty[content]:
                others.add(rules.after[element])
        found = [
            element
            for element, content in enumerate(rules.elements)
            if isinstance(content, int) and element not in others and ways[element] > most
        ]
        # Of the same number of ways, the innermost rule tells most.
        order = {rule: number for number, rule in enumerate(self._given_reachable)}
        return sorted(found, key=lambda one: (ways[one], order[rules.owners[one]]), reverse=True)

    def grows(self, most: int) -> bool:
        """Whether there are more ways than this for the longest text that was computed, or twice
        as many as for one character.
        """
        ways = max(self._ways[-1], default=1)
        return len(self._ways) < 3 or ways > most or ways > 2 * max(self._ways[1])

    def widest(self) -> int:
        """The rule with the most ways."""
        element = max(self._elements, key=lambda element: self._ways[-1][element])
        return self._rules.owners[element]

    def of(self, element: int, read: int, length: int, after: int, owner: int) -> int:
        """The bound for a text of this length from inside a text or class.

        Args:
            element: a text or class.
            read: the number of its characters that are behind.
            length: the number of characters that follow.
            after: what follows the rule of the element, or `END`.
            owner: the rule with this end.
        """
        content = self._rules.elements[element]
        left = length - ((len(content) if isinstance(content, str) else 1) - read)
        if left < 0:
            return 1
        if self._rules.after[element] != END:
            after = self._rules.after[element]
        return self._ways_after[left][owner] if after == END else self._ways[left][after]

    def _after(self, element: int, length: int) -> int:
        after = self._rules.after[element]
        if after == END:
            return self._ways_after[length][self._rules.owners[element]]
        return self._ways[length][after]

    def _next_level(self) -> None:
        length = len(self._ways)
        rules, take = self._rules, self._budget.take
        of_rules: list[_Ways] = [{}] * len(rules.names)
        for group in self._groups:
            total: _Ways = {}
            for rule in group:
                self._add_trees(total, rule, length)
                for element in first_elements(rules, rule):
                    content = rules.elements[element]
                    if not isinstance(content, int):
                        if element in self._in_trees:
                            continue
                        self._add_character(total, element, length)
                    elif content not in group:
                        self._add(total, of_rules[content])
            for rule in group:
                of_rules[rule] = total
        local: list[_Ways] = [{}] * len(rules.elements)
        # The elements of a sequence have growing numbers.
        for element in reversed(self._elements):
            content, after = rules.elements[element], rules.after[element]
            take()
            if not isinstance(content, int):
                local[element] = {}
                self._add_character(local[element], element, length)
            elif after == END or not rules.can_be_empty[content]:
                local[element] = of_rules[content]
            else:
                local[element] = dict(of_rules[content])
                self._add(local[element], local[after])
        returned = self._returned(local)
        largest: dict[int, int] = {}  # of the shared ones
        ways = [1] * len(rules.elements)
        for element in self._elements:
            one = local[element]
            if self._ends[element]:
                one = dict(one)
                self._add(one, returned[rules.owners[element]])
            if id(one) not in largest:
                take(len(one))
                value = max(one.values(), default=1)
                if one is local[element]:
                    largest[id(one)] = value
            else:
                value = largest[id(one)]
            ways[element] = max(value, 1)
        for element in self._elements:
            origin = self._origins[element]
            ways[origin] = max(ways[origin], ways[element])
        self._ways.append(ways)
        ways_after = [max(one.values(), default=1) for one in returned]
        for rule in self._reachable:
            origin = self._rule_origins[rule]
            ways_after[origin] = max(ways_after[origin], ways_after[rule])
        self._ways_after.append(ways_after)

    def _returned(self, local: list[_Ways]) -> list[_Ways]:
        """The ways after the end of each rule: the most of all rules that call it."""
        rules = self._rules
        returned: list[_Ways] = [{} for _ in rules.names]
        left = deque(self._reachable)
        waiting = set(left)
        times = [0] * len(rules.names)
        users: dict[int, list[int]] = {}
        for rule in self._reachable:
            for after, owner in self._callers[rule]:
                if after == END or self._ends[after]:
                    users.setdefault(owner, []).append(rule)
        while left:
            rule = left.popleft()
            waiting.remove(rule)
            times[rule] += 1
            found: _Ways = {}
            for after, owner in self._callers[rule]:
                one = returned[owner] if after == END else local[after]
                if after != END and self._ends[after]:
                    one = dict(one)
                    self._add(one, returned[owner])
                self._budget.take(len(one) + 1)
                for kind, count in one.items():
                    if count > found.get(kind, 0):
                        found[kind] = count
            if found != returned[rule]:
                returned[rule] = found
                for user in users.get(rule, ()):
                    if times[user] <= MOST_RETURNS and user not in waiting:
                        waiting.add(user)
                        left.append(user)
        return returned

    def _add_character(self, total: _Ways, element: int, length: int) -> None:
        content = self._rules.elements[element]
        left = length - (len(content) if isinstance(content, str) else 1)
        count = self._after(element, left) if left >= 0 else 1
        if element not in self._kinds:
            self._kinds[element] = self._kinds_of(element)
        kinds = self._kinds[element]
        self._budget.take(len(kinds))
        for kind in kinds:
            total[kind] = total.get(kind, 0) + count

    def _grow_trees(self) -> None:
        """Puts literals with which sequences of a rule begin into trees."""
        for rule in self._reachable:
            texts: dict[str, list[tuple[str, int]]] = {}
            for first in self._rules.firsts[rule]:
                content = self._rules.elements[first] if first != END else None
                if isinstance(content, str):
                    texts.setdefault(content[0], []).append((content, first))
            for same in texts.values():
                if len(same) > 1:
                    tree = same[0][1], Beginnings(same, self._length)
                    self._trees.setdefault(rule, []).append(tree)
                    self._in_trees.update(element for _, element in same)

    def _add_trees(self, total: _Ways, rule: int, length: int) -> None:
        for element, tree in self._trees.get(rule, ()):
            self._budget.take(len(tree))
            kind = self._kinds_of(element)[0]
            count = tree.most_ways(length, self._after)
            total[kind] = min(total.get(kind, 0) + count, _CAP)

    def _kinds_of(self, element: int) -> tuple[int, ...]:
        content = self._rules.elements[element]
        if isinstance(content, str):
            return (self._merged(self.characters.of_text(content, 0)),)
        assert isinstance(content, tuple)
        kinds: set[int] = set()
        for begin, end in self.characters.of_class(content):
            self._budget.take()
            kinds.update(range(self._merged(begin), self._merged(end - 1) + 1))
        return tuple(kinds)

    def _merged(self, kind: int) -> int:
        return kind if self._n_kinds <= _MOST_KINDS else kind * _MOST_KINDS // self._n_kinds

    def _add(self, total: _Ways, more: _Ways) -> None:
        self._budget.take(len(more) + 1)
        for kind, count in more.items():
            total[kind] = min(total.get(kind, 0) + count, _CAP)

    def _which_can_end(self) -> list[bool]:
        """Of each element, whether it and what follows it in its sequence can be empty."""
        rules = self._rules
        ends = [False] * len(rules.elements)
        for element in reversed(self._elements):
            content, after = rules.elements[element], rules.after[element]
            if isinstance(content, int) and rules.can_be_empty[content]:
                ends[element] = after == END or ends[after]
        return ends


def _all_callers(rules: Rules, reachable: list[int]) -> list[list[tuple[int, int]]]:
    """Of each rule, what follows it: an element, or `END`, and the rule of these."""
    callers: list[dict[tuple[int, int], None]] = [{} for _ in rules.names]
    among = set(reachable)
    for element, content in enumerate(rules.elements):
        if isinstance(content, int) and rules.owners[element] in among:
            callers[content][rules.after[element], rules.owners[element]] = None
    return [list(one) for one in callers]


def _reachable(rules: Rules, root: int) -> list[int]:
    """The rules that a text can use, each after one that uses it."""
    elements: dict[int, list[int]] = {}
    for element, owner in enumerate(rules.owners):
        content = rules.elements[element]
        if isinstance(content, int):
            elements.setdefault(owner, []).append(content)
    found = {root: None}
    left = [root]
    while left:
        following = []
        for rule in left:
            for other in elements.get(rule, ()):
                if other not in found:
                    found[other] = None
                    following.append(other)
        left = following
    return list(found)
