"""The timeline of a generation, for Perfetto and as a picture.

    done = engine.generate("def add(a, b):", trace=True).result()
    done.trace.save("trace.json")  # open it in https://ui.perfetto.dev or chrome://tracing
    done.trace.save("trace.png")
    timeline.plot(done.trace, "detail.png", start_ms=20.0, end_ms=40.0)

Pictures need matplotlib: ``pip install 'specbranch_cpp[plot]'``.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from specbranch_cpp.errors import InvalidArgument, MissingExtra

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator, Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from specbranch_cpp.results import Round, Span, Trace

__all__ = ["check_path", "describe", "plot", "save", "to_chrome"]

SIDES = ("target", "draft")
COLOURS = {"prefill": "#8da0cb", "verify": "#fc8d62", "draft": "#66c2a5"}
_PID = 1
_DPI = 100
_MIN_SIZE = 200


def check_path(path: str | os.PathLike[str]) -> None:
    """Whether `save` could write a file of this name; before a long generation, say.

    Raises:
        InvalidArgument: neither ``.json`` nor ``.png``.
        MissingExtra: ``.png`` without matplotlib.
    """
    suffix = Path(path).suffix
    if suffix not in (".json", ".png"):
        raise InvalidArgument(f"a timeline is written as .json or .png; {str(path)!r} is neither")
    if suffix == ".png":
        _matplotlib()


def save(trace: Trace, path: str | os.PathLike[str]) -> None:
    """Writes the timeline as its name ends: `to_chrome` for ``.json``, `plot` for ``.png``."""
    check_path(path)
    if Path(path).suffix == ".png":
        plot(trace, path)
    else:
        Path(path).write_text(json.dumps(to_chrome(trace), separators=(",", ":")) + "\n")


def describe(span: Span) -> str:
    """What a model did in a few words: ``verify 3/4 hit`` accepted 3 of 4 drafted tokens."""
    text = span.kind
    if span.kind == "prefill":
        text += f" {span.n_tokens}"
    elif span.kind == "draft" and span.n_lanes > 1:
        text += f" {span.n_lanes} lanes"
    elif span.n_accepted is not None:
        text += f" {span.n_accepted}/{span.n_tokens - 1}"
        text += " hit" if span.branch_hit else " miss" if span.branch_miss else ""
    return text if span.end == "done" else f"{text} ({span.end})"


def to_chrome(trace: Trace) -> dict[str, Any]:
    """The timeline in the Trace Event Format of Chrome and Perfetto, ready for `json.dump`.

    A track for each model with a complete event for each command, times in microseconds since the
    generation began. Instants tell what the target decided: ``branch hit`` and ``branch miss`` on
    its track, ``rollback`` (with the number of tokens) on that of the draft.
    """
    names = [_metadata("process_name", 0, name="specbranch")]
    for tid, side in enumerate(SIDES, start=1):
        names.append(_metadata("thread_name", tid, name=side))
        names.append(_metadata("thread_sort_index", tid, sort_index=tid))
    events = [_complete(span) for span in trace.spans]
    for one in trace.rounds:
        events += _instants(one)
    # A viewer needs no order, but whoever reads the file is glad of it.
    events.sort(key=lambda event: (event["ts"], event["tid"]))
    return {"traceEvents": names + events, "displayTimeUnit": "ms"}


def _metadata(what: str, tid: int, **args: Any) -> dict[str, Any]:
    return {"name": what, "ph": "M", "pid": _PID, "tid": tid, "args": args}


def _to_us(ms: float) -> float:
    return round(1000.0 * ms, 3)


def _complete(span: Span) -> dict[str, Any]:
    args: dict[str, Any] = {"n_tokens": span.n_tokens}
    if span.kind == "draft":
        args["n_lanes"] = span.n_lanes
    elif span.kind == "verify":
        args["n_padding"] = span.n_padding
        for name in ("n_accepted", "branch_hit", "branch_miss"):
            if (value := getattr(span, name)) is not None:
                args[name] = value
    if span.end != "done":
        args["end"] = span.end
    begin = _to_us(span.begin_ms)
    return {
        "name": describe(span),
        "cat": span.kind,
        "ph": "X",
        "pid": _PID,
        "tid": SIDES.index(span.side) + 1,
        "ts": begin,
        "dur": round(_to_us(span.end_ms) - begin, 3),
        "args": args,
    }


def _instants(one: Round) -> Iterator[dict[str, Any]]:
    def instant(name: str, side: str, **args: Any) -> dict[str, Any]:
        place = {"pid": _PID, "tid": SIDES.index(side) + 1, "ts": _to_us(one.at_ms)}
        return {"name": name, "cat": "verdict", "ph": "i", "s": "t", **place, "args": args}

    if one.branch_hit:
        yield instant("branch hit", "target", n_accepted=one.n_accepted)
    if one.branch_miss:
        yield instant("branch miss", "target", n_accepted=one.n_accepted)
    if one.rolled_back:
        yield instant("rollback", "draft", n_tokens=len(one.rolled_back))


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
        trace: of a generation with ``trace=True``.
        path: is written, or overwritten.
        start_ms: where the picture begins, in milliseconds since the generation began; default: 0.
        end_ms: where it ends; default: when the last command ended.
        width: of the picture in pixels; 200 at least, as is the height.
        height: likewise.
        title: stands above it.

    Raises:
        InvalidArgument: there is nothing between start and end, or the picture is too small.
        MissingExtra: matplotlib is not installed.
    """
    begin, end = _window(trace, start_ms, end_ms)
    if min(width, height) < _MIN_SIZE:
        raise InvalidArgument(f"a picture of {width} x {height} pixels; {_MIN_SIZE} at least")
    figure = _matplotlib()(figsize=(width / _DPI, height / _DPI), dpi=_DPI)
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
        axes.set_title(title, loc="left")
    handles, labels = axes.get_legend_handles_labels()
    legend = dict(zip(labels, handles, strict=True))  # both models prefill
    if legend:
        figure.legend(
            legend.values(), legend.keys(), loc="lower center", ncols=len(legend), frameon=False
        )
    figure.savefig(path, format="png", dpi=_DPI)


