"""Schemas inside Lark grammars of the caller: limits that keep llguidance from endless work."""

from __future__ import annotations

import math

import pytest

from specbranch_cpp import InvalidArgument
from specbranch_cpp._grammar.books import lark_or_gbnf
from specbranch_cpp._grammar.remainders import has_too_many_remainders
from specbranch_cpp.grammars import Lark

pytest.importorskip("llguidance")

HUGE = '{"type": "integer", "multipleOf": 4294967296}'


@pytest.mark.parametrize(
    "text",
    [
        f"start: %json {HUGE}",
        f"start: %json{HUGE}",
        f"start: %json\n\t{HUGE}",
        f'start: a | b\na: %json {{"type": "null"}}\nb: %json {HUGE}',
        f"start: %lark {{\nstart: %json {HUGE}\n}}",
        'start: %json {"anyOf": [{"items": {"type": "number", "multipleOf": 12345.678}}]}',
        r'start: %json {"type": "integer", "\u006dultipleOf": 4294967296}',
        # A reference leads into what otherwise is data.
        f'start: %json {{"$ref": "#/default", "default": {HUGE}}}',
        'start: %json {"allOf": [{"type": "integer", "multipleOf": 99991}, {"multipleOf": 99989}]}',
    ],
)
def test_too_many_remainders_are_refused(text: str) -> None:
    """llguidance would compute for hours, in all of the memory."""
    with pytest.raises(InvalidArgument, match=r"multipleOf has more than 100,000 remainders"):
        lark_or_gbnf(Lark(text))


@pytest.mark.parametrize(
    "text",
    [
        'start: "yes"',
        'start: %json {"type": "integer", "multipleOf": 100}',
        # Each part has numbers of its own.
        'start: a | b\na: %json {"multipleOf": 99991}\nb: %json {"multipleOf": 99989}',
        'start: %json {"type": "integer", "multipleOf": true}',
        'start: %json {"type": "integer", "multipleOf": -7}',
        # llguidance says what is wrong with these.
        'start: %json {"type": ',
        "start: %json [1]",
        "start: %json " + '{"items": ' * 50_000,
        'start: %json {"multipleOf": ' + "9" * 5000 + "}",
    ],
)
def test_other_grammars_are_left_to_llguidance(text: str) -> None:
    grammar = Lark(text)
    assert lark_or_gbnf(grammar) is grammar


def test_many_steps_are_not_all_computed(monkeypatch: pytest.MonkeyPatch) -> None:
    largest = 0
    lcm = math.lcm

    def recorded(*numbers: int) -> int:
        nonlocal largest
        largest = max(largest, found := lcm(*numbers))
        return found

    monkeypatch.setattr(math, "lcm", recorded)
    for steps in (range(1, 3000), [1 / n for n in range(1, 3000)]):
        assert has_too_many_remainders([{"multipleOf": step} for step in steps])
    assert largest < 10**40


def test_steps_without_an_end() -> None:
    assert has_too_many_remainders({"multipleOf": float("inf")})
    nested: dict[str, object] = {"multipleOf": 2**40}
    for _ in range(5000):
        nested = {"items": nested}
    assert has_too_many_remainders(nested)
