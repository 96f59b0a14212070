"""Checks the messages of a chat and simplifies them for templates."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from specbranch_cpp._support import checked
from specbranch_cpp.errors import InvalidArgument

__all__ = ["plain_messages"]

_ROLES = ("system", "developer", "user", "assistant", "tool", "function")


def plain_messages(messages: Any) -> list[dict[str, Any]]:
    """The messages with text as content and with objects as arguments of calls.

    Text parts are joined. Unknown fields stay, because some templates read them.

    Raises:
        InvalidArgument: a message is not supported. The error names its index.
    """
    if isinstance(messages, (str, bytes, Mapping)) or not isinstance(messages, Iterable):
        raise InvalidArgument(
            f"messages is {messages!r}; it must be a sequence of dictionaries with role and content"
        )
    plain = [_plain(f"messages[{index}]", message) for index, message in enumerate(messages)]
    if not plain:
        raise InvalidArgument("messages is empty; it must have at least one message")
    return plain


def _plain(name: str, message: Any) -> dict[str, Any]:
    if not isinstance(message, Mapping):
        raise InvalidArgument(f"{name} is {message!r}; it must be a dictionary")
    role = message.get("role")
    if role not in _ROLES:
        raise InvalidArgument(f"{name}['role'] is {role!r}; it must be one of {', '.join(_ROLES)}")
    plain = dict(message)
    if plain.get("function_call") is not None and not plain.get("tool_calls"):  # deprecated
        plain["tool_calls"] = [{"type": "function", "function": plain["function_call"]}]
    plain.pop("function_call", None)
    if plain.get("tool_calls") is None:
        plain.pop("tool_calls", None)
    else:
        plain["tool_calls"] = _calls(f"{name}['tool_calls']", plain["tool_calls"])
        if role != "assistant":
            raise InvalidArgument(
                f"{name} has tool_calls; only a message of the assistant may have them"
            )
    plain["content"] = _content(f"{name}['content']", message.get("content"), role == "assistant")
    return plain


def _content(name: str, content: Any, may_lack: bool) -> str:
    if content is None and may_lack:
        return ""
    if isinstance(content, str):
        checked.encoded(name, content)
        return content
    if isinstance(content, (bytes, Mapping)) or not isinstance(content, Iterable):
        raise InvalidArgument(f"{name} is {content!r}; it must be text or a sequence of parts")
    return "".join(_part(f"{name}[{index}]", part) for index, part in enumerate(content))


def _part(name: str, part: Any) -> str:
    if not isinstance(part, Mapping):
        raise InvalidArgument(f"{name} is {part!r}; it must be a dictionary with type and text")
    kind = part.get("type")
    if kind != "text":
        raise InvalidArgument(f"{name} has type {kind!r}; it must be 'text'")
    checked.encoded(f"{name}['text']", part.get("text"))
    return str(part["text"])


def _calls(name: str, calls: Any) -> list[dict[str, Any]]:
    if isinstance(calls, (str, bytes, Mapping)) or not isinstance(calls, Iterable):
        raise InvalidArgument(f"{name} is {calls!r}; it must be a sequence of calls")
    return [_call(f"{name}[{index}]", call) for index, call in enumerate(calls)]


def _call(name: str, call: Any) -> dict[str, Any]:
    function = call.get("function") if isinstance(call, Mapping) else None
    if not isinstance(function, Mapping) or not isinstance(function.get("name"), str):
        raise InvalidArgument(
            f"{name} is {call!r}; it must have a function with name and arguments"
        )
    arguments = function.get("arguments")
    if isinstance(arguments, str):
        try:
            arguments = json.loads(arguments) if arguments.strip() else {}
        except ValueError as error:
            raise InvalidArgument(
                f"{name}['function']['arguments'] is {arguments!r}; it must be JSON: {error}"
            ) from None
    return {**call, "type": "function", "function": {**function, "arguments": arguments or {}}}
