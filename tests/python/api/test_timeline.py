"""Timelines of generations: trace files, pictures, and idle times."""

from __future__ import annotations

import json
import struct
import sys
from collections import defaultdict
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from specbranch_cpp import InvalidArgument, MissingExtra, SpecBranchError, Trace, timeline
from specbranch_cpp._plots import style
from specbranch_cpp.results import Span, TraceRound

if TYPE_CHECKING:
    from pathlib import Path

    from tests.python.conftest import MakeFake

    from specbranch_cpp import Completion

MODES = ("autoregressive", "speculative", "pearl", "specbranch")

TRACE = Trace(
    spans=(
        Span("draft", "prefill", 0.0, 2.0, 9),
        Span("target", "prefill", 0.0, 4.0, 9),
        Span("draft", "draft", 4.0, 6.5, 2, n_branches=2),
        Span(
            "target", "verify", 4.25, 9.0, 5,
            n_padding=3, n_accepted=2, branch_hit=True, branch_miss=False,
        ),
        Span("target", "verify", 9.0, 10.0, 1, n_accepted=0, branch_hit=False, branch_miss=True),
        Span("draft", "draft", 9.0, 9.5, 1, n_branches=1, end="aborted"),
        Span("target", "verify", 10.125, 11.0, 3),
    ),
    rounds=(
        TraceRound(9.0, 2, (4, 5, 6), (7, 8), branch_hit=True),
        TraceRound(10.0, 0, (1,), (), branch_hit=False, branch_miss=True),
    ),
)  # fmt: skip


def traced(make_fake: MakeFake, mode: str) -> Completion:
    engine = make_fake(n_ctx=512, end_every=0)
    return engine.generate(
        "abc", max_tokens=40, temperature=0.8, seed=5, mode=mode, trace=True
    ).result()


def tracks(events: list[dict[str, Any]], phase: str) -> dict[str, list[dict[str, Any]]]:
    """The events of a kind by the name of their track."""
    names = {e["tid"]: e["args"]["name"] for e in events if e["name"] == "thread_name"}
    assert sorted(names.values()) == ["draft", "target"]
    found = defaultdict(list)
    for event in events:
        if event["ph"] == phase:
            found[names[event["tid"]]].append(event)
    return found


def check_format(text: str) -> list[dict[str, Any]]:
    """What the Trace Event Format and its viewers ask for."""
    content = json.loads(text)
    assert content["displayTimeUnit"] == "ms"
    events: list[dict[str, Any]] = content["traceEvents"]
    times: dict[int, float] = defaultdict(float)
    ends: dict[int, float] = defaultdict(float)
    for event in events:
        assert {"name", "ph", "pid", "tid", "args"} <= set(event)
        assert event["ph"] in ("M", "X", "i")
        assert isinstance(event["args"], dict)
        if event["ph"] == "M":
            continue
        track = event["tid"]
        assert event["ts"] >= times[track]
        times[track] = event["ts"]
        if event["ph"] == "i":
            assert event["s"] == "t"
        else:
            assert event["dur"] >= 0
            assert event["ts"] >= ends[track]  # one command at a time
            ends[track] = round(event["ts"] + event["dur"], 3)
    return events


def test_a_file_for_perfetto(tmp_path: Path) -> None:
    TRACE.save(tmp_path / "trace.json")
    events = check_format((tmp_path / "trace.json").read_text())
    spans = tracks(events, "X")
    assert [e["name"] for e in spans["target"]] == [
        "prefill 9",
        "verify 2/4 hit",
        "verify 0/0 miss",
        "verify",
    ]
    assert [e["name"] for e in spans["draft"]] == [
        "prefill 9",
        "draft 2 branches",
        "draft (aborted)",
    ]
    verify = spans["target"][1]
    assert (verify["ts"], verify["dur"], verify["cat"]) == (4250, 4750, "verify")
    assert verify["args"] == {
        "n_tokens": 5,
        "n_padding": 3,
        "n_accepted": 2,
        "branch_hit": True,
        "branch_miss": False,
    }
    assert spans["target"][3]["args"] == {"n_tokens": 3, "n_padding": 0}
    assert spans["draft"][1]["args"] == {"n_tokens": 2, "n_branches": 2}
    instants = tracks(events, "i")
    assert [(e["name"], e["ts"]) for e in instants["target"]] == [
        ("branch hit", 9000),
        ("branch miss", 10000),
    ]
    (rollback,) = instants["draft"]
    assert (rollback["name"], rollback["ts"]) == ("rollback", 9000)
    assert rollback["args"] == {"n_tokens": 2}


