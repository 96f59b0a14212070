"""``POST /v1/messages``: turns a body of Anthropic's Messages API into the messages of a chat.

https://platform.claude.com/docs/en/api/messages
"""

from __future__ import annotations

import json
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, Union

from pydantic import Field

from specbranch_cpp.openai_api.messages import unread_part
from specbranch_cpp.server.errors import BadRequest
from specbranch_cpp.server.interfaces.call import (
    Body,
    InterfaceCall,
    Items,
    ReplyForm,
    Size,
    call_of,
    prompt_of,
    set_field,
    text_field,
)
from specbranch_cpp.server.interfaces.messages_reply import MessageForm
from specbranch_cpp.server.other_tools import left_out

if TYPE_CHECKING:
    from collections.abc import Callable

    from specbranch_cpp.engine import Engine

__all__ = ["CountFields", "MessageFields", "count_tokens", "message_call"]

Text = Union[str, Items[dict[str, Any]]]  # noqa: UP007 (read on Python 3.10, too)

# Where and how Anthropic's own servers compute, who asks, and what they keep.
_HARMLESS = frozenset(
    {
        "betas", "cache_control", "container", "context_management", "diagnostics",
        "inference_geo", "metadata", "service_tier", "speed", "user_profile_id", "workspace_id",
    }
)  # fmt: skip
_FUNCTIONS = (None, "custom")  # types of tools that the client runs
_OTHER_CALLS = ("server_tool_use", "mcp_tool_use")  # of tools that run elsewhere
_DOCUMENTS = ("text", "content")  # sources of documents that are text
_THINKING = ("enabled", "adaptive", "between_tools", "disabled")
_BILLING = "x-anthropic-billing-header:"
"""Claude Code begins the system prompt with it. What follows differs in every request, so no KV of
the prompt could be used again."""
_KINDS = "text, document, search_result"  # of blocks that are read
_EFFORT = "output_config.effort"
_CHOICES = {"auto": "auto", "any": "required", "none": "none"}


class _Message(Body):
    role: str
    content: Text


class OutputConfig(Body):
    """How much the model thinks, and the form of its answer."""

    effort: str | None = None
    format: dict[str, Any] | None = None


class CountFields(Body):
    """The body of ``/v1/messages/count_tokens``."""

    messages: Annotated[Items[_Message], Field(min_length=1)]
    system: Text | None = None
    tools: Items[dict[str, Any]] | None = None
    tool_choice: dict[str, Any] | None = None
    thinking: dict[str, Any] | None = None
    output_config: OutputConfig | None = None


class MessageFields(CountFields):
    """The body of ``/v1/messages``."""

    max_tokens: Size
    stream: bool | None = None
    stop_sequences: Items[str] | None = None
    output_format: dict[str, Any] | None = None


def message_call(fields: MessageFields) -> InterfaceCall:
    """The call of a chat for a body.

    Raises:
        BadRequest: the body has what this server cannot do.
    """
    data, others = _common(fields)
    data["max_tokens"] = fields.max_tokens or 1  # 0 only has the prompt read
    data["stream"] = fields.stream
    set_field(data, "stop", fields.stop_sequences, "stop_sequences")
    output = fields.output_config or OutputConfig()
    for name, form in (
        ("output_format", fields.output_format),
        ("output_config.format", output.format),
    ):
        set_field(data, "response_format", _format(name, form), name)
    unknown = [f"output_config.{name}" for name in output.model_extra or ()]
    call = call_of(data, MessageForm(fields.max_tokens), chat=True, harmless=_HARMLESS)
    effort = call.effort if output.effort is None else _EFFORT
    unknown = [*call.unknown, *unknown, *others]
    return replace(call, unknown=unknown, effort=call.effort and effort)


def count_tokens(engine: Engine, fields: CountFields) -> dict[str, int]:
    """``POST /v1/messages/count_tokens``: the length of the prompt in tokens.

    Raises:
        BadRequest: the body has what this server cannot do.
        InvalidArgument: a message or a tool is wrong.
    """
    data, _ = _common(fields)
    call = call_of(data, ReplyForm(), chat=True, harmless=_HARMLESS)
    return {"input_tokens": len(prompt_of(engine, call))}


