"""The command that scales models."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
sys.path.insert(0, str(ROOT))

from benchmarks.scaling import PRESETS, Preset, Shape  # noqa: E402
from benchmarks.scaling.command import main  # noqa: E402
from tests.python.support.tiny_gguf import write_tiny_gguf  # noqa: E402


def test_the_command_scales_a_pair(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    big = Shape(n_embd=256, n_layer=3, n_head=8, n_head_kv=4, n_ff=256)
    small = Shape(n_embd=64, n_layer=3, n_head=4, n_head_kv=2, n_ff=192)
    monkeypatch.setitem(PRESETS, "r8", Preset(big, small, 1 / 8))
    for name in ("t", "d"):
        write_tiny_gguf(tmp_path / f"{name}.gguf")
    command = ["--preset", "r8", "--target", str(tmp_path / "t.gguf")]
    command += ["--draft", str(tmp_path / "d.gguf"), "--out-dir", str(tmp_path / "out")]
    assert main(command) == 0
    assert "n_embd 256, n_layer 3" in capsys.readouterr().out
    names = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert names == ["d-r8.gguf", "t-r8.gguf"]

    assert main(command) == 1
    assert "--force" in capsys.readouterr().err
    assert main([*command, "--force"]) == 0

    command[5] = command[3]
    assert main([*command, "--force"]) == 1
    assert "both be written" in capsys.readouterr().err


def test_the_command_scales_one_model(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = write_tiny_gguf(tmp_path / "small.gguf")
    assert main([str(source), str(tmp_path / "big.gguf"), "--n-embd", "128"]) == 0
    assert "equal up to rounding" in capsys.readouterr().out
    assert main([str(source), str(tmp_path / "b.gguf"), "--n-layer", "1"]) == 1
    assert "cannot shrink" in capsys.readouterr().err


def test_step_times_are_measured(tmp_path: Path) -> None:
    pair = [
        str(write_tiny_gguf(tmp_path / f"{name}.gguf", n_layer=n_layer))
        for name, n_layer in (("target", 8), ("draft", 1))
    ]
    code = (
        "import sys; from pathlib import Path; from benchmarks.scaling import *\n"
        "times = measure_step_times(*map(Path, sys.argv[1:]), n_steps=20, n_prompt=8)\n"
        "print(times); assert 0 < times.draft < times.target\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *pair], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "both at work: target" in done.stdout


@pytest.mark.parametrize(
    "command",
    [[], ["one.gguf"], ["--preset", "r8"], ["--preset", "nonsense"], ["a", "b", "--measure"]],
)
def test_incomplete_commands_are_refused(command: list[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(command)
