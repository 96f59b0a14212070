"""The timeline of a generation: its trace, as a file for Perfetto or as a picture.

    done = engine.generate("def add(a, b):", trace=True).result()
    done.trace.save("trace.json")  # open it in https://ui.perfetto.dev or chrome://tracing
    done.trace.save("trace.png")
    timeline.plot(done.trace, "detail.png", start_ms=20.0, end_ms=40.0)

Pictures need matplotlib: ``pip install 'specbranch_cpp[plot]'``.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from specbranch_cpp._plots import style
from specbranch_cpp._plots.timeline import SIDES, plot
from specbranch_cpp._support import checked
from specbranch_cpp._support.core_fields import copied
from specbranch_cpp._support.files import check_output, replace_file
from specbranch_cpp.errors import InvalidArgument

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy as np
    import numpy.typing as npt

    from specbranch_cpp import _core

__all__ = ["Span", "Trace", "TraceRound", "check_path", "describe", "plot", "save", "to_chrome"]

_PID = 1


@dataclass(frozen=True, slots=True)
class Span:
    """One command on one model.

    Attributes:
        side: ``"target"`` or ``"draft"``.
        kind: ``"prefill"``, ``"verify"`` (a path, in ``auto`` perhaps with branches beside it) or
            ``"draft"`` (one token on each branch).
        begin_ms: start of the command, in milliseconds since the generation began.
        end_ms: end of the command, in milliseconds since the generation began.
        n_tokens: number of decoded tokens: of the prompt; of the verification (the last token of
            the text, and the drafted tokens after it on the path and on branches); or on all
            branches of the draft.
        n_padding: number of dummy tokens in the batch of a verification, which make it faster.
        n_branches: number of branches in a pass of the draft.
        n_accepted: number of drafted tokens on the verified path that the target accepted. ``None``
            unless the engine applied the verification; this also holds for the next two attributes.
        branch_hit: whether the target's next token was on a branch.
        branch_miss: whether drafted tokens were rejected, and that token was on no branch, so that
            the draft started again.
        end: ``"done"``, ``"aborted"`` (the result was no longer needed) or ``"failed"``.
    """

    side: str
    kind: str
    begin_ms: float
    end_ms: float
    n_tokens: int
    n_padding: int = 0
    n_branches: int = 0
    n_accepted: int | None = None
    branch_hit: bool | None = None
    branch_miss: bool | None = None
    end: str = "done"


@dataclass(frozen=True, slots=True)
class TraceRound:
    """One verification of the target, as the engine applied it.

    Attributes:
        at_ms: time of this, in milliseconds since the generation began.
        n_accepted: number of drafted tokens on the verified path that the target accepted.
        committed: ids of the tokens that became text: the accepted tokens, and one more token of
            the target.
        rolled_back: ids of the tokens on the draft's main path that were rolled back.
        branch_hit: whether the last committed token was on a branch of the draft.
        branch_miss: whether drafted tokens were rejected there, and that token was on no branch, so
            that the draft started again.
        position: position of the last token of the text when the verification was submitted.
        n_submitted: number of drafted tokens that were verified: the first tokens of ``window``.
        window: ids of all tokens that were drafted after that token on the main path at that time.
        confidence: the draft's confidence for each token of ``window``.
        features: features of the target at the position before that token: see ``n_feature_layers``
            of `Engine.generate`. Read-only. ``None`` without ``n_feature_layers``, and in the first
            round.
        proposals: for each token of `committed`, the confidences of the draft's candidates, best
            first (empty if they were not known at that time), and the index of the right candidate,
            -1 if it was not among them. `simulation.Pair.with_trace` replays these proposals.
    """

    at_ms: float
    n_accepted: int
    committed: tuple[int, ...]
    rolled_back: tuple[int, ...]
    branch_hit: bool
    branch_miss: bool = False
    position: int = 0
    n_submitted: int = 0
    window: tuple[int, ...] = ()
    confidence: tuple[float, ...] = ()
    features: npt.NDArray[np.float32] | None = field(default=None, compare=False, repr=False)
    proposals: tuple[tuple[tuple[float, ...], int], ...] = ()


@dataclass(frozen=True, slots=True)
class Trace:
    """The trace of one generation.

    Attributes:
        spans: the commands of both models, in the order in which the engine learned of their ends.
            Those of one model are in order of time.
        rounds: the verifications of the target, in order of time.
    """

    spans: tuple[Span, ...]
    rounds: tuple[TraceRound, ...]

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes the trace as ``.json`` for Perfetto and ``chrome://tracing``, or as a ``.png``.

        Raises:
            InvalidArgument: the name has another ending.
            MissingExtra: ``.png`` needs matplotlib, which is not installed.
            OSError: the file cannot be written.
        """
        save(self, path)

    @classmethod
    def _from_core(cls, trace: _core.Trace) -> Trace:
        return cls(
            tuple(copied(Span, span) for span in trace.spans),
            tuple(
                copied(
                    TraceRound,
                    one,
                    committed=tuple(one.committed),
                    rolled_back=tuple(one.rolled_back),
                    window=tuple(one.window),
                    confidence=tuple(one.confidence),
                    proposals=tuple((tuple(q), rank) for q, rank in one.proposals),
                )
                for one in trace.rounds
            ),
        )


