"""Functions in forked processes that may end, hang or be ended."""

from __future__ import annotations

import ctypes
import json
import os
import resource
import select
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

__all__ = ["End", "Forked", "Say", "run_forked"]

Say = Callable[[Any], None]
"""Sends a value, which JSON can express, to the parent. Threads may call it."""

_BLOCK = 1 << 16
_PR_SET_PDEATHSIG = 1  # of Linux: this process ends with its parent
_LONGEST_STDERR = 20_000


@dataclass(frozen=True)
class End:
    """How a process ended.

    Attributes:
        code: the exit status; negative: the signal. ``None``: it was ended at its time limit.
        said: what the process sent.
        stderr: the end of what it wrote to standard error.
        peak_bytes: the largest resident memory.
    """

    code: int | None
    said: tuple[Any, ...]
    stderr: str
    peak_bytes: int

    @property
    def died(self) -> bool:
        """Whether a signal ended the process."""
        return self.code is not None and self.code < 0

    @property
    def how(self) -> str:
        if self.code is None:
            return "hang"
        return signal.Signals(-self.code).name if self.code < 0 else f"exit {self.code}"


class Forked:
    """A forked process that runs a function. The process that forks must have no other threads.

    Args:
        function: runs in the process, and may send values. An exception makes the exit status 1.
        memory_bytes: largest address space. ``None`` (default): no limit.
    """

    def __init__(self, function: Callable[[Say], None], memory_bytes: int | None = None) -> None:
        self._stderr: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - closed by `end`
        self._out, into = os.pipe()
        self._rest = b""
        sys.stdout.flush()
        sys.stderr.flush()
        self.pid = os.fork()
        if self.pid == 0:
            os.close(self._out)
            self._run(function, into, memory_bytes)
        os.close(into)
        self._process = os.pidfd_open(self.pid)
        self.ended = False

    def _run(self, function: Callable[[Say], None], into: int, memory_bytes: int | None) -> None:
        status = 1
        try:
            os.setpgid(0, 0)
            ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
            os.dup2(os.open(os.devnull, os.O_RDWR), 1)
            os.dup2(self._stderr.fileno(), 2)
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
            if memory_bytes is not None:
                resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))
            function(lambda value: _write(into, value))
            status = 0
        except BaseException:  # noqa: BLE001 - nothing may leave this process
            traceback.print_exc()
        finally:
            os._exit(status)

    def read(self, limit_s: float) -> list[Any]:
        """What came within the time; returns at the first values, or when the process has ended."""
        end = time.monotonic() + limit_s
        values: list[Any] = []
        while not values and not self.ended:
            left = max(0.0, end - time.monotonic())
            ready, _, _ = select.select([self._out, self._process], [], [], left)
            if not ready:
                break
            self.ended = self._process in ready
            values = self._take()
        return values

    def _take(self) -> list[Any]:
        """All that is in the pipe. The process may have closed the pipe, but not ended."""
        data = [self._rest]
        while select.select([self._out], [], [], 0)[0] and (more := os.read(self._out, _BLOCK)):
            data.append(more)
        *lines, self._rest = b"".join(data).split(b"\n")
        return [json.loads(line) for line in lines]

    def cpu_s(self) -> float:
        """The processor time that the process has used, in seconds."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def end(self, said: tuple[Any, ...] = ()) -> End:
        """Ends the process, unless it has ended, and everything that it has started."""
        killed = not self.ended
        try:
            os.killpg(self.pid, signal.SIGKILL)
        except ProcessLookupError:
            os.kill(self.pid, signal.SIGKILL)
        _, status, usage = os.wait4(self.pid, 0)
        os.close(self._out)
        os.close(self._process)
        with self._stderr as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - _LONGEST_STDERR))
            words = file.read().decode(errors="replace")
        code = None if killed else os.waitstatus_to_exitcode(status)
        return End(code, said, words, usage.ru_maxrss * 1024)


def run_forked(
    function: Callable[[Say], None], limit_s: float, memory_bytes: int | None = None
) -> End:
    """Runs a function in a forked process to its end, or to the time limit."""
    process = Forked(function, memory_bytes)
    said: list[Any] = []
    end = time.monotonic() + limit_s
    while not process.ended and (left := end - time.monotonic()) > 0:
        said += process.read(left)
    return process.end(tuple(said))


def _write(into: int, value: Any) -> None:
    # A line of at most PIPE_BUF bytes is written as a whole, also where threads write.
    line = json.dumps(value).encode() + b"\n"
    if len(line) > select.PIPE_BUF:
        raise ValueError(f"a value of {len(line)} bytes is too long")
    os.write(into, line)
