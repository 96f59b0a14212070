"""Runs a program of this package in a child process that llama.cpp may end."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = [
    "FINISHED",
    "NO_GPU",
    "ChildEnd",
    "can_start",
    "child_environment",
    "interpreter",
    "run_child",
]

FINISHED = "specbranch: finished"
"""The last line that the program of a child writes to standard error, if it succeeds.

A process that ignores SIGCHLD, or that waits for all of its children elsewhere, does not learn how
a child ended. `subprocess` then says that the exit code is 0.
"""
NO_GPU = {"CUDA_VISIBLE_DEVICES": "-1", "HIP_VISIBLE_DEVICES": "-1"}
"""Variables for a child that computes on the CPU alone.

Without them, llama.cpp starts the driver on every GPU, which takes seconds on a server with many.
"""
_LOOK_S = 0.02
# Signals of a process that cannot go on. Others come from outside, and say nothing about it.
_NAMES = ("SIGILL", "SIGSEGV", "SIGBUS", "SIGFPE", "SIGABRT")  # Windows has no SIGBUS
_FOLDER = Path()  # where this program began, as far as is known: the working directory may change
with contextlib.suppress(OSError):
    _FOLDER = Path.cwd()
_FATAL = {getattr(signal, name) for name in _NAMES if hasattr(signal, name)}


@dataclass(frozen=True)
class ChildEnd:
    """How a child ended.

    Attributes:
        code: the exit code; negative: the signal that ended it. ``None``: it was killed at a limit.
        stderr: what it wrote to standard error; empty if it was killed.
        used_too_much: whether the limit was that of memory.
    """

    code: int | None
    stderr: bytes = b""
    used_too_much: bool = False

    @property
    def fatal_signal(self) -> str:
        """The name of the signal by which the child ended itself; empty: it did not."""
        if self.code is None or -self.code not in _FATAL:
            return ""
        return signal.Signals(-self.code).name

    @property
    def succeeded(self) -> bool:
        """Whether the child came to its end without an error."""
        return self.code == 0 and self.last_line == FINISHED

    @property
    def lost(self) -> str:
        """The last line of a child whose end nobody knows; empty: the end is known."""
        is_lost = self.code == 0 and not self.succeeded
        return (self.last_line or "it wrote nothing") if is_lost else ""

    @property
    def last_line(self) -> str:
        """The last line on standard error; empty: it wrote nothing."""
        return next(reversed(self.stderr.decode(errors="replace").strip().splitlines()), "")


def can_start() -> bool:
    """Whether there is a Python interpreter to start."""
    return bool(sys.executable) and not getattr(sys, "frozen", False)


def interpreter() -> str:
    """The path of the Python interpreter.

    ``sys.executable`` is relative if a relative folder of PATH contains the interpreter.
    """
    return str(_FOLDER / sys.executable)


def run_child(
    command: Sequence[str],
    limit_s: float,
    environment: Mapping[str, str],
    most_bytes: int | None = None,
) -> ChildEnd:
    """Runs a command to its end, or to a limit.

    Args:
        command: the program and its arguments.
        limit_s: seconds that it may take.
        environment: all variables.
        most_bytes: the memory that it may use, beside mapped files; looked at every 20 ms. ``None``
            (default): no limit. Systems without ``/proc`` have none.

    Raises:
        OSError: it could not be started.
    """
    import subprocess

    end = time.monotonic() + limit_s
    with subprocess.Popen(
        command,
        env=environment,
        # `python -c` would import from the working directory, which may contain any file.
        cwd="/",
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    ) as child:
        try:
            while True:
                left_s = max(0.0, end - time.monotonic())
                pause_s = left_s if most_bytes is None else min(_LOOK_S, left_s)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    _, stderr = child.communicate(timeout=pause_s)
                    return ChildEnd(child.returncode, stderr)
                if most_bytes is not None and _used_bytes(child.pid) > most_bytes:
                    return ChildEnd(None, used_too_much=True)
                if left_s == 0.0:
                    return ChildEnd(None)
        finally:
            child.kill()  # it does nothing if the process has ended


def _used_bytes(process: int) -> int:
    """The resident private memory of a process; 0: not known.

    What is only reserved does not count: stacks of threads, large tables of llama.cpp, the address
    space of drivers. A limit of the system (RLIMIT_DATA, RLIMIT_AS) would count it.
    """
    try:
        lines = Path(f"/proc/{process}/status").read_text().splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("RssAnon:"))


def child_environment(**more: str) -> dict[str, str]:
    """The environment of a child that computes with models."""
    # The child gets the sys.path of this process, including entries that were added by hand.
    search = []
    for entry in sys.path:
        with contextlib.suppress(OSError):  # a relative one, in a folder that was removed
            search.append(str(Path(entry).absolute()))
    return os.environ | {
        "PYTHONPATH": os.pathsep.join(search),
        "GGML_NO_BACKTRACE": "1",  # an abort must not start a debugger
        **more,
    }
