"""The benchmark of pairs that are scaled into memory."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
sys.path.insert(0, str(ROOT))

from benchmarks.preset_speed import main  # noqa: E402
from tests.python.support.tiny_gguf import write_tiny_gguf  # noqa: E402


def test_every_mode_gives_the_same_tokens(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = write_tiny_gguf(tmp_path / "small.gguf", n_embd=192, n_head=6, weight_type="Q8_0")
    command = ["r12", str(source), str(source), "--layers", "2", "--tokens", "8"]
    main([*command, "--prompts", "2", "--threads", "1", "--n-ctx", "256"])
    out = capsys.readouterr().out
    assert "target: 23 M parameters, 0.02 GB (n_embd 1024, n_layer 2, n_head 16" in out
    assert "not the preset's: n_layer 2, not 24: as asked" in out
    assert "target: scores equal up to rounding" in out
    assert "draft: scores equal to the last bit" in out
    rows = [line for line in out.splitlines() if line.startswith("| ") and "yes" in line]
    assert [row.split()[1] for row in rows] == [
        "autoregressive",
        "speculative",
        "pearl",
        "specbranch",
        "auto",
    ]
