"""Run by tools/check_wheels.py in an environment into which the package was installed.

Whatever is imported first, the same four libraries of llama.cpp are mapped, each once; and every
mode gives the same text.
Prints the version of this process's glibc.
"""

from __future__ import annotations

import os
import subprocess
import sys

from specbranch_cpp import Engine, Sampling, demo

PRINT_LIBRARIES = """
paths = {line.split()[-1] for line in open("/proc/self/maps") if "/lib" in line}
print(*sorted(path for path in paths if "/libllama" in path or "/libggml" in path))
"""
LIBRARIES = ("libggml-base", "libggml-cpu", "libggml", "libllama")
MODES = ("autoregressive", "speculative", "pearl", "specbranch", "auto")


def libraries(imports: str) -> list[str]:
    """Those of llama.cpp that a process maps which imports this."""
    command = [sys.executable, "-I", "-c", f"import {imports}\n{PRINT_LIBRARIES}"]
    paths = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    # A library is installed as three files: without the version, with a part of it, with all.
    return [path.rpartition("/")[2].partition(".")[0] for path in paths]


def texts() -> set[str]:
    """What the bundled pair writes in each mode."""
    sampling = Sampling(temperature=0.8, seed=3)
    with Engine(*demo.pair(), n_ctx=512) as engine:
        return {
            engine.complete("def add(a, b):", mode=mode, sampling=sampling, max_tokens=48).text
            for mode in MODES
        }


def main() -> None:
    for imports in ("specbranch_cpp", "specbranch_cpp, llama_cpp", "llama_cpp, specbranch_cpp"):
        mapped = libraries(imports)
        assert sorted(mapped) == sorted(LIBRARIES), (imports, mapped)
    written = texts()
    assert len(written) == 1, written
    print((os.confstr("CS_GNU_LIBC_VERSION") or "").removeprefix("glibc "))


if __name__ == "__main__":
    main()
