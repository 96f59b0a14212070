"""The rules of a GBNF grammar as llama.cpp keeps them: repetitions and groups are rules, too."""

from __future__ import annotations

import re
from typing import NamedTuple, Union

from specbranch_cpp.errors import InvalidArgument

__all__ = ["END", "LONGEST_RUN", "MOST_WRITTEN", "Rules", "Spans", "rules_of"]

END = -1
"""The position after the last element of a sequence."""
LONGEST_RUN = 300
"""The largest number of repetitions of a part that can be empty."""
MOST_WRITTEN = 400_000
"""The largest number of names, texts and classes, with such repetitions written out."""

Spans = tuple[tuple[int, int], ...]
"""A class of characters: the first and the last one of each range."""

_LAST = 0x10FFFF
_SPECIAL: Spans = ((_LAST + 1, _LAST + 1),)  # a token that is no text
_TOKEN = re.compile(
    r"""\#[^\n]* | (?P<name>[a-zA-Z0-9_-]+)(?P<rule>\s*::=)? | "(?P<text>(?:[^"\\]+|\\.)*)"?
    | \[(?P<set>(?:[^\]\\]+|\\.)*)\]? | (?P<special>!?<[^>\n]*>?)
    | \{\s*(?P<least>[0-9]+)\s*(?P<span>,)?\s*(?P<most>[0-9]*)\s*\} | (?P<sign>[().*+?|])""",
    re.VERBOSE | re.DOTALL,
)
_UNIT = re.compile(
    r"\\x([0-9a-fA-F]{2})|\\u([0-9a-fA-F]{4})|\\U([0-9a-fA-F]{8})|\\(.)|(.)", re.DOTALL
)
_SHORT = {"n": "\n", "r": "\r", "t": "\t"}
_SIGNS: dict[str, tuple[int, int | None]] = {"*": (0, None), "+": (1, None), "?": (0, 1)}
_UNLIMITED = 2000  # llama.cpp takes a larger number as no limit


class _Name(NamedTuple):
    """An element: the name of a rule."""

    name: str


_Once = Union[_Name, str, Spans]  # noqa: UP007 (Python 3.10)


class _Symbol(NamedTuple):
    """An element and its repetitions, the inner one first."""

    once: _Once
    counts: list[tuple[int, int | None]]

    def needed(self) -> str | None:
        """The name that must be empty for this to be empty. ``None``: there is none."""
        return self.once.name if isinstance(self.once, _Name) else None

    def is_optional(self) -> bool:
        return any(least == 0 for least, _ in self.counts)


_Named = dict[str, list[list[_Symbol]]]


class Rules:
    """Rules, sequences and their elements, each with a number.

    Attributes:
        names: of each rule; that of the written rule for a group or a repetition.
        firsts: of each rule, the first element of each of its sequences, or `END`.
        can_be_empty: of each rule.
        elements: a text, a class of characters, or the number of a rule.
        after: of each element, the next one of its sequence, or `END`.
        owners: of each element, its rule.
    """

    def __init__(self) -> None:
        self.names: list[str] = []
        self.firsts: list[list[int]] = []
        self.can_be_empty: list[bool] = []
        self.elements: list[str | Spans | int] = []
        self.after: list[int] = []
        self.owners: list[int] = []

    def rule(self, name: str) -> int:
        """A new rule."""
        self.names.append(name)
        self.firsts.append([])
        self.can_be_empty.append(False)
        return len(self.names) - 1

    def sequence(self, rule: int, elements: list[str | Spans | int]) -> None:
        """Adds a sequence to a rule.

        Raises:
            InvalidArgument: there are too many elements.
        """
        begin = len(self.elements)
        if begin + len(elements) > MOST_WRITTEN:
            raise InvalidArgument(
                f"grammar has more than {MOST_WRITTEN} elements in its repetitions; repeat fewer "
                "parts, or less often"
            )
        self.elements += elements
        self.after += range(begin + 1, begin + len(elements))
        self.after += [END] * bool(elements)
        self.owners += [rule] * len(elements)
        self.firsts[rule].append(begin if elements else END)


def rules_of(grammar: str, length: int) -> tuple[Rules, int | None]:
    """Reads a grammar. What llama.cpp cannot read is left out.

    Args:
        grammar: in GBNF.
        length: the longest text that matters. A repetition of a part that cannot be empty is not
            written out for longer texts.

    Returns:
        The rules, and the number of one more rule, which is the rule ``root``, if there is one.

    Raises:
        InvalidArgument: the repetitions have too many elements.
    """
    named = _named(grammar)
    return _Writer(named, length).written()


def _named(grammar: str) -> _Named:
    """The rules as written; each group is its own rule."""
    named: _Named = {}
    open_groups: list[tuple[str, list[_Symbol]]] = []
    name = ""
    sequence: list[_Symbol] = []
    for token in _TOKEN.finditer(grammar):
        text = token.group()
        if text.startswith("#"):
            continue
        repetition = _SIGNS.get(text)
        if token["least"]:
            least = int(token["least"][:9])
            most = int(token["most"][:9]) if token["most"] else None
            repetition = least, most if token["span"] else least
        if repetition is not None:
            if sequence:
                counts, limited = sequence[-1].counts, _limited(*repetition)
                if limited != (0, 1) or counts[-1:] != [limited]:  # ``x??`` is ``x?``
                    counts.append(limited)
        elif token["rule"]:
            open_groups.clear()
            name, sequence = token["name"], []
            named[name] = [sequence]  # of several rules with a name, the last one counts
        elif text == "|":
            sequence = []
            named.setdefault(name, []).append(sequence)
        elif text == "(":
            open_groups.append((name, sequence))
            name, sequence = f"{name.partition('(')[0]}({token.start()}", []
            named[name] = [sequence]
        elif text == ")":
            if open_groups:
                group = _Name(name)
                name, sequence = open_groups.pop()
                sequence.append(_Symbol(group, []))
        elif (once := _once(token)) is not None:
            sequence.append(_Symbol(once, []))
    return named


