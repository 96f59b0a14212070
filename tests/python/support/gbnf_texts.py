"""Whether a GBNF grammar allows a text: the sets of stacks that llama.cpp keeps, in a few lines."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Union

__all__ = ["Gbnf"]

_TOKEN = re.compile(
    r"""\s*(?:(?P<rule>[a-zA-Z0-9-]+)\s*::=|(?P<name>[a-zA-Z0-9-]+)|(?P<text>"(?:[^"\\]|\\.)*")
    |(?P<set>\[(?:[^\]\\]|\\.)*\])|(?P<count>\{[0-9]*,?[0-9]*\})|(?P<sign>[()|*+?.]))""",
    re.VERBOSE | re.DOTALL,
)
_ESCAPE = re.compile(r"\\(x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}|.)|(.)", re.DOTALL)
_SHORT = {"n": "\n", "r": "\r", "t": "\t"}


@dataclass(frozen=True)
class _Set:
    """Some characters, or all others."""

    spans: tuple[tuple[str, str], ...]
    negated: bool = False

    def has(self, character: str) -> bool:
        return any(low <= character <= high for low, high in self.spans) != self.negated


_Element = Union[_Set, str]  # noqa: UP007 (Python 3.10); a string is the name of a rule
_Way = tuple[_Element, ...]
_Stack = tuple[_Way, ...]  # what is left of each rule, the innermost first


@dataclass
class Gbnf:
    """A grammar.

    Args:
        source: the grammar in GBNF.
    """

    source: str
    rules: dict[str, list[_Way]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._tokens = [match for match in _TOKEN.finditer(self.source) if match.group().strip()]
        self._next = 0
        while self._next < len(self._tokens):
            name = self._tokens[self._next]["rule"]
            assert name, self._tokens[self._next].group()
            assert name not in self.rules, f"{name} is there twice"
            self._next += 1
            self.rules[name] = self._ways()

    def allows(self, text: str) -> bool:
        """Whether the text follows the grammar as a whole."""
        return () in self._after(text)

    def begins(self, text: str) -> bool:
        """Whether a text of the grammar begins with this text."""
        return bool(self._after(text))

    def _after(self, text: str) -> set[_Stack]:
        stacks = self._open([(("root",),)])
        for character in text:
            stacks = self._open(
                [
                    (stack[0][1:], *stack[1:])
                    for stack in stacks
                    if stack and isinstance(top := stack[0][0], _Set) and top.has(character)
                ]
            )
        return stacks

    def _open(self, stacks: list[_Stack]) -> set[_Stack]:
        """The stacks with a character on top, or empty."""
        done: set[_Stack] = set()
        seen: set[_Stack] = set()
        while stacks:
            stack = stacks.pop()
            while stack and not stack[0]:
                stack = stack[1:]
            if stack in seen:
                continue
            seen.add(stack)
            if not stack or isinstance(stack[0][0], _Set):
                done.add(stack)
                continue
            rest = stack[0][1:]
            below = (rest, *stack[1:]) if rest else stack[1:]
            stacks += [(way, *below) for way in self.rules[stack[0][0]]]
        return done

    def _ways(self) -> list[_Way]:
        ways: list[_Way] = []
        way: list[_Element] = []
        last = 0  # where the last item of the way begins
        while self._next < len(self._tokens) and not self._tokens[self._next]["rule"]:
            token = self._tokens[self._next]
            if token["sign"] == ")":
                break
            self._next += 1
            if token["sign"] == "|":
                ways.append(tuple(way))
                way = []
            elif token["count"] or (token["sign"] or "(") in "*+?":
                item = tuple(way[last:])
                way[last:] = [self._repeated(item, token.group().strip())]
            else:
                last = len(way)
                way += self._item(token)
        return [*ways, tuple(way)]

    def _item(self, token: re.Match[str]) -> list[_Element]:
        if token["name"]:
            return [token["name"]]
        if token["text"]:
            return [_Set(((c, c),)) for c in _characters(token["text"][1:-1])]
        if token["set"]:
            return [_set_of(token["set"][1:-1])]
        if token["sign"] == ".":
            return [_Set((), negated=True)]
        ways = self._ways()
        self._next += 1  # the parenthesis
        return [self._named(ways)]

    def _repeated(self, item: _Way, sign: str) -> str:
        counts = {"*": (0, None), "+": (1, None), "?": (0, 1)}
        if sign in counts:
            least, most = counts[sign]
        else:
            low, comma, high = sign[1:-1].partition(",")
            least = int(low or 0)
            most = (int(high) if high else None) if comma else least
        if most is None:
            rest = self._named([()])
            self.rules[rest] = [(*item, rest), ()]
        else:
            rest = self._named([()])
            for _ in range(most - least):
                rest = self._named([(*item, rest), ()])
        return self._named([(*item * least, rest)])

    def _named(self, ways: list[_Way]) -> str:
        name = f"({len(self.rules)}"
        self.rules[name] = ways
        return name


def _characters(text: str) -> list[str]:
    found = []
    for match in _ESCAPE.finditer(text):
        code = match[1]
        if code is None:
            found.append(match[2])
        elif len(code) > 1:
            found.append(chr(int(code[1:], 16)))
        else:
            found.append(_SHORT.get(code, code))
    return found


def _set_of(text: str) -> _Set:
    negated = text.startswith("^")
    raw = [match.group() for match in _ESCAPE.finditer(text[negated:])]
    spans = []
    index = 0
    while index < len(raw):
        low = _characters(raw[index])[0]
        if raw[index + 1 : index + 2] == ["-"] and index + 2 < len(raw):
            spans.append((low, _characters(raw[index + 2])[0]))
            index += 3
        else:
            spans.append((low, low))
            index += 1
    return _Set(tuple(spans), negated)
