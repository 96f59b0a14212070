"""What the registry of Python has of the tools that build and test: CMake, Ninja, PyTorch."""

from __future__ import annotations

import re
import subprocess
from typing import TYPE_CHECKING

from setup import progress

if TYPE_CHECKING:
    from pathlib import Path

    from setup.environment import Environment

BUILD = {"scikit-build-core": (0, 11), "pybind11": (3, 0)}
OLDEST_CMAKE = (3, 21)
CPU_TORCH = re.compile(r"[ ,](\d+\.\d+\.\d+\+cpu)(?=,|\s|$)")


def missing_build_tools(environment: Environment) -> list[str]:
    """What a build without isolation lacks; CMake and Ninja may be the system's."""
    needs = []
    for name, oldest in BUILD.items():
        if numbers(environment.version(name) or "0") < oldest:
            needs.append(f"{name}>={'.'.join(map(str, oldest))}")
    if numbers(output(environment.which("cmake"), "--version")) < OLDEST_CMAKE:
        needs.append("cmake>=" + ".".join(map(str, OLDEST_CMAKE)))
    if environment.which("ninja") is None:
        needs.append("ninja")
    return needs


def install(
    requirements: list[str], environment: Environment, display: progress.Display, log: Path
) -> None:
    command = environment.pip("install", *requirements)
    variables = environment.variables()
    progress.run(display, command, log, read=progress.PipReader(), env=variables)


def torch_for_cpus(environment: Environment) -> str | None:
    """The newest PyTorch without CUDA that pip is configured to find, as a requirement.

    What PyPI has for Linux brings several GB of CUDA. Builds for CPUs have a local version, and
    come from an index or a folder of their own.
    """
    command = environment.pip("index", "versions", "torch")
    result = subprocess.run(
        command, capture_output=True, text=True, check=False, env=environment.variables()
    )
    return cpu_build(result.stdout)


def cpu_build(listed: str) -> str | None:
    """The same, of what `pip index versions torch` prints."""
    found = CPU_TORCH.findall(listed)
    return f"torch=={max(found, key=numbers)}" if found else None


def output(*command: str | None) -> str:
    """What a program prints; empty where there is none or it fails."""
    if command[0] is None:
        return ""
    words = [word for word in command if word is not None]
    return subprocess.run(words, capture_output=True, text=True, check=False).stdout


def numbers(version: str) -> tuple[int, ...]:
    """The first number with dots of a text: (3, 25, 1) of "cmake version 3.25.1"."""
    match = re.search(r"\d+(?:\.\d+)*", version)
    return tuple(map(int, match[0].split("."))) if match else ()