def check_path(path: str | os.PathLike[str]) -> None:
    """Checks the place and the packages that `save` needs, for example before a long generation.

    Raises:
        InvalidArgument: the name ends in neither ``.json`` nor ``.png``, or something else than a
            regular file has it.
        MissingExtra: ``.png`` needs matplotlib, which is not installed.
        OSError: the folder does not exist, or the file is write-protected.
    """
    path = os.fsdecode(checked.path("path", path))
    suffix = Path(path).suffix
    if suffix not in (".json", ".png"):
        raise InvalidArgument(
            f"the path is {str(path)!r}; a timeline file must end in .json or .png"
        )
    check_output(path)
    if suffix == ".png":
        style.figure_class("a picture of a timeline")


def save(trace: Trace, path: str | os.PathLike[str]) -> None:
    """Writes the timeline: `to_chrome` for a ``.json`` file, `plot` for a ``.png`` file.

    The file is complete or it is not there; an existing file is replaced.

    Raises:
        InvalidArgument: see `check_path`.
        MissingExtra: see `check_path`.
        OSError: the file cannot be written.
    """
    check_path(path)
    if Path(os.fsdecode(path)).suffix == ".png":
        plot(trace, path)
    else:
        text = json.dumps(to_chrome(trace), separators=(",", ":")) + "\n"
        replace_file(path, text.encode())


def describe(span: Span) -> str:
    """A short description of a span.

    ``verify 3/4 hit``: the target accepted 3 of 4 drafted tokens, and the next token was on a
    branch.
    """
    text = span.kind
    if span.kind == "prefill":
        text += f" {span.n_tokens}"
    elif span.kind == "draft" and span.n_branches > 1:
        text += f" {span.n_branches} branches"
    elif span.n_accepted is not None:
        text += f" {span.n_accepted}/{span.n_tokens - 1}"
        text += " hit" if span.branch_hit else " miss" if span.branch_miss else ""
    return text if span.end == "done" else f"{text} ({span.end})"


def to_chrome(trace: Trace) -> dict[str, Any]:
    """The timeline in the Trace Event Format of Chrome and Perfetto, ready for `json.dump`.

    Each model has a track, and each command is a complete event on it. Times are in microseconds
    since the generation began. Instants show the verifications: ``branch hit`` and ``branch miss``
    are on the target's track, ``rollback`` (with the number of tokens) is on the draft's track.
    """
    names = [_metadata("process_name", 0, name="specbranch")]
    for tid, side in enumerate(SIDES, start=1):
        names.append(_metadata("thread_name", tid, name=side))
        names.append(_metadata("thread_sort_index", tid, sort_index=tid))
    events = [_complete(span) for span in trace.spans]
    for one in trace.rounds:
        events += _instants(one)
    # Viewers accept any order. Sorted events are easier to read for people.
    events.sort(key=lambda event: (event["ts"], event["tid"]))
    return {"traceEvents": names + events, "displayTimeUnit": "ms"}


def _metadata(what: str, tid: int, **args: Any) -> dict[str, Any]:
    return {"name": what, "ph": "M", "pid": _PID, "tid": tid, "args": args}


def _to_us(ms: float) -> float:
    return round(1000.0 * ms, 3)


def _complete(span: Span) -> dict[str, Any]:
    args: dict[str, Any] = {"n_tokens": span.n_tokens}
    if span.kind == "draft":
        args["n_branches"] = span.n_branches
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


def _instants(one: TraceRound) -> Iterator[dict[str, Any]]:
    def instant(name: str, side: str, **args: Any) -> dict[str, Any]:
        place = {"pid": _PID, "tid": SIDES.index(side) + 1, "ts": _to_us(one.at_ms)}
        return {"name": name, "cat": "verification", "ph": "i", "s": "t", **place, "args": args}

    if one.branch_hit:
        yield instant("branch hit", "target", n_accepted=one.n_accepted)
    if one.branch_miss:
        yield instant("branch miss", "target", n_accepted=one.n_accepted)
    if one.rolled_back:
        yield instant("rollback", "draft", n_tokens=len(one.rolled_back))
