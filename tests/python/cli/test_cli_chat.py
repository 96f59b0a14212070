"""`specbranch chat`: turns, commands, answers, and all of it at a terminal."""

from __future__ import annotations

import io
import json
import os
import pty
import select
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest
from prompt_toolkit.input import create_pipe_input
from prompt_toolkit.output import DummyOutput
from rich.console import Console
from tests.python.support.scripted import script
from typer.testing import CliRunner

from specbranch_cpp import DecodeError, Engine
from specbranch_cpp.cli import app
from specbranch_cpp.cli.chat import slash_commands, turns
from specbranch_cpp.cli.chat.command import ConsoleScreen, converse
from specbranch_cpp.cli.chat.session import Chat
from specbranch_cpp.cli.prefill import PrefillBar

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from specbranch_cpp import Generation, GenerationStats


class FakeScreen:
    """Keeps what is shown; Ctrl-C after so many pieces of an answer."""

    def __init__(self, interrupt_after: int = -1) -> None:
        self.text = ""
        self.thoughts = ""
        self.notes: list[str] = []
        self.errors: list[str] = []
        self.tables: list[GenerationStats] = []
        self.waits = 0
        self._left = interrupt_after

    def answer(self, text: str) -> None:
        self.text += text
        self._left -= 1
        if self._left == 0:
            raise KeyboardInterrupt

    def thought(self, text: str) -> None:
        assert self.text == ""
        self.thoughts += text

    def end(self, text: str) -> None:
        assert self.text.endswith(text)

    def note(self, text: str) -> None:
        self.notes.append(text)

    def error(self, text: str) -> None:
        self.errors.append(text)

    def table(self, stats: GenerationStats) -> None:
        self.tables.append(stats)

    def waiting(self, generation: Generation) -> None:
        assert generation.n_prompt > 0
        self.waits += 1

    def waiting_ended(self) -> None:
        pass


OPTIONS: dict[str, Any] = {"max_tokens": 12, "temperature": 0.7, "seed": 3}


@pytest.fixture
def chat(engine: Engine) -> Chat:
    return Chat(engine, FakeScreen(), dict(OPTIONS))


def screen_of(chat: Chat) -> FakeScreen:
    assert isinstance(chat.screen, FakeScreen)
    return chat.screen


def expected(engine: Engine, messages: list[dict[str, str]], **options: Any) -> str:
    answer: Any = engine.create_chat_completion(messages, **(OPTIONS | options))
    text: str = answer["choices"][0]["message"]["content"]
    return text


def test_thoughts_are_shown_and_not_repeated(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    script(monkeypatch, engine, "<think>\nwhy\n</think>\n\nbecause")
    chat = Chat(engine, FakeScreen(), {**OPTIONS, "max_tokens": 60})
    chat.say("hello")
    assert (screen_of(chat).thoughts, screen_of(chat).text) == ("why", "because")
    assert chat.messages[-1] == {"role": "assistant", "content": "because"}


def test_the_console_separates_thoughts(capsys: pytest.CaptureFixture[str]) -> None:
    screen = ConsoleScreen()
    for piece in ("why ", "[not] "):
        screen.thought(piece)
    screen.answer("because")
    screen.end("because")
    shown = capsys.readouterr()
    assert shown.out == "because\n"
    assert shown.err.startswith("why [not] \n")


@pytest.mark.parametrize(
    ("text", "more", "turn"),
    [
        ("hello", False, "hello"),
        ("  hello ", False, "hello"),
        ("one\\", True, "one"),
        ("one\\\ntwo", False, "one\ntwo"),
        ('"""', True, '"""'),
        ('""""', True, '""""'),
        ('"""one', True, '"""one'),
        ('"""one\n\ntwo"""', False, "one\n\ntwo"),
        ('"""\none\n"""', False, "one"),
        ('say """this"""', False, 'say """this"""'),
        ("", False, ""),
    ],
)
def test_turns_of_several_lines(text: str, more: bool, turn: str) -> None:
    assert turns.incomplete(text) is more
    assert turns.finish(text) == turn


def test_turns_of_a_pipe() -> None:
    lines = turns.LineTurns(io.StringIO('one\ntwo\\\nthree\n"""\nfour\n\nfive\n"""\n\nsix\\'))
    found = [lines.next() for _ in range(5)]
    assert found == ["one", "two\nthree", "four\n\nfive", "", "six"]
    with pytest.raises(EOFError):
        lines.next()


def typed(keys: str, history: Path | None = None) -> Iterator[str]:
    """The turns that come of these keys."""
    with create_pipe_input() as source:
        source.send_text(keys)
        terminal = turns.TerminalTurns(
            history, slash_commands.NAMES, source=source, screen=DummyOutput()
        )
        while True:
            try:
                yield terminal.next()
            except EOFError:
                return
            except KeyboardInterrupt:
                yield "^C"


ENTER, ESCAPE, CTRL_C, CTRL_D, UP, TAB = "\r", "\x1b", "\x03", "\x04", "\x1b[A", "\t"


def test_turns_of_a_terminal() -> None:
    keys = f"one{ENTER}two{ESCAPE}{ENTER}three{ENTER}four\\{ENTER}five{ENTER}"
    keys += f'"""six{ENTER}seven"""{ENTER}half{CTRL_C}{CTRL_D}'
    assert list(typed(keys)) == ["one", "two\nthree", "four\nfive", "six\nseven", "^C"]


def test_history_outlives_the_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    file = turns.history_file()
    assert file == tmp_path / "specbranch_cpp/chat_history"
    assert file.stat().st_mode & 0o777 == 0o600
    assert list(typed(f"remember{ENTER}{CTRL_D}", file)) == ["remember"]
    assert list(typed(f"{UP}{ENTER}{CTRL_D}", turns.history_file())) == ["remember"]
    blocked = tmp_path / "file"
    blocked.touch()
    monkeypatch.setenv("XDG_STATE_HOME", str(blocked))
    assert turns.history_file() is None


def test_answers_are_those_of_the_engine(chat: Chat, engine: Engine) -> None:
    chat.system = "Be brief."
    begin = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "def f(x):"}]
    first = expected(engine, begin)
    chat.say("def f(x):")
    assert screen_of(chat).text == first
    chat.say("again")
    told = [
        *begin, {"role": "assistant", "content": first}, {"role": "user", "content": "again"}
    ]  # fmt: skip
    assert chat.messages[-1]["content"] == expected(engine, told)
    assert chat.totals.n_answers == 2
    assert chat.last is not None
    assert screen_of(chat).waits == 2
    assert screen_of(chat).errors == []


