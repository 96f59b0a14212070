"""Reads the input of a chat turn by turn. A turn may have several lines."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Protocol

from specbranch_cpp._support.files import LARGEST_TEXT, open_log
from specbranch_cpp.errors import InvalidArgument

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from prompt_toolkit import PromptSession
    from prompt_toolkit.input import Input
    from prompt_toolkit.output import Output

_FENCE = '"""'
_PROMPT = "> "
_TOO_LONG = f"the turn has more than {LARGEST_TEXT:,} bytes"


class Quoted(str):
    """A turn that had quotation marks around it. It is text also if it begins with a slash."""


class Turns(Protocol):
    """A source of turns.

    Attributes:
        edited: whether the user edits a line, which Ctrl-C discards. Otherwise Ctrl-C ends the
            chat.
    """

    edited: bool

    def next(self) -> str:
        """The next turn, with its lines joined.

        Raises:
            EOFError: there are no more turns.
            KeyboardInterrupt: the user pressed Ctrl-C.
        """


def incomplete(text: str) -> bool:
    """Whether the turn continues.

    A turn continues if its last line ends with a backslash, or if it begins with ``\"\"\"`` and has
    no second ``\"\"\"``.
    """
    stripped = text.strip()
    if stripped.startswith(_FENCE):
        return len(stripped) < 2 * len(_FENCE) or not stripped.endswith(_FENCE)
    return text.endswith("\\")


def finish(text: str) -> str:
    """The turn without the marks for further lines."""
    stripped = text.strip()
    if stripped.startswith(_FENCE) and not incomplete(text):
        return Quoted(stripped[len(_FENCE) : -len(_FENCE)].strip("\n"))
    return text.removesuffix("\\").replace("\\\n", "\n").strip()


class LineTurns:
    """Turns from a pipe or a file. Each line is a turn, unless it continues."""

    edited = False

    def __init__(self, lines: Iterable[str]) -> None:
        self._lines: Iterator[str] = iter(lines)

    def next(self) -> str:
        text = self._line()
        while incomplete(text):
            try:
                text += "\n" + self._line()
            except EOFError:
                break
            if len(text) > LARGEST_TEXT:  # each line has no more bytes
                raise InvalidArgument(_TOO_LONG)
        return finish(text)

    def _line(self) -> str:
        for line in self._lines:
            return line.removesuffix("\n")
        raise EOFError


class TerminalTurns:
    """A line editor with a history that is kept between runs.

    Enter ends the turn, unless it continues. Alt+Enter (Esc Enter) begins another line.

    Args:
        history: file with earlier turns. ``None``: no history.
        commands: words that Tab completes at the start of a turn.
        source: the input for keys. ``None`` (default): the terminal.
        screen: the output. ``None`` (default): the terminal.
    """

    edited = True

    def __init__(
        self,
        history: Path | None,
        commands: Iterable[str] = (),
        *,
        source: Input | None = None,
        screen: Output | None = None,
    ) -> None:
        self._session = _session(history, list(commands), source, screen)

    def next(self) -> str:
        return finish(self._session.prompt(_PROMPT))


def _session(
    history: Path | None, commands: list[str], source: Input | None, screen: Output | None
) -> PromptSession[str]:
    from prompt_toolkit import PromptSession
    from prompt_toolkit.completion import WordCompleter
    from prompt_toolkit.history import FileHistory, InMemoryHistory
    from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent

    keys = KeyBindings()

    @keys.add("enter")
    def _(event: KeyPressEvent) -> None:
        buffer = event.current_buffer
        if incomplete(buffer.text):
            buffer.insert_text("\n")
        else:
            buffer.validate_and_handle()

    @keys.add("escape", "enter")
    def _(event: KeyPressEvent) -> None:
        event.current_buffer.insert_text("\n")

    return PromptSession(
        history=InMemoryHistory() if history is None else FileHistory(str(history)),
        key_bindings=keys,
        multiline=True,
        prompt_continuation="  ",
        completer=WordCompleter(commands, sentence=True),
        complete_while_typing=False,
        input=source,
        output=screen,
    )


def history_file() -> Path | None:
    """The history file below XDG_STATE_HOME or ~/.local/state, readable by this user only.

    ``None``: the file cannot be created, or it is no regular file, or too large to be read.
    """
    configured = os.environ.get("XDG_STATE_HOME", "")
    try:
        state = Path(configured) if Path(configured).is_absolute() else Path.home() / ".local/state"
        folder = state / "specbranch_cpp"
        folder.mkdir(parents=True, exist_ok=True)
        file = folder / "chat_history"
        opened = open_log(file, 0o600)
        size = os.fstat(opened).st_size
        os.close(opened)
    except (OSError, RuntimeError):  # a read-only folder, no regular file, or no home folder
        return None
    return file if size <= LARGEST_TEXT else None


def open_turns(commands: Iterable[str]) -> Turns:
    """The terminal, if standard input and output are a terminal; otherwise standard input."""
    if sys.stdin is None:  # the caller closed it
        raise InvalidArgument("standard input is closed, so there is nobody to chat with")
    if sys.stdin.isatty() and sys.stdout.isatty():
        return TerminalTurns(history_file(), commands)
    return LineTurns(_lines(sys.stdin.buffer))


def _lines(file: BinaryIO) -> Iterator[str]:
    """The lines of a file, which may be endless.

    Raises:
        InvalidArgument: a line is too long, or is not UTF-8.
    """
    number = 0
    while line := file.readline(LARGEST_TEXT + 1):
        number += 1
        if len(line) > LARGEST_TEXT:
            raise InvalidArgument(_TOO_LONG)
        try:
            yield line.decode().replace("\r\n", "\n")
        except UnicodeDecodeError as error:
            raise InvalidArgument(
                f"line {number} of standard input is not UTF-8 at byte {error.start}"
            ) from None
