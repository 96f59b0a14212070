"""Builds a Lark grammar for llguidance from the same parts as a GBNF grammar."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from specbranch_cpp._grammar.json_schema import grammar_of
from specbranch_cpp._grammar.lark_schema import affordable_parts, is_enforced, lark_of_schema
from specbranch_cpp._grammar.rule_book import RuleBook
from specbranch_cpp.errors import InvalidArgument
from specbranch_cpp.grammars import Lark

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["LarkBook"]

MOST_PARTS = 30_000
"""The largest number of parts of all schemas of a grammar, as those of many tools."""

# The converter's names of rules may begin with a digit or a hyphen, as the names of GBNF may.
_TOKEN = re.compile(
    r'"(?P<literal>[^"\\]*(?:\\.[^"\\]*)*)"|(?P<class>\[[^\]\\]*(?:\\.[^\]\\]*)*\])|(?P<count>\{[0-9,]*\})'
    r"|(?P<name>[a-zA-Z0-9-]+)",
    re.DOTALL,
)
_RULE = re.compile(r"^([a-zA-Z0-9-]+) ::= ", re.MULTILINE)
_ESCAPE = re.compile(r"\\(x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}|.)", re.DOTALL)
_SHORT = {"n": "\n", "r": "\r", "t": "\t"}
_ANY_TEXT = "/(?s:.*)/"
_SPACES = r"/[ \t\n]*/"


class LarkBook(RuleBook):
    """Rules with names that do not collide. Expressions are GBNF, as in `RuleBook`."""

    def __init__(self) -> None:
        super().__init__()
        self._lark: list[str] = []
        self._n_parts = 0

    def grammar(self, root: str) -> Lark:
        return Lark("\n".join([f"start: {_translated(root)}", *self._lark]))

    def define(self, name: str, expression: str) -> None:
        self._lark.append(f"{name}: {_translated(expression)}")

    def include(self, grammar: str) -> str:
        rules = re.split(_RULE, grammar)[1:]
        names = {name: self._name() for name in rules[::2]}
        for name, expression in zip(rules[::2], rules[1::2], strict=True):
            self._lark.append(f"{names[name]}: {_translated(expression.strip(), names)}")
        return names["root"]

    def schema(self, schema: Any, name: str, *, strict: bool) -> str:
        """JSON that follows a schema: by llguidance, or by GBNF where only GBNF can enforce it."""
        self._n_parts += affordable_parts(schema, name)
        if self._n_parts > MOST_PARTS:
            raise InvalidArgument(
                f"{name} and the schemas before it have {self._n_parts:,} parts; they must have at "
                f"most {MOST_PARTS:,} together"
            )
        gbnf = None if is_enforced(schema) else _enforcing_gbnf(schema, name)
        if gbnf is None:
            try:
                return self._as_it_is(lark_of_schema(schema, name, strict=strict))
            except InvalidArgument:
                gbnf = None if strict else _lenient_gbnf(schema, name)
                if gbnf is None:
                    raise
        return self.include(gbnf)

    def objects(
        self,
        frames: Sequence[Mapping[str, Any]],
        schemas: Sequence[tuple[Any, str, bool]],
        key: str,
    ) -> str:
        ways = []
        for frame, (schema, name, strict) in zip(frames, schemas, strict=True):
            value = self.schema(schema, name, strict=strict)
            if not key:
                ways.append(value)
                continue
            constants = [
                part
                for one, fixed in frame.items()
                for part in (_json(one), ":", _json(fixed), ",")
            ]
            before = [f'{_json(text)} " "?' for text in ("{", *constants, _json(key), ":")]
            ways.append(" ".join([*before, value, '" "? "}"']))
        return self._as_it_is(" | ".join(ways))

    def until(
        self,
        marks: Mapping[str, str],
        *,
        may_end: bool = False,
        starts: Mapping[str, str] | None = None,
    ) -> str:
        ways = []
        for before, words in ((_SPACES, starts or {}), (_ANY_TEXT, marks)):
            for word, after in words.items():
                head = self._name()
                self._lark.append(f"{head.upper()}: {before} {_json(word)}")
                self._lark.append(f"{head}[lazy]: {head.upper()}")
                ways.append(f"{head} {_translated(after)}")
        if may_end:
            ways.append(self._as_it_is(_ANY_TEXT))
        return self._as_it_is(" | ".join(ways))

    def _followed(self, mark: str, followers: Sequence[str]) -> list[str]:
        text = f"{_ANY_TEXT} {_json(mark)} /[ \\t\\r\\n]*/"
        any_end = self._name().upper()
        self._lark.append(f"{any_end}: {text} ({' | '.join(map(_json, followers))})")
        begins = []
        for follower in followers:
            head = self._name()
            first = f"~({any_end} /(?s:.+)/)"  # no such end before
            self._lark.append(f"{head.upper()}: ({text} {_json(follower)}) & {first}")
            begins.append(self._as_it_is(head.upper()))
        return begins

    def _as_it_is(self, body: str) -> str:
        """A rule with a body in Lark; returns the name of the rule."""
        name = self._name()
        self._lark.append(f"{name}: {body}")
        return name


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def _enforcing_gbnf(schema: Any, name: str) -> str | None:
    """GBNF that enforces the whole schema. ``None``: there is none."""
    try:
        return grammar_of(schema, name, strict=True)
    except InvalidArgument:
        return None


def _lenient_gbnf(schema: Any, name: str) -> str | None:
    """GBNF that enforces what it can, with a warning. ``None``: there is none."""
    try:
        return grammar_of(schema, name)
    except InvalidArgument:
        return None


def _translated(expression: str, names: Mapping[str, str] | None = None) -> str:
    """A GBNF expression in Lark. ``names``: new names of rules."""

    def translated(found: re.Match[str]) -> str:
        if found["count"] is not None:
            return found["count"]
        if found["name"] is not None:
            return names[found["name"]] if names else found["name"]
        if found["class"] is not None:
            inside = found["class"].replace("/", r"\x2F")
            return f"/{inside}/"
        return _json(_unescaped(found["literal"]))

    return _TOKEN.sub(translated, expression)


def _unescaped(literal: str) -> str:
    def character(found: re.Match[str]) -> str:
        code = found[1]
        return chr(int(code[1:], 16)) if len(code) > 1 else _SHORT.get(code, code)

    return _ESCAPE.sub(character, literal)
