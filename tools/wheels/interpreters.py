"""Finds the Pythons that wheels are built for, and asks them what a build has to know."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

SUPPORTED = ((3, 10), (3, 11), (3, 12), (3, 13), (3, 14))
"""The versions of which a wheel is wanted."""

_QUESTIONS = """
import json, sys, sysconfig
print(json.dumps({
    "version": sys.version_info[:2],
    "include": sysconfig.get_path("include"),
    "suffix": sysconfig.get_config_var("EXT_SUFFIX"),
    "implementation": sys.implementation.name,
    "free_threaded": bool(sysconfig.get_config_var("Py_GIL_DISABLED")),
}))
"""


class UnusableInterpreterError(Exception):
    """No extension can be compiled for this interpreter; the message says why."""


@dataclass(frozen=True)
class Interpreter:
    """A Python with its headers.

    Attributes:
        path: the program.
        version: major and minor.
        include: the folder of its headers.
        suffix: what extension modules are called after their name.
    """

    path: Path
    version: tuple[int, int]
    include: Path
    suffix: str

    @property
    def tag(self) -> str:
        """As in the name of a wheel: ``cp312``."""
        return f"cp{self.version[0]}{self.version[1]}"

    @property
    def folder(self) -> str:
        """A name for folders that are of this interpreter alone."""
        return f"{self.tag}-{hashlib.sha256(bytes(self.path.absolute())).hexdigest()[:8]}"


def ask(path: Path) -> Interpreter:
    """Runs the interpreter.

    Raises:
        UnusableInterpreterError: it does not run, has no headers, is no CPython or has no GIL.
    """
    command = [str(path), "-I", "-c", _QUESTIONS]
    try:
        result = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError as error:
        raise UnusableInterpreterError(f"{path} does not run: {error.strerror}") from error
    if result.returncode != 0:
        raise UnusableInterpreterError(f"{path} does not run: exit code {result.returncode}")
    return from_answers(path, json.loads(result.stdout))


def from_answers(path: Path, answers: dict[str, Any]) -> Interpreter:
    """The interpreter of these answers; see `ask`."""
    if answers["implementation"] != "cpython" or answers["free_threaded"]:
        raise UnusableInterpreterError(f"{path} is no CPython with a GIL")
    header = Path(answers["include"], "Python.h")
    if not header.is_file():
        raise UnusableInterpreterError(f"{path} has no headers: {header} is missing")
    major, minor = answers["version"]
    return Interpreter(path, (major, minor), header.parent, answers["suffix"])


def find(named: Sequence[Path]) -> tuple[list[Interpreter], list[str]]:
    """One interpreter a supported version: those that are named, else ``python3.X`` of PATH.

    Returns them in the order of their versions, and a line for each version that is missing.

    Raises:
        UnusableInterpreterError: one that was named.
    """
    found = {interpreter.version: interpreter for interpreter in map(ask, named)}
    missing = []
    for version in SUPPORTED:
        if version in found:
            continue
        try:
            found[version] = ask(_on_path(version))
        except UnusableInterpreterError as error:
            missing.append(str(error))
    return [found[version] for version in sorted(found)], missing


def _on_path(version: tuple[int, int]) -> Path:
    name = "python{}.{}".format(*version)
    if (path := shutil.which(name)) is None:
        raise UnusableInterpreterError(f"{name} is not on PATH; name another place with --python")
    return Path(path)


def make_environment(interpreter: Interpreter, folder: Path, requirements: Iterable[str]) -> Path:
    """A virtual environment with these packages; returns its Python.

    Without a pip of its own: the one of this process installs into it.
    """
    python = folder / "bin/python"
    if not python.exists():
        command = [str(interpreter.path), "-m", "venv", "--without-pip", str(folder)]
        subprocess.run(command, check=True)
    if requirements := list(requirements):
        subprocess.run([*pip(python), "install", "--quiet", *requirements], check=True)
    return python


def pip(python: Path) -> list[str]:
    """The beginning of a command line: this process's pip, at work for another interpreter."""
    return [sys.executable, "-m", "pip", "--python", str(python), "--disable-pip-version-check"]
