"""What the user says, turn by turn: several lines may be one."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from prompt_toolkit import PromptSession
    from prompt_toolkit.input import Input
    from prompt_toolkit.output import Output

_FENCE = '"""'
_PROMPT = "> "


class Turns(Protocol):
    """Where turns come from."""

    def next(self) -> str:
        """The next one, its lines joined.

        Raises:
            EOFError: there are no more.
            KeyboardInterrupt: the line is not to count.
        """


def incomplete(text: str) -> bool:
    """The last line ends with a backslash, or there is no second ``\"\"\"`` to the first one."""
    stripped = text.strip()
    if stripped.startswith(_FENCE):
        return len(stripped) < 2 * len(_FENCE) or not stripped.endswith(_FENCE)
    return text.endswith("\\")


def finish(text: str) -> str:
    """The turn without what only marked that there are more lines."""
    stripped = text.strip()
    if stripped.startswith(_FENCE) and not incomplete(text):
        return stripped[len(_FENCE) : -len(_FENCE)].strip("\n")
    return text.removesuffix("\\").replace("\\\n", "\n").strip()


class LineTurns:
    """Lines of a pipe or a file; each is a turn unless it is incomplete."""

    def __init__(self, lines: Iterable[str]) -> None:
        self._lines: Iterator[str] = iter(lines)

    def next(self) -> str:
        text = self._line()
        while incomplete(text):
            try:
                text += "\n" + self._line()
            except EOFError:
                break
        return finish(text)

    def _line(self) -> str:
        for line in self._lines:
            return line.removesuffix("\n")
        raise EOFError


class TerminalTurns:
    """A line editor with a history that outlives the program.

    Enter ends the turn, unless it is incomplete; Alt+Enter (Esc Enter) begins another line.

    Args:
        history: file of what was said before; None: it is forgotten.
        commands: words that Tab completes at the begin of a turn.
        source: where keys come from; None: the terminal.
        screen: where they are shown; None: the terminal.
    """

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
    """Below XDG_STATE_HOME or ~/.local/state, made for this user alone; None: it cannot be."""
    configured = os.environ.get("XDG_STATE_HOME", "")
    try:
        state = Path(configured) if Path(configured).is_absolute() else Path.home() / ".local/state"
        folder = state / "specbranch_cpp"
        folder.mkdir(parents=True, exist_ok=True)
        file = folder / "chat_history"
        os.close(os.open(file, os.O_CREAT | os.O_RDWR, 0o600))
    except (OSError, RuntimeError):  # read-only, or no home folder
        return None
    return file


def open_turns(commands: Iterable[str]) -> Turns:
    """The terminal if standard input and output are one, else the lines of standard input."""
    if sys.stdin.isatty() and sys.stdout.isatty():
        return TerminalTurns(history_file(), commands)
    return LineTurns(sys.stdin)