def _matplotlib() -> type[Figure]:
    """The class of figures: without pyplot there is no state that others share.

    A figure without a window system of its own is drawn by Agg.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingExtra(
            "a picture of a timeline needs matplotlib: pip install 'specbranch_cpp[plot]'"
        ) from error
    return Figure


def _window(trace: Trace, start_ms: float | None, end_ms: float | None) -> tuple[float, float]:
    begin = 0.0 if start_ms is None else float(start_ms)
    end = end_ms
    if end is None:
        end = max((span.end_ms for span in trace.spans), default=begin + 1.0)
    if not (math.isfinite(begin) and math.isfinite(end) and begin < end):
        raise InvalidArgument(f"there is nothing between start_ms {begin:g} and end_ms {end:g}")
    return begin, float(end)


def _draw_spans(axes: Axes, row: int, spans: Sequence[Span], px_per_ms: float) -> None:
    for kind, colour in COLOURS.items():
        for done in (True, False):
            bars = [s for s in spans if s.kind == kind and (s.end == "done") == done]
            if not bars:
                continue
            pixels = sorted(px_per_ms * (span.end_ms - span.begin_ms) for span in bars)
            axes.broken_barh(
                [(span.begin_ms, span.end_ms - span.begin_ms) for span in bars],
                (row - 0.3, 0.6),
                facecolors=colour,
                # A line between bars, unless the lines would hide them.
                edgecolors="white" if pixels[len(pixels) // 2] > 4.0 else colour,
                linewidth=0.6,
                hatch=None if done else "////",
                label=kind if done else f"{kind}, cut short",
            )
    for span in spans:
        label = _short(span)
        middle = 0.5 * (span.begin_ms + span.end_ms)
        if 7.0 * len(label) + 6.0 < px_per_ms * (span.end_ms - span.begin_ms):
            axes.text(middle, row, label, ha="center", va="center", fontsize=8, clip_on=True)


def _short(span: Span) -> str:
    """What fits into a bar."""
    if span.kind == "verify" and span.n_accepted is not None:
        return f"{span.n_accepted}/{span.n_tokens - 1}"
    return str(span.n_lanes if span.kind == "draft" else span.n_tokens)


def _draw_rounds(axes: Axes, rounds: Sequence[Round]) -> None:
    def mark(times: list[float], y: float, marker: str, colour: str, label: str) -> None:
        if times:
            axes.plot(times, [y] * len(times), marker, color=colour, markersize=6, label=label)

    mark([one.at_ms for one in rounds if one.branch_hit], 1.45, "^", "#1b7837", "branch hit")
    mark([one.at_ms for one in rounds if one.branch_miss], 1.45, "v", "#b2182b", "branch miss")
    back = [one for one in rounds if one.rolled_back]
    mark([one.at_ms for one in back], -0.42, "x", "#b2182b", "rollback (tokens)")
    if len(back) <= 60:
        for one in back:
            place = (one.at_ms, -0.62)
            axes.text(*place, str(len(one.rolled_back)), ha="center", fontsize=7, clip_on=True)
