"""Patterns with look-around: llguidance enforces the conditions on the whole text."""

from __future__ import annotations

import itertools
import json
import logging
import re

import pytest
from tests.python.support.lark_texts import LarkTexts

from specbranch_cpp import InvalidArgument
from specbranch_cpp._grammar.complements import without_match
from specbranch_cpp._grammar.lark_book import LarkBook
from specbranch_cpp._grammar.lark_schema import is_enforced
from specbranch_cpp._grammar.look_around import plain_patterns

PATTERNS = [
    r"^(?!admin)\w+$",
    r"^(?!(?:con|nul)$)[a-z]+$",
    r"^(?!\s*$).+",
    r"^(?!a$|b.*b$)[ab]*$",
    r"^(?![a-c]{2,3}d?x)\w*$",
    r"^(?!.*--)[a-b-]+(?<!-)$",
    r"^(?!a|b)",
    r"^(?!a)(?!b)[^1]*$",
    r"^(?=.{3,5}$)[a-z]+$",
    r"^(?=.*[A-Z])(?=.*\d)[A-Za-z\d]{3,}$",
    r"^[a.]+(?<!\.)$",
    r"^\w+(?<=ab)$",
    r"^\bfoo$",
    r"^[a-z ]*\b$",
    r"^(a)\1$",
    r"^(['\"])b*\1$",
    r"^(?:x|(?:a))(ab|b) \1$",
]
TEXTS = [
    *("".join(each) for n in range(5) for each in itertools.product("ab-1A", repeat=n)),
    "admin", "adminx", "admi", "foo", "foo ", "con", "nul", "conx", "abcd", "abcdx", "cabx", " ",
    "  ", " x", "'b'", '"b"', "'b\"", "a.", "a.a", "ZZZZZ1a", "aab ab", "xb b", "xb ab", "[", "\\",
]  # fmt: skip


def texts(pattern: str) -> LarkTexts:
    book = LarkBook()
    schema = {"type": "string", "pattern": pattern}
    return LarkTexts(book.grammar(book.schema(schema, "schema", strict=True)))


@pytest.mark.parametrize("pattern", PATTERNS)
def test_exactly_the_texts_that_match(pattern: str) -> None:
    allowed = texts(pattern)
    found = [text for text in TEXTS if allowed.allows(json.dumps(text))]
    assert found == [text for text in TEXTS if re.search(pattern, text)]
    assert 0 < len(found) < len(TEXTS)


def test_characters_of_all_languages() -> None:
    allowed = texts(r"^(?!\s)(?!é)[^x]+$")
    for text, right in (("日本", True), ("\u00a0a", False), ("éa", False), ("aé\u2028", True)):
        assert allowed.allows(json.dumps(text, ensure_ascii=False)) == right


def test_beside_other_keywords() -> None:
    book = LarkBook()
    text = {"type": "string", "pattern": "^(?!a)", "maxLength": 3, "allOf": [{"pattern": "c$"}]}
    schema = {"type": "object", "properties": {"x": text}, "required": ["x"]}
    allowed = LarkTexts(book.grammar(book.schema(schema, "schema", strict=True)))
    for value, right in (("bbc", True), ("abc", False), ("bb", False), ("bbbc", False)):
        assert allowed.allows(json.dumps({"x": value})) == right
    assert not allowed.begins('{"y"')


@pytest.mark.parametrize(
    "pattern",
    [
        "a(?!b)", "^a(?=b)", "(?<!a)b", "(?!a)b", "^(?!a)b|c", "^(?:(?!a)b)$", r"^a\bc", r"\ba",
        r"^(?!(?=a)b)", r"^(?!\p{L})", "^(?!a)*b", r"^(?!a\bb)", r"^(?!^a)", r"^(a)+\1$",
        r"^(a*)\1$", r"^(a)|\1$", r"^\1(a)$", r"^(a)(b)\1\2$",
    ],
)  # fmt: skip
def test_other_conditions_are_not_enforced(pattern: str) -> None:
    assert not is_enforced({"type": "string", "pattern": pattern})


def test_a_condition_that_nothing_meets_is_refused(caplog: pytest.LogCaptureFixture) -> None:
    assert without_match("") == r"[^\x{0}-\x{10FFFF}]"
    with caplog.at_level(logging.WARNING), pytest.raises(InvalidArgument):
        texts("^(?!)a")


@pytest.mark.parametrize(
    "inside",
    [
        "(?:a|b)*a" + "(?:a|b)" * 30,
        "(((a{9}){99}){99}){99}",
        "((((){99}){99}){99}){99}",
        "(?:[b-y]{0,40}z){40}",
        "(" * 3000 + "a" + ")" * 3000,
        "|".join(f"{n * 7919 % 100000:05}" for n in range(3000)),
    ],
)
def test_large_conditions_end(inside: str) -> None:
    pattern = f"^(?!{inside})a"
    assert plain_patterns(pattern) == [pattern]
