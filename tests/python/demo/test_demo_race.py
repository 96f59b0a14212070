"""Two texts side by side, drawn from chunks and their times."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import pytest
from rich.console import Console

from specbranch_cpp import Chunk
from specbranch_cpp.cli.demo import race
from specbranch_cpp.cli.demo.race import Lane, Recording

if TYPE_CHECKING:
    from collections.abc import Iterator

PLAIN = Recording([(100.0, "one "), (200.0, "two "), (300.0, "three")], 320.0)
FAST = Recording([(100.0, "one "), (110.0, "two "), (120.0, "three")], 130.0)


def drawn(*lanes: Lane, width: int = 100, height: int = 40, prompt: str = "count: ") -> list[str]:
    shown = io.StringIO()
    console = Console(file=shown, width=width, height=height)
    console.print(race.frame(prompt, lanes, "a note", width, height))
    lines = shown.getvalue().splitlines()
    assert all(len(line) <= width for line in lines)
    return lines


def test_chunks_are_recorded_with_their_times() -> None:
    now = iter([5.0, 5.1, 5.25, 5.5, 5.5])
    chunks = [
        Chunk("a", 1, from_draft=False),
        Chunk("b", 2, from_draft=True),
        Chunk("", None, from_draft=False, finish_reason="length"),
    ]
    recording = Recording()
    recording.read(iter(chunks), clock=lambda: next(now))
    assert [text for _, text in recording.chunks] == ["a", "b"]
    assert [ms for ms, _ in recording.chunks] == pytest.approx([100.0, 250.0])
    assert recording.ended_ms == pytest.approx(500.0)


@pytest.mark.parametrize(
    ("ms", "text"), [(0.0, ("", 0)), (150.0, ("one ", 1)), (999.0, ("one two three", 3))]
)
def test_what_was_there_at_a_moment(ms: float, text: tuple[str, int]) -> None:
    assert PLAIN.at(ms) == text


@pytest.mark.parametrize(
    ("lane", "status"),
    [
        (Lane("t", ""), "waits for its turn"),
        (Lane("t", "", PLAIN, 50.0), "0 tokens · 0.05 s"),
        (Lane("t", "", PLAIN, 200.0), "2 tokens · 0.20 s · 10 tokens/s"),
        (Lane("t", "", PLAIN, 5000.0), "done: 3 tokens · 0.32 s · 9 tokens/s"),
    ],
)
def test_how_far_a_lane_is(lane: Lane, status: str) -> None:
    assert lane.status() == status


def test_lanes_stand_side_by_side() -> None:
    lines = drawn(Lane("plain", "yellow", PLAIN, 115.0), Lane("fast", "green", FAST, 115.0))
    (texts,) = (line for line in lines if "count:" in line)
    assert texts.count("count: one") == 2
    assert "count: one two" in texts
    assert "plain" in lines[0]
    assert "fast" in lines[0]
    assert lines[-1].strip() == "a note"


def test_a_narrow_terminal_has_one_above_the_other() -> None:
    lanes = (Lane("plain", "yellow", PLAIN, 115.0), Lane("fast", "green", FAST, 115.0))
    lines = drawn(*lanes, width=40)
    assert sum("count: one" in line for line in lines) == 2
    assert len(drawn(*lanes, width=20, height=12)) <= 12


def test_old_lines_scroll_away() -> None:
    recording = Recording([(float(i), f"line {i}\n") for i in range(50)])
    lines = drawn(Lane("t", "green", recording, 100.0), height=12)
    assert len(lines) <= 12
    text = "\n".join(lines)
    assert "line 49" in text
    assert "line 0" not in text


@pytest.mark.parametrize("width", [12, 80])
def test_the_frame_keeps_its_height(width: int) -> None:
    """Else what is above it would jump."""
    texts = ("", "x", "x" * 500, "\n" * 50, "\t\t\ttabs", "漢字" * 200)
    heights = {
        len(drawn(Lane("t", "green", Recording([(0.0, text)]), 1.0), width=width, height=20))
        for text in texts
    }
    assert len(heights) == 1


def test_a_race_that_nobody_watches_is_told() -> None:
    order: list[str] = []

    def start(name: str) -> Iterator[Chunk]:
        order.append(name)
        yield Chunk("text", 1, from_draft=False)

    shown = io.StringIO()
    console = Console(file=shown, width=80)
    recordings = race.run(console, "p: ", [lambda: start("plain"), lambda: start("fast")])
    assert order == ["plain", "fast"]
    assert shown.getvalue() == ""
    lines = race.summary("p: ", recordings).plain.splitlines()
    assert lines[0] == "p: text"
    assert lines[1].startswith("without speculation: done: 1 tokens")
    assert lines[2].startswith("with speculation (auto): done: 1 tokens")


def test_a_watched_race_shows_both_texts_at_the_end() -> None:
    shown = io.StringIO()
    console = Console(file=shown, width=100, height=30, force_terminal=True, color_system=None)

    def start(text: str) -> Iterator[Chunk]:
        yield Chunk(text, 1, from_draft=False)

    race.run(console, "p: ", [lambda: start("left"), lambda: start("right")])
    text = shown.getvalue()
    assert "p: left" in text
    assert "p: right" in text
    assert race.NOTES[1] in text
