"""Chooses between llguidance and GBNF for a rule."""

from __future__ import annotations

import re
from typing import Union

from specbranch_cpp._grammar import library
from specbranch_cpp._grammar.json_schema import grammar_of
from specbranch_cpp._grammar.lark_book import LarkBook
from specbranch_cpp._grammar.lark_cost import check_lark
from specbranch_cpp._grammar.regex import MOST_LENGTH, gbnf_of_regex
from specbranch_cpp._grammar.rule_book import RuleBook
from specbranch_cpp._grammar.rust_classes import plain_classes
from specbranch_cpp._support import checked
from specbranch_cpp.grammars import JsonSchema, Lark, Regex

__all__ = ["Grammar", "best_book", "lark_or_gbnf"]

Grammar = Union[str, Lark, Regex, JsonSchema]  # noqa: UP007 (Python 3.10)
"""GBNF, or one of the rules of `specbranch_cpp.grammars`."""

_ASCII = {"d": "0-9", "w": "a-zA-Z0-9_", "s": r" \t\n\r\f\v"}
_CLASS = re.compile(r"\\(?P<kind>[dwsDWS])|\\.|(?P<open>\[\^?)|(?P<close>\])", re.DOTALL)
_SLASH = re.compile(r"(\\.)|/", re.DOTALL)


def best_book() -> RuleBook:
    """A book for llguidance, or for GBNF if llguidance cannot be used."""
    return LarkBook() if library.is_available() else RuleBook()


def lark_or_gbnf(grammar: Grammar) -> str | Lark:
    """A rule as GBNF or as Lark.

    Raises:
        InvalidArgument: the rule is wrong, or a grammar cannot express it.
        MissingExtra: the rule needs llguidance.
    """
    if isinstance(grammar, JsonSchema):
        if library.is_available():
            book = LarkBook()
            return book.grammar(book.schema(grammar.schema, grammar.name, strict=grammar.strict))
        return grammar_of(grammar.schema, grammar.name, strict=grammar.strict)
    if isinstance(grammar, Regex):
        return _of_regex(grammar.pattern)
    if isinstance(grammar, Lark):
        library.require("a Lark grammar")
        if isinstance(grammar.text, str):
            check_lark(grammar.text)
    return grammar


def _of_regex(pattern: str) -> str | Lark:
    checked.encoded("the pattern of Regex", pattern)
    if library.is_available() and len(pattern) <= MOST_LENGTH:
        lark = f"start: /{_in_rust(pattern)}/"
        if library.refusal(lark) is None:
            return Lark(lark)
    return f"root ::= {gbnf_of_regex(pattern)}\n"


def _in_rust(pattern: str) -> str:
    """A regular expression between slashes: ASCII classes, without anchors around the whole."""
    pattern = plain_classes(pattern)
    has_ways = "|" in pattern
    if not has_ways and pattern.startswith("^"):
        pattern = pattern[1:]
    if not has_ways and re.search(r"(?<!\\)(?:\\\\)*\$$", pattern):
        pattern = pattern[:-1]
    in_class = False

    def written(found: re.Match[str]) -> str:
        nonlocal in_class
        if found["kind"]:
            inside = _ASCII[found["kind"].lower()]
            if found["kind"].isupper():
                return f"[^{inside}]"
            return inside if in_class else f"[{inside}]"
        if found["open"] or found["close"]:
            in_class = bool(found["open"])
        return found[0]

    return _SLASH.sub(lambda found: found[1] or r"\/", _CLASS.sub(written, pattern))
