"""Two texts side by side: without speculation and with it.

Both at once would take each other's cores. So plain decoding runs first, alone, and its chunks
are replayed at the times at which they came, beside the run with speculation, which is live.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from rich.console import Console, Group
from rich.live import Live
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from specbranch_cpp.cli import trace

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from rich.console import RenderableType

    from specbranch_cpp.results import Chunk

MODES = ("autoregressive", "auto")
TITLES = ("without speculation", "with speculation (auto)")

WIDE = 72
"""Columns from which on the lanes stand side by side."""

FRAMES_PER_SECOND = 15
NOTES = (
    "live: without speculation, alone on this machine",
    "right: live; left: replayed at the speed that was measured just before",
)
_LINES = {True: 14, False: 6}  # of text in a lane, side by side or not
_FRAME_LINES = 3  # of a panel, and the note below


@dataclass
class Recording:
    """The chunks of one text, and the milliseconds from its begin at which they came."""

    chunks: list[tuple[float, str]] = field(default_factory=list)
    ended_ms: float | None = None

    def read(self, chunks: Iterable[Chunk], clock: Callable[[], float] = time.monotonic) -> None:
        """Reads a generation to its end; `clock` counts seconds."""
        begin = clock()
        for chunk in chunks:
            if chunk.token is not None or chunk.text:
                self.chunks.append((1000.0 * (clock() - begin), chunk.text))
        self.ended_ms = 1000.0 * (clock() - begin)

    def at(self, ms: float) -> tuple[str, int]:
        """The text and the number of chunks that were there after so many milliseconds."""
        there = [text for since, text in self.chunks.copy() if since <= ms]
        return "".join(there), len(there)


@dataclass(frozen=True)
class Lane:
    """One text at one moment.

    Attributes:
        title: how it is decoded.
        style: of the frame.
        recording: the text; None: it has not begun.
        ms: since its begin.
    """

    title: str
    style: str
    recording: Recording | None = None
    ms: float = 0.0

    def status(self) -> str:
        """How far it is, in words."""
        if self.recording is None:
            return "waits for its turn"
        ended = self.recording.ended_ms
        done = ended is not None and self.ms >= ended
        ms = ended if done and ended is not None else self.ms
        _, n = self.recording.at(ms)
        seconds = ms / 1000.0
        rate = f" · {n / seconds:.0f} tokens/s" if n and seconds else ""
        return f"{'done: ' if done else ''}{n} tokens · {seconds:.2f} s{rate}"


def frame(prompt: str, lanes: Sequence[Lane], note: str, width: int, height: int) -> Group:
    """What is shown at one moment; lines of texts that find no room scroll away at the top."""
    wide = width >= WIDE
    columns = len(lanes) if wide else 1
    room = (height - 1) // (1 if wide else len(lanes)) - _FRAME_LINES
    n_lines = max(1, min(_LINES[wide], room))
    grid = Table.grid(expand=True)
    for _ in range(columns):
        grid.add_column(ratio=1)
    panels = [_panel(prompt, lane, width // columns, n_lines) for lane in lanes]
    for i in range(0, len(panels), columns):
        grid.add_row(*panels[i : i + columns])
    return Group(grid, Text(note, "dim", no_wrap=True, overflow="ellipsis"))


def _panel(prompt: str, lane: Lane, width: int, n_lines: int) -> RenderableType:
    text = Text().append(prompt, trace.PROMPT)
    if lane.recording is not None:
        text.append(lane.recording.at(lane.ms)[0])
    lines = text.wrap(Console(width=width), max(1, width - 4), tab_size=4)
    shown = Text("\n").join(lines[-n_lines:])
    return Panel(
        shown,
        title=Text(lane.title, f"bold {lane.style}"),
        subtitle=Text(lane.status(), lane.style),
        border_style=lane.style,
        height=n_lines + 2,
    )


def summary(prompt: str, recordings: Sequence[Recording]) -> Text:
    """What a race came to, where it could not be watched: the text, and both times."""
    text = Text().append(prompt, trace.PROMPT)
    text.append("".join(piece for _, piece in recordings[0].chunks))
    for title, each in zip(TITLES, recordings, strict=True):
        text.append(f"\n{title}: {Lane(title, '', each, float('inf')).status()}")
    return text


def show(console: Console, prompt: str, start: Sequence[Callable[[], Iterable[Chunk]]]) -> None:
    """Runs a race, live on a terminal, and told afterwards elsewhere."""
    recordings = run(console, prompt, start)
    if not console.is_terminal:
        console.print(summary(prompt, recordings))


def run(
    console: Console,
    prompt: str,
    start: Sequence[Callable[[], Iterable[Chunk]]],
) -> tuple[Recording, Recording]:
    """Decodes one after the other, and shows both if this is a terminal.

    Args:
        console: where.
        prompt: both texts begin with it.
        start: what begins the generation in each of `MODES`.
    """
    plain, fast = Recording(), Recording()
    if not console.is_terminal:
        plain.read(start[0]())
        fast.read(start[1]())
        return plain, fast
    begins = [time.monotonic()]

    def moment() -> Group:
        now = time.monotonic()
        replayed = len(begins) == 2
        ms = 1000.0 * (now - begins[-1])
        left = Lane(TITLES[0], "yellow", plain, ms)
        right = Lane(TITLES[1], "green", fast, ms) if replayed else Lane(TITLES[1], "green")
        width, height = console.size
        return frame(prompt, (left, right), NOTES[replayed], width, height)

    with Live(get_renderable=moment, console=console, refresh_per_second=FRAMES_PER_SECOND):
        plain.read(start[0]())
        begins.append(time.monotonic())
        fast.read(start[1]())
        slowest_ms = max(plain.ended_ms or 0.0, fast.ended_ms or 0.0)
        time.sleep(max(0.0, slowest_ms / 1000.0 - (time.monotonic() - begins[-1])))
    return plain, fast