@pytest.mark.parametrize("mode", MODES)
def test_the_file_of_a_generation(make_fake: MakeFake, mode: str) -> None:
    done = traced(make_fake, mode)
    assert done.trace is not None
    stats = done.stats
    events = check_format(json.dumps(timeline.to_chrome(done.trace)))
    spans, instants = tracks(events, "X"), tracks(events, "i")
    verify = [e for e in spans["target"] if e["cat"] == "verify"]
    draft = [e for e in spans["draft"] if e["cat"] == "draft"]
    assert len(verify) == stats.n_target_steps
    assert len(draft) == stats.n_draft_steps
    assert sum(e["args"]["n_accepted"] + 1 for e in verify) == stats.n_generated
    assert sum(e["args"]["branch_hit"] for e in verify) == stats.branch_hits
    names = [e["name"] for e in instants["target"]]
    assert names.count("branch hit") == stats.branch_hits
    assert names.count("branch miss") == stats.branch_misses
    assert len(names) == stats.branch_hits + stats.branch_misses
    assert {e["name"] for e in instants["draft"]} <= {"rollback"}
    assert sum(e["args"]["n_tokens"] for e in instants["draft"]) == stats.n_rolled_back
    if mode == "specbranch":
        assert stats.branch_hits > 0
        assert max(e["args"]["n_branches"] for e in draft) > 1


@pytest.mark.parametrize("mode", MODES)
def test_idle_is_what_busy_leaves(make_fake: MakeFake, mode: str) -> None:
    done = traced(make_fake, mode)
    assert done.trace is not None
    stats = done.stats
    # To the microsecond: each of the three is rounded.
    assert stats.target_busy_ms + stats.target_idle_ms == pytest.approx(stats.decode_ms, abs=1e-3)
    assert 0 <= stats.target_idle_ms <= stats.decode_ms
    verify = [span for span in done.trace.spans if span.kind == "verify"]
    busy = sum(span.end_ms - span.begin_ms for span in verify)
    assert stats.target_idle_ms == pytest.approx(stats.decode_ms - busy, abs=1e-3)
    if mode == "autoregressive":
        assert stats.draft_idle_ms == stats.draft_busy_ms == 0
        assert stats.target_idle_ms == pytest.approx(stats.coordination_ms, abs=1e-3)
        assert "idle" in str(stats)
    else:
        assert stats.draft_busy_ms + stats.draft_idle_ms == pytest.approx(stats.decode_ms, abs=1e-3)
        assert str(stats).count(" ms idle") == 2
    assert stats.coordination_ms <= stats.target_idle_ms + 1e-3


def test_a_blank_stands_after_every_name_of_the_statistics(make_fake: MakeFake) -> None:
    stats = replace(
        traced(make_fake, "specbranch").stats, n_processor_calls=1, mode_reason="because"
    )
    lines = str(stats).splitlines()
    assert {line.partition(" ")[0] for line in lines} >= {"mode", "processors", "mode_reason"}


def png_size(path: Path) -> tuple[int, int]:
    content = path.read_bytes()
    assert content[:8] == b"\x89PNG\r\n\x1a\n"
    width, height = struct.unpack(">II", content[16:24])
    return width, height


def pixels(path: Path) -> Any:
    image = pytest.importorskip("matplotlib.image")
    return image.imread(path)


def share_of(path: Path, colour: str) -> float:
    """How much of the picture has the colour."""
    wanted = [int(colour[i : i + 2], 16) for i in (1, 3, 5)]
    found = (255 * pixels(path)[..., :3]).round().astype(int)
    return float((abs(found - wanted).max(axis=-1) <= 2).mean())


