"""What the package registries of Python lack: a compiler, Python's headers, a browser.

On Debian and Ubuntu they are installed where that is allowed: as root, or by a sudo that asks for
no password. Otherwise one line says what to type.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
import sysconfig
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from setup import progress

if TYPE_CHECKING:
    from collections.abc import Sequence

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
PROXIES = ("http_proxy", "https_proxy", "no_proxy")


@dataclass(frozen=True)
class Part:
    """Something that is missing: Debian's package, and what it is on any system."""

    package: str
    what: str
    optional: bool = False
    """Without it some tests are skipped."""


def missing(*, tests: bool, venv: Path) -> list[Part]:
    """What is missing for the package, or for its tests too."""
    parts = []
    if compiler() is None:
        parts.append(Part("g++", "a C++20 compiler (g++ 11 or newer)"))
    if not Path(sysconfig.get_path("include"), "Python.h").exists():
        parts.append(Part(f"{python_package()}-dev", "Python's headers"))
    if not (venv / "bin/python").exists() and importlib.util.find_spec("ensurepip") is None:
        parts.append(Part(f"{python_package()}-venv", "Python's module venv with ensurepip"))
    if tests and not doctest_is_there():
        parts.append(Part("doctest-dev", "the C++ header doctest/doctest.h"))
    if tests and shutil.which("curl") is None:
        parts.append(Part("curl", "curl, which the documents use"))
    if tests and not any(map(shutil.which, BROWSERS)):
        parts.append(Part("chromium", "Chromium", optional=True))
    return parts


def compiler() -> str | None:
    """The C++ compiler that CMake will find."""
    names = [os.environ["CXX"]] if "CXX" in os.environ else ["c++", "g++", "clang++"]
    return next(filter(None, map(shutil.which, names)), None)


def compiler_version() -> str:
    """The first line of what the compiler says of itself; empty where there is none."""
    if (found := compiler()) is None:
        return ""
    result = subprocess.run([found, "--version"], capture_output=True, text=True, check=False)
    return result.stdout.partition("\n")[0]


def doctest_is_there() -> bool:
    return any(Path(root, "include/doctest/doctest.h").exists() for root in ("/usr", "/usr/local"))


def python_package() -> str:
    """Debian's name of the Python that runs this: python3, or as python3.12 if it is another."""
    own = f"python{sys.version_info.major}.{sys.version_info.minor}"
    return "python3" if Path("/usr/bin/python3").resolve().name == own else own


def privilege() -> list[str] | None:
    """What goes before a command that root may run; None where we may not."""
    if os.geteuid() == 0:
        return []
    if shutil.which("sudo") and succeeds("sudo", "-n", "true"):
        return ["sudo", "-n"]
    return None


def succeeds(*command: str) -> bool:
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def distribution() -> str:
    """As "debian" or "ubuntu", of /etc/os-release."""
    try:
        text = Path("/etc/os-release").read_text(encoding="utf-8")
    except OSError:
        return ""
    fields = dict(line.partition("=")[::2] for line in text.splitlines())
    return fields.get("ID", "").strip('"')


def installable(parts: Sequence[Part]) -> list[Part]:
    """What apt-get may install here; Ubuntu's chromium is a snap, which containers do not run."""
    if shutil.which("apt-get") is None or privilege() is None:
        return []
    return [part for part in parts if not part.optional or distribution() != "ubuntu"]


def instruction(parts: Sequence[Part]) -> str:
    """What a user has to do about them, in one line."""
    packages = " ".join(part.package for part in parts)
    if shutil.which("apt-get"):
        return f"sudo apt-get update && sudo apt-get install -y {packages}"
    return f"install {', '.join(part.what for part in parts)}"


def demand(parts: Sequence[Part]) -> None:
    """Ends the process where something is missing that is not optional."""
    needed = [part for part in parts if not part.optional]
    if needed:
        sys.exit(
            f"setup: some packages are missing; type this, then try again: {instruction(parts)}"
        )


def install(parts: Sequence[Part], display: progress.Display, log: Path) -> None:
    """Installs them with apt-get; a failure counts only for what is needed."""
    environment = ["DEBIAN_FRONTEND=noninteractive"]
    environment += [f"{name}={os.environ[name]}" for name in PROXIES if name in os.environ]
    apt = [*(privilege() or []), "env", *environment, "apt-get", "-o", "DPkg::Lock::Timeout=300"]
    read = progress.AptReader()
    # Where a list of somebody else's packages is out of order, ours may be there all the same.
    progress.run(display, [*apt, "update"], log, read=read, check=False)
    install = [*apt, "install", "-y", "--no-install-recommends"]
    needed = [part.package for part in parts if not part.optional]
    if needed:
        progress.run(display, [*install, *needed], log, read=read)
    for part in parts:
        if part.optional:
            progress.run(display, [*install, part.package], log, read=read, check=False)
