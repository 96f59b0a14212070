"""Hands llama.cpp's log lines to `logging`. No C++ thread ever calls into Python for that."""

from __future__ import annotations

import logging

from specbranch_cpp import _core

LOGGER = logging.getLogger("specbranch_cpp")
# Quiet by default: without a handler, `logging` would print warnings to stderr.
LOGGER.addHandler(logging.NullHandler())
PROFILES = LOGGER.getChild("profiles")
"""Of files that do not hold or cannot be written; the command line shows it."""


def forward() -> None:
    """Logs the lines that were collected since the last call."""
    for level, line in _core.drain_log_lines():
        LOGGER.log(level, "%s", line)


def show() -> None:
    """Prints the lines to stderr from now on; for good, as llama.cpp has one log a process."""
    if not any(isinstance(handler, _Shown) for handler in LOGGER.handlers):
        LOGGER.addHandler(_Shown())
    if LOGGER.getEffectiveLevel() > logging.INFO:
        LOGGER.setLevel(logging.INFO)


class _Shown(logging.StreamHandler):  # type: ignore[type-arg]
    """A handler that is found again."""
