"""Checks the messages of a chat and simplifies them for templates."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Mapping
from typing import Any

from specbranch_cpp._support import checked
from specbranch_cpp.errors import InvalidArgument
from specbranch_cpp.openai_api.arguments import plain_arguments

__all__ = ["plain_messages", "unread_part"]

_ROLES = ("system", "developer", "user", "assistant", "tool", "function")
# These messages may lack their content: an answer with calls only, and an empty result.
_MAY_LACK = ("assistant", "tool", "function")

# The names of text in the parts of several interfaces.
_TEXTS = {"text": "text", "input_text": "text", "output_text": "text", "refusal": "refusal"}
_THOUGHTS = ("thinking", "reasoning", "redacted_thinking")
_RESULTS = ("tool", "function")
_LONGEST_KIND = 40


def unread_part(kind: object) -> str | None:
    """What a result of a call has in place of a part that is no text. ``None``: it has no type.

    The client cannot take such a part out: its tool has read an image, and every later turn has it.
    """
    if not isinstance(kind, str) or not 0 < len(kind) <= _LONGEST_KIND:
        return None
    return f"[{kind}: this model reads text only]"


def plain_messages(messages: Any) -> list[dict[str, Any]]:
    """The messages with text as content and with objects as arguments of calls.

    Text parts are joined with line breaks. Parts with thoughts become ``reasoning_content``.
    Results of calls are in the order of their calls. Unknown fields stay, because some templates
    read them.

    Raises:
        InvalidArgument: a message is not supported. The error names its index.
    """
    if isinstance(messages, (str, bytes, Mapping)) or not isinstance(messages, Iterable):
        raise InvalidArgument(
            f"messages is {messages!r}; it must be a sequence of dictionaries with role and content"
        )
    try:
        plain = [_plain(f"messages[{index}]", message) for index, message in enumerate(messages)]
    except RecursionError:  # also of an error that shows the message
        raise InvalidArgument("messages is nested too deeply") from None
    if not plain:
        raise InvalidArgument("messages is empty; it must have at least one message")
    return _in_order_of_calls(plain)


def _plain(name: str, message: Any) -> dict[str, Any]:
    if not isinstance(message, Mapping):
        raise InvalidArgument(f"{name} is {message!r}; it must be a dictionary")
    role = message.get("role")
    if role not in _ROLES:
        raise InvalidArgument(f"{name}['role'] is {role!r}; it must be one of {', '.join(_ROLES)}")
    plain = dict(message)
    # A template that joins texts by "~" would write the member of an enumeration with its class.
    plain["role"] = role = _ROLES[_ROLES.index(role)]
    if role == "function":  # the deprecated name, which templates do not know
        plain["role"] = "tool"
    if plain.get("function_call") is not None and not plain.get("tool_calls"):  # deprecated
        plain["tool_calls"] = [{"type": "function", "function": plain["function_call"]}]
    plain.pop("function_call", None)
    calls = _calls(f"{name}['tool_calls']", plain.pop("tool_calls", None))
    if calls:
        if role != "assistant":
            raise InvalidArgument(
                f"{name} has tool_calls; only a message of the assistant may have them"
            )
        plain["tool_calls"] = calls
    content = message.get("content")
    if role in _RESULTS:
        content = _readable(content)
    texts, thoughts = _contents(f"{name}['content']", content, role in _MAY_LACK)
    plain["content"] = "\n".join(texts)
    if role == "assistant":
        _add_fields(name, plain, thoughts)
    return plain


def _add_fields(name: str, plain: dict[str, Any], thoughts: list[str]) -> None:
    """Moves a refusal and thoughts of the assistant to the fields that templates read."""
    refusal = plain.get("refusal")
    if isinstance(refusal, str) and not plain["content"]:
        plain["content"] = refusal
    given = plain.get("reasoning_content")
    if given is None and isinstance(plain.get("reasoning"), str):  # the name in newer interfaces
        given = plain["reasoning"]
    if given is None and thoughts:
        given = "\n".join(thoughts)
    if given is None:
        plain.pop("reasoning_content", None)
    else:
        plain["reasoning_content"] = checked.text(f"{name}['reasoning_content']", given)


def _contents(name: str, content: Any, may_lack: bool) -> tuple[list[str], list[str]]:
    """The texts and the thoughts of a content."""
    if content is None and may_lack:
        return [], []
    if isinstance(content, str):
        return [checked.text(name, content)], []
    if isinstance(content, (bytes, Mapping)) or not isinstance(content, Iterable):
        raise InvalidArgument(f"{name} is {content!r}; it must be text or a sequence of parts")
    texts: list[str] = []
    thoughts: list[str] = []
    for index, part in enumerate(content):
        where = f"{name}[{index}]"
        if isinstance(part, Mapping) and part.get("type") in _THOUGHTS:
            thoughts += _thoughts(where, part)
        else:
            texts.append(_text(where, part))
    return texts, thoughts


def _readable(content: Any) -> Any:
    """The content of a result, with text in place of parts that are no text."""
    is_list = isinstance(content, (list, tuple))
    return [_readable_part(part) for part in content] if is_list else content


def _readable_part(part: Any) -> Any:
    kind = part.get("type") if isinstance(part, Mapping) else None
    if not isinstance(kind, str) or kind in _TEXTS or kind in _THOUGHTS:
        return part
    return unread_part(kind) or part


def _text(name: str, part: Any) -> str:
    if isinstance(part, str):
        return checked.text(name, part)
    if not isinstance(part, Mapping):
        raise InvalidArgument(f"{name} is {part!r}; it must be a dictionary with type and text")
    kind = part.get("type")
    key = _TEXTS.get(kind) if isinstance(kind, str) else None
    if key is None:
        raise InvalidArgument(
            f"{name} has type {kind!r}; it must be 'text', because the model reads text only"
        )
    return checked.text(f"{name}[{key!r}]", part.get(key))


def _thoughts(name: str, part: Mapping[str, Any]) -> list[str]:
    """The text of a part with thoughts: text, or a list of parts. A redacted part has no text."""
    found = part.get("thinking", part.get("text"))
    if found is None:
        return []
    texts, thoughts = _contents(f"{name}['thinking']", found, may_lack=True)
    return [*texts, *thoughts]


def _calls(name: str, calls: Any) -> list[dict[str, Any]]:
    if calls is None:
        return []
    if isinstance(calls, (str, bytes, Mapping)) or not isinstance(calls, Iterable):
        raise InvalidArgument(f"{name} is {calls!r}; it must be a sequence of calls")
    return [_call(f"{name}[{index}]", call) for index, call in enumerate(calls)]


def _call(name: str, call: Any) -> dict[str, Any]:
    if isinstance(call, Mapping) and call.get("type") == "custom":
        call = _of_custom(name, call)
    function = call.get("function") if isinstance(call, Mapping) else None
    if not isinstance(function, Mapping) or not isinstance(function.get("name"), str):
        raise InvalidArgument(
            f"{name} is {call!r}; it must have a function with name and arguments"
        )
    where = f"{name}['function']['arguments']"
    arguments = plain_arguments(where, function.get("arguments"))
    return {**call, "type": "function", "function": {**function, "arguments": arguments}}


def _of_custom(name: str, call: Mapping[str, Any]) -> dict[str, Any]:
    """A call of a tool that takes a text, as the call of a function with one argument ``input``."""
    custom = call.get("custom")
    if not isinstance(custom, Mapping) or not isinstance(custom.get("name"), str):
        raise InvalidArgument(f"{name} is {call!r}; its custom must have a name and an input")
    given = checked.text(f"{name}['custom']['input']", custom.get("input"))
    function = {"name": custom["name"], "arguments": {"input": given}}
    others = {key: value for key, value in call.items() if key != "custom"}
    return {**others, "type": "function", "function": function}


def _in_order_of_calls(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The messages, with the results of each answer's calls in the order of the calls.

    Most templates do not write ids, so the order alone says which call a result answers. Results
    of unknown calls come last, in their order. Calls with the same id are answered in their order.
    """
    ordered: list[dict[str, Any]] = []
    places: dict[str | None, deque[int]] = {}
    results: list[dict[str, Any]] = []
    for message in [*messages, None]:
        if message is not None and message["role"] == "tool":
            results.append(message)
            continue
        if results:
            ordered += sorted(results, key=lambda one: _place(one, places))
            results = []
        if message is not None:
            ordered.append(message)
            calls = message.get("tool_calls", ())
            places = {}
            for index, call in enumerate(calls):
                places.setdefault(_hashable(call.get("id")), deque()).append(index)
    return ordered


def _place(result: Mapping[str, Any], places: Mapping[str | None, deque[int]]) -> float:
    """The index of the next call that a result may answer."""
    found = places.get(_hashable(result.get("tool_call_id")))
    if found is None:
        return math.inf
    return found.popleft() if len(found) > 1 else found[0]


def _hashable(value: Any) -> str | None:
    return value if isinstance(value, str) else None
