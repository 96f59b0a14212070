"""Names of shared libraries on Linux, macOS and Windows; only Linux has used them."""

from __future__ import annotations

import sys

__all__ = ["file_name", "loaded_name"]

_FORMS = {"darwin": "{}.dylib", "win32": "{}.dll"}
_LOADED = {"darwin": "@rpath/{}.0.dylib", "win32": "{}.dll"}


def file_name(name: str, platform: str = sys.platform) -> str:
    """The file of a library such as ``"libllama"``, as llama-cpp-python installs it."""
    if platform == "win32":
        name = name.removeprefix("lib")
    return _FORMS.get(platform, "{}.so").format(name)


def loaded_name(name: str, platform: str = sys.platform) -> str:
    """The name by which the loader knows the library once it is loaded."""
    if platform == "win32":
        name = name.removeprefix("lib")
    return _LOADED.get(platform, "{}.so.0").format(name)
