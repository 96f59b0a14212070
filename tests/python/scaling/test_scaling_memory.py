"""Memory that the scaling tool takes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
sys.path.insert(0, str(ROOT))

from tests.python.support.tiny_gguf import write_tiny_gguf  # noqa: E402

# Prints the peak of memory before and after, in bytes, and the size of the file.
CODE = """
import json, resource, sys
from pathlib import Path
from benchmarks.scaling import scale

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024

source, out, weight_type = sys.argv[1:]
scale(source, out, weight_type=weight_type)
before = peak()
sizes = dict(n_embd=1024, n_layer=24, n_head=64, n_head_kv=32, n_ff=4096)
result = scale(source, out, force=True, weight_type=weight_type, **sizes)
print(json.dumps([before, peak(), result.n_bytes]))
"""


@pytest.mark.slow
@pytest.mark.parametrize("weight_type", ["same", "Q8_0", "Q4_0"])
def test_memory_does_not_grow_with_the_model(tmp_path: Path, weight_type: str) -> None:
    source = write_tiny_gguf(tmp_path / "small.gguf", weight_type="BF16")
    out = tmp_path / "big.gguf"
    command = [sys.executable, "-c", CODE, str(source), str(out), weight_type]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    out.unlink()
    assert done.returncode == 0, done.stderr
    before, after, n_bytes = json.loads(done.stdout)
    assert n_bytes > 200e6
    # The largest tensor has 4 M weights: 16 MB as 32-bit floats.
    assert after - before < 100e6
