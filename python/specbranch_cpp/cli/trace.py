"""Text pictures of one generation: the work of each model over time, and the origin of tokens."""

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
# A glyph and a colour for each kind of span: the glyphs differ where there are no colours.
CELLS = {"prefill": ("▒", "blue"), "verify": ("█", "yellow"), "draft": ("▓", "green")}
_IDLE = ("·", "dim")


def story(
    rounds: Sequence[TraceRound], detokenize: Callable[[list[int]], str], *, marks: bool = False
) -> Text:
    """The text, coloured by the origin of its tokens, and the tokens that were rolled back.

    The target's token of a round comes after the drafted tokens that it replaced. With `marks`,
    brackets show the tokens that were rolled back, for output without colours.
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
            part = part.replace("\n", "⏎")  # a rolled back token must not break a line
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
    """The part of a generation that a timeline shows, divided into cells of equal time."""

    begin_ms: float
    cell_ms: float
    n_cells: int

    @property
    def end_ms(self) -> float:
        return self.begin_ms + self.cell_ms * self.n_cells


def choose_window(spans: Sequence[Span], n_cells: int, cells_a_pass: float = 3.0) -> Window:
    """A window from the end of the prefill. A typical draft pass has ``cells_a_pass`` cells."""
    passes = [span for span in spans if span.kind == "draft"]
    passes = passes or [span for span in spans if span.kind == "verify"]
    decoding = [span.begin_ms for span in spans if span.kind != "prefill"]
    if not passes or not decoding:
        return Window(0.0, max((span.end_ms for span in spans), default=1.0) / n_cells, n_cells)
    lengths = sorted(span.end_ms - span.begin_ms for span in passes)
    whole = max(span.end_ms for span in spans) - min(decoding)
    cell = min(lengths[len(lengths) // 2] / cells_a_pass, whole / n_cells)
    # Show a part of the prefill too, so that the start of decoding is visible.
    begin = max(0.0, min(decoding) - min(4, n_cells // 8) * cell)
    return Window(begin, cell or 1e-3, n_cells)


def timeline(spans: Sequence[Span], window: Window, side: str) -> Text:
    """One model's row: a cell shows what the model did for most of its time.

    The first cell of a pass is a half block (▐) if the cell before it shows another pass, so that
    the passes are separate.
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
    """The span that fills most of the cell. ``None``: the model was idle for most of it."""
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
