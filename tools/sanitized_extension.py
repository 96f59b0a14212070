#!/usr/bin/env python3
"""A part of the Python tests, with the whole extension under ASan and UBSan.

    tools/sanitized_extension.py
    tools/sanitized_extension.py tests/python/api/test_generation.py -k cancel

It builds the extension in ``build/asan-extension``, and runs the tests of `TESTS`, or pytest with
the given arguments: generations in all modes, cancels, several texts at once, functions of the
caller, faults, and a server, with the bundled pair of models. llama.cpp's libraries are those that
are installed: their code is not checked, but what it does to memory of ours is seen where it goes
through functions of the C library, such as memcpy.

Leaks are not looked for. Python keeps much memory until the process ends, and so does llama.cpp;
`tools/soak.py` tells whether memory grows.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PRESET = "asan-extension"
BUILD = ROOT / "build" / PRESET

TESTS = (
    "tests/python/api/test_engine.py",
    "tests/python/api/test_generation.py",
    "tests/python/api/test_generate_many.py",
    "tests/python/api/test_parallel.py",
    "tests/python/api/test_exactness.py",
    "tests/python/api/test_text_exactness.py",
    "tests/python/api/test_samplers.py",
    "tests/python/api/test_grammars.py",
    "tests/python/api/test_hybrid.py",
    "tests/python/api/test_stopping.py",
    "tests/python/api/test_timeline.py",
    "tests/python/api/test_live.py",
    "tests/python/api/test_policies.py",
    "tests/python/api/test_processors.py",
    "tests/python/api/test_processor_failures.py",
    "tests/python/api/test_draft_failure.py",
    "tests/python/api/test_text_drafts.py",
    "tests/python/api/test_async_engine.py",
    "tests/python/isolation/test_same_engine.py",
    "tests/python/isolation/test_deaths.py",
    "tests/python/server/test_server_cancel.py",
    "tests/python/server/test_server_parallel.py",
    "tests/python/server/test_server_timelines.py",
)
"""What is run unless other tests are named."""

LEFT_OUT = (
    "test_memory_is_flat",
    "test_engines_give_their_memory_back",
    "test_fewer_cells_take_less_memory",
)
"""Of these tests, those that look at the memory, of which ASan keeps what was freed for a while."""

# The runtime of ASan must come first in a program that does not have it, and needs the C++ library
# beside it: else it finds nothing to call where an exception is thrown.
LIBRARIES = ("libasan.so", "libubsan.so", "libstdc++.so.6")
ASAN_OPTIONS = (
    "detect_leaks=0",
    "detect_stack_use_after_return=1",
    "allocator_may_return_null=1",  # tests ask for more memory than there is
    "abort_on_error=1",
    "handle_segv=0",  # tests send these signals, and look at what the process ended by
    "handle_sigbus=0",
)
UBSAN_OPTIONS = ("print_stacktrace=1", "halt_on_error=1")
CHECK = """
import ctypes
from specbranch_cpp import _core
assert hasattr(ctypes.CDLL(None), "__asan_init"), "the runtime of ASan is not loaded"
print(_core.__file__)
"""


def build() -> Path:
    """Builds the extension. Returns its file."""
    python = sys.executable
    folder = [python, "-m", "pybind11", "--cmakedir"]
    pybind11 = subprocess.run(folder, check=True, capture_output=True, text=True).stdout.strip()
    # CMake and Ninja are those beside this Python.
    path = f"{Path(python).parent}:{os.environ.get('PATH', os.defpath)}"
    for command in (
        ["--preset", PRESET, f"-Dpybind11_DIR={pybind11}", f"-DPython_EXECUTABLE={python}"],
        ["--build", "--preset", PRESET],
    ):
        variables = {**os.environ, "PATH": path}
        subprocess.run(["cmake", *command], cwd=ROOT, env=variables, check=True)
    (extension,) = BUILD.glob("_core*.so")
    return extension


def make_package(extension: Path) -> Path:
    """Copies the package with another extension. Returns the folder to import it from."""
    site = BUILD / "site"
    shutil.rmtree(site, ignore_errors=True)
    source = ROOT / "python" / "specbranch_cpp"
    kept_out = shutil.ignore_patterns("_core*.so", "__pycache__")
    shutil.copytree(source, site / "specbranch_cpp", ignore=kept_out)
    shutil.copy2(extension, site / "specbranch_cpp")
    return site


def preload() -> str:
    """The libraries to load before a program.

    Raises:
        FileNotFoundError: the compiler has no such library.
    """
    compiler = os.environ.get("CXX", "g++")
    found = []
    for name in LIBRARIES:
        command = [compiler, f"-print-file-name={name}"]
        told = subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
        if not Path(told).is_file():  # it repeats the name of what it does not have
            raise FileNotFoundError(f"{compiler} has no {name}; install the sanitizers of GCC")
        found.append(str(Path(told).resolve()))
    return ":".join(found)


def environment(site: Path, reports: Path) -> dict[str, str]:
    """The environment of the tests. Reports go to files, because pytest keeps standard error."""
    log = f"log_path={reports / 'report'}"
    return {
        **os.environ,
        "PYTHONPATH": f"{site}:{ROOT}",
        "LD_PRELOAD": preload(),
        "ASAN_OPTIONS": ":".join((*ASAN_OPTIONS, log)),
        "UBSAN_OPTIONS": ":".join((*UBSAN_OPTIONS, log)),
    }


def run(arguments: Sequence[str], site: Path) -> int:
    """Runs pytest. Returns its exit status, or 1 if it has passed in spite of a report."""
    reports = BUILD / "reports"
    shutil.rmtree(reports, ignore_errors=True)
    reports.mkdir(parents=True)
    variables = environment(site, reports)
    check = [sys.executable, "-c", CHECK]
    told = subprocess.run(check, env=variables, check=True, capture_output=True, text=True).stdout
    if not told.startswith(f"{site}/"):
        raise RuntimeError(f"the tests would use {told.strip()}")
    pytest = [sys.executable, "-m", "pytest", "-q", "-o", "timeout=900", "-p", "no:cacheprovider"]
    done = subprocess.run([*pytest, *arguments], cwd=ROOT, env=variables, check=False)
    written = sorted(reports.iterdir())
    for report in written:
        print(f"\n{report}:\n{report.read_text(errors='replace')}", file=sys.stderr)
    print(f"reports of ASan and UBSan: {len(written)}")
    return done.returncode or min(len(written), 1)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    _, rest = parser.parse_known_args(arguments)
    left_out = f"not ({' or '.join(LEFT_OUT)})"
    chosen = rest or ["-m", "not slow and not gpu", "-k", left_out, *TESTS]
    return run(chosen, make_package(build()))


if __name__ == "__main__":
    sys.exit(main())
