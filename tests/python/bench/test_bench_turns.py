"""Who decodes which stretch of a text, in which order, and which part of a call counts."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from specbranch_cpp.bench import windows
from specbranch_cpp.bench.plan import Item
from specbranch_cpp.bench.turns import LEAD, Stretch, stretches, turns
from specbranch_cpp.bench.variants import Variant
from specbranch_cpp.results import Span, Trace, TraceRound

BASE = Variant("autoregressive")
DRAFTING = [Variant("speculative", n, "fixed") for n in (2, 3, 4)]
WHOLE = [Variant("auto"), Variant("pearl", 4, "adaedl"), Variant("other-engine", 3, is_peer=True)]


def items(*variants: Variant) -> list[Item]:
    return [Item(each, each.name) for each in variants]


def test_stretches_cover_the_text() -> None:
    for drafts in (False, True):
        found = stretches(100, 32, drafts=drafts)
        assert [each.place for each in found] == [0, 32, 64]
        assert [each.stop for each in found] == [32, 64, None]  # the last one takes the rest
        assert (found[0].start, found[0].timed) == (0, 0)
    # A variant that drafts goes back, so that all of its stretch is timed.
    drafting, plain = stretches(100, 32, drafts=True), stretches(100, 32, drafts=False)
    assert [(each.start, each.timed) for each in drafting[1:]] == [(32 - LEAD, 32), (64 - LEAD, 64)]
    assert [(each.start, each.timed) for each in plain[1:]] == [(32, 32 + LEAD), (64, 64 + LEAD)]


@pytest.mark.parametrize(("tokens", "length"), [(31, 32), (40, 32), (100, 0)])
def test_short_texts_are_one_stretch(tokens: int, length: int) -> None:
    assert stretches(tokens, length, drafts=True) == (Stretch(0, 0, None, 0, 0),)


def test_variants_that_learn_in_a_call_and_other_engines_decode_whole_texts() -> None:
    assert [each.resumes for each in (BASE, *DRAFTING)] == [True] * 4
    assert [each.resumes for each in WHOLE] == [False] * 3


def test_every_variant_decodes_every_stretch_once() -> None:
    each = items(BASE, *DRAFTING, *WHOLE)
    found = list(turns(each, 128, 32, 5, 1))
    assert len({turn.key for turn in found}) == len(found) == 4 * 4 + 3
    for item in each:
        own = [turn.index for turn in found if turn.item == item]
        assert own == ([0, 1, 2, 3] if item.variant.resumes else [None])
    # Stretches come in the order of the text: each one needs the text before it.
    order = [turn.index for turn in found if turn.index is not None]
    assert order == sorted(order)


def test_the_order_changes_from_stretch_to_stretch() -> None:
    each = items(BASE, *DRAFTING)
    orders = Counter()  # type: Counter[tuple[str, ...]]
    first = Counter()  # type: Counter[str]
    for number in range(8):
        found = list(turns(each, 128, 32, number, 1))
        for index in range(4):
            order = tuple(turn.item.variant.name for turn in found if turn.index == index)
            orders[order] += 1
            first[order[0]] += 1
    assert len(orders) == 8
    assert set(first.values()) == {8}  # an even number of variants is balanced, too


def test_a_whole_text_lies_in_the_middle_of_the_stretches() -> None:
    def places(number: int, *whole: Variant) -> list[int]:
        found = list(turns(items(BASE, *whole), 128, 32, number, 1))
        return [
            sum(turn.item.variant == BASE for turn in found[: found.index(each)])
            for each in found
            if each.index is None
        ]

    assert places(0, WHOLE[0]) == places(1, WHOLE[0]) == [2]
    assert places(0, *WHOLE) == [0, 2, 4]
    assert sorted(places(1, *WHOLE)) == [0, 2, 4]
    # A text of one stretch has no middle: the whole text comes first, then second.
    first = [next(turns(items(BASE, WHOLE[0]), 20, 32, n, 1)).item.variant for n in (0, 1)]
    assert first == [BASE, WHOLE[0]]


def stats_of(mode: str, **changes: Any) -> dict[str, Any]:
    known = {"mode": mode, "n_generated": 12, "prefill_ms": 5.0, "decode_ms": 100.0,
             "finish_reason": "cancelled", "mode_reason": ""}  # fmt: skip
    return {**known, **changes}


def rounds_of(*found: tuple[float, int]) -> tuple[TraceRound, ...]:
    """Rounds that end at these times with so many tokens, the last one the target's own."""
    return tuple(
        TraceRound(at, n - 1, tuple(range(n)), (7,) * (n % 2), False, branch_miss=True)
        for at, n in found
    )