def _common(fields: CountFields) -> tuple[dict[str, Any], list[str]]:
    """What rules the prompt, with OpenAI's names, and the places of what is left out.

    Tools that run on Anthropic's servers, or that only it describes, are left out, and what they
    did in earlier turns.
    """
    data: dict[str, Any] = dict(fields.model_extra or {})
    others: list[str] = []
    messages = _messages(fields, others)
    data["messages"] = messages
    if messages[-1]["role"] == "assistant" and "tool_calls" not in messages[-1]:
        data["continue_final_message"] = True  # the answer goes on where the client has begun it
    if fields.tools is not None:
        kept, other_tools = left_out(fields.tools, _FUNCTIONS)
        others += other_tools
        data["tools"] = [_tool(index, fields.tools[index]) for index in kept]
    if fields.tool_choice is not None:
        _add_choice(data, fields.tool_choice)
    if fields.thinking is not None:
        kind = fields.thinking.get("type")
        if kind not in _THINKING:
            raise _wrong("thinking.type", kind, _THINKING)
        set_field(data, "enable_thinking", kind != "disabled", "thinking")
    if fields.output_config is not None:
        set_field(data, "reasoning_effort", fields.output_config.effort, _EFFORT)
    return data, others


def _messages(fields: CountFields, others: list[str]) -> list[dict[str, Any]]:
    """The messages. ``others`` gets the places of blocks that are left out."""
    told = _system(fields.system)
    for index, message in enumerate(fields.messages):
        name = f"messages[{index}]"
        content = message.content
        if message.role not in ("user", "assistant", "system"):
            raise _wrong(f"{name}.role", message.role, ("user", "assistant", "system"))
        if isinstance(content, str):
            told.append({"role": message.role, "content": content})
        elif message.role == "assistant":
            told.append(_of_assistant(name, content, others))
        elif message.role == "user":
            told += _of_user(name, content, others)
        else:
            told.append({"role": "system", "content": _text(f"{name}.content", content)})
    return told


def _system(given: str | list[dict[str, Any]] | None) -> list[dict[str, Any]]:
    """The message of the system, without what Claude Code tells Anthropic's servers there."""
    if isinstance(given, str):
        kept = [one for one in given.splitlines(keepends=True) if not one.startswith(_BILLING)]
        content = "".join(kept)
    else:
        blocks = enumerate(given or ())
        texts = [_text_of(f"system[{i}]", block, known=_KINDS) for i, block in blocks]
        kept = [one for one in texts if not one.startswith(_BILLING)]
        content = "\n".join(kept)
    return [{"role": "system", "content": content}] if kept else []


def _is_of_other_tool(kind: Any) -> bool:
    """Whether a block is a call or a result of a tool that does not run at the client."""
    return kind in _OTHER_CALLS or (isinstance(kind, str) and kind.endswith("_tool_result"))


def _of_assistant(name: str, blocks: list[dict[str, Any]], others: list[str]) -> dict[str, Any]:
    """A message with its text, its thought and its calls."""
    texts: list[str] = []
    thoughts: list[str] = []
    calls: list[dict[str, Any]] = []
    for index, block in enumerate(blocks):
        path = f"{name}.content[{index}]"
        kind = block.get("type")
        if kind == "text":
            texts.append(text_field(path, block, "text"))
        elif kind == "thinking":
            thoughts.append(text_field(path, block, "thinking"))
        elif kind == "tool_use":
            if not isinstance(block.get("input"), dict):
                raise BadRequest(f"{path}.input must be an object", f"{path}.input",
                                 "invalid_value")  # fmt: skip
            function = {
                "name": text_field(path, block, "name"),
                "arguments": json.dumps(block["input"], ensure_ascii=False),
            }
            calls.append({"id": text_field(path, block, "id"), "type": "function",
                          "function": function})  # fmt: skip
        elif _is_of_other_tool(kind):
            others.append(path)
        elif kind != "redacted_thinking":  # nobody but its author can read it
            raise _wrong(f"{path}.type", kind, ("text", "thinking", "tool_use"))
    message: dict[str, Any] = {"role": "assistant", "content": "\n".join(texts)}
    if thoughts:
        message["reasoning_content"] = "\n".join(thoughts)
    if calls:
        message["tool_calls"] = calls
    return message