def test_a_picture(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    path = tmp_path / "trace.png"
    TRACE.save(path)
    assert png_size(path) == (1600, 400)
    for colour in style.SPANS.values():
        assert share_of(path, colour) > 0.01
    timeline.plot(TRACE, path, width=900, height=301, title="two tracks")
    assert png_size(path) == (900, 301)


def test_a_part_of_a_picture(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    path = tmp_path / "part.png"
    timeline.plot(TRACE, path, start_ms=4.5, end_ms=8.5)
    # The target verifies all the time; what came before is not to be seen.
    assert share_of(path, style.SPANS["prefill"]) == 0
    assert share_of(path, style.SPANS["verify"]) > 0.15
    timeline.plot(TRACE, path, start_ms=20.0, end_ms=21.0)
    assert share_of(path, style.SPANS["verify"]) == 0
    for start_ms, end_ms in ((5.0, 5.0), (6.0, 5.0), (12.0, None), (float("nan"), 5.0)):
        with pytest.raises(InvalidArgument, match="between"):
            timeline.plot(TRACE, path, start_ms=start_ms, end_ms=end_ms)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"width": 10}, r"width is 10; it must be in 200 \.\. 65535"),
        ({"height": 10**7}, r"height is 10000000; it must be in 200 \.\. 65535"),
        ({"width": float("nan")}, "width is nan .*integer"),
        ({"start_ms": "x"}, "start_ms is 'x' .*number"),
        ({"end_ms": "x"}, "end_ms is 'x' .*number"),
        ({"title": "\ud800"}, "title has a lone surrogate"),
        ({"title": 5}, "title is 5 .*str"),
        ({"path": None}, "path is None .*path"),
    ],
)
def test_arguments_of_a_picture(tmp_path: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidArgument, match=message):
        timeline.plot(TRACE, **{"path": tmp_path / "trace.png", **options})
    assert not list(tmp_path.iterdir())


def test_a_title_is_no_formula(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    timeline.plot(TRACE, tmp_path / "trace.png", title=r"$\nothing$")
    assert png_size(tmp_path / "trace.png") == (1600, 400)


def test_a_picture_leaves_matplotlib_as_it_is(tmp_path: Path) -> None:
    matplotlib = pytest.importorskip("matplotlib")
    before = dict(matplotlib.rcParams)
    had_pyplot = "matplotlib.pyplot" in sys.modules
    timeline.plot(TRACE, tmp_path / "trace.png")
    assert dict(matplotlib.rcParams) == before
    assert ("matplotlib.pyplot" in sys.modules) == had_pyplot


def test_nothing_to_show(tmp_path: Path) -> None:
    empty = Trace((), ())
    assert tracks(check_format(json.dumps(timeline.to_chrome(empty))), "X") == {}
    pytest.importorskip("matplotlib")
    empty.save(tmp_path / "empty.png")
    assert png_size(tmp_path / "empty.png") == (1600, 400)


def test_names_of_files(tmp_path: Path) -> None:
    for name in ("trace", "trace.txt", "json"):
        with pytest.raises(InvalidArgument, match=r"\.json or \.png"):
            TRACE.save(tmp_path / name)
    for use in (TRACE.save, timeline.check_path):
        with pytest.raises(FileNotFoundError):
            use(tmp_path / "missing" / "trace.json")
    no_path: Any = None
    with pytest.raises(InvalidArgument, match="path is None"):
        TRACE.save(no_path)
    TRACE.save(str(tmp_path / "trace.json"))
    assert [path.name for path in tmp_path.iterdir()] == ["trace.json"]


def test_pictures_need_matplotlib(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "matplotlib"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(MissingExtra, match=r"specbranch_cpp\[plot\]") as caught:
        TRACE.save(tmp_path / "trace.png")
    assert isinstance(caught.value, SpecBranchError)
    assert isinstance(caught.value, ImportError)
    TRACE.save(tmp_path / "trace.json")


def test_a_generation_that_was_cancelled(make_fake: MakeFake) -> None:
    engine = make_fake(n_ctx=512, end_every=0)
    with engine.generate("abc", trace=True, mode="specbranch") as generation:
        next(generation)
        generation.cancel()
        done = generation.result()
    assert done.trace is not None
    check_format(json.dumps(timeline.to_chrome(done.trace)))
