#!/usr/bin/env python3
"""Installs the wheels as a user would, beside llama-cpp-pythons of two kinds, and tries them.

For every Python that has a wheel: a fresh environment with llama-cpp-python, then
`pip install specbranch_cpp` from dist/simple, timed. Then the package is imported and generates
(tools/wheels/trial.py), and some of the tests run against what is installed.

    self-built   llama-cpp-python as pip builds it here
    repaired     the same after `auditwheel repair`, which its published wheels have been through

    make wheels && tools/check_wheels.py           # --python as for build_wheels.py

Prints the table of docs/wheels.md. Exit code 1: something failed.
"""

from __future__ import annotations

import argparse
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "tools"), str(ROOT / "third_party/llama_cpp")]

import build_wheels  # noqa: E402
import locate_llama_cpp  # noqa: E402
from wheels import interpreters  # noqa: E402

TESTS = (
    "tests/python/package/test_exceptions.py",
    "tests/python/package/test_loading.py",
    "tests/python/api/test_generation.py",
)
TEST_PACKAGES = ("gguf", "pytest>=8.0", "pytest-timeout")


def self_built(folder: Path) -> Path:
    """llama-cpp-python's wheel from pip's cache, else compiled here (5 minutes)."""
    asked = [sys.executable, str(ROOT / "tools/setup_env.py"), "--print-cmake-args"]
    args = subprocess.run(asked, capture_output=True, text=True, check=True).stdout.strip()
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps"]
    command += ["--wheel-dir", str(folder), locate_llama_cpp.REQUIREMENT]
    subprocess.run(command, check=True, env=os.environ | {"CMAKE_ARGS": args})
    (wheel,) = folder.glob("*.whl")
    return wheel


def repaired(wheel: Path, folder: Path) -> Path:
    """What `auditwheel repair` makes of it, as llama-cpp-python's own releases do."""
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder / "unpacked")
    ours = {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        # The wheel has a second copy of the libraries, which do not find one another.
        "LD_LIBRARY_PATH": str(folder / "unpacked/llama_cpp/lib"),
    }
    command = [sys.executable, "-m", "auditwheel", "repair", "--wheel-dir", str(folder), str(wheel)]
    result = subprocess.run(
        command, check=False, env=os.environ | ours, capture_output=True, text=True
    )
    if result.returncode != 0:
        raise SystemExit(f"auditwheel repair: {result.stderr}")
    (made,) = folder.glob("*manylinux*.whl")
    return made


def cpu_seconds() -> float:
    """What the programs that were run have used so far: on a busy machine it tells more."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def try_one(interpreter: interpreters.Interpreter, llama: Path, folder: Path) -> tuple[str, str]:
    """Installs and tries; returns the glibc of that Python and the cost of the installation."""
    python = interpreters.make_environment(interpreter, folder / "env", [str(llama)])
    command = [*interpreters.pip(python), "install", "--quiet", "--only-binary", "specbranch_cpp"]
    command += ["--extra-index-url", build_wheels.INDEX.as_uri(), "specbranch_cpp"]
    start, start_cpu = time.monotonic(), cpu_seconds()
    subprocess.run(command, check=True)
    cost = f"{time.monotonic() - start:.0f} s ({cpu_seconds() - start_cpu:.0f} s of CPU)"
    clean = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    trial = [str(python), "-I", "-W", "error", str(ROOT / "tools/wheels/trial.py")]
    tried = subprocess.run(
        trial, cwd=folder, env=clean, check=True, stdout=subprocess.PIPE, text=True
    )
    install = [*interpreters.pip(python), "install", "--quiet", *TEST_PACKAGES]
    subprocess.run(install, check=True)
    tests = [str(python), "-m", "pytest", "-q", "-p", "no:cacheprovider", *TESTS]
    subprocess.run(tests, cwd=ROOT, env=clean, check=True, stdout=sys.stderr)
    return tried.stdout.strip(), cost


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "--python", type=Path, action="append", default=[], help="an interpreter; several times"
    )
    options = parser.parse_args()
    found, _ = interpreters.find(options.python)
    found = [
        one
        for one in found
        if any(build_wheels.WHEELS.glob(f"*-{one.tag}-*_{platform.machine()}.whl"))
    ]
    if not found:
        build_wheels.say("no wheel of a Python that is here in dist/wheels; `make wheels` builds")
        return 1
    failed = False
    print("| Python | glibc | llama-cpp-python | `pip install specbranch_cpp` | works |")
    print("| --- | --- | --- | --- | --- |")
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        built = self_built(work / "built")
        for kind, llama in (
            ("self-built", built),
            ("repaired", repaired(built, work / "repaired")),
        ):
            for one in found:
                glibc, cost = "", ""
                try:
                    glibc, cost = try_one(one, llama, work / kind / one.tag)
                except subprocess.CalledProcessError as error:
                    failed = True
                    build_wheels.say(f"{one.tag}, {kind}: {error}")
                version = "{}.{}".format(*one.version)
                print(f"| {version} | {glibc} | {kind} | {cost} | {'yes' if glibc else 'NO'} |")
                sys.stdout.flush()
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
