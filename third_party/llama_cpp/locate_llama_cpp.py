"""Finds the llama-cpp-python that the package will run with. Standard library only.

The build backend imports this, and FindLlamaCpp.cmake runs it. Inside pip's build isolation
nothing of the user's environment can be imported, but the interpreter still knows its folders.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import re
import site
import sys
import sysconfig
from pathlib import Path

REQUIREMENT = "llama-cpp-python==0.3.36"


def user_folders() -> list[Path]:
    """The folders of installed packages that the user's interpreter searches, in its order."""
    folders = []
    in_venv = sys.prefix != sys.base_prefix
    if not in_venv or _venv_sees_system():
        folders.append(site.getusersitepackages())
    folders += [sysconfig.get_path("platlib"), *site.getsitepackages()]
    if in_venv and _venv_sees_system():
        base = {"base": sys.base_prefix, "platbase": sys.base_exec_prefix}
        folders.append(sysconfig.get_path("platlib", vars=base))
    return [Path(folder) for folder in dict.fromkeys(folders)]


def _venv_sees_system() -> bool:
    try:
        text = Path(sys.prefix, "pyvenv.cfg").read_text(encoding="utf-8")
    except OSError:
        return False
    return re.search(r"(?im)^include-system-site-packages\s*=\s*true", text) is not None


def is_prefix(folder: Path) -> bool:
    """Whether the folder has the headers and libraries of llama.cpp where the wheel puts them."""
    return (folder / "include/llama.h").is_file() and (
        folder / "llama_cpp/lib/libllama.so"
    ).is_file()


def installed_prefix(folders: list[Path] | None = None) -> Path | None:
    """The first of the folders that holds the llama-cpp-python we are pinned to."""
    version = REQUIREMENT.partition("==")[2]
    for folder in user_folders() if folders is None else folders:
        found = importlib.metadata.distributions(name="llama-cpp-python", path=[str(folder)])
        for distribution in found:
            if is_prefix(folder) and distribution.version == version:
                return folder
    return None


def importable_prefix() -> Path | None:
    """Where `import llama_cpp` would find it: in build isolation, the build requirement."""
    spec = importlib.util.find_spec("llama_cpp")
    for location in (spec and spec.submodule_search_locations) or []:
        if is_prefix(Path(location).parent):
            return Path(location).parent
    return None


def prefix() -> Path | None:
    """What to build against: an explicit choice, the user's installation, the requirement."""
    if explicit := os.environ.get("SPECBRANCH_LLAMA_PREFIX"):
        return Path(explicit).resolve()
    return installed_prefix() or importable_prefix()


if __name__ == "__main__":
    print(REQUIREMENT if "--requirement" in sys.argv else prefix() or "")
