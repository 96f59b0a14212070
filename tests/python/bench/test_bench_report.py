"""The report of `specbranch bench`, from records alone."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest
from tests.python.support.bench_records import AUTO, BASE, LONG, PEER, SHORT, header, model, turn

from specbranch_cpp.bench import plots, report, traces
from specbranch_cpp.bench.records import NAME, Record
from specbranch_cpp.bench.session import write_report
from specbranch_cpp.bench.statistics import summarize
from specbranch_cpp.errors import MissingExtra
from specbranch_cpp.results import Span, Trace, TraceRound

BEGIN = {"kind": "begin", "part": 0, "load": 0.25, "precision": 0.02}
RECORDS = [
    header(),
    BEGIN,
    turn(BASE, 0, 40.0),
    turn(SHORT, 0, 32.0, n_draft_steps=4, draft_busy_ms=4.0, n_drafted=4, n_accepted=3,
               n_rolled_back=1, acceptance_histogram=[1, 0, 2]),
    turn(LONG, 0, 50.0, tokens=(1, 2, 7)),
    turn(AUTO, 0, 16.0, mode_reason="it pays"),
    turn(PEER, 0, 20.0),
]  # fmt: skip


def line(text: str, begin: str) -> str:
    """The only line that begins so."""
    (found,) = [each for each in text.splitlines() if each.startswith(begin)]
    return found


def test_a_row_for_each_variant_with_the_best_in_bold() -> None:
    text = report.markdown(RECORDS, summarize(RECORDS))
    assert line(text, "| autoregressive | 1.00 ").endswith("| 1 of 1 |")
    row = line(text, "| **speculative (2, fixed)** ")
    assert row.split(" | ")[1:6] == ["**1.25**", "not known", "not known", "1.25", "1.25 .. 1.25"]
    assert row.split(" | ")[8:11] == ["0.75", "0.25", "0.25"]
    assert line(text, "| speculative (6, fixed) | 0.60 ").endswith("| 0 of 1 |")
    assert line(text, "| auto | 2.50 ")
    assert line(text, "| other-engine (3) | 2.00 ")


def test_what_auto_is_compared_with() -> None:
    text = report.markdown(RECORDS, summarize(RECORDS))
    begin = "| speculative | speculative (2, fixed) |"
    row = line(text, begin)
    assert row == f"{begin} 2.000 | not known | not told apart | 2.000 | 2.000 .. 2.000 |"
    assert "Last decision of `auto`: it pays" in text
    assert "`auto` over the groups" not in text  # there is one


def test_the_overview_has_a_row_for_each_group() -> None:
    warm = [{**record, "temperature": 0.8} for record in RECORDS[2:4]]
    records = [header(temperatures=[0.0, 0.8]), *RECORDS[1:], *warm]
    text = (
        report.markdown(records, summarize(records))
        .split("## Every mode at its best, in total")[1]
        .split("##")[0]
    )
    modes = "autoregressive | speculative | auto | other-engine |"
    assert f"| target + draft | placement | prompts | temperature | c | {modes}" in text
    begin = "| big.gguf + small.gguf | shared | some |"
    assert f"{begin} 0 | 10.0 | 1.00 | 1.25 | 2.50 | 2.00 |" in text
    assert f"{begin} 0.8 | 10.0 | 1.00 | 1.25 |  |  |" in text
    assert "## Every mode at its best, in total" not in report.markdown(RECORDS, summarize(RECORDS))


def test_differences_and_gaps_are_listed() -> None:
    gap = {"kind": "difference", "key": f"difference {RECORDS[4]['key']}", "gap": 0.0625}
    records = [*RECORDS, gap]
    row = line(report.markdown(records, summarize(records)).split("## Texts that differ")[1],
               "| speculative (6, fixed) |")  # fmt: skip
    assert row.endswith("| 0 | 2 | 0.0625 |")
    unknown = report.markdown(RECORDS, summarize(RECORDS))
    assert "| 0 | 2 | not known |" in unknown


def test_what_was_not_measured_and_with_what_the_rest_was() -> None:
    skip = {"kind": "skip", "pair": 0, "placement": "shared", "variant": "other-engine",
            "reason": "it died"}  # fmt: skip
    records = [*RECORDS, skip, skip]
    text = report.markdown(records, summarize(records))
    assert "- placement gpu: there is none" in text
    assert text.count("other-engine with big.gguf + small.gguf, shared: it died") == 1
    assert "5 texts of 20 are measured. Load of the machine when the run began: 0.25" in text
    for word in ("1.2.3", "A CPU", "2.0 GiB", "llama.cpp 9", "big.gguf: 1,000 bytes",
                 "n_threads=2", "context 512", "`specbranch bench run`"):  # fmt: skip
        assert word in text


def three_texts(*ms: float) -> list[dict[str, object]]:
    """`speculative` with these times on three prompts; `autoregressive` takes 40 ms."""
    records = [turn(BASE, prompt, 40.0) for prompt in range(3)]
    records += [turn(SHORT, prompt, each) for prompt, each in enumerate(ms)]
    return [header(), BEGIN, *records]


def test_what_the_texts_do_not_tell_is_said() -> None:
    records = three_texts(30.0, 50.0, 42.0)
    text = report.markdown(records, summarize(records))
    assert "Cannot be told apart from `autoregressive`: speculative (2, fixed)." in text
    assert "The fastest: autoregressive. Cannot be told apart from the fastest: speculative" in text
    (row,) = summarize(records).groups[0].rows[1:]
    assert row.speedup is not None
    assert row.speedup.more_texts
    needed = f"About {row.speedup.more_texts} further texts like these are needed for intervals of"
    assert f"{needed} 0.02 of the speed-up." in text


def test_what_the_texts_tell_is_said() -> None:
    records = three_texts(20.0, 20.1, 20.0)
    text = report.markdown(records, summarize(records))
    assert "The fastest: speculative (2, fixed)." in text
    assert "told apart" not in text
    assert "There are enough texts for intervals of 0.02 of the speed-up." in text
    assert line(text, "| speculative (2, fixed) | 2.00 | 1.982 .. 2.011 | 0 |")


def test_fewer_than_two_prompts_have_no_interval() -> None:
    text = report.markdown(RECORDS, summarize(RECORDS))
    assert "The intervals are not known, because fewer than two prompts are measured." in text


def test_prompts_that_were_not_needed_are_named() -> None:
    enough = {"kind": "enough", "key": "k", "pair": 0, "placement": "shared", "prompts": "some",
              "prompt": None, "temperature": 0.0, "repeat": None, "n_texts": 1,
              "precision": 0.01}  # fmt: skip
    records = [*RECORDS, enough]
    assert (
        "- further prompts of some with big.gguf + small.gguf, shared, temperature 0: all "
        "intervals are as narrow as 0.01 of the speed-up after 1 prompt"
    ) in report.markdown(records, summarize(records))
    records.append(turn(BASE, 1, 40.0))  # a later run wanted more
    assert "further prompts of some" not in report.markdown(records, summarize(records))


def test_a_run_without_turns_has_a_report() -> None:
    text = report.markdown([header()], summarize([header()]))
    assert "0 texts of 20" in text


def trace() -> Trace:
    spans = (
        Span("target", "verify", 1.0, 4.0, 3, n_accepted=1, branch_hit=False, branch_miss=True),
        Span("draft", "draft", 1.5, 2.5, 1, n_branches=1),
    )
    rounds = tuple(
        TraceRound(at_ms=at, n_accepted=1, committed=(5, 6), rolled_back=(7,), branch_hit=False)
        for at in (4.0, 5.0, 8.0, 18.0)
    )
    return Trace(spans, rounds)


def test_traces_come_back_from_records() -> None:
    assert traces.from_json(traces.to_json(trace())) == trace()


def test_a_typical_round_is_shown() -> None:
    # Rounds of 1, 3 and 10 ms: the median one, with a fifth of it on both sides.
    assert traces.one_round(trace()) == pytest.approx((4.4, 8.6))
    assert traces.one_round(Trace((), trace().rounds[:1])) is None


def test_pictures(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    traced = {"kind": "trace", "pair": 0, "placement": "shared", "variant": SHORT.name,
              **traces.to_json(trace())}  # fmt: skip
    records = [*RECORDS, traced]
    summary = summarize(records)
    made = plots.save_all(tmp_path, records, summary)
    assert set(made) == {"speedup.png", "acceptance.png", "round-0-shared.png"}
    for name in made:
        assert (tmp_path / name).read_bytes().startswith(b"\x89PNG")
        assert f"]({name})" in report.markdown(records, summary, made)
    assert plots.save_all(tmp_path, [header()], summarize([header()])) == {}


def test_a_report_is_made_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = "".join(json.dumps(each) + "\n" for each in RECORDS)
    (tmp_path / NAME).write_text(lines)
    made: list[object] = []
    title = report.title

    def counted(header: Record) -> str:
        made.append(header)
        return title(header)

    monkeypatch.setattr(report, "title", counted)
    write_report(tmp_path, pictures=False)
    assert len(made) == 1
    text = (tmp_path / report.NAME).read_text()
    assert text == report.markdown(RECORDS, summarize(RECORDS))


def test_names_of_files_that_are_not_text(tmp_path: Path) -> None:
    """Reports and pictures have escapes in their place, also for what a line must not have."""
    name = os.fsdecode(b"a\xff\n.gguf")
    pairs = [{"target": model(name), "draft": model("small.gguf")}]
    prompts = os.fsdecode(b"b\xfe")
    sets = {prompts: header()["plan"]["prompts"]["some"]}
    first = {**header(pairs=pairs, prompts=sets), "command": f"specbranch bench run -m {name}"}
    traced = {"kind": "trace", "pair": 0, "placement": "shared", "variant": SHORT.name,
              **traces.to_json(trace())}  # fmt: skip
    turns = [record | {"prompts": prompts} for record in RECORDS[2:]]
    lines = [json.dumps(each) + "\n" for each in (first, BEGIN, *turns, traced)]
    (tmp_path / NAME).write_text("".join(lines))
    _, _, no_pictures = write_report(tmp_path)
    text = (tmp_path / report.NAME).read_text(encoding="utf-8")
    assert text.startswith("# Speed of a\\xff\\n.gguf\n")
    assert "## a\\xff\\n.gguf + small.gguf, shared, prompts b\\xfe, temperature 0" in text
    assert "- `specbranch bench run -m a\\xff\\n.gguf`" in text
    assert no_pictures or (tmp_path / "speedup.png").read_bytes().startswith(b"\x89PNG")


def test_without_matplotlib(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(MissingExtra, match=r"specbranch_cpp\[plot\]"):
        plots.save_all(tmp_path, RECORDS, summarize(RECORDS))
