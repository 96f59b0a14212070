"""Fits messages to a template: roles that it lacks, the order of turns, ids of calls.

A client sends the same messages to every model. Many templates leave out a role that they do not
know, or refuse two messages of one role in a row. `fitted` changes only what the template would
lose, and `rendered_text` changes the order of turns only after the template refused them.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from typing import TYPE_CHECKING, Any

from specbranch_cpp.errors import InvalidArgument
from specbranch_cpp.openai_api.arguments import read_json
from specbranch_cpp.openai_api.template_limits import TemplateLimit

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from specbranch_cpp.openai_api.templates import ChatTemplate

__all__ = ["fitted", "rendered_text"]

Messages = list[dict[str, Any]]

_RULING = ("system", "developer")
_LETTERS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_ID_LENGTH = 9  # templates of Mistral accept no other length


def fitted(template: ChatTemplate, messages: Sequence[Mapping[str, Any]]) -> Messages:
    """The messages with the roles that the template shows.

    - A message of the developer is one of the system, unless the template mentions developers.
    - System messages that the template loses become text of a neighbour: of the first system
      message, or of the user message behind them.
    - Results of calls become ``tool_responses`` of the message with the calls, if only those are
      shown as results.
    """
    able = template.abilities
    plain = [dict(message) for message in messages]
    if any(message["role"] == "tool" for message in plain) and able.wants_responses:
        plain = _with_responses(plain)
    if not able.knows_developer:
        for message in plain:
            if message["role"] == "developer":
                message["role"] = "system"
    n_first = next((i for i, one in enumerate(plain) if one["role"] not in _RULING), len(plain))
    first, rest = plain[:n_first], plain[n_first:]
    if len(first) > 1 and not able.takes_second(first[0]["role"]):
        first = [{**first[0], "content": _text_of(first)}]
    if first and not able.takes_first(first[0]["role"]):
        first, rest = [], _before(_text_of(first), rest)
    changed, lost = first, Messages()
    for message in rest:
        if message["role"] in _RULING and not able.takes_later(message["role"]):
            lost.append(message)
        else:
            changed += _before(_text_of(lost), [message])
            lost = []
    return [*changed, *_before(_text_of(lost), [])] if lost else changed


def rendered_text(
    template: ChatTemplate,
    messages: Messages,
    *,
    tools: Sequence[Mapping[str, Any]] | None,
    variables: Mapping[str, Any] | None,
) -> str:
    """The text of the messages. If the template refuses them, it gets them in another form.

    Raises:
        InvalidArgument: the template refuses every form. The error is that of the first form.
    """
    first: InvalidArgument | None = None
    tried: list[Messages] = []
    for ways in _WAYS:
        changed = messages
        for way in ways:
            changed = way(changed)
        if changed in tried:
            continue
        tried.append(changed)
        given = changed if template.abilities.takes_text else _with_parts(changed)
        try:
            return template.render(given, tools=tools, variables=variables)
        except TemplateLimit:
            raise
        except InvalidArgument as error:
            first = first or error
    assert first is not None
    raise first


def _with_responses(messages: Messages) -> Messages:
    """The messages with results of calls in the message with the calls."""
    changed = Messages()
    responses: list[dict[str, Any]] = []  # of the last message
    names: dict[Any, str] = {}  # of its calls, by id
    for message in messages:
        last = changed[-1] if changed else {}
        if message["role"] != "tool" or "tool_calls" not in last:
            changed.append(message)
            responses = []
            continue
        calls = last["tool_calls"]
        if not responses:
            names = {call.get("id"): call["function"]["name"] for call in calls}
            changed[-1] = {**last, "tool_responses": responses}
        # By the id of the call, else by its place.
        at_place = calls[min(len(responses), len(calls) - 1)]["function"]["name"]
        response = {
            "name": str(names.get(message.get("tool_call_id"), at_place)),
            "response": _object_or_text(message["content"]),
        }
        responses.append(response)
    return changed


def _object_or_text(content: str) -> Any:
    """The object whose JSON the text is, or the text."""
    value = read_json(content)
    return value if isinstance(value, dict) else content


def _text_of(messages: Messages) -> str:
    return "\n\n".join(one["content"] for one in messages if one["content"])


def _before(text: str, messages: Messages) -> Messages:
    """The messages with a text of the user before them."""
    if messages and messages[0]["role"] == "user":
        content = f"{text}\n\n{messages[0]['content']}" if text else messages[0]["content"]
        return [{**messages[0], "content": content}, *messages[1:]]
    return [{"role": "user", "content": text}, *messages] if text or not messages else messages


def _joined(messages: Messages) -> Messages:
    """The messages with neighbours of one role as one message. Results of calls stay apart."""
    groups: list[Messages] = []
    for message in messages:
        last = groups[-1][-1] if groups else None
        if (
            last is None
            or last["role"] != message["role"]
            or message["role"] == "tool"
            or "tool_calls" in last
        ):
            groups.append([message])
        else:
            groups[-1].append(message)
    return [_as_one(group) for group in groups]


def _as_one(group: Messages) -> dict[str, Any]:
    if len(group) == 1:
        return group[0]
    joined: dict[str, Any] = {}
    for message in group:
        joined |= message
    return {**joined, "content": _text_of(group)}


def _with_turns(messages: Messages) -> Messages:
    """The messages with empty turns where an answer has no question, or a result no answer."""
    filled: Messages = []
    for message in messages:
        before = filled[-1]["role"] if filled else "system"
        if message["role"] == "assistant" and before in _RULING:
            filled.append({"role": "user", "content": ""})
        elif message["role"] == "user" and before == "tool":
            filled.append({"role": "assistant", "content": ""})
        filled.append(message)
    return filled


def _with_short_ids(messages: Messages) -> Messages:
    """The messages with ids of calls that every template accepts. A lacking id is filled in."""
    renamed: Messages = []
    open_ids: OrderedDict[str, None] = OrderedDict()  # of calls without a result
    for place, message in enumerate(messages):
        changed = dict(message)
        if "tool_calls" in message:
            short_ids = [
                _short_id(call.get("id"), f"{place}.{index}")
                for index, call in enumerate(message["tool_calls"])
            ]
            changed["tool_calls"] = [
                {**call, "id": short}
                for call, short in zip(message["tool_calls"], short_ids, strict=True)
            ]
            open_ids = OrderedDict.fromkeys(short_ids)
        elif message["role"] == "tool":
            expected = next(iter(open_ids), str(place))
            short = _short_id(message.get("tool_call_id"), expected)
            changed["tool_call_id"] = short
            open_ids.pop(short, None)
        renamed.append(changed)
    return renamed


def _short_id(given: Any, otherwise: str) -> str:
    """The same short id for the same id, so that the next turn reuses the prompt."""
    name = given if isinstance(given, str) and given else otherwise
    if len(name) == _ID_LENGTH and all(letter in _LETTERS for letter in name):
        return name
    number = int.from_bytes(hashlib.sha256(name.encode()).digest(), "big")
    return "".join(
        _LETTERS[number // len(_LETTERS) ** i % len(_LETTERS)] for i in range(_ID_LENGTH)
    )


def _with_objects(messages: Messages) -> Messages:
    """The messages with no arguments where arguments are text that is not JSON."""
    return [
        {**message, "tool_calls": [_with_object(call) for call in message["tool_calls"]]}
        if "tool_calls" in message
        else message
        for message in messages
    ]


def _with_object(call: dict[str, Any]) -> dict[str, Any]:
    if not isinstance(call["function"]["arguments"], str):
        return call
    return {**call, "function": {**call["function"], "arguments": {}}}


def _with_parts(messages: Messages) -> Messages:
    return [
        {**message, "content": [{"type": "text", "text": message["content"]}]}
        for message in messages
    ]


# The forms in which a template gets the messages, the least changed form first.
_WAYS: tuple[tuple[Callable[[Messages], Messages], ...], ...] = (
    (),
    (_with_short_ids,),
    (_joined,),
    (_joined, _with_turns),
    (_with_objects,),
    (_with_short_ids, _joined, _with_turns),
    (_with_short_ids, _joined, _with_turns, _with_objects),
)
