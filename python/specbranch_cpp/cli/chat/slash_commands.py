"""The commands of a chat that begin with a slash."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from specbranch_cpp._support.files import replace_file
from specbranch_cpp._support.words import several

if TYPE_CHECKING:
    from collections.abc import Callable

    from specbranch_cpp.cli.chat.session import Chat

_NUMBERS: dict[str, Callable[[str], Any]] = {
    "temperature": float,
    "top_k": int,
    "top_p": float,
    "min_p": float,
    "typical_p": float,
    "top_n_sigma": float,
    "min_keep": int,
    "xtc_probability": float,
    "xtc_threshold": float,
    "dynatemp_range": float,
    "dynatemp_exponent": float,
    "repeat_last_n": int,
    "repeat_penalty": float,
    "presence_penalty": float,
    "frequency_penalty": float,
    "dry_multiplier": float,
    "dry_base": float,
    "dry_allowed_length": int,
    "dry_penalty_last_n": int,
    "mirostat_mode": int,
    "mirostat_tau": float,
    "mirostat_eta": float,
    "adaptive_target": float,
    "adaptive_decay": float,
    "seed": int,
    "max_tokens": int,
    "mode": str,
}

HELP = {
    "/help": "show these lines",
    "/reset": "begin a new chat; the system prompt and the settings stay",
    "/system TEXT": "set the system prompt; without a text: show it",
    "/set NAME VALUE": f"set one of {', '.join(_NUMBERS)}; without a name: show all settings",
    "/retry": "answer the last message again",
    "/stats": "show the statistics of the last answer and of all answers",
    "/save FILE": "save the chat: as messages to a .json file, as text to any other file",
    "/exit": "end the chat, as Ctrl-D does",
}
NAMES = tuple(line.partition(" ")[0] for line in HELP)
KEYS = (
    'To write several lines, use Alt+Enter (Esc Enter), a backslash at the end of a line, or """ '
    "around the lines. Ctrl-C stops an answer."
)


def run(chat: Chat, line: str) -> bool:
    """Runs a command line that begins with a slash. Returns False if the chat ends."""
    name, _, rest = line.partition(" ")
    rest = rest.strip()
    if name in ("/exit", "/quit", "/bye"):
        return False
    command = _COMMANDS.get(name)
    if command is None:
        chat.screen.error(f"there is no command {name}; type /help to see the commands")
    else:
        command(chat, rest)
    return True


def _help(chat: Chat, _rest: str) -> None:
    width = max(map(len, HELP)) + 2
    for line, text in HELP.items():
        chat.screen.note(line.ljust(width) + text)
    chat.screen.note(KEYS)


def _reset(chat: Chat, _rest: str) -> None:
    chat.reset()
    chat.screen.note("a new chat begins")


def _retry(chat: Chat, _rest: str) -> None:
    chat.retry()


def _system(chat: Chat, rest: str) -> None:
    if rest:
        chat.system = rest
    chat.screen.note(f"system: {chat.system or 'no system prompt'}")


def _set(chat: Chat, rest: str) -> None:
    name, _, value = rest.replace("=", " ", 1).partition(" ")
    value = value.strip()
    if not name:
        for each, setting in chat.options.items():
            chat.screen.note(f"{each} = {setting}")
        return
    if name not in _NUMBERS:
        chat.screen.error(f"there is no setting {name!r}; the settings are {', '.join(_NUMBERS)}")
        return
    try:
        chat.options[name] = None if value.lower() == "none" else _NUMBERS[name](value)
    except ValueError:
        chat.screen.error(f"{name} is {value!r}; it must be a number, for example /set {name} 1")
        return
    chat.screen.note(f"{name} = {chat.options[name]}")


def _stats(chat: Chat, _rest: str) -> None:
    if chat.last is None:
        chat.screen.note("there is no answer yet")
        return
    chat.screen.table(chat.last)
    if chat.last.mode_reason:
        chat.screen.note(chat.last.mode_reason)
    totals, used = chat.totals, chat.last.n_prompt + chat.last.n_generated
    rate = 1000.0 * totals.n_generated / totals.decode_ms if totals.decode_ms else 0.0
    per_step = totals.n_generated / totals.n_target_steps if totals.n_target_steps else 0.0
    chat.screen.note(
        f"{several(totals.n_answers, 'answer')}, {totals.n_generated} tokens, {rate:.1f} tokens/s, "
        f"{per_step:.2f} tokens per step; context {used} of {chat.engine.n_ctx} tokens"
    )


def _save(chat: Chat, rest: str) -> None:
    if not rest:
        chat.screen.error("the file name is missing; write, for example, /save chat.json")
        return
    system = [] if chat.system is None else [{"role": "system", "content": chat.system}]
    messages = [*system, *chat.messages]
    file = Path(rest)
    with contextlib.suppress(RuntimeError):  # there is no such user: the name stays as it is
        file = file.expanduser()
    if file.suffix == ".json":
        text = json.dumps(messages, ensure_ascii=False, indent=2) + "\n"
    else:
        text = "\n\n".join(f"{each['role']}:\n{each['content']}" for each in messages) + "\n"
    try:
        replace_file(file, text.encode())
    except OSError as error:
        chat.screen.error(f"{file}: {error.strerror}")
        return
    chat.screen.note(f"{file} now has {len(messages)} messages")


_COMMANDS: dict[str, Callable[[Chat, str], None]] = {
    "/help": _help,
    "/reset": _reset,
    "/retry": _retry,
    "/system": _system,
    "/set": _set,
    "/stats": _stats,
    "/save": _save,
}
