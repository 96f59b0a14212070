"""The benchmark of our own overhead: what it takes from traces and from the C++ program."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from specbranch_cpp import Span

ROOT = Path(__file__).resolve().parents[3]
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))

from benchmarks import overhead  # noqa: E402


def span(side: str, begin_ms: float, end_ms: float, kind: str = "") -> Span:
    kind = kind or {"target": "verify", "draft": "draft"}[side]
    return Span(side, kind, begin_ms, end_ms, n_tokens=1)


def test_hops_are_what_lies_between_two_steps() -> None:
    steps = [
        span("target", 6.0, 9.0),  # in any order
        span("target", 0.0, 1.0, "prefill"),
        span("draft", 2.0, 3.0),
        span("draft", 3.01, 4.0),
        span("draft", 4.03, 5.9),
        span("draft", 8.0, 9.5),  # while the target is at work
        span("target", 9.55, 9.6),
    ]
    found = overhead.hops(steps)
    assert set(found) == {("draft", "draft"), ("draft", "target")}
    assert found["draft", "draft"] == pytest.approx([10.0, 30.0])
    assert found["draft", "target"] == pytest.approx([100.0, 50.0])
    assert overhead.hops([]) == {}


def test_a_step_is_one_of_a_token() -> None:
    with overhead.fake_engine() as engine:
        found = overhead.collect(engine, [[1, 2, 3], [4]], tokens=12, repeats=1)
    assert {mode: len(done) for mode, done in found.items()} == dict.fromkeys(overhead.MODES, 2)
    first = found["autoregressive"][0].trace
    assert first is not None
    durations = [1000 * (s.end_ms - s.begin_ms) for s in first.spans if s.kind == "verify"]
    assert len(durations) == 12
    assert min(durations) <= overhead.step_us(found["autoregressive"]) <= max(durations)

    rows = {row.figure: row for row in overhead.figures("fakes", found, one_step_us=50.0)}
    sides = ("target", "draft")
    names = {f"hop, {a} to {b}" for a in sides for b in sides}
    names |= {f"coordination a token, {mode}" for mode in overhead.MODES}
    assert set(rows) == names
    for row in rows.values():
        assert row.us >= 0
        assert row.ratio == pytest.approx(row.us / 50.0)
    assert rows["hop, target to target"].n == 2 * 11  # twelve tokens, one after the other
    shares = overhead.coordination_shares(found)
    assert all(0 <= share <= 1 for share in shares.values())
    text = overhead.table(list(rows.values()), shares)
    assert all(name in text for name in names)


def program(folder: Path, code: str) -> Path:
    file = folder / "program"
    file.write_text(f"#!{sys.executable}\nimport sys\n{code}\n")
    file.chmod(0o755)
    return file


def test_the_program_is_read(tmp_path: Path) -> None:
    line = json.dumps({"figure": "fork", "us": 3.0})
    file = program(tmp_path, f"assert sys.argv[1:] == ['/a/model']\nprint({line!r})")
    found = overhead.run_program(file, Path("/a/model"), one_step_us=300.0)
    assert found == [overhead.Figure("program", "fork", 3.0, 0.01, None)]


def test_a_program_that_fails_is_told(tmp_path: Path) -> None:
    file = program(tmp_path, "sys.exit('no such model')")
    with pytest.raises(RuntimeError, match="ended with 1: no such model"):
        overhead.run_program(file, Path("/a/model"), 1.0)