def test_another_answer(chat: Chat) -> None:
    chat.retry()
    assert screen_of(chat).errors == ["there is no message to answer yet"]
    chat.say("def f(x):")
    before = chat.messages[-1]["content"]
    slash_commands.run(chat, "/set seed 4")
    slash_commands.run(chat, "/retry")
    assert [each["role"] for each in chat.messages] == ["user", "assistant"]
    assert chat.messages[-1]["content"] != before
    slash_commands.run(chat, "/set seed 3")
    chat.retry()
    assert chat.messages[-1]["content"] == before
    chat.options["top_p"] = 7.0
    chat.retry()  # not possible: the answer that there was stays
    assert chat.messages[-1]["content"] == before


def test_ctrl_c_stops_the_answer_alone(engine: Engine) -> None:
    chat = Chat(engine, FakeScreen(interrupt_after=3), OPTIONS | {"max_tokens": 1000})
    chat.say("def f(x):")
    assert screen_of(chat).notes == ["stopped"]
    kept = chat.messages[-1]
    assert kept == {"role": "assistant", "content": screen_of(chat).text}
    assert chat.last is not None
    assert chat.last.n_generated < 1000
    chat.options["max_tokens"] = 4
    chat.say("go on")
    assert chat.totals.n_answers == 2
    assert len(chat.messages) == 4


def test_a_full_context(chat: Chat, engine: Engine) -> None:
    chat.say("x" * 10_000)
    (error,) = screen_of(chat).errors
    assert "the context is full" in error
    assert "/reset" in error
    assert chat.messages == []
    chat.options["max_tokens"] = None
    chat.options["logit_bias"] = {engine.eos_token: -100.0}
    chat.say("def f(x):")
    assert any("the context is full; type /reset" in note for note in screen_of(chat).notes)
    slash_commands.run(chat, "/reset")
    assert chat.messages == []


def test_settings(chat: Chat) -> None:
    for line in ("/set temperature 0.25", "/set top_k=5", "/set seed none", "/set mode pearl"):
        assert slash_commands.run(chat, line)
    assert chat.options["temperature"] == 0.25
    assert chat.options["top_k"] == 5
    assert chat.options["seed"] is None
    chat.say("def f(x):")
    assert chat.last is not None
    assert chat.last.mode == "pearl"
    for line in ("/set colour 1", "/set top_k many", "/set top_p 7"):
        slash_commands.run(chat, line)
    assert len(screen_of(chat).errors) == 2
    chat.say("and this")
    assert "top_p" in screen_of(chat).errors[-1]
    assert "top_p" not in chat.options
    assert chat.options["top_k"] == 5
    assert len(chat.messages) == 2
    slash_commands.run(chat, "/set")
    assert "top_k = 5" in screen_of(chat).notes


