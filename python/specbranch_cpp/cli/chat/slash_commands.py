"""What begins with a slash."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from specbranch_cpp._support.words import several

if TYPE_CHECKING:
    from collections.abc import Callable

    from specbranch_cpp.cli.chat.session import Chat

_NUMBERS: dict[str, Callable[[str], Any]] = {
    "temperature": float,
    "top_k": int,
    "top_p": float,
    "min_p": float,
    "repeat_penalty": float,
    "presence_penalty": float,
    "frequency_penalty": float,
    "seed": int,
    "max_tokens": int,
    "mode": str,
}

HELP = {
    "/help": "these lines",
    "/reset": "forget what was said; system prompt and settings stay",
    "/system TEXT": "what the model is told before all; without a text: show it",
    "/set NAME VALUE": f"one of {', '.join(_NUMBERS)}; alone: show what is set",
    "/retry": "answer the last message again",
    "/stats": "what the last answer cost, and all of them",
    "/save FILE": "write the chat: .json for messages, anything else for text",
    "/exit": "leave; Ctrl-D does, too",
}
NAMES = tuple(line.partition(" ")[0] for line in HELP)
KEYS = (
    'Several lines: Alt+Enter (Esc Enter), a backslash at the end of a line, or """ around them. '
    "Ctrl-C stops an answer."
)


def run(chat: Chat, line: str) -> bool:
    """Does what a line with a slash asks for; False: leave."""
    name, _, rest = line.partition(" ")
    rest = rest.strip()
    if name in ("/exit", "/quit", "/bye"):
        return False
    command = _COMMANDS.get(name)
    if command is None:
        chat.screen.error(f"there is no {name}; /help tells what there is")
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
    chat.screen.note("a new chat")


def _retry(chat: Chat, _rest: str) -> None:
    chat.retry()


def _system(chat: Chat, rest: str) -> None:
    if rest:
        chat.system = rest
    chat.screen.note(f"system: {chat.system or 'nothing'}")


def _set(chat: Chat, rest: str) -> None:
    name, _, value = rest.replace("=", " ", 1).partition(" ")
    value = value.strip()
    if not name:
        for each, setting in chat.options.items():
            chat.screen.note(f"{each} = {setting}")
        return
    if name not in _NUMBERS:
        chat.screen.error(f"there is no setting {name!r}; there are {', '.join(_NUMBERS)}")
        return
    try:
        chat.options[name] = None if value.lower() == "none" else _NUMBERS[name](value)
    except ValueError:
        chat.screen.error(f"{name} is {value!r}; it must be a number, such as /set {name} 1")
        return
    chat.screen.note(f"{name} = {chat.options[name]}")


def _stats(chat: Chat, _rest: str) -> None:
    if chat.last is None:
        chat.screen.note("nothing was answered yet")
        return
    chat.screen.table(chat.last)
    if chat.last.why:
        chat.screen.note(chat.last.why)
    totals, used = chat.totals, chat.last.n_prompt + chat.last.n_generated
    rate = 1000.0 * totals.n_generated / totals.decode_ms if totals.decode_ms else 0.0
    per_step = totals.n_generated / totals.n_target_steps if totals.n_target_steps else 0.0
    chat.screen.note(
        f"{several(totals.n_answers, 'answer')}, {totals.n_generated} tokens, {rate:.1f} tokens/s, "
        f"{per_step:.2f} tokens a step; context {used} of {chat.engine.n_ctx} tokens"
    )


def _save(chat: Chat, rest: str) -> None:
    if not rest:
        chat.screen.error("name a file: /save chat.json")
        return
    system = [] if chat.system is None else [{"role": "system", "content": chat.system}]
    messages = [*system, *chat.messages]
    file = Path(rest).expanduser()
    if file.suffix == ".json":
        text = json.dumps(messages, ensure_ascii=False, indent=2) + "\n"
    else:
        text = "\n\n".join(f"{each['role']}:\n{each['content']}" for each in messages) + "\n"
    try:
        file.write_text(text, encoding="utf-8")
    except OSError as error:
        chat.screen.error(f"{file}: {error.strerror}")
        return
    chat.screen.note(f"{len(messages)} messages in {file}")


_COMMANDS: dict[str, Callable[[Chat, str], None]] = {
    "/help": _help,
    "/reset": _reset,
    "/retry": _retry,
    "/system": _system,
    "/set": _set,
    "/stats": _stats,
    "/save": _save,
}