def _limited(least: int, most: int | None) -> tuple[int, int | None]:
    return min(least, _UNLIMITED), None if most is not None and most > _UNLIMITED else most


def _once(token: re.Match[str]) -> _Once | None:
    """A name, a text, or a class. ``None``: nothing."""
    if token["name"]:
        return _Name(token["name"])
    if token["text"] is not None:
        return "".join(_characters(token["text"])) or None
    if token["set"] is not None:
        return _class(token["set"])
    if token["special"]:
        return _SPECIAL
    return ((0, _LAST),) if token["sign"] == "." else None


def _characters(text: str) -> list[str]:
    """The characters of a literal or class."""
    found = []
    for unit in _UNIT.finditer(text):
        code = unit[1] or unit[2] or unit[3]
        if code:
            found.append(chr(min(int(code, 16), _LAST)))
        else:
            found.append(unit[5] or _SHORT.get(unit[4], unit[4]))
    return found


def _class(text: str) -> Spans | None:
    """A class of characters. ``None``: it is empty, and llama.cpp leaves it out."""
    negated = text.startswith("^")
    units = [unit.group() for unit in _UNIT.finditer(text, int(negated))]
    spans: list[tuple[int, int]] = []
    index = 0
    while index < len(units):
        is_range = units[index + 1 : index + 2] == ["-"] and index + 2 < len(units)
        ends = [units[index], units[index + 2] if is_range else units[index]]
        first, last = (ord(_characters(end)[0]) for end in ends)
        spans.append((first, last))
        index += 3 if is_range else 1
    if not spans:
        return None
    return _negated(spans) if negated else tuple(spans)


def _negated(spans: list[tuple[int, int]]) -> Spans:
    others, begin = [], 0
    for first, last in sorted(spans):
        if begin < first:
            others.append((begin, first - 1))
        begin = max(begin, last + 1)
    if begin <= _LAST:
        others.append((begin, _LAST))
    return tuple(others)


class _Writer:
    """Writes out repetitions."""

    def __init__(self, named: _Named, length: int) -> None:
        self._named = named
        self._longest = length + 1
        self._rules = Rules()
        self._numbers: dict[str, int] = {}
        self._empty = _empty_rules(named)

    def written(self) -> tuple[Rules, int | None]:
        """The rules, and the number of the first one."""
        for name in self._named:
            self._number(name)
        for name, sequences in self._named.items():
            for sequence in sequences:
                self._sequence(self._numbers[name], sequence)
        root = self._numbers.get("root")
        if root is None:
            return self._rules, None
        start = self._rules.rule("root")
        self._rules.sequence(start, [root])
        return self._rules, start

    def _number(self, name: str) -> int:
        if name not in self._numbers:
            number = self._numbers[name] = self._rules.rule(name.partition("(")[0])
            self._rules.can_be_empty[number] = name in self._empty
        return self._numbers[name]

    def _sequence(self, rule: int, sequence: list[_Symbol]) -> None:
        elements: list[str | Spans | int] = []
        for symbol in sequence:
            elements += self._elements(rule, symbol)
        self._rules.sequence(rule, elements)

    def _elements(self, rule: int, symbol: _Symbol) -> list[str | Spans | int]:
        once = symbol.once
        elements = [self._number(once.name) if isinstance(once, _Name) else once]
        can_be_empty = symbol.needed() in self._empty
        for least, most in symbol.counts:
            longest = LONGEST_RUN if can_be_empty else self._longest
            elements = self._repeated(
                rule,
                elements,
                min(least, longest),
                None if most is None else min(max(most - least, 0), longest),
            )
            can_be_empty |= least == 0
        return elements

    def _repeated(
        self, rule: int, once: list[str | Spans | int], least: int, more: int | None
    ) -> list[str | Spans | int]:
        """As in llama.cpp: ``x{2,4}`` is ``x x b`` with ``b ::= x a |``, ``a ::= x |``; ``x*`` is
        ``a`` with ``a ::= x a |``.
        """
        last: list[str | Spans | int] = []
        for _ in range(1 if more is None else more):
            number = self._rules.rule(self._rules.names[rule])
            self._rules.can_be_empty[number] = True
            self._rules.sequence(number, [*once, *([number] if more is None else last)])
            self._rules.sequence(number, [])
            last = [number]
        # llama.cpp refuses repetitions of repetitions from 2,000 elements.
        return [*(once * least)[:_UNLIMITED], *last]


def _empty_rules(named: _Named) -> set[str]:
    """The rules that can be empty."""
    waiting: dict[str, list[list[str]]] = {}  # by a name: the rule and what else it needs
    empty: set[str] = set()
    ready: list[str] = []
    for name, sequences in named.items():
        for sequence in sequences:
            full = [symbol for symbol in sequence if not symbol.is_optional()]
            names = [needed for symbol in full if (needed := symbol.needed()) is not None]
            if len(names) == len(full):
                left = [name, *set(names)]
                if len(left) == 1:
                    ready.append(name)
                else:
                    waiting.setdefault(left[-1], []).append(left)
    while ready:
        name = ready.pop()
        if name in empty:
            continue
        empty.add(name)
        for left in waiting.pop(name, []):
            while len(left) > 1 and left[-1] in empty:
                left.pop()
            if len(left) == 1:
                ready.append(left[0])
            else:
                waiting.setdefault(left[-1], []).append(left)
    return empty