def test_commands(chat: Chat, tmp_path: Path) -> None:
    slash_commands.run(chat, "/stats")
    slash_commands.run(chat, "/system You are terse.")
    slash_commands.run(chat, "/system")
    assert screen_of(chat).notes == ["there is no answer yet"] + 2 * ["system: You are terse."]
    chat.say("def f(x):")
    slash_commands.run(chat, "/stats")
    assert screen_of(chat).tables == [chat.last]
    assert screen_of(chat).notes[-1].startswith("1 answer, ")
    slash_commands.run(chat, f"/save {tmp_path / 'chat.json'}")
    saved = json.loads((tmp_path / "chat.json").read_text())
    assert saved == [{"role": "system", "content": "You are terse."}, *chat.messages]
    slash_commands.run(chat, f"/save {tmp_path / 'chat.txt'}")
    assert "user:\ndef f(x):\n" in (tmp_path / "chat.txt").read_text()
    for line in ("/save", f"/save {tmp_path}", "/nothing", "/save ~nobody-of-this-name/chat"):
        slash_commands.run(chat, line)
    assert len(screen_of(chat).errors) == 4
    assert screen_of(chat).errors[-1].startswith("~nobody-of-this-name")
    slash_commands.run(chat, "/help")
    shown = "\n".join(screen_of(chat).notes)
    assert all(name in shown for name in slash_commands.NAMES)
    assert [slash_commands.run(chat, line) for line in ("/exit", "/quit")] == [False, False]


def test_the_loop_ends_by_command_and_by_end(chat: Chat) -> None:
    converse(chat, turns.LineTurns(["/system a\n", "\n", "/exit\n", "/system b\n"]))
    assert chat.system == "a"
    converse(chat, turns.LineTurns(["/system c\n"]))
    assert chat.system == "c"
    assert chat.messages == []


def test_a_turn_in_quotation_marks_is_no_command(chat: Chat) -> None:
    """Comments of C and paths begin with a slash."""
    converse(chat, turns.LineTurns(['"""\n', "// add\n", "int x;\n", '"""\n', '"""/exit"""\n']))
    said = [each["content"] for each in chat.messages if each["role"] == "user"]
    assert said == ["// add\nint x;", "/exit"]
    assert all(type(each) is str for each in said)
    assert screen_of(chat).errors == []


def test_a_chat_through_a_pipe(pair: tuple[Path, Path]) -> None:
    arguments = ["chat", "-m", pair[0], "-md", pair[1], "-c", 512, "-t", 1, "-td", 1, "-n", 8]
    result = CliRunner().invoke(app, [*map(str, arguments), "-s", "3"], input="def f(x):\n/stats\n")
    assert result.exit_code == 0, result.output
    assert "1 answer, " in result.stderr
    assert "/help for help" in result.stderr
    assert result.stdout.strip()
    assert "answers" not in result.stdout
    assert "\x1b" not in result.output


def test_a_refused_line_of_a_pipe_is_told_by_the_exit_code(pair: tuple[Path, Path]) -> None:
    arguments = ["chat", "-m", str(pair[0]), "-md", str(pair[1]), "-c", "64", "-n", "2"]
    result = CliRunner().invoke(app, arguments, input="abc " * 200 + "\nok\n")
    assert result.exit_code == 1
    assert "the context is full" in result.stderr
    assert result.stdout.strip()  # the other line was answered


def test_a_line_of_a_pipe_that_is_no_text(pair: tuple[Path, Path]) -> None:
    arguments = ["chat", "-m", str(pair[0]), "-md", str(pair[1]), "-c", "512", "-n", "2"]
    result = CliRunner().invoke(app, arguments, input=b"/stats\nab\xff\n")
    assert result.exit_code == 2
    assert "specbranch: line 2 of standard input is not UTF-8 at byte 2\n" in result.stderr
    assert isinstance(result.exception, SystemExit)


def test_ctrl_c_ends_a_chat_that_nobody_types(chat: Chat) -> None:
    """No editor is there whose line Ctrl-C could discard, and what was read is lost."""

    def interrupted() -> Iterator[str]:
        yield "/system a\n"
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        converse(chat, turns.LineTurns(interrupted()))
    assert chat.system == "a"


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--temp", "-1"], "--temp is -1"),
        (["--mode", "fast"], "--mode is 'fast'"),
        (["-sys", "\udcff"], "--system has a lone surrogate"),
    ],
)
def test_wrong_options_end_the_chat_before_it_begins(
    pair: tuple[Path, Path], options: list[str], told: str
) -> None:
    arguments = ["chat", "-m", str(pair[0]), "-md", str(pair[1]), "-c", "512", *options]
    result = CliRunner().invoke(app, arguments, input="hello\n")
    assert result.exit_code == 2
    assert result.stderr.startswith(f"specbranch: {told}")
    assert result.stderr.count("\n") == 1


