#!/usr/bin/env python3
"""Compiles the core for Windows and macOS on this machine, with Zig's compiler.

    pip install ziglang cmake ninja
    tools/cross_compile.py                 # both
    tools/cross_compile.py macos --jobs 2

Configures CMake for the other system, compiles the core and what the llama part asks of the
operating system, and links a program. Nothing is run. Needs no SDK and changes nothing outside of
build/cross. The exit code is 1 if something does not compile or link, and 2 without Zig.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import shlex
import shutil
import stat
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
RUNTIME = ROOT / "cpp/specbranch/llama/runtime"
# Of the llama part, these need no header of llama.cpp.
SOURCES = ("cores.cpp", "cpu_quota.cpp", "memory.cpp", *(
    f"system_{name}.cpp" for name in ("linux", "macos", "posix", "windows")
))  # fmt: skip
PROGRAM = "specbranch_short_texts"


@dataclass(frozen=True)
class System:
    """Another system: Zig's and CMake's names of it."""

    target: str
    cmake_name: str
    processor: str


SYSTEMS = {
    "windows": System("x86_64-windows-gnu", "Windows", "AMD64"),
    "macos": System("aarch64-macos", "Darwin", "arm64"),
}


def find_zig() -> list[str] | None:
    """The command that starts Zig. ``None``: it is not installed."""
    if importlib.util.find_spec("ziglang") is not None:
        return [sys.executable, "-m", "ziglang"]
    zig = shutil.which("zig")
    return None if zig is None else [zig]


def find_program(name: str) -> str:
    """A program of this Python's environment, or of the path."""
    beside = Path(sys.executable).with_name(name)
    return str(beside) if beside.is_file() else name


def write_tools(folder: Path, zig: Sequence[str], target: str) -> dict[str, Path]:
    """Programs for CMake, which wants one file for each tool."""
    folder.mkdir(parents=True, exist_ok=True)
    words = {"c++": ["c++", "-target", target], "ar": ["ar"], "ranlib": ["ranlib"]}
    made = {}
    for name, arguments in words.items():
        made[name] = folder / f"zig-{name}"
        command = shlex.join([*zig, *arguments])
        made[name].write_text(f'#!/bin/sh\nexec {command} "$@"\n')
        made[name].chmod(made[name].stat().st_mode | stat.S_IXUSR)
    return made


def configure(system: System, folder: Path, tools: dict[str, Path]) -> None:
    """Configures CMake for the other system."""
    values = {
        "CMAKE_SYSTEM_NAME": system.cmake_name,
        "CMAKE_SYSTEM_PROCESSOR": system.processor,
        "CMAKE_CXX_COMPILER": tools["c++"],
        "CMAKE_AR": tools["ar"],
        "CMAKE_RANLIB": tools["ranlib"],
        "CMAKE_BUILD_TYPE": "Debug",
        "CMAKE_CXX_FLAGS_DEBUG": "-O0",
        "SPECBRANCH_BUILD_PYTHON": "OFF",
        "SPECBRANCH_BUILD_BENCHMARKS": "ON",
        "SPECBRANCH_COMPILER_CACHE": "OFF",
        "SPECBRANCH_UNITY": "ON",
        # Apple's tool changes paths in libraries that are installed; none is.
        "CMAKE_INSTALL_NAME_TOOL": "true",
    }
    run(
        find_program("cmake"), "-S", str(ROOT), "-B", str(folder), "-G", "Ninja",
        *(f"-D{name}={value}" for name, value in values.items()),
    )  # fmt: skip


def run(*command: str) -> None:
    """Runs a command. Raises CalledProcessError if it fails."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    subprocess.run(command, check=True, env={**os.environ, "PATH": path})


def cross_compile(name: str, zig: Sequence[str], folder: Path, jobs: int) -> Path:
    """Compiles and links for one system; returns the program.

    Raises:
        CalledProcessError: something does not compile or link.
    """
    system = SYSTEMS[name]
    tools = write_tools(folder / "tools", zig, system.target)
    configure(system, folder, tools)
    run(find_program("cmake"), "--build", str(folder), "-j", str(jobs), "--target", PROGRAM)
    for source in SOURCES:
        output = folder / f"{source}.o"
        run(str(tools["c++"]), "-std=c++20", "-Wall", "-Wextra", "-Wpedantic", "-Werror", "-O0",
            "-I", str(ROOT / "cpp"), "-c", str(RUNTIME / source), "-o", str(output))  # fmt: skip
    return folder / (PROGRAM + (".exe" if name == "windows" else ""))


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("systems", nargs="*", metavar="SYSTEM", help=f"of {', '.join(SYSTEMS)}")
    parser.add_argument("--folder", type=Path, default=ROOT / "build/cross")
    parser.add_argument("--jobs", "-j", type=int, default=os.cpu_count() or 1)
    args = parser.parse_args(argv)
    names = args.systems or list(SYSTEMS)
    for name in names:
        if name not in SYSTEMS:
            parser.error(f"system is {name!r}; it must be one of {', '.join(SYSTEMS)}")
    zig = find_zig()
    if zig is None:
        print("cross_compile: there is no Zig; pip install ziglang", file=sys.stderr)
        return 2
    for name in names:
        begin = time.monotonic()
        try:
            program = cross_compile(name, zig, args.folder / name, args.jobs)
        except subprocess.CalledProcessError as error:
            print(f"cross_compile: {name}: {error}", file=sys.stderr)
            return 1
        seconds = time.monotonic() - begin
        print(f"cross_compile: {name}: compiled and linked {program.name} in {seconds:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