def _of_user(name: str, blocks: list[dict[str, Any]], others: list[str]) -> list[dict[str, Any]]:
    """The results of calls, which are messages of their own, and the text around them."""
    told: list[dict[str, Any]] = []
    lines: list[str] = []  # of the text that goes on

    def end_text() -> None:
        if lines:
            told.append({"role": "user", "content": "\n".join(lines)})
            lines.clear()

    for index, block in enumerate(blocks):
        path = f"{name}.content[{index}]"
        if block.get("type") == "tool_result":
            end_text()
            given = block.get("content")
            content = "" if given is None else _text(f"{path}.content", given, is_result=True)
            if block.get("is_error"):
                content = f"Error: {content}"
            told.append({"role": "tool", "tool_call_id": text_field(path, block, "tool_use_id"),
                         "content": content})  # fmt: skip
            continue
        if _is_of_other_tool(block.get("type")):
            others.append(path)
            continue
        lines.append(_text_of(path, block, known=f"{_KINDS}, tool_result"))
    end_text()
    return told or [{"role": "user", "content": ""}]


def _text(name: str, content: Any, *, is_result: bool = False) -> str:
    """The text of a content. Its blocks are lines of their own, as in a chat of OpenAI's API.

    A result has words in place of blocks that are no text.
    """
    return _joined(name, content, partial(_text_of, known=_KINDS, is_result=is_result))


def _joined(name: str, content: Any, text_of: Callable[[str, Any], str]) -> str:
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        raise BadRequest(f"{name} must be a text or a list of blocks", name, "invalid_value")
    return "\n".join(text_of(f"{name}[{index}]", block) for index, block in enumerate(content))


def _text_of(path: str, block: Any, *, known: str, is_result: bool = False) -> str:
    """The text of a block: its own, or that of a document or of a result of a search."""
    if not isinstance(block, dict):
        raise BadRequest(f"{path} must be an object with a type", path, "invalid_value")
    kind = block.get("type")
    if kind == "text":
        return text_field(path, block, "text")
    source = block.get("source")
    inner = partial(_only_text, is_result=is_result)
    if kind == "search_result":
        heads = [text_field(path, block, name) for name in ("title", "source")]
        return "\n".join([*heads, _joined(f"{path}.content", block.get("content"), inner)])
    if kind == "document" and isinstance(source, dict) and source.get("type") in _DOCUMENTS:
        heads = [block[name] for name in ("title", "context") if isinstance(block.get(name), str)]
        name = "data" if source["type"] == "text" else "content"
        return "\n".join([*heads, _joined(f"{path}.source.{name}", source.get(name), inner)])
    if is_result and (words := unread_part(kind)) is not None:
        return words
    raise BadRequest(
        f"{path}.type is {kind!r:.60}; this server reads text only: {known}",
        f"{path}.type",
        "unsupported_value",
    )


def _only_text(path: str, block: Any, *, is_result: bool) -> str:
    """The text of a block inside of another one."""
    kind = block.get("type") if isinstance(block, dict) else None
    if is_result and kind != "text" and (words := unread_part(kind)) is not None:
        return words
    if kind != "text":
        raise _wrong(f"{path}.type", kind, ("text",))
    return text_field(path, block, "text")


def _tool(index: int, tool: dict[str, Any]) -> dict[str, Any]:
    if tool.get("type") is not None:
        text_field(f"tools[{index}]", tool, "type")
    function = {"name": text_field(f"tools[{index}]", tool, "name")}
    schema = tool.get("input_schema")
    given = {"description": tool.get("description"), "parameters": schema,
             "strict": tool.get("strict")}  # fmt: skip
    return {
        "type": "function",
        "function": function | {name: value for name, value in given.items() if value is not None},
    }


def _add_choice(data: dict[str, Any], choice: dict[str, Any]) -> None:
    kind = choice.get("type")
    if kind == "tool":
        function = {"name": text_field("tool_choice", choice, "name")}
        data["tool_choice"] = {"type": "function", "function": function}
    elif isinstance(kind, str) and kind in _CHOICES:
        data["tool_choice"] = _CHOICES[kind]
    else:
        raise _wrong("tool_choice.type", kind, (*_CHOICES, "tool"))
    if choice.get("disable_parallel_tool_use") is True:
        data["parallel_tool_calls"] = False


def _format(name: str, form: Any) -> dict[str, Any] | None:
    if form is None:
        return None
    schema = form.get("schema") if isinstance(form, dict) else None
    if not isinstance(schema, dict) or form.get("type") != "json_schema":
        raise BadRequest(f"{name} must be an object with the type json_schema and a schema", name,
                         "invalid_value")  # fmt: skip
    return {
        "type": "json_schema",
        "json_schema": {"name": "answer", "schema": schema, "strict": True},
    }


def _wrong(name: str, value: Any, known: tuple[str, ...]) -> BadRequest:
    return BadRequest(
        f"{name} is {value!r:.60}; it must be one of {', '.join(known)}", name, "unsupported_value"
    )
