"""The text of `autoregressive`, put together from its stretches, and what differs from it."""

from __future__ import annotations

from typing import Any

from tests.python.support.bench_records import AUTO, BASE, SHORT, turn

from specbranch_cpp.bench.near_ties import Difference
from specbranch_cpp.bench.records import Record
from specbranch_cpp.bench.reference import Reference

GOES_ON: dict[str, Any] = {"finish_reason": "cancelled"}
FIRST = turn(BASE, 0, 1.0, stretch=0, tokens=(0, 1, 2, 3, 4), **GOES_ON)  # of 4 tokens
LAST = turn(BASE, 0, 1.0, stretch=1, start=4, tokens=(4, 5, 6), finish_reason="stop")


def of(start: int, *tokens: int, finish: str = "cancelled") -> Record:
    return turn(SHORT, 0, 1.0, stretch=1, start=start, tokens=tokens, finish_reason=finish)


def test_the_text_is_that_of_the_stretches() -> None:
    other = turn(AUTO, 0, 1.0, tokens=(9, 9))
    assert Reference.of([]) == Reference((), ended=False)
    assert Reference.of([FIRST, other]) == Reference((0, 1, 2, 3, 4), ended=False)
    assert Reference.of([LAST, other, FIRST]) == Reference((0, 1, 2, 3, 4, 5, 6), ended=True)


def test_a_later_stretch_overrides_what_the_one_before_decoded_past_its_end() -> None:
    again = turn(BASE, 0, 1.0, stretch=1, start=4, tokens=(7, 8), finish_reason="length")
    found = Reference.of([FIRST, again])
    assert found.tokens == (0, 1, 2, 3, 7, 8)
    assert found.difference(FIRST) == Difference(4, 7, 4)  # which is not concealed


def test_stretches_after_the_end_do_not_exist() -> None:
    known = Reference.of([FIRST, LAST])
    assert [known.has(position) for position in (0, 4, 6, 7, 8)] == [True, True, True, False, False]
    assert Reference.of([FIRST]).has(99)  # nobody knows


def test_texts_are_compared_as_far_as_both_are_known() -> None:
    known, begun = Reference.of([FIRST, LAST]), Reference.of([FIRST])
    assert known.difference(of(2, 2, 3, 4)) is None
    assert begun.difference(of(2, 2, 3, 4, 5, 6)) is None
    assert known.difference(of(2, 2, 3, 8)) == Difference(4, 4, 8)
    assert begun.difference(of(2, 2, 9)) == Difference(3, 3, 9)


def test_ends_are_compared() -> None:
    known, begun = Reference.of([FIRST, LAST]), Reference.of([FIRST])
    assert known.difference(of(2, 2, 3, 4, 5, 6, finish="stop")) is None
    assert known.difference(of(2, 2, 3, finish="stop")) == Difference(4, 4, None)
    assert known.difference(of(2, 2, 3, 4, 5, 6, 7)) == Difference(7, None, 7)
    assert begun.difference(of(2, 2, 3, finish="stop")) == Difference(4, 4, None)
    whole = turn(AUTO, 0, 1.0, tokens=(0, 1, 2, 3, 4, 5, 6), finish_reason="stop")
    assert known.difference(whole) is None
    assert known.difference({**whole, "tokens": [0, 1]}) == Difference(2, 2, None)
