"""What the set-up shows: progress on a terminal and in a log."""

from __future__ import annotations

import io
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from setup import progress

if TYPE_CHECKING:
    pass


class Clock:
    """Seconds that pass when they are told to."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_log_gets_a_line_now_and_then() -> None:
    clock, stream = Clock(), io.StringIO()
    display = progress.Display(2, stream, clock=clock)
    display.begin("compiling", "usually 1 to 2 minutes")
    for second in range(100):
        clock.now = second
        display.update(f"{second} of 100 files")
    display.end()
    display.begin("installing")
    display.end()
    assert stream.getvalue().splitlines() == [
        "[1/2] compiling (usually 1 to 2 minutes)",
        "[1/2] compiling: 30 of 100 files (30 s so far, usually 1 to 2 minutes)",
        "[1/2] compiling: 60 of 100 files (1 min 0 s so far, usually 1 to 2 minutes)",
        "[1/2] compiling: 90 of 100 files (1 min 30 s so far, usually 1 to 2 minutes)",
        "[1/2] compiling: done in 1 min 39 s",
        "[2/2] installing",
        "[2/2] installing: done in 0 s",
    ]


def test_a_terminal_shows_every_step_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    clock, stream = Clock(), io.StringIO()
    display = progress.Display(1, stream, live=True, clock=clock)
    display.begin("compiling llama.cpp", "usually 1 to 2 minutes")
    display.update("1 of 9 files")
    display.update("1 of 9 files")
    clock.now = 1.5
    display.update()
    display.end()
    shown = stream.getvalue().split("\r\x1b[K")[1:]
    assert shown[0] == "[1/1] compiling llama.cpp (usually 1 to"
    assert shown[1] == "[1/1] compiling llama.cpp: 1 of 9 files"
    assert len(shown) == 4
    assert shown[-1] == "[1/1] compiling llama.cpp: done in 2 s\n"


def test_a_failure_shows_the_end_of_the_log(tmp_path: Path) -> None:
    stream = io.StringIO()
    display = progress.Display(1, stream, live=True)
    display.begin("compiling")
    log = tmp_path / "logs/setup.log"
    code = "import sys\nfor i in range(1, 99): print(f'[{i}/98] line')\nsys.exit(3)"
    with pytest.raises(SystemExit, match=rf"compiling: failed \(3\).*{re.escape(str(log))}"):
        progress.run(display, [sys.executable, "-c", code], log, read=progress.compilation)
    assert "98 of 98 files" in stream.getvalue()
    assert stream.getvalue().splitlines()[-30:] == [f"[{i}/98] line" for i in range(69, 99)]
    assert "[1/98] line" in log.read_text()
    progress.run(display, [sys.executable, "-c", code], log, read=progress.compilation, check=False)


def test_lines_of_compilers_are_read() -> None:
    read = progress.compilation
    assert read("  [37/142] Building CXX object a.o") == "37 of 142 files"
    assert read("[ 12%] Building CXX object a.o") == "12 %"
    assert read("[0/2] Re-checking globbed directories...") is None
    assert read("a.cpp:3: warning: [1/2]") is None


def test_lines_of_pip_are_read() -> None:
    read = progress.PipReader()
    assert read("Collecting numpy>=1.22 (from specbranch_cpp)") == "1 packages found, now numpy"
    assert (
        read("  Downloading numpy-2.whl (16.0 MB)")
        == "1 packages found, downloading numpy-2.whl (16.0 MB)"
    )
    assert read("Installing collected packages: numpy, rich") == "installing 2 packages"
    assert read("Requirement already satisfied: numpy") is None


def test_lines_of_apt_are_read() -> None:
    read = progress.AptReader()
    assert read("Get:1 mirror bookworm InRelease [151 kB]") == "downloading the lists"
    assert read("Setting up by another (1)") is None
    assert read("0 upgraded, 2 newly installed, 0 to remove.") == "2 packages"
    assert read("Get:1 mirror g++ amd64 4:12.2.0") == "downloading 2 packages"
    assert read("Unpacking g++ (4:12.2.0) ...") == "unpacking g++"
    assert read("Setting up g++ (4:12.2.0) ...") == "1 of 2 packages set up"


def test_usual_times_follow_the_cores() -> None:
    assert progress.usual_time(240, 2) == "usually 1 to 4 minutes"
    assert progress.usual_time(600, 2) == "usually 4 to 10 minutes"
    assert progress.usual_time(240, 16) == "usually under a minute"
