"""Runs a program of this package in a child process that llama.cpp may end."""

from __future__ import annotations

import os
import signal
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["ChildEnd", "can_start", "child_environment", "run_child"]

# Signals of a process that cannot go on. Others come from outside, and say nothing about it.
_FATAL = {signal.SIGILL, signal.SIGSEGV, signal.SIGBUS, signal.SIGFPE, signal.SIGABRT}


@dataclass(frozen=True)
class ChildEnd:
    """How a child ended.

    Attributes:
        code: the exit code; negative: the signal that ended it. ``None``: it did not end in time.
        stderr: what it wrote to standard error; empty if it did not end in time.
    """

    code: int | None
    stderr: bytes = b""

    @property
    def fatal_signal(self) -> str:
        """The name of the signal by which the child ended itself; empty: it did not."""
        if self.code is None or -self.code not in _FATAL:
            return ""
        return signal.Signals(-self.code).name


def can_start() -> bool:
    """Whether there is a Python interpreter to start."""
    return bool(sys.executable) and not getattr(sys, "frozen", False)


def run_child(command: Sequence[str], limit_s: float, environment: Mapping[str, str]) -> ChildEnd:
    """Runs a command to its end, or to its time limit.

    Raises:
        OSError: it could not be started.
    """
    import subprocess

    try:
        done = subprocess.run(
            command,
            env=environment,
            # `python -c` would import from the working directory, which may contain any file.
            cwd="/",
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            timeout=limit_s,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return ChildEnd(None)
    return ChildEnd(done.returncode, done.stderr)


def child_environment(**more: str) -> dict[str, str]:
    """The environment of a child that computes with models."""
    # The child gets the sys.path of this process, including entries that were added by hand.
    search = [str(Path(entry).absolute()) for entry in sys.path]
    return os.environ | {
        "PYTHONPATH": os.pathsep.join(search),
        "GGML_NO_BACKTRACE": "1",  # an abort must not start a debugger
        **more,
    }
