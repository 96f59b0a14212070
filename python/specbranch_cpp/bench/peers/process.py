"""A child process with a JSON protocol.

Each line on its stdin is a request, and each line on its stdout is an answer.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from specbranch_cpp.bench.peers.interface import PeerError, PeerPair

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["PeerProcess", "start"]

CHILD = Path(__file__).with_name("_child.py")
OPEN_TIMEOUT_S = 600.0
GRACE_S = 2.0  # between asking a process to end and killing it
STDERR_TAIL = 2000  # bytes quoted in an error


class PeerProcess:
    """Starts a backend (a Python file, see `_child.py`) in an interpreter of its own.

    Thread safety: one thread at a time.
    """

    def __init__(self, name: str, backend: Path, arguments: Sequence[str] = ()) -> None:
        self._name = name
        self._unread = b""
        self._stderr = tempfile.TemporaryFile()  # noqa: SIM115 - closed by close()
        self._process = subprocess.Popen(
            [sys.executable, str(CHILD), str(backend), *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._stderr,
            env=_environment(),
            cwd="/",
        )

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def exit_status(self) -> int | None:
        """The exit status. ``None``: the process runs; negative: the signal that killed it."""
        return self._process.poll()

    def ask(self, question: dict[str, Any], timeout_s: float) -> dict[str, Any]:
        """Returns the child's answer. After any error except a refusal, the child has ended.

        Raises:
            PeerError: the child refused, died, or did not answer in time.
        """
        try:
            self._write(json.dumps(question).encode() + b"\n")
            answer = json.loads(self._read_line(timeout_s))
        except BaseException:
            self.close()  # a late answer would be read as the answer to the next request
            raise
        if "error" in answer:
            raise PeerError(f"{self._name} refused: {answer['error']}{self.last_words()}")
        result: dict[str, Any] = answer["result"]
        return result

    def close(self) -> None:
        """Ends the child: asks it to end, kills it after 2 seconds, and waits.

        A second call does nothing.
        """
        process = self._process
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(GRACE_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        for stream in (process.stdin, process.stdout):
            if stream is not None:
                with contextlib.suppress(OSError):  # unwritten data can no longer be written
                    stream.close()
        self._stderr.close()

    def _write(self, line: bytes) -> None:
        if self._process.stdin is None or self._process.stdin.closed:
            raise PeerError(f"{self._name} was closed")
        try:
            self._process.stdin.write(line)
            self._process.stdin.flush()
        except BrokenPipeError:
            raise self._death() from None

    def _read_line(self, timeout_s: float) -> bytes:
        if self._process.stdout is None:
            raise PeerError(f"{self._name} was closed")
        pipe = self._process.stdout.fileno()
        end = time.monotonic() + timeout_s
        while b"\n" not in self._unread:
            readable, _, _ = select.select([pipe], [], [], max(0.0, end - time.monotonic()))
            if not readable:
                raise PeerError(
                    f"{self._name} gave no answer within {timeout_s:g} s{self.last_words()}"
                )
            received = os.read(pipe, 1 << 16)
            if not received:
                raise self._death()
            self._unread += received
        line, _, self._unread = self._unread.partition(b"\n")
        return line

    def _death(self) -> PeerError:
        try:
            code = self._process.wait(GRACE_S)
        except subprocess.TimeoutExpired:
            return PeerError(f"{self._name} closed its output{self.last_words()}")
        how = f"with exit status {code}" if code >= 0 else f"of {signal.Signals(-code).name}"
        return PeerError(f"{self._name} died {how}{self.last_words()}")

    def last_words(self) -> str:
        """The end of the child's stderr. Reading does not move the child's write position."""
        file = self._stderr.fileno()
        size = os.fstat(file).st_size
        tail = os.pread(file, STDERR_TAIL, max(0, size - STDERR_TAIL))
        text = tail.decode(errors="replace").strip()
        return f"; the end of its stderr: {text}" if text else ""


def start(
    name: str, backend: Path, arguments: Sequence[str], pair: PeerPair, draft_length: int
) -> tuple[PeerProcess, dict[str, Any]]:
    """Starts a process that loads the models.

    Args:
        name: the name in errors.
        backend: the Python file, see `_child.py`.
        arguments: arguments of the backend.
        pair: the models.
        draft_length: the draft length to begin with; 0: no speculation.

    Returns:
        The process, and its description of itself.

    Raises:
        PeerError: the process died or could not load the models. It has ended then.
    """
    process = PeerProcess(name, backend, arguments)
    question = {
        "do": "open",
        "pair": dataclasses.asdict(pair.absolute()),
        "cpus": pair.cpus,
        "draft_length": draft_length,
    }
    try:
        return process, process.ask(question, OPEN_TIMEOUT_S)
    except BaseException:
        process.close()
        raise


def _environment() -> dict[str, str]:
    # The child gets the search path of this process.
    search = [str(Path(entry).absolute()) for entry in sys.path]
    return os.environ | {
        "PYTHONPATH": os.pathsep.join(search),
        "GGML_NO_BACKTRACE": "1",  # an abort must not start a debugger
    }