class SlowPrompt:
    """A generation whose prompt is being read."""

    n_prompt = 40
    n_prefilled = 10


def test_the_bar_of_a_long_prompt(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")  # a dumb terminal has no bar

    def shown(patience: float, terminal: bool) -> str:
        file = io.StringIO()
        console = Console(file=file, force_terminal=terminal, width=80)
        bar = PrefillBar(SlowPrompt(), console, patience)  # type: ignore[arg-type]
        deadline = time.monotonic() + 120
        while patience == 0 and terminal and "10/40" not in file.getvalue():
            assert time.monotonic() < deadline
            time.sleep(0.01)
        bar.stop()
        bar.stop()
        return file.getvalue()

    assert "reading the prompt" in shown(0, True)
    assert shown(0, False) == ""
    assert shown(1000.0, True) == ""


def test_the_bar_of_an_engine_that_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    raised: list[Any] = []
    monkeypatch.setattr(threading, "excepthook", raised.append)
    asked = threading.Event()

    class Lost:
        n_prompt = 40

        @property
        def n_prefilled(self) -> int:
            asked.set()
            raise DecodeError("the host is lost")

    console = Console(file=io.StringIO(), force_terminal=True, width=80)
    bar = PrefillBar(Lost(), console, 0)  # type: ignore[arg-type]
    assert asked.wait(120)
    bar.stop()
    assert raised == []


# Makes its standard input the terminal of a session of its own, as a shell does.
_SHELL = """
import fcntl, os, sys, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
os.execv(sys.executable, [sys.executable, "-m", "specbranch_cpp", *sys.argv[1:]])
"""


READS = "\x1b[?2004h"  # the line editor wants to be told of pasted text
STOPS_READING = "\x1b[?2004l"


class Terminal:
    """A program at a pseudo-terminal."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        self._master, slave = pty.openpty()
        environment = {name: value for name, value in os.environ.items() if name != "NO_COLOR"}
        environment |= {"TERM": "xterm", "XDG_STATE_HOME": str(folder)}
        self.process = subprocess.Popen(
            [sys.executable, "-c", _SHELL, *arguments],
            stdin=slave, stdout=slave, stderr=slave, env=environment, start_new_session=True,
        )  # fmt: skip
        os.close(slave)
        self.seen = ""

    def type(self, keys: str) -> None:
        os.write(self._master, keys.encode())

    def wait_for(self, words: str) -> str:
        """What is shown up to these words, which have to come."""
        while words not in self.seen:
            ready, _, _ = select.select([self._master], [], [], 120.0)
            assert ready, f"no {words!r} in {self.seen!r}"
            try:
                part = os.read(self._master, 65536)
            except OSError:  # the program has ended
                part = b""
            assert part, f"no {words!r} in {self.seen!r}"
            if b"\x1b[6n" in part:  # it asks where the cursor is
                self.type("\x1b[1;1R")
            self.seen += part.decode(errors="replace")
        before, _, self.seen = self.seen.partition(words)
        return before

    def kill(self) -> None:
        """If a test has failed."""
        self.process.kill()
        self.process.wait()

    def close(self) -> int:
        code = self.process.wait(timeout=60)
        os.close(self._master)
        return code


def test_a_chat_at_a_terminal(
    pair: tuple[Path, Path], tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    endless = ["-n", "-1", "-c", "16384", "-t", "1", "-td", "1", "--temp", "1", "-s", "1"]
    terminal = Terminal(tmp_path, "chat", "-m", str(pair[0]), "-md", str(pair[1]), *endless)
    request.addfinalizer(terminal.kill)
    assert "\x1b[2m" in terminal.wait_for("/help for help")  # what the program says is dim
    terminal.wait_for(READS)
    terminal.type("def f(x):\r")
    terminal.wait_for(STOPS_READING)
    terminal.wait_for("\n")  # at least a line of the answer
    terminal.type(CTRL_C)
    terminal.wait_for("stopped")
    terminal.wait_for(READS)
    terminal.type("/stats\r")
    terminal.wait_for("1 answer, ")
    terminal.wait_for(READS)
    terminal.type(CTRL_D)
    assert terminal.close() == 0
    assert "def f(x):" in (tmp_path / "specbranch_cpp/chat_history").read_text()
