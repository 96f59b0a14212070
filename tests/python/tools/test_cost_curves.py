"""`benchmarks/cost_curves.py`: what it makes of step times, and what it refuses."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.python.support.stand_in_gpus import StandInGpus
from typer.testing import CliRunner

ROOT = Path(__file__).resolve().parents[3]
sys.path.insert(0, str(ROOT))

from benchmarks import cost_curves  # noqa: E402

from specbranch_cpp import cli, simulation  # noqa: E402


def line(side: str, n: int, *, beside: bool, us: list[int], hop: int = 10) -> dict[str, Any]:
    """Steps after another length cost 7 more than `us`."""
    return {
        "side": side,
        "n": n,
        "beside": beside,
        "changed_us": [each + 7 for each in us],
        "steady_us": us,
        "hop_us": [hop] * len(us),
    }


LINES = [
    {"target_threads": 1, "draft_threads": 1},
    line("target", 1, beside=False, us=[990, 990, 5000]),
    line("target", 4, beside=False, us=[1190, 1190, 1190]),
    line("draft", 1, beside=False, us=[90, 90, 90]),
    line("draft", 2, beside=False, us=[110, 110, 110]),
    line("target", 1, beside=True, us=[1290, 1490], hop=110),
    line("target", 4, beside=True, us=[1790, 1790]),
    line("draft", 1, beside=True, us=[290, 90]),
    line("draft", 2, beside=True, us=[50, 50]),
]


def test_points() -> None:
    found = {(point.side, point.n): point for point in cost_curves.points(LINES)}
    one = found["target", 1]
    # The median alone; beside, the mean with the waiting: (1400 + 1600) / 2 over 1000.
    assert (one.steady_us, one.changed_us, one.beside_us) == (990, 997, 1390)
    assert one.slowdown == pytest.approx(1.5)
    assert one.hop_us == 10
    assert found["target", 4].slowdown == pytest.approx(1.5)
    assert found["draft", 1].slowdown == pytest.approx(2.0)
    assert found["draft", 2].slowdown == 1.0  # never faster for the company


def test_costs_are_those_of_a_profile() -> None:
    made = cost_curves.costs(cost_curves.points(LINES))
    # One token follows its like, longer steps do not; what was not measured lies between.
    assert made["target_us"] == pytest.approx([990, 1059, 1128, 1197])
    assert made["draft_us"] == [90, 117]
    assert made["target_slowdown"] == pytest.approx(1.5)
    assert made["draft_slowdown"] == pytest.approx(1.5)
    loaded = simulation.load_profile({"costs": made})
    assert loaded["target_us"] == tuple(made["target_us"])
    with pytest.raises(ValueError, match="one token was not measured: the target"):
        cost_curves.costs([point for point in cost_curves.points(LINES) if point.n != 1])


def test_a_length_without_time_is_left_out() -> None:
    lines = [*LINES, line("target", 8, beside=False, us=[1500])]
    lines.append(line("target", 8, beside=True, us=[]))
    assert {point.n for point in cost_curves.points(lines) if point.side == "target"} == {1, 4}


def stand_in(folder: Path) -> Path:
    """A program that prints what was measured, and how it was called to stderr."""
    program = folder / "program"
    text = "\n".join(json.dumps(each) for each in LINES)
    program.write_text(f"#!/bin/sh\necho \"$@\" >&2\ncat <<'END'\n{text}\nEND\n")
    program.chmod(0o755)
    return program


def test_main_writes_what_simulate_reads(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "curves.json"
    code = cost_curves.main(
        ["t.gguf", "d.gguf", "--program", str(stand_in(tmp_path)), "--json", str(out),
         "--lengths", "1", "4", "--threads", "3"]
    )  # fmt: skip
    assert code == 0
    shown = capfd.readouterr()
    assert "t.gguf d.gguf --target-gpu-layers 0 --draft-gpu-layers 0 --lengths 1,4" in shown.err
    assert "--target-threads 3" in shown.err
    assert "| target | 4 | 1190 | 1197 | 1.21 | 1790 | 1.50 | 10 |" in shown.out
    content = json.loads(out.read_text())
    assert (content["placement"], content["hop_us"], content["target_threads"]) == ("cpu", 10, 1)
    done = CliRunner().invoke(
        cli.app, ["simulate", "--json", "--profile", str(out), "--tokens", "60"]
    )
    assert done.exit_code == 0, done.output
    simulated = json.loads(done.stdout)
    assert simulated["pair"]["draft_us"] == [90.0, 117.0]
    assert simulated["machine"]["target_slowdown"] == pytest.approx(1.5)


def test_no_program_and_no_gpu(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    missing = tmp_path / "none"
    assert cost_curves.main(["t.gguf", "d.gguf", "--program", str(missing)]) == 1
    assert "there is no" in capsys.readouterr().err
    if not cost_curves.gpus():
        program = str(stand_in(tmp_path))
        code = cost_curves.main(["t.gguf", "d.gguf", "--program", program, "--placement", "gpu"])
        assert code == 2
        assert "gpu: llama.cpp finds no GPU" in capsys.readouterr().err


def test_placements_name_the_gpus(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    StandInGpus(monkeypatch, {"CUDA0": 1, "CUDA1": 1})
    command = ["t.gguf", "d.gguf", "--program", str(stand_in(tmp_path)), "--placement"]

    def called(*arguments: str) -> str:
        assert cost_curves.main([*command, *arguments]) == 0
        return capfd.readouterr().err

    assert "--target-devices CUDA0 --draft-devices CUDA1" in called("two-gpus")
    assert "--target-devices CUDA0,CUDA1" in called("gpus-draft-cpu")
    assert "--draft-devices" not in called("gpus-draft-cpu")
    assert "--target-devices X --draft-devices CUDA1" in called("gpus", "--devices", "X")
