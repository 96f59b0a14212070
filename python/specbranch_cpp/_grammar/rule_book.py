"""Builds a GBNF grammar from parts: schemas, and free text up to a mark."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from specbranch_cpp._grammar import followed_marks
from specbranch_cpp._grammar.json_schema import grammar_of, grammar_of_union
from specbranch_cpp._grammar.regex import class_of, literal_of

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from specbranch_cpp.grammars import Lark

__all__ = ["RuleBook"]

_RULE = re.compile(r"^([a-zA-Z0-9-]+) ::=", re.MULTILINE)
_SPACE = r"[ \t\n]"
ANY = r"[^\x00]"
_TOKEN = re.compile(
    r'"[^"\\]*(?:\\.[^"\\]*)*"|\[[^\]\\]*(?:\\.[^\]\\]*)*\]|\{[^}]*\}|[a-zA-Z0-9-]+'
)


class RuleBook:
    """Rules with names that do not collide."""

    def __init__(self) -> None:
        self._rules: list[str] = []
        self._count = 0
        self._ends: dict[tuple[str, tuple[str, ...]], list[str]] = {}

    def grammar(self, root: str) -> str | Lark:
        """The grammar whose texts are those of the expression ``root``."""
        return "\n".join([f"root ::= {root}", *self._rules])

    def add(self, expression: str) -> str:
        """A rule for an expression; returns the name of the rule."""
        name = self._name()
        self.define(name, expression)
        return name

    def reserve(self) -> str:
        """The name of a rule that `define` adds later, for rules that refer to each other."""
        return self._name()

    def define(self, name: str, expression: str) -> None:
        """Adds the rule of a reserved name."""
        self._rules.append(f"{name} ::= {expression}")

    def include(self, grammar: str) -> str:
        """The rules of a whole grammar; returns the new name of its ``root``."""
        prefix = self._name()
        known = set(_RULE.findall(grammar))
        self._rules.append(
            _TOKEN.sub(
                lambda m: f"{prefix}-{m.group()}" if m.group() in known else m.group(), grammar
            )
        )
        return f"{prefix}-root"

    def schema(self, schema: Any, name: str, *, strict: bool) -> str:
        """JSON that follows a schema: see `json_schema.grammar_of`."""
        return self.include(grammar_of(schema, name, strict=strict))

    def objects(
        self,
        frames: Sequence[Mapping[str, Any]],
        schemas: Sequence[tuple[Any, str, bool]],
        key: str,
    ) -> str:
        """One of several objects: see `json_schema.grammar_of_union`."""
        return self.include(grammar_of_union(frames, schemas, key))

    def until(
        self,
        marks: Mapping[str, str],
        *,
        may_end: bool = False,
        starts: Mapping[str, str] | None = None,
    ) -> str:
        """Any text up to the first of several marks, then the expression of this mark.

        The text before the mark contains no mark, so there is one way to read each text.

        Args:
            marks: the expression after each mark. No mark is a part of another mark.
            may_end: whether the text may also end before a mark.
            starts: the expression after each string with which the text may begin, behind white
                space. None of them begins another of them.
        """
        names = {prefix: self._name() for prefix in _prefixes(marks)}
        begins = {prefix: self._name() for prefix in _prefixes(starts)} if starts else {}
        after = {**marks, **(starts or {})}
        letters = sorted({letter for word in after for letter in word})
        for states, words in ((names, marks), (begins, after)):
            for prefix, name in states.items():
                ways = ['""'] if may_end else []
                special: list[str] = []
                if states is begins and not prefix:
                    ways.append(f"{_SPACE} {name}")
                    special += " \t\n"
                for letter in letters:
                    read = prefix + letter
                    mark = next((w for w in marks if read.endswith(w)), read)
                    if mark in words:
                        ways.append(f"{literal_of(letter)} {after[mark]}".rstrip())
                    elif read in states:
                        ways.append(f"{literal_of(letter)} {states[read]}")
                    elif kept := _longest_suffix(read, names):
                        ways.append(f"{literal_of(letter)} {names[kept]}")
                    else:
                        continue
                    special.append(letter)
                ways.append(f"{_none_of(special)} {names['']}")
                self._rules.append(f"{name} ::= {' | '.join(ways)}")
        return begins[""] if begins else names[""]

    def until_followed(self, mark: str, followers: Sequence[str]) -> list[str]:
        """For each follower a rule: any text, the mark, white space (or none), and the follower.

        The text contains no mark that one of the followers follows. So there is one way to read
        each text, and the rules can be used as often as one likes: they are made once.

        Args:
            mark: the mark, not empty.
            followers: none of them begins with white space, or with another of them.
        """
        key = (mark, tuple(followers))
        if key not in self._ends:
            self._ends[key] = self._followed(mark, followers)
        return self._ends[key]

    def _followed(self, mark: str, followers: Sequence[str]) -> list[str]:
        automaton = followed_marks.states(mark, followers)
        begins = []
        for index in range(len(followers)):
            names = [self._name() for _ in automaton]
            for name, state in zip(names, automaton, strict=True):
                ways = [literal_of(letter) for letter, end in state.ends.items() if end == index]
                ways += [f"{literal_of(one)} {names[step]}" for one, step in state.steps.items()]
                special = sorted({*state.ends, *state.steps})
                ways.append(f"{_none_of(special)} {names[0]}")
                self._rules.append(f"{name} ::= {' | '.join(ways)}")
            begins.append(names[0])
        return begins

    def _name(self) -> str:
        self._count += 1
        return f"r{self._count}"


def _prefixes(words: Iterable[str]) -> list[str]:
    """The words without at least their last letter, the shortest first; and the empty text."""
    found = {"", *(word[:size] for word in words for size in range(len(word)))}
    return sorted(found, key=lambda prefix: (len(prefix), prefix))


def _longest_suffix(text: str, prefixes: Collection[str]) -> str:
    """The longest end of the text that begins a mark; empty: none does."""
    return next((text[i:] for i in range(len(text)) if text[i:] in prefixes), "")


def _none_of(letters: list[str]) -> str:
    """A class of all other characters."""
    if not letters:
        return ANY
    inside = class_of([(ord(letter), ord(letter)) for letter in letters])[1:-1]
    return f"[^{inside}]"
