"""Finds llguidance, which compiles JSON schemas, regular expressions and Lark grammars."""

from __future__ import annotations

import importlib
import re
from functools import cache
from pathlib import Path
from typing import Any

from specbranch_cpp import _core
from specbranch_cpp._support import logs
from specbranch_cpp.errors import InvalidArgument, MissingExtra

__all__ = ["VERSION", "is_available", "refusal", "require"]

_EXCERPT = re.compile(r"\n\s*\d+ \|")
_OF_SCHEMA = "failed to compile JSON schema: "

VERSION = _core.LLGUIDANCE_VERSION
"""The version that the engine needs, because llguidance promises its C interface for no other."""


@cache
def _problem() -> str | None:
    """Why llguidance cannot be used. ``None``: it can, and its functions are loaded."""
    import importlib.metadata  # slow to import
    import importlib.util

    package = importlib.util.find_spec("llguidance")
    if package is None or package.origin is None:
        return "llguidance is not installed"
    try:
        installed = importlib.metadata.version("llguidance")
    except importlib.metadata.PackageNotFoundError:
        installed = "unknown"
    if installed != VERSION:
        return f"the installed llguidance has version {installed}"
    libraries = sorted(Path(package.origin).parent.glob("_lib*.so"))
    if not libraries:
        return "the installed llguidance has no extension module"
    try:
        _core.load_llguidance(bytes(libraries[0]))
    except InvalidArgument as error:
        logs.LOGGER.warning("llguidance cannot be used: %s", error)
        return str(error)
    return None


def is_available() -> bool:
    """Whether llguidance can be used. If not, grammars are GBNF."""
    return _problem() is None


def require(what: str) -> None:
    """Checks that llguidance can be used.

    Raises:
        MissingExtra: it cannot. The message names what needs it, and the version.
    """
    problem = _problem()
    if problem is not None:
        raise MissingExtra(
            f"{what} needs llguidance=={VERSION}, but {problem}: "
            'pip install "specbranch_cpp[grammars]"'
        )


def refusal(lark: str) -> str | None:
    """Why llguidance refuses a Lark grammar. ``None``: it accepts the grammar."""
    library: Any = importlib.import_module("llguidance")
    is_error, messages = library.LLMatcher.validate_grammar_with_warnings(
        library.grammar_from("lark", lark)
    )
    return _first_lines(messages[0]) if is_error else None


def _first_lines(message: str) -> str:
    """The reason without llguidance's excerpt of the grammar."""
    reason = _EXCERPT.split(message, maxsplit=1)[0].split(_OF_SCHEMA)[-1]
    return " ".join(reason.split())[:300]
