"""Passes llama.cpp's log lines to `logging`. No C++ thread ever calls Python for this."""

from __future__ import annotations

import logging
import sys
from typing import Any

from specbranch_cpp import _core
from specbranch_cpp.errors import printable


class Printable(logging.Filter):
    """Makes a message one line that a terminal only shows, whatever a file or a client sent."""

    def filter(self, record: logging.LogRecord) -> bool:
        message = record.getMessage()
        shown = printable(message).replace("\n", "\\n")
        if shown != message:
            record.msg, record.args = shown, None
        return True


def make_logger(name: str) -> logging.Logger:
    """The logger with this name, for messages that have text of files and of clients in them."""
    logger = logging.getLogger(name)
    logger.addFilter(Printable())
    return logger


LOGGER = make_logger("specbranch_cpp")
# Quiet by default. Without a handler, `logging` would print warnings to stderr.
LOGGER.addHandler(logging.NullHandler())
PROFILES = make_logger("specbranch_cpp.profiles")
"""The logger for problems with profile files. The command line shows its lines."""
DRAFTS = make_logger("specbranch_cpp.drafts")
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
    """A handler class of our own, so that the handler can be found again.

    It writes to the standard error of the moment, which programs redirect.
    """

    def __init__(self) -> None:
        logging.Handler.__init__(self)

    @property
    def stream(self) -> Any:
        return sys.stderr