def test_a_window_leaves_out_the_begin_and_the_rest_of_the_last_round() -> None:
    # The call begins at 24; tokens 32 to 40 are wanted. Rounds end at 25, 33, 36, 41, 43.
    trace = Trace(
        (
            Span("target", "prefill", 0.0, 5.0, 3),
            Span("target", "verify", 10.0, 30.0, 1),
            Span("target", "verify", 34.0, 50.0, 4),
            Span("draft", "draft", 45.0, 55.0, 1),
            Span("draft", "draft", 58.0, 62.0, 1),
            Span("target", "verify", 60.0, 70.0, 4),
            Span("draft", "draft", 71.0, 90.0, 1),
        ),
        rounds_of((30.0, 1), (40.0, 8), (52.0, 3), (70.0, 5), (90.0, 2)),
    )
    found = windows.windowed(stats_of("pearl"), trace, Stretch(1, 32, 40, 24, 32))
    assert (found["n_timed"], found["n_generated"]) == (41 - 33, 41 - 33)
    assert found["decode_ms"] == pytest.approx(70.0 - 40.0)
    assert found["n_target_steps"] == 2
    assert found["acceptance_histogram"] == [0, 0, 1, 0, 1]
    assert (found["n_accepted"], found["n_rolled_back"]) == (2 + 4, 2)
    assert found["n_drafted"] == 8
    assert found["n_draft_steps"] == 2
    assert found["target_busy_ms"] == pytest.approx(10.0 + 10.0)  # from 40 to 50, from 60 to 70
    assert found["draft_busy_ms"] == pytest.approx(10.0 + 4.0)
    assert found["overlap_ms"] == pytest.approx(5.0 + 2.0)
    assert found["coordination_ms"] == pytest.approx(30.0 - (20.0 + 14.0 - 7.0))


def test_windows_of_one_variant_meet() -> None:
    # A stretch ends where the next one begins: at the first end of a round from its last token on.
    # So with the same rounds each token is timed once, and long rounds are not favoured.
    whole = rounds_of((10.0, 5), (20.0, 30), (31.0, 3), (44.0, 20), (50.0, 6))
    first = windows.windowed(
        stats_of("pearl", prefill_ms=0.0), Trace((), whole[:3]), Stretch(0, 0, 32, 0, 0)
    )
    assert (first["n_timed"], first["decode_ms"]) == (35, 20.0)
    second = windows.windowed(
        stats_of("pearl", prefill_ms=0.0, decode_ms=51.0, finish_reason="length"),
        Trace((), whole),
        Stretch(1, 32, None, 0, 32),
    )
    assert (second["n_timed"], second["decode_ms"]) == (29, 51.0 - 20.0)


def test_the_first_stretch_begins_with_the_decoding() -> None:
    trace = Trace((), rounds_of((30.0, 8), (60.0, 8), (90.0, 8)))
    found = windows.windowed(stats_of("pearl"), trace, Stretch(0, 0, 16, 0, 0))
    assert (found["n_timed"], found["decode_ms"]) == (16, pytest.approx(55.0))


def test_a_text_of_one_stretch_has_the_times_of_its_call() -> None:
    known = stats_of("pearl", finish_reason="length")
    found = windows.windowed(known, Trace((), ()), Stretch(0, 0, None, 0, 0))
    assert found == {**known, "n_timed": 12}


def test_texts_that_end_early_have_shorter_windows() -> None:
    trace = Trace((), rounds_of((30.0, 8), (60.0, 4)))
    ended = stats_of("pearl", finish_reason="stop", decode_ms=60.0)
    found = windows.windowed(ended, trace, Stretch(1, 32, 64, 24, 32))
    assert (found["n_timed"], found["decode_ms"]) == (4, pytest.approx(65.0 - 30.0))
    # The text diverged and ended before the stretch: nothing is timed.
    nothing = windows.windowed(ended, trace, Stretch(1, 48, 64, 24, 48))
    assert (nothing["n_timed"], nothing["decode_ms"]) == (0, 0.0)
    # The text ended at once.
    nothing = windows.windowed(ended, Trace((), ()), Stretch(1, 32, 64, 32, 40))
    assert (nothing["n_timed"], nothing["decode_ms"]) == (0, 0.0)


def test_a_round_longer_than_the_stretch_times_nothing() -> None:
    trace = Trace((), rounds_of((30.0, 1), (60.0, 30)))
    found = windows.windowed(stats_of("pearl"), trace, Stretch(1, 32, 48, 24, 32))
    assert (found["n_timed"], found["decode_ms"]) == (0, 0.0)


def test_autoregressive_drafts_nothing() -> None:
    trace = Trace((), rounds_of(*((10.0 * n, 1) for n in range(1, 13))))
    found = windows.windowed(stats_of("autoregressive"), trace, Stretch(1, 32, 44, 32, 36))
    assert (found["n_timed"], found["n_target_steps"]) == (8, 8)
    assert (found["n_drafted"], found["n_accepted"], found["acceptance_histogram"]) == (0, 0, [])
    assert found["decode_ms"] == pytest.approx(80.0)
