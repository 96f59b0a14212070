"""Regular expressions as grammars of whole texts, and numbers between bounds."""

from __future__ import annotations

import itertools
import re
from decimal import Decimal
from typing import TYPE_CHECKING

import pytest

from specbranch_cpp import Engine, InvalidArgument
from specbranch_cpp._grammar.numbers import Bounds, decimals, integers
from specbranch_cpp._grammar.regex import gbnf_of_pattern, gbnf_of_regex

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(scope="module")
def random(tiny: Path) -> Iterator[Engine]:
    """Writes at random what a grammar allows."""
    with Engine(tiny, n_ctx=512, n_threads=1, measure_costs=False) as engine:
        yield engine


@pytest.mark.parametrize(
    "regex",
    [
        r"\d{3}-\d{4}", r"^[ab]{2,3}$", r"yes|no", r'"\w+"', r"a\\b", r"\{\s?\}", r"[^a-z]{2}",
        "line\\nline", r"é[à-ü]", r"(?<a>x)(y|z$)", "\\u{1F600}", r"\cIx", r"(a|b)+?c",
    ],
)  # fmt: skip
def test_the_whole_text_matches(random: Engine, regex: str) -> None:
    readable = regex.replace("(?<a>", "(?P<a>").replace("\\u{1F600}", "😀").replace(r"\cI", "\t")
    texts = set()
    for seed in range(12):
        grammar = f"root ::= {gbnf_of_regex(regex)}"
        done = random.complete("x", grammar=grammar, temperature=2.0, seed=seed, max_tokens=80)
        if done.finish_reason == "stop" and "\ufffd" not in done.text:
            assert re.fullmatch(readable, done.text), done.text
            texts.add(done.text)
    assert texts


@pytest.mark.parametrize("regex", ["(", "(?=a)", r"(a)\1", "a{3000}", r"\bx", "\ud800", "\\x00"])
def test_what_a_grammar_cannot_express_is_refused(random: Engine, regex: str) -> None:
    with pytest.raises(InvalidArgument, match=r"pattern|grammar"):
        random.complete("x", grammar=f"root ::= {gbnf_of_regex(regex)}", max_tokens=1)


@pytest.mark.parametrize("regex", ["(?i)abc", "(?i)[^a]", "(?si)a.b"])
def test_a_flag_that_a_grammar_cannot_express_is_refused(regex: str) -> None:
    with pytest.raises(InvalidArgument, match="flag i"):
        gbnf_of_regex(regex)
    with pytest.raises(InvalidArgument, match="flag i"):
        gbnf_of_pattern(regex)


def in_python(gbnf: str) -> re.Pattern[str]:
    """A grammar without rules as a regular expression of Python."""
    parts = re.findall(r'"([^"]*)"|(\[[^\]]*\])|(\{[^}]*\}|[()|?*+])', gbnf)
    return re.compile("".join(re.escape(text) + one + mark for text, one, mark in parts))


@pytest.mark.parametrize(
    ("regex", "reason"),
    [
        ("a" * 10_001, "has 10001 characters; it must have at most 10000"),
        (
            "x" * 500 + "(" + "|".join(f"{i}$" for i in range(300)) + ")",
            "has anchors in 300 alternatives",
        ),
        ("(" * 4000 + ")" * 4000, "nested too deeply|not a regular expression"),
    ],
)
def test_an_expression_cannot_explode(regex: str, reason: str) -> None:
    with pytest.raises(InvalidArgument, match=reason):
        gbnf_of_regex(regex)


NUMBERS = [None, -1234, -100, -99, -1, 0, 1, 5, 10, 42, 99, 100, 987]


def test_integers_between_two_bounds() -> None:
    for low, high in itertools.product(NUMBERS, repeat=2):
        if (low, high) == (None, None) or (low is not None and high is not None and low > high):
            continue
        matches = in_python(integers(low, high)).fullmatch
        for value in range(-1300, 1300):
            inside = (low is None or value >= low) and (high is None or value <= high)
            assert bool(matches(str(value))) == inside, (low, high, value)
        for wrong in ("", "-", "-0", "01", "-07"):
            assert not matches(wrong)


def test_the_largest_integers() -> None:
    matches = in_python(integers(None, 10**15)).fullmatch
    assert matches(str(10**15))
    assert not matches(str(10**15 + 1))
    assert in_python(integers(3, None)).fullmatch("9" * 16)


@pytest.mark.parametrize(
    ("bounds", "clipped"),
    [
        (Bounds(Decimal(1), Decimal("1.797e308")), Bounds(Decimal(1))),
        (Bounds(Decimal(-(10**16)), Decimal(5), above=True), Bounds(None, Decimal(5))),
        (Bounds(Decimal(10**16)), None),
        (Bounds(None, Decimal(-(10**16))), None),
        (Bounds(Decimal("1e-16")), None),
    ],
)
def test_bounds_beyond_the_digits(bounds: Bounds, clipped: Bounds | None) -> None:
    assert bounds.clipped() == clipped


def test_without_bounds_every_number_matches() -> None:
    for text in ("0", "-1", "12", "9" * 16):
        assert in_python(integers(None, None)).fullmatch(text)
        assert in_python(decimals(Bounds())).fullmatch(text + ".25")


DECIMALS = [
    None,
    *map(
        Decimal, ("-10.01", "-2.75", "-1", "-0.05", "0", "0.05", "0.5", "1", "1.25", "2.75", "10")
    ),
]


def test_decimals_between_two_bounds() -> None:
    fractions = ("", ".0", ".00", ".5", ".50", ".05", ".04", ".06", ".25", ".249", ".251", ".75",
                 ".76", ".749", ".01", ".001", ".011", ".99")  # fmt: skip
    texts = [
        f"{sign}{whole}{part}" for sign in ("", "-") for whole in range(12) for part in fractions
    ]
    for low, high in itertools.product(DECIMALS, repeat=2):
        for above, below in itertools.product((False, True), repeat=2):
            bounds = Bounds(low, high, above and low is not None, below and high is not None)
            if (low, high) == (None, None) or bounds.is_empty:
                continue
            matches = in_python(decimals(bounds)).fullmatch
            for text in texts:
                value = Decimal(text)
                inside = (low is None or (value > low if bounds.above else value >= low)) and (
                    high is None or (value < high if bounds.below else value <= high)
                )
                zero = text.startswith("-") and value == 0  # written without the sign
                assert bool(matches(text)) == (inside and not zero), (bounds, text)
