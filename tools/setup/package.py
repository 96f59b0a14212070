"""Builds and installs the package itself, and what it or its tests need from the registry.

Nothing is done where nothing has changed: the state holds a digest of everything that the build
reads, and pip's record of what was installed, so that an installation by hand is noticed too.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from setup import progress

if TYPE_CHECKING:
    from collections.abc import Iterator

    from setup.environment import Environment, State

ROOT = Path(__file__).resolve().parents[2]
NAME = "specbranch_cpp"
SOURCES = (
    "CMakeLists.txt",
    "LICENSE",
    "README.md",
    "cpp",
    "pyproject.toml",
    "python/specbranch_command",
    "python/specbranch_cpp",
    "third_party/llama_cpp",
    "tools/build_backend",
)
INCLUDED_IN = {"": ("test", "ci", "dev"), "test": ("ci", "dev"), "ci": (), "dev": ()}
"""The extras of pyproject.toml that bring all that another one does."""

VARIABLES = ("CXX", "CXXFLAGS", "CMAKE_ARGS", "LDFLAGS", "SPECBRANCH_LLAMA_PREFIX")
CPU_SECONDS = 100.0
"""What compiling the extension costs."""

BUILD = """
import sys
sys.path[:0] = ["tools/build_backend", "third_party/llama_cpp"]
import specbranch_build
settings = {"build-dir": "build/python", "cmake.define.SPECBRANCH_WERROR": sys.argv[2]}
print(specbranch_build.build_wheel(sys.argv[1], settings))
"""


def sources(root: Path = ROOT) -> Iterator[Path]:
    """Every file that the package is built from."""
    for name in SOURCES:
        path = root / name
        files = path.rglob("*") if path.is_dir() else [path]
        for file in sorted(files):
            generated = file.suffix in (".pyc", ".so") or "__pycache__" in file.parts
            if file.is_file() and not generated:
                yield file


def commit(root: Path = ROOT) -> str:
    """As CMakeLists.txt asks for it: the extension knows the commit that it was built from."""
    command = ["git", "describe", "--always", "--abbrev=40", "--dirty", "--exclude=*"]
    try:
        result = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return ""
    return result.stdout.strip()


class Package:
    """The package in an environment."""

    def __init__(
        self, environment: Environment, state: State, *, werror: bool, root: Path = ROOT
    ) -> None:
        self._environment = environment
        self._state = state
        self._werror = "ON" if werror else "OFF"
        self._root = root
        self._wheels = environment.folder / "specbranch_wheel"

    def ready(self) -> bool:
        """What is installed was built from these sources."""
        return any(self._wheels.glob("*.whl")) and self._state.get("package") == self._description()

    def install(self, display: progress.Display, log: Path) -> None:
        """Builds it, compiling what has changed, and installs it without what it needs."""
        environment = self._environment
        variables = environment.variables()
        for old in self._wheels.glob("*.whl"):
            old.unlink()
        build = [str(environment.python), "-c", BUILD, str(self._wheels), self._werror]
        read = progress.compilation
        progress.run(display, build, log, read=read, env=variables, cwd=self._root)
        command = environment.pip("install", "--no-deps", "--force-reinstall", str(self._wheel()))
        progress.run(display, command, log, read=progress.PipReader(), env=variables)
        self._state.set("package", self._description())

    def has_requirements(self, extra: str) -> bool:
        """What an extra needs was installed, and is still there; "": the package alone."""
        known = self._state.get("requirements") or {}
        project, there = self._project(), set(self._environment.distributions())
        return any(
            known[name]["project"] == project and there.issuperset(known[name]["installed"])
            for name in (extra, *INCLUDED_IN[extra])
            if name in known
        )

    def install_requirements(self, extra: str, display: progress.Display, log: Path) -> None:
        """Installs what is missing of what an extra needs."""
        wheel = f"{self._wheel()}[{extra}]" if extra else str(self._wheel())
        command = self._environment.pip("install", wheel)
        variables = self._environment.variables()
        progress.run(display, command, log, read=progress.PipReader(), env=variables)
        known = dict(self._state.get("requirements") or {})
        installed = self._environment.distributions()
        known[extra] = {"project": self._project(), "installed": installed}
        self._state.set("requirements", known)

    def _wheel(self) -> Path:
        return next(self._wheels.glob("*.whl"))

    def _project(self) -> str:
        return hashlib.sha256((self._root / "pyproject.toml").read_bytes()).hexdigest()

    def _description(self) -> dict[str, str | None]:
        found = hashlib.sha256()
        for file in sources(self._root):
            found.update(f"{file.relative_to(self._root)}\n".encode())
            found.update(hashlib.sha256(file.read_bytes()).digest())
        settings = [f"{name}={os.environ.get(name)}" for name in VARIABLES]
        settings += [self._werror, commit(self._root), sys.version]
        settings += [str(self._environment.record("llama-cpp-python"))]
        found.update("\n".join(settings).encode())
        return {"sources": found.hexdigest(), "record": self._environment.record(NAME)}
