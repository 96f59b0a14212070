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

from specbranch_cpp._grammar.books import lark_or_gbnf
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


def test_keys_of_pattern_properties() -> None:
    schema = {"type": "object", "patternProperties": {"^[a[]$": {"type": "integer"}},
              "additionalProperties": False}  # fmt: skip
    rule = rule_of(JsonSchema(schema))
    assert takes(rule, '{"[": 1}')
    assert takes(rule, '{"a": 1}')
    assert not takes(rule, '{"[]": 1}')
