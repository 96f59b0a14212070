"""Shows long steps: what is done, how far it is, and how long it usually takes.

On a terminal one line is rewritten; in a log there is a line at the start, one now and then, and
one at the end. The whole output of a step's commands goes to a file, and its last lines are shown
where a command fails.
"""

from __future__ import annotations

import math
import os
import re
import selectors
import shlex
import shutil
import subprocess
import sys
import time
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

TAIL_LINES = 30
SECONDS_BETWEEN_LINES = 30.0


class Display:
    """The steps of one set-up, numbered."""

    def __init__(
        self,
        n_steps: int,
        stream: IO[str] | None = None,
        *,
        live: bool | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._stream = sys.stdout if stream is None else stream
        self._live = self._stream.isatty() if live is None else live
        self._clock = clock
        self._n_steps = n_steps
        self._n_begun = 0
        self.title = self._usual = self._detail = ""
        self._began = self._printed = clock()

    def begin(self, title: str, usual: str = "") -> None:
        """Starts the next step; `usual` says how long it takes, as "usually 1 to 2 minutes"."""
        self._n_begun += 1
        self.title = f"[{self._n_begun}/{self._n_steps}] {title}"
        self._usual, self._detail = usual, ""
        self._began = self._printed = self._clock()
        self._write(f"{self.title} ({usual})" if usual else self.title)

    def update(self, detail: str | None = None) -> None:
        """Says how far the step is; without a detail only the time goes on."""
        changed = detail is not None and detail != self._detail
        self._detail = self._detail if detail is None else detail
        now = self._clock()
        if self._live:
            if changed or now - self._printed >= 1:
                self._printed = now
                self._write(self._line(now))
        elif self._detail and now - self._printed >= SECONDS_BETWEEN_LINES:
            self._printed = now
            self._write(self._line(now))

    def end(self) -> None:
        self._write(f"{self.title}: done in {duration(self._clock() - self._began)}", last=True)

    def interrupt(self, message: str) -> None:
        """Ends the line that is being rewritten and prints a message of its own."""
        if self._live:
            self._stream.write("\n")
        self._stream.write(message.rstrip("\n") + "\n")
        self._stream.flush()

    def _line(self, now: float) -> str:
        times = f"{duration(now - self._began)} so far"
        if self._usual:
            times += f", {self._usual}"
        return f"{self.title}{': ' if self._detail else ''}{self._detail} ({times})"

    def _write(self, text: str, *, last: bool = False) -> None:
        if self._live:
            text = text[: shutil.get_terminal_size().columns - 1]
            self._stream.write(f"\r\x1b[K{text}" + ("\n" if last else ""))
        else:
            self._stream.write(f"{text}\n")
        self._stream.flush()


def run(
    display: Display,
    command: Sequence[str],
    log: Path,
    *,
    read: Callable[[str], str | None],
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    check: bool = True,
) -> None:
    """Runs a command of the current step; with `check` ends the process where the command fails.

    Its output is appended to `log`; `read` finds in every line of it how far the command is.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as file:
        file.write(f"$ {shlex.join(command)}\n".encode())
        file.flush()
        with subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=env,
            cwd=cwd,
        ) as process:
            assert process.stdout is not None
            for line in _lines(process.stdout, file, display):
                if (detail := read(line)) is not None:
                    display.update(detail)
    if check and process.returncode != 0:
        display.interrupt(tail(log))
        sys.exit(f"setup: {display.title}: failed ({process.returncode}); the whole log: {log}")


def _lines(pipe: IO[bytes], copy: IO[bytes], display: Display) -> Iterator[str]:
    """The lines as they come; while there is none, the display's clock goes on."""
    rest = b""
    with selectors.DefaultSelector() as selector:
        selector.register(pipe, selectors.EVENT_READ)
        while True:
            if not selector.select(timeout=0.5):
                display.update()
                continue
            data = os.read(pipe.fileno(), 1 << 16)
            if not data:
                break
            copy.write(data)
            copy.flush()
            *complete, rest = re.split(rb"[\r\n]+", rest + data)
            for line in complete:
                yield line.decode(errors="replace")
    if rest:
        yield rest.decode(errors="replace")


def tail(log: Path) -> str:
    """The last lines of a log."""
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    return "\n".join(lines[-TAIL_LINES:])


NINJA = re.compile(r"^\s*\[([1-9]\d*)/(\d+)\] ")
MAKE = re.compile(r"^\s*\[ *(\d+)%\] ")


def compilation(line: str) -> str | None:
    """How far a compilation is, by a line of Ninja or of make."""
    if match := NINJA.match(line):
        return f"{match[1]} of {match[2]} files"
    if match := MAKE.match(line):
        return f"{match[1]} %"
    return None


class PipReader:
    """How far `pip install` is, by its output."""

    def __init__(self) -> None:
        self._n_found = 0

    def __call__(self, line: str) -> str | None:
        words = line.split()
        if words[:1] == ["Collecting"]:
            self._n_found += 1
            return f"{self._n_found} packages found, now {re.split('[^A-Za-z0-9._-]', words[1])[0]}"
        if words[:1] == ["Downloading"] and "(" in line:
            name = words[1].rsplit("/", 1)[-1]
            return f"{self._n_found} packages found, downloading {name} {line[line.index('(') :]}"
        if line.startswith("Installing collected packages: "):
            return f"installing {line.count(',') + 1} packages"
        return None


class AptReader:
    """How far `apt-get install` is, by its output."""

    def __init__(self) -> None:
        self._n_new = 0
        self._n_set_up = 0

    def __call__(self, line: str) -> str | None:
        if match := re.match(r"(\d+) upgraded, (\d+) newly installed", line):
            self._n_new = int(match[1]) + int(match[2])
            return f"{self._n_new} packages"
        if re.match(r"Get:\d+ ", line):
            return "downloading" + (f" {self._n_new} packages" if self._n_new else " the lists")
        if line.startswith("Unpacking ") and self._n_new:
            return f"unpacking {line.split()[1]}"
        if line.startswith("Setting up ") and self._n_new:
            self._n_set_up += 1
            return f"{self._n_set_up} of {self._n_new} packages set up"
        return None


def usual_time(cpu_seconds: float, n_cores: int | None = None) -> str:
    """How long a compilation takes that costs this much CPU time, on this many cores, in words.

    The figures are those of a server's CPU of 2023: others take between 0.8 and 2 times as long.
    """
    if n_cores is None:
        n_cores = len(os.sched_getaffinity(0))
    minutes = cpu_seconds / n_cores / 60
    if minutes < 0.5:
        return "usually under a minute"
    low = max(1, math.floor(0.8 * minutes))
    return f"usually {low} to {max(low + 1, math.ceil(2 * minutes))} minutes"


def duration(seconds: float) -> str:
    """As "12 s" or "3 min 5 s"."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"
