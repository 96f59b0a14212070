"""The pictures that `specbranch demo` draws of a generation."""

from __future__ import annotations

from dataclasses import replace

import pytest

from specbranch_cpp.cli import trace
from specbranch_cpp.results import Span, TraceRound

ROUNDS = (
    TraceRound(1.0, 2, (0, 1, 2), (3, 4), branch_hit=False),
    TraceRound(2.0, 0, (5,), (), branch_hit=True),
    TraceRound(3.0, 1, (6,), (7,), branch_hit=False),  # ended by a limit within the accepted ones
)


def letters(tokens: list[int]) -> str:
    return "".join("ab\ncdefg"[token] for token in tokens)


def test_story_colours_tokens_by_where_they_come_from() -> None:
    text = trace.story(ROUNDS, letters)
    assert text.plain == "abcd\nefg"
    styles = [(text.plain[span.start : span.end], span.style) for span in text.spans]
    assert styles == [
        ("ab", trace.ACCEPTED),
        ("cd", trace.ROLLED_BACK),
        ("\n", trace.OWN),
        ("e", trace.BRANCH),
        ("f", trace.ACCEPTED),
        ("g", trace.ROLLED_BACK),
    ]
    assert trace.story(ROUNDS, letters, marks=True).plain == "ab[-cd-]\nef[-g-]"
    line_break = trace.story([TraceRound(0.0, 0, (), (2,), branch_hit=False)], letters)
    assert line_break.plain == "⏎"


SPANS = (
    Span("target", "prefill", 0.0, 4.0, 9),
    Span("draft", "prefill", 0.0, 2.0, 9),
    Span("draft", "draft", 4.0, 6.0, 1),
    Span("draft", "draft", 6.0, 8.0, 1),
    Span("target", "verify", 5.0, 9.0, 3),
)


def test_timeline() -> None:
    window = trace.Window(begin_ms=0.0, cell_ms=1.0, n_cells=10)
    assert trace.timeline(SPANS, window, "target").plain == "▒▒▒▒·████·"
    assert trace.timeline(SPANS, window, "draft").plain == "▒▒··▓▓▐▓··"
    # A cell that is half busy counts as busy.
    assert trace.timeline(SPANS, replace(window, cell_ms=2.0, n_cells=5), "target").plain == "▒▒▐██"


def test_timeline_shows_some_passes_of_the_draft() -> None:
    window = trace.choose_window(SPANS, n_cells=40)
    assert window.cell_ms == pytest.approx(5.0 / 40)  # all of it fits
    window = trace.choose_window(SPANS, n_cells=4)
    assert window.cell_ms == pytest.approx(2.0 / 3)
    assert window.begin_ms <= 4.0 < window.end_ms
    for spans in ((), SPANS[:1], SPANS[:2], SPANS[4:]):
        window = trace.choose_window(spans, n_cells=8)
        assert window.cell_ms > 0
        assert len(trace.timeline(spans, window, "draft").plain) == 8
