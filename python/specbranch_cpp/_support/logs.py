"""Passes llama.cpp's log lines to `logging`. No C++ thread ever calls Python for this."""

from __future__ import annotations

import logging

from specbranch_cpp import _core

LOGGER = logging.getLogger("specbranch_cpp")
# Quiet by default. Without a handler, `logging` would print warnings to stderr.
LOGGER.addHandler(logging.NullHandler())
PROFILES = LOGGER.getChild("profiles")
"""The logger for problems with profile files. The command line shows its lines."""
DRAFTS = LOGGER.getChild("drafts")
"""The logger for drafts that fail. The command line shows its lines."""


def forward() -> None:
    """Logs the lines that have come since the last call."""
    for level, line in _core.drain_log_lines():
        LOGGER.log(level, "%s", line)


def show() -> None:
    """Prints the lines to stderr from now on, for good: llama.cpp has one log per process."""
    if not any(isinstance(handler, _Shown) for handler in LOGGER.handlers):
        LOGGER.addHandler(_Shown())
    if LOGGER.getEffectiveLevel() > logging.INFO:
        LOGGER.setLevel(logging.INFO)


class _Shown(logging.StreamHandler):  # type: ignore[type-arg]
    """A handler class of our own, so that the handler can be found again."""
