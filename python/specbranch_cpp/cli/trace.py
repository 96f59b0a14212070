"""Pictures of one generation: what each model did when, and what became of the drafted tokens."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING

from rich.text import Text

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from specbranch_cpp.results import Span, TraceRound


PROMPT = "dim"
ACCEPTED = "green"
BRANCH = "bold cyan"
OWN = "bold yellow"
ROLLED_BACK = "dim red strike"

SIDES = ("target", "draft")
# What a cell shows where no colour can.
CELLS = {"prefill": ("▒", "blue"), "verify": ("█", "yellow"), "draft": ("▓", "green")}
_IDLE = ("·", "dim")


def story(
    rounds: Sequence[TraceRound], detokenize: Callable[[list[int]], str], *, marks: bool = False
) -> Text:
    """The text in the colours of where its tokens came from, with what was drafted in vain.

    A round's own token of the target comes after the drafted ones that it replaced. With `marks`,
    brackets tell what is not in the text, for where there are no colours.
    """
    pieces: list[tuple[str, int]] = []
    for one in rounds:
        accepted, rest = one.committed[: one.n_accepted], one.committed[one.n_accepted :]
        pieces += [(ACCEPTED, token) for token in accepted]
        pieces += [(ROLLED_BACK, token) for token in one.rolled_back]
        pieces += [(BRANCH if one.branch_hit else OWN, token) for token in rest]
    text = Text()
    for style, run in groupby(pieces, key=lambda piece: piece[0]):
        part = detokenize([token for _, token in run])
        if style == ROLLED_BACK:
            part = part.replace("\n", "⏎")  # what is not in the text breaks no line of it
            part = f"[-{part}-]" if marks else part
        text.append(part, style)
    return text


def story_legend(*, marks: bool = False) -> Text:
    if marks:
        return Text("[-rolled back-]")
    return Text("  ").join(
        [
            Text("accepted", ACCEPTED),
            Text("from a branch", BRANCH),
            Text("the target's own", OWN),
            Text("rolled back", ROLLED_BACK),
        ]
    )


@dataclass(frozen=True)
class Window:
    """The part of a generation that a timeline shows, in cells of equal time."""

    begin_ms: float
    cell_ms: float
    n_cells: int

    @property
    def end_ms(self) -> float:
        return self.begin_ms + self.cell_ms * self.n_cells


def choose_window(spans: Sequence[Span], n_cells: int, cells_a_pass: float = 3.0) -> Window:
    """From the end of the prefill on, with so many cells to a typical pass of the draft."""
    passes = [span for span in spans if span.kind == "draft"]
    passes = passes or [span for span in spans if span.kind == "verify"]
    decoding = [span.begin_ms for span in spans if span.kind != "prefill"]
    if not passes or not decoding:
        return Window(0.0, max((span.end_ms for span in spans), default=1.0) / n_cells, n_cells)
    lengths = sorted(span.end_ms - span.begin_ms for span in passes)
    whole = max(span.end_ms for span in spans) - min(decoding)
    cell = min(lengths[len(lengths) // 2] / cells_a_pass, whole / n_cells)
    # Some of the prefill, so that one sees where it begins.
    begin = max(0.0, min(decoding) - min(4, n_cells // 8) * cell)
    return Window(begin, cell or 1e-3, n_cells)


def timeline(spans: Sequence[Span], window: Window, side: str) -> Text:
    """One model's row: a cell shows what the model did for most of its time.

    The first cell of a pass is a half one if the pass before it ends there: ▐ separates them.
    """
    text = Text()
    mine = [span for span in spans if span.side == side]
    before: Span | None = None
    for i in range(window.n_cells):
        begin = window.begin_ms + i * window.cell_ms
        span = _busiest(mine, begin, begin + window.cell_ms)
        glyph, style = _IDLE if span is None else CELLS.get(span.kind, ("?", ""))
        if span is not None and before is not None and span is not before:
            glyph = "▐"
        text.append(glyph, style)
        before = span
    return text


def _busiest(spans: Sequence[Span], begin: float, end: float) -> Span | None:
    """The span that fills most of the cell; None if idleness does."""
    best, most, busy = None, 0.0, 0.0
    for span in spans:
        share = min(end, span.end_ms) - max(begin, span.begin_ms)
        if share > 0.0:
            busy += share
            if share > most:
                best, most = span, share
    return best if busy >= 0.5 * (end - begin) else None


def timeline_legend() -> Text:
    text = Text()
    for kind, (glyph, style) in CELLS.items():
        text.append(glyph, style).append(f" {kind}  ")
    return text.append(*_IDLE).append(" idle")
