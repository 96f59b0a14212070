"""The timeline of a generation as a picture: a row for each model, a bar for each command."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from specbranch_cpp._plots import style
from specbranch_cpp._support import checked
from specbranch_cpp.errors import InvalidArgument

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence

    from matplotlib.axes import Axes

    from specbranch_cpp.timeline import Span, Trace, TraceRound

SIDES = ("target", "draft")
"""The models of a trace, in the order of their rows."""

_DPI = 100
_MIN_SIZE, _MAX_SIZE = 200, 2**16 - 1


def plot(
    trace: Trace,
    path: str | os.PathLike[str],
    *,
    start_ms: float | None = None,
    end_ms: float | None = None,
    width: int = 1600,
    height: int = 400,
    title: str = "",
) -> None:
    """Draws the timeline as a PNG: a row for each model, a bar for each command.

    Args:
        trace: the trace of a generation with ``trace=True``.
        path: path of the picture; an existing file is overwritten.
        start_ms: start of the picture, in milliseconds since the generation began. ``None``
            (default): 0.
        end_ms: end of the picture. ``None`` (default): the end of the last command.
        width: width of the picture in pixels, 200 to 65,535.
        height: height of the picture in pixels, 200 to 65,535.
        title: a title above the picture.

    Raises:
        InvalidArgument: there is nothing between start and end, or an argument has the wrong type
            or is out of its range.
        MissingExtra: matplotlib is not installed.
        OSError: the file cannot be written.
    """
    begin, end = _window(trace, start_ms, end_ms)
    width = checked.integer("width", width, _MIN_SIZE, _MAX_SIZE)
    height = checked.integer("height", height, _MIN_SIZE, _MAX_SIZE)
    checked.text("title", title)
    checked.path("path", path)
    figure = style.figure_class("a picture of a timeline")(
        figsize=(width / _DPI, height / _DPI), dpi=_DPI
    )
    axes = figure.add_axes((70 / width, 0.25, 1 - 90 / width, 0.63 if title else 0.72))
    spans = [span for span in trace.spans if span.end_ms >= begin and span.begin_ms <= end]
    rounds = [one for one in trace.rounds if begin <= one.at_ms <= end]
    px_per_ms = (width - 90) / (end - begin)
    for row, side in enumerate(reversed(SIDES)):
        _draw_spans(axes, row, [span for span in spans if span.side == side], px_per_ms)
    _draw_rounds(axes, rounds)
    axes.set_xlim(begin, end)
    axes.set_ylim(-0.75, 1.75)
    axes.set_yticks(range(len(SIDES)), reversed(SIDES))
    axes.tick_params(axis="y", length=0)
    axes.set_xlabel("ms since the generation began")
    for edge in ("left", "right", "top"):
        axes.spines[edge].set_visible(False)
    if title:
        axes.set_title(title, loc="left", parse_math=False)
    handles, labels = axes.get_legend_handles_labels()
    legend = dict(
        zip(labels, handles, strict=True)
    )  # both models have prefill spans, so keep one label
    if legend:
        figure.legend(
            legend.values(), legend.keys(), loc="lower center", ncols=len(legend), frameon=False
        )
    style.save(figure, path, dpi=_DPI)


def _window(trace: Trace, start_ms: float | None, end_ms: float | None) -> tuple[float, float]:
    begin = 0.0 if start_ms is None else checked.real("start_ms", start_ms)
    if end_ms is None:
        end = max((span.end_ms for span in trace.spans), default=begin + 1.0)
    else:
        end = checked.real("end_ms", end_ms)
    if not (math.isfinite(begin) and math.isfinite(end) and begin < end):
        raise InvalidArgument(f"there is nothing between start_ms {begin:g} and end_ms {end:g}")
    return begin, end


def _draw_spans(axes: Axes, row: int, spans: Sequence[Span], px_per_ms: float) -> None:
    for kind, colour in style.SPANS.items():
        for done in (True, False):
            bars = [s for s in spans if s.kind == kind and (s.end == "done") == done]
            if not bars:
                continue
            pixels = sorted(px_per_ms * (span.end_ms - span.begin_ms) for span in bars)
            axes.broken_barh(
                [(span.begin_ms, span.end_ms - span.begin_ms) for span in bars],
                (row - 0.3, 0.6),
                facecolors=colour,
                # Lines separate the bars, unless the lines would hide the bars.
                edgecolors="white" if pixels[len(pixels) // 2] > 4.0 else colour,
                linewidth=0.6,
                hatch=None if done else "////",
                label=kind if done else f"{kind}, aborted",
            )
    for span in spans:
        label = _short(span)
        middle = 0.5 * (span.begin_ms + span.end_ms)
        if 7.0 * len(label) + 6.0 < px_per_ms * (span.end_ms - span.begin_ms):
            axes.text(middle, row, label, ha="center", va="center", fontsize=8, clip_on=True)


def _short(span: Span) -> str:
    """A label that fits into a bar."""
    if span.kind == "verify" and span.n_accepted is not None:
        return f"{span.n_accepted}/{span.n_tokens - 1}"
    return str(span.n_branches if span.kind == "draft" else span.n_tokens)


def _draw_rounds(axes: Axes, rounds: Sequence[TraceRound]) -> None:
    def mark(times: list[float], y: float, marker: str, colour: str, label: str) -> None:
        if times:
            axes.plot(times, [y] * len(times), marker, color=colour, markersize=6, label=label)

    mark([one.at_ms for one in rounds if one.branch_hit], 1.45, "^", style.GOOD, "branch hit")
    mark([one.at_ms for one in rounds if one.branch_miss], 1.45, "v", style.BAD, "branch miss")
    back = [one for one in rounds if one.rolled_back]
    mark([one.at_ms for one in back], -0.42, "x", style.BAD, "rollback (tokens)")
    if len(back) <= 60:
        for one in back:
            place = (one.at_ms, -0.62)
            axes.text(*place, str(len(one.rolled_back)), ha="center", fontsize=7, clip_on=True)
