"""The comparison of the scores of scaled models with their source's."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
sys.path.insert(0, str(ROOT))

from tests.python.support.tiny_gguf import write_tiny_gguf  # noqa: E402


def test_promises_are_printed_next_to_what_is_found(tmp_path: Path) -> None:
    source = write_tiny_gguf(tmp_path / "small.gguf")
    command = [sys.executable, "-m", "benchmarks.scaled_scores", str(source), "--types", "Q4_0"]
    command += ["--n-layer", "3", "--n-embd", "128"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    rows = [line.split(" | ") for line in done.stdout.splitlines()[2:]]
    assert [row[0] for row in rows] == ["| type Q4_0", "| n_embd 128", "| n_layer 3"]
    quantized, rounded, deeper = rows
    assert quantized[1].startswith("changed by quantization (weights by 0.0")
    assert 0.3 < float(quantized[2]) < 10
    assert rounded[1] == "equal up to rounding"
    assert float(rounded[2]) < 0.02
    assert deeper[1:5] == ["equal to the last bit", "0", "0.00%", "1.0000"]


def test_a_file_that_is_no_model_ends_it(tmp_path: Path) -> None:
    text = tmp_path / "text.gguf"
    text.write_text("no model")
    command = [sys.executable, "-m", "benchmarks.scaled_scores", str(text)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "not a GGUF file" in done.stderr
