"""Tools as text in the format of Hermes, for templates without support for tools."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from specbranch_cpp.errors import InvalidArgument

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["with_calls_as_text", "with_text_arguments", "with_tools_as_text"]

_DESCRIPTION = """\
You may call functions to answer. These are described by JSON schemas:
<tools>
{tools}
</tools>
To call one, write its name and its arguments as JSON between these tags:
<tool_call>
{{"name": <name>, "arguments": <arguments>}}
</tool_call>"""


def with_tools_as_text(
    messages: Sequence[Mapping[str, Any]], tools: Sequence[Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """The messages with a first system message that describes the tools.

    Raises:
        InvalidArgument: a tool is not JSON. The other functions raise this for arguments.
    """
    described = _DESCRIPTION.format(tools="\n".join(_json("tools", tool) for tool in tools))
    first = dict(messages[0])
    if first["role"] not in {"system", "developer"}:
        return [{"role": "system", "content": described}, *map(dict, messages)]
    first["content"] = f"{first['content']}\n\n{described}" if first["content"] else described
    return [first, *map(dict, messages[1:])]


def with_calls_as_text(messages: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The messages with calls as text of the assistant and their results as text of the user."""
    return [_as_text(message) for message in messages]


def with_text_arguments(message: Mapping[str, Any]) -> dict[str, Any]:
    """The message with the arguments of its calls as JSON text. Text stays as it is."""
    if "tool_calls" not in message:
        return dict(message)
    calls = []
    for call in message["tool_calls"]:
        arguments = call["function"]["arguments"]
        if not isinstance(arguments, str):
            arguments = _json("arguments", arguments)
        calls.append({**call, "function": {**call["function"], "arguments": arguments}})
    return {**message, "tool_calls": calls}


def _as_text(message: Mapping[str, Any]) -> dict[str, Any]:
    if message["role"] in {"tool", "function"}:
        content = f"<tool_response>\n{message['content']}\n</tool_response>"
        return {"role": "user", "content": content}
    calls = [
        f"<tool_call>\n{_json('tool_calls', _named(call))}\n</tool_call>"
        for call in message.get("tool_calls", ())
    ]
    plain = {name: value for name, value in message.items() if name != "tool_calls"}
    text = [message["content"]] if message["content"] else []
    return {**plain, "content": "\n".join([*text, *calls])}


def _named(call: Mapping[str, Any]) -> dict[str, Any]:
    function = call["function"]
    return {"name": function["name"], "arguments": function["arguments"]}


def _json(name: str, value: Any) -> str:
    try:
        return json.dumps(value, ensure_ascii=False)
    except RecursionError:
        raise InvalidArgument(f"{name} is nested too deeply") from None
    except (TypeError, ValueError) as error:
        raise InvalidArgument(f"{name} is not JSON: {error}") from None
