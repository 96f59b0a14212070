"""Terminals and logs get no character of a file or of a client that a terminal would obey."""

from __future__ import annotations

import io
import json
import logging
import os
import pty
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from rich.progress import Progress
from rich.text import Text
from tests.python.support.tiny_gguf import write_tiny_gguf
from typer.testing import CliRunner

from specbranch_cpp import Engine, InvalidArgument, SpecBranchError
from specbranch_cpp._support import logs
from specbranch_cpp.cli import app, render, serve
from specbranch_cpp.errors import printable
from specbranch_cpp.server import request_counter, streams

if TYPE_CHECKING:
    from pathlib import Path

EVIL = "\x1b[31mred\x1b]0;title\x07\x9b2J\r\x7f\u202egnp"
SHOWN = r"\x1b[31mred\x1b]0;title\x07\x9b2J\r\x7f\u202egnp"


def obeyed(text: str) -> set[str]:
    """The characters that a terminal would obey."""
    return {each for each in text if each != "\n" and printable(each) != each}


def test_printable() -> None:
    assert printable(EVIL) == SHOWN
    assert (
        printable("a\tb\nc é 漢 👩‍👩‍👦 \N{HEBREW LETTER ALEF}")
        == "a\tb\nc é 漢 👩‍👩‍👦 \N{HEBREW LETTER ALEF}"
    )
    assert printable(os.fsdecode(b"\xff.gguf")) == r"\udcff.gguf"


def test_errors() -> None:
    assert str(InvalidArgument(EVIL)) == SHOWN
    assert str(SpecBranchError("two\nlines")) == "two\nlines"


@pytest.mark.parametrize(
    "key", ["general.architecture", "tokenizer.ggml.model", "tokenizer.ggml.pre", "general.type",
            "llama.rope.scaling.type"],
)  # fmt: skip
def test_errors_and_logs_about_a_file(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, key: str
) -> None:
    file = write_tiny_gguf(tmp_path / "model.gguf", metadata={key: f"{EVIL}\n2026-01-01 forged"})
    caplog.set_level(logging.DEBUG, "specbranch_cpp")
    with pytest.raises(SpecBranchError) as caught:
        Engine(file, n_ctx=64)
    assert obeyed(str(caught.value)) == set()
    assert r"\x1b[31mred" in str(caught.value)
    assert [line for line in caplog.messages if obeyed(line) or "\n" in line] == []


@pytest.fixture
def evil_model(tmp_path: Path) -> Path:
    return write_tiny_gguf(
        tmp_path / "model.gguf",
        metadata={
            "general.name": EVIL,
            "tokenizer.chat_template": "{{ " + EVIL,
            "general.license": EVIL,
        },
    )


@pytest.mark.parametrize(
    "command", [["check"], ["models"], ["generate", "-p", "a", "-n", "2", "--verbose", "-m"],
                ["generate", "-p", "a", "-n", "2", "-m"]], ids=" ".join,
)  # fmt: skip
def test_commands_about_a_file(evil_model: Path, command: list[str]) -> None:
    where = str(evil_model.parent) if command == ["models"] else str(evil_model)
    done = subprocess.run(
        [sys.executable, "-m", "specbranch_cpp", *command, where],
        capture_output=True, text=True, check=False, timeout=120,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
    )  # fmt: skip
    assert done.stdout or done.stderr
    assert obeyed(done.stderr) == set()
    if command[0] != "generate":  # its text is exact in a pipe
        assert obeyed(done.stdout) == set()
    assert "Traceback" not in done.stderr


def test_a_log_message_is_one_line(caplog: pytest.LogCaptureFixture) -> None:
    for logger in (
        logs.LOGGER, logs.PROFILES, logs.DRAFTS, streams.LOGGER, request_counter.LOGGER
    ):  # fmt: skip
        caplog.clear()
        logger.warning("%s: %s", "the client says", f"{EVIL}\n2026 ERROR forged")
        assert caplog.messages == [f"the client says: {SHOWN}\\n2026 ERROR forged"]
        logger.warning("%d of %s", 1, "ordinary")
        assert caplog.records[-1].args == (1, "ordinary")


def test_the_log_of_the_server(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = io.StringIO()
    monkeypatch.setattr(sys, "stderr", shown)
    loggers = [logging.getLogger(name) for name in ("specbranch_cpp.server", "uvicorn.error")]
    before = [(each.level, list(each.handlers), each.propagate) for each in loggers]
    for logger in loggers:
        logger.handlers.clear()  # those of other tests may have closed streams
    try:
        serve._show_log(logging.INFO)
        for logger in loggers:
            logger.warning("%s", f"{EVIL}\n2026 ERROR forged")
    finally:
        for logger, (level, handlers, propagate) in zip(loggers, before, strict=True):
            logger.setLevel(level)
            logger.handlers[:] = handlers
            logger.propagate = propagate
    assert shown.getvalue().count("\n") == 2
    assert obeyed(shown.getvalue()) == set()


def test_the_console_keeps_its_own_colours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")  # a terminal without colours shows none
    monkeypatch.delenv("NO_COLOR", raising=False)
    out = io.StringIO()
    console = render.PrintableConsole(file=out, force_terminal=True, width=80)
    console.print(Text(EVIL, "red"))
    console.print(render.table(["name", "n"], [[EVIL, "1"]]))
    with Progress(console=console, transient=True) as progress:
        progress.add_task(EVIL)
    text = out.getvalue()
    assert "\x1b[31m\\x1b[31mred" in text
    assert "\x1b]0;" not in text
    assert "\x07" not in text


class ToTerminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_the_text_of_a_model(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a terminal it is shown; in a file or a pipe it is exact."""
    for out, expected in ((ToTerminal(), SHOWN), (io.StringIO(), EVIL)):
        monkeypatch.setattr(sys, "stdout", out)
        render.write_answer(EVIL)
        assert out.getvalue() == expected


def test_a_real_terminal() -> None:
    code = (
        "import sys\nfrom specbranch_cpp.cli import render\n"
        f"render.write_answer({EVIL!r})\nrender.stdout().print({EVIL!r}, end='')\n"
    )
    master, slave = pty.openpty()
    done = subprocess.run(
        [sys.executable, "-c", code], stdout=slave, check=True, timeout=120,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "TERM": "dumb"},
    )  # fmt: skip
    os.close(slave)
    told = os.read(master, 10_000).decode()
    os.close(master)
    assert done.returncode == 0
    assert told.startswith(SHOWN)
    assert told.count(r"\x1b") == 4
    assert obeyed(told) == set()  # rich leaves some of the others out


def test_json_is_exact_and_printable(evil_model: Path) -> None:
    done = CliRunner().invoke(app, ["models", "--json", str(evil_model.parent)])
    assert done.exit_code == 0
    assert obeyed(done.stdout) == set()
    assert json.loads(done.stdout)["models"][0]["name"]
