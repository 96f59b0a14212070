"""The virtual environment, what is installed in it, and what is known of it since the last time."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

STATE = "specbranch_setup.json"


class Environment:
    """A virtual environment in a folder; `create` makes it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.python = folder / "bin/python"

    @property
    def site(self) -> Path:
        """The folder of the installed packages."""
        version = f"python{sys.version_info.major}.{sys.version_info.minor}"
        return self.folder / "lib" / version / "site-packages"

    def usable(self) -> bool:
        """It is there, for this Python, and has not been moved since it was made.

        The programs in `bin` name the folder in their first line.
        """
        pip = self.folder / "bin/pip"
        if not self.python.exists() or not self.site.is_dir() or not pip.exists():
            return False
        return f"{self.folder}/bin/python" in pip.read_text(encoding="utf-8", errors="replace")

    def create(self) -> list[str]:
        """The command that makes it anew."""
        return [sys.executable, "-m", "venv", "--clear", str(self.folder)]

    def pip(self, *arguments: str) -> list[str]:
        """The command of pip in it."""
        return [str(self.python), "-m", "pip", *arguments]

    def variables(self, **more: str) -> dict[str, str]:
        """The environment variables of a command in it."""
        path = f"{self.folder / 'bin'}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
        own = {"VIRTUAL_ENV": str(self.folder), "PATH": path, "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
        return os.environ | own | {"PIP_PROGRESS_BAR": "off"} | more

    def which(self, program: str) -> str | None:
        return shutil.which(program, path=self.variables()["PATH"])

    def ask(self, code: str, *arguments: str) -> str | None:
        """What the code prints in a process of its own, or None if that fails or dies."""
        command = [str(self.python), "-c", code, *arguments]
        result = subprocess.run(command, capture_output=True, text=True, check=False)
        return result.stdout.strip() if result.returncode == 0 else None

    def distributions(self) -> list[str]:
        """What is installed, as folders: name-version.dist-info."""
        return sorted(path.name for path in self.site.glob("*.dist-info"))

    def distribution(self, name: str) -> Path | None:
        """The folder of an installed package's metadata."""
        wanted = _normal(name)
        for path in self.site.glob("*.dist-info"):
            if _normal(path.name.partition("-")[0]) == wanted:
                return path
        return None

    def version(self, name: str) -> str | None:
        """The version of an installed package."""
        found = self.distribution(name)
        return None if found is None else found.name.removesuffix(".dist-info").partition("-")[2]

    def record(self, name: str) -> str | None:
        """What was installed of a package: a digest of the list of its files and their digests."""
        found = self.distribution(name)
        if found is None:
            return None
        try:
            return hashlib.sha256((found / "RECORD").read_bytes()).hexdigest()
        except OSError:
            return None


class State:
    """What the set-up remembers of an environment, in a file within it."""

    def __init__(self, environment: Environment) -> None:
        self._path = environment.folder / STATE
        self._values: dict[str, Any] = {}
        if not environment.usable():  # it will be made anew
            return
        try:
            self._values = json.loads(self._path.read_text(encoding="utf-8"))
        except (OSError, ValueError):  # none yet, or one that was cut off
            return

    def get(self, name: str) -> Any:
        return self._values.get(name)

    def set(self, name: str, value: Any) -> None:
        self._values[name] = value
        self._path.write_text(json.dumps(self._values, indent=1) + "\n", encoding="utf-8")


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "_", name).lower()
