"""Classes of characters mean the same to llguidance as to Python and JavaScript."""

from __future__ import annotations

import json
import random
import re
import warnings
from functools import cache
from typing import Any

import llguidance
import pytest
from tests.python.support.gbnf_texts import Gbnf

from specbranch_cpp._grammar.books import lark_or_gbnf
from specbranch_cpp._grammar.look_around import plain_patterns
from specbranch_cpp._grammar.regex import gbnf_of_regex
from specbranch_cpp._grammar.rust_classes import plain_classes
from specbranch_cpp.grammars import JsonSchema, Lark, Regex

CHARACTERS = "&-~[^a"


@pytest.mark.parametrize(
    ("pattern", "plain"),
    [
        (r"^[a-z&&[^b]]$", r"^[a-z&\&\[^b]]$"),
        (r"[+--]", r"[+-\-]"),
        (r"[--a]", r"[\--a]"),
        (r"[^--]", r"[^\--]"),
        (r"[~~~]", r"[~\~\~]"),
        (r"[[:alpha:]]", r"[\[:alpha:]]"),
        (r"[]a[]", r"[]a\[]"),
        (r"\[a&&b\]", r"\[a&&b\]"),
        (r"[\&&\--]--", r"[\&&\--]--"),
        (r"a&&b[", r"a&&b["),
        (r"[\w-.]", r"[\w\-.]"),
        (r"[\w--x]", r"[\w\-\-x]"),
        (r"[+-\d]", r"[+\-\d]"),
        (r"[\\d-x]", r"[\\d-x]"),
        (r"[\w-]", r"[\w-]"),
        (r"(?<year>\d{4})-[0-9]", r"(?<year>\d{4})-[0-9]"),
    ],
)
def test_what_is_written(pattern: str, plain: str) -> None:
    assert plain_classes(pattern) == plain
    assert plain_classes(plain) == plain


@cache
def tokenizer() -> Any:
    return llguidance.LLTokenizer("byte")


def takes(rule: str, text: str) -> bool:
    """Whether llguidance takes the whole text."""
    matcher = llguidance.LLMatcher(tokenizer(), rule)
    assert not matcher.is_error(), matcher.get_error()
    tokens = tokenizer().tokenize_str(text)
    return bool(matcher.try_consume_tokens(tokens) == len(tokens) and matcher.is_accepting())


def rule_of(grammar: Any) -> str:
    rule = lark_or_gbnf(grammar)
    assert isinstance(rule, Lark)
    return str(rule.text)


@pytest.mark.parametrize("seed", range(60))
def test_random_classes(seed: int) -> None:
    draw = random.Random(seed)
    while True:
        inside = "".join(draw.choices(CHARACTERS, k=draw.randint(1, 5)))
        pattern = f"[{'^' * draw.randint(0, 1)}{inside}]"
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # "possible set difference": just that is tested
            try:
                known = re.compile(pattern)
            except re.error:  # a range that ends before its begin
                continue
        break
    schema = rule_of(JsonSchema({"type": "string", "pattern": f"^{pattern}$"}))
    expression = rule_of(Regex(pattern))
    for character in (*CHARACTERS, "b", "+", "}", "e"):
        want = known.fullmatch(character) is not None
        assert takes(schema, json.dumps(character)) == want, (pattern, character)
        assert takes(expression, character) == want, (pattern, character)


@pytest.mark.parametrize(
    ("pattern", "taken", "refused"),
    [
        (r"[\w-~]", "a_-~", "`{}"),
        (r"[\s-~]", " -~", "a0"),
        (r"[+-\d]", "+-5", ",./"),
        (r"[^\w-~]", "`{", "a-~"),
        (r"[\w-\.]", "a-.", "/"),
    ],
)
def test_a_hyphen_beside_a_class_is_itself(pattern: str, taken: str, refused: str) -> None:
    """As in JavaScript: Python refuses such a range, and Rust took ``_`` for its begin."""
    schema = rule_of(JsonSchema({"type": "string", "pattern": f"^{pattern}$"}, strict=True))
    expression = rule_of(Regex(pattern))
    gbnf = Gbnf(f"root ::= {gbnf_of_regex(pattern)}")
    for character in taken + refused:
        want = character in taken
        assert takes(schema, json.dumps(character)) == want
        assert takes(expression, character) == want
        assert gbnf.allows(character) == want


@pytest.mark.parametrize(
    "pattern",
    [
        "[" * 1_000_000,
        "^" + "(?=a)" * 1900 + "b",
        "^b" + "(?<=b)" * 1600 + "$",
        "^(?=a)" + "[" * 9900,
    ],
)
def test_a_long_pattern_does_not_take_long(pattern: str) -> None:
    """Time that grows with the square of the length would be minutes for the first of them."""
    assert plain_classes(pattern) == pattern
    assert plain_patterns(pattern)[-1].endswith(pattern[-2:])


def test_keys_of_pattern_properties() -> None:
    schema = {"type": "object", "patternProperties": {"^[a[]$": {"type": "integer"}},
              "additionalProperties": False}  # fmt: skip
    rule = rule_of(JsonSchema(schema))
    assert takes(rule, '{"[": 1}')
    assert takes(rule, '{"a": 1}')
    assert not takes(rule, '{"[]": 1}')
