"""The soak finds wrong texts, and only those."""

from __future__ import annotations

import pytest

from soak import Known, Tally, report

KNOWN = Known("p", {"temperature": 0.0, "seed": 1}, "one two three", ((4, 7),))


@pytest.mark.parametrize(
    "found", ["", "one", "one two three", "one t\ufffd", "one too", "one t! x"]
)
def test_right_texts(found: str) -> None:
    assert KNOWN.allows(found)


@pytest.mark.parametrize("found", ["One", "one two tree", "two", "one two three four"])
def test_wrong_texts(found: str) -> None:
    assert not KNOWN.allows(found)
    tally = Tally()
    tally.check("read", KNOWN, found)
    assert len(tally.wrong) == 1
    assert report(tally, 1.0)["wrong"] == tally.wrong


def test_a_cancelled_text_keeps_the_begin_of_a_stop_string() -> None:
    known = Known("p", {"stop": ["\n\n"]}, "one", ())
    assert known.allows("one\n")
    assert not known.allows("one\n\n\n")


def test_near_ties_are_counted_and_other_options_are_not_compared() -> None:
    tally = Tally()
    tally.check("read", KNOWN, "one too")
    tally.check("read", Known("p", {"grammar": "g"}, "one", ()), "two")
    assert tally.counts == {"read": 2, "near-tie": 1}
    assert tally.wrong == []


def test_memory_is_compared_between_quarters() -> None:
    tally = Tally(memory=[(float(i), 100.0 + i, 0.0) for i in range(40)])
    found = report(tally, 7.0)
    assert found["second_quarter_mib"][0] == 114.5
    assert found["last_quarter_mib"][0] == 134.5
