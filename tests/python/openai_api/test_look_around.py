"""Patterns with look-around: llguidance enforces the conditions on the whole text."""

from __future__ import annotations

import itertools
import json
import logging
import re

import pytest
from tests.python.support.lark_texts import LarkTexts

from specbranch_cpp import InvalidArgument
from specbranch_cpp._grammar import lark_schema
from specbranch_cpp._grammar.automaton import Work
from specbranch_cpp._grammar.complements import without_match
from specbranch_cpp._grammar.lark_book import LarkBook
from specbranch_cpp._grammar.lark_schema import is_enforced
from specbranch_cpp._grammar.look_around import MOST_CONDITIONS, plain_patterns

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
        "|".join(f"[{chr(n)}-\uffff]{chr(n)}z" for n in range(0x4E00, 0x4E00 + 600)),
        "[" + "".join(chr(0x100 + 2 * n) for n in range(4000)) + "]{60}",
        "[^" + "".join(chr(0x100 + 2 * n) for n in range(4000)) + "]{60}",
    ],
)
def test_large_conditions_end(inside: str) -> None:
    pattern = f"^(?!{inside})a"
    assert plain_patterns(pattern) == [pattern]


@pytest.mark.parametrize(
    "pattern",
    [
        "^(?!" * 10,
        "^(?=(a)",
        "^(?!(?:a)(b)",
        "^(?=a|(b)$",
    ],
)
def test_conditions_without_an_end(pattern: str) -> None:
    """Python's parser refuses them, and so does llguidance."""
    assert plain_patterns(pattern) == [pattern]


@pytest.mark.parametrize(
    "condition", ["(?=.*a{9}b)", "(?!.*ab)", r"\b", "(?=(?!a)b)", "(?![^a-z]{9})"]
)
def test_many_conditions_are_not_enforced(condition: str) -> None:
    """Each could double the work of llguidance."""
    few, many = (f"^{condition * count}.*$" for count in (MOST_CONDITIONS, MOST_CONDITIONS + 1))
    assert len(plain_patterns(few)) == MOST_CONDITIONS + 1
    assert plain_patterns(many) == [many]


def test_the_work_for_all_patterns_of_a_schema_is_limited() -> None:
    pattern = "^" + "".join(f"(?!.*{letter}b)" for letter in "acdefghi") + ".*$"
    work = Work()
    assert len(plain_patterns(pattern, work)) == 9
    used = Work().left - work.left
    assert 0 < used < 100_000
    assert plain_patterns(pattern, Work(used)) == plain_patterns(pattern)
    assert plain_patterns(pattern, Work(used - 1)) == [pattern]


def test_patterns_beyond_the_limit_are_left_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    work = Work(9000)
    monkeypatch.setattr(lark_schema, "Work", lambda: work)
    schema = {"anyOf": [{"pattern": f"^(?!.*{n}b).*$"} for n in range(100)]}
    assert not is_enforced(schema)
    assert work.left < 0


def test_texts_of_a_group_are_not_copied_without_limit() -> None:
    texts = "|".join("x" * 30 + chr(97 + n) for n in range(16))
    pattern = f"^({texts})" + r"\1" * 30 + "$"
    assert plain_patterns(pattern) == [pattern]
