"""``POST /v1/responses``: turns a body into messages.

Stateless: the client sends the whole conversation. https://platform.openai.com/docs/api-reference/responses
"""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Any, Literal, Union

from pydantic import AfterValidator, Field

from specbranch_cpp.openai_api.messages import unread_part
from specbranch_cpp.server.errors import BadRequest
from specbranch_cpp.server.interfaces.call import (
    Body,
    InterfaceCall,
    Items,
    Size,
    call_of,
    set_field,
    text_field,
)
from specbranch_cpp.server.interfaces.responses_reply import ResponseForm

__all__ = ["ResponseFields", "response_call"]

_HARMLESS = frozenset({"max_tool_calls", "truncation"})
_LOGPROBS = "message.output_text.logprobs"  # in `include`
# The type of such a call in a chat, and the field with what it is called with.
_CALLS = {"function_call": ("function", "arguments"), "custom_tool_call": ("custom", "input")}
_RESULTS = ("function_call_output", "custom_tool_call_output")
_TOOLS = ("function", "custom")  # that the client runs
_ROLES = ("user", "assistant", "system", "developer")
# Items of tools that run elsewhere, besides those whose type ends in ``_call`` or ``_call_output``.
_OTHERS = ("mcp_approval_request", "mcp_approval_response", "mcp_list_tools", "tool_search_output")
_TEXTS = ("input_text", "output_text", "text", "summary_text", "refusal")


def _texts(fields: dict[str, Any]) -> dict[str, Any]:
    for name, value in fields.items():
        if not isinstance(value, str):
            raise ValueError(f"the value of {name!r:.60} is {value!r:.60}; it must be a text")
    return fields


class TextFormat(Body):
    """The format of the answer."""

    format: dict[str, Any] | None = None


class ResponseFields(Body):
    """The fields whose names or values differ from those of a chat."""

    input: Union[str, Annotated[Items[dict[str, Any]], Field(min_length=1)]]  # noqa: UP007
    instructions: str | None = None
    max_output_tokens: Size | None = None
    tools: Items[dict[str, Any]] | None = None
    tool_choice: Union[str, dict[str, Any], None] = None  # noqa: UP007
    text: TextFormat | None = None
    stream: bool | None = None
    previous_response_id: str | None = None
    conversation: Union[str, dict[str, Any], None] = None  # noqa: UP007
    prompt: dict[str, Any] | None = None
    background: bool | None = None
    include: Items[str] | None = None
    metadata: Annotated[dict[str, Any], AfterValidator(_texts)] | None = None


def response_call(fields: ResponseFields) -> InterfaceCall:
    """The call of a chat for a body.

    Raises:
        BadRequest: the body refers to a state of the server, or has what this server cannot do.
    """
    for name in ("previous_response_id", "conversation", "prompt"):
        if getattr(fields, name) is not None:
            raise BadRequest(
                f"{name} is given, but this server keeps no responses; send the whole conversation "
                "as input",
                name,
                "unsupported_value",
            )
    if fields.background:
        raise BadRequest("background is true; it must be false", "background", "unsupported_value")
    data: dict[str, Any] = dict(fields.model_extra or {})
    messages, others = _messages(fields)
    set_field(data, "messages", messages, "input")
    data["max_output_tokens"] = fields.max_output_tokens
    data["stream"] = fields.stream
    if fields.stream:
        data["stream_options"] = _with_usage(data.get("stream_options"))
    included = _LOGPROBS in (fields.include or ())
    if included or data.get("top_logprobs"):
        set_field(data, "logprobs", True, "include" if included else "top_logprobs")
    if fields.tools is not None:
        data["tools"] = [_tool(index, tool) for index, tool in enumerate(fields.tools)]
    data["tool_choice"] = _choice(fields.tool_choice)
    set_field(data, "response_format", _format(fields.text), "text.format")
    form = ResponseForm(_echoed(fields), str(data.get("model") or ""))
    call = call_of(data, form, chat=True, harmless=_HARMLESS, custom_tools=True)
    arguments = call.arguments
    if arguments.get("logprobs"):
        arguments = {**arguments, "content_logprobs": True}
    return replace(call, arguments=arguments, unknown=[*call.unknown, *others])


def _with_usage(options: Any) -> Any:
    """The options of a stream that also tells the usage, which the last event needs."""
    if options is None:
        options = {}
    return {**options, "include_usage": True} if isinstance(options, dict) else options


def _messages(fields: ResponseFields) -> tuple[list[dict[str, Any]], list[str]]:
    """The messages, and the places of items of other tools, which are left out."""
    messages: list[dict[str, Any]] = []
    others: list[str] = []
    if fields.instructions is not None:
        messages.append({"role": "system", "content": fields.instructions})
    if isinstance(fields.input, str):
        return [*messages, {"role": "user", "content": fields.input}], others
    thoughts: list[str] = []  # before the next item
    all_thoughts: dict[int, list[str]] = {}  # of each message
    for index, item in enumerate(fields.input):
        name = f"input[{index}]"
        if item.get("type") == "reasoning":
            thoughts += _thoughts(name, item)
            continue
        if _is_of_other_tool(item.get("type")):
            others.append(name)
            continue
        _add_item(messages, name, item)
        if thoughts and messages[-1]["role"] == "assistant":
            all_thoughts.setdefault(len(messages) - 1, []).extend(thoughts)
        thoughts = []
    for place, told in all_thoughts.items():
        messages[place]["reasoning_content"] = "\n".join(told)
    if not messages:
        raise BadRequest("input has no message", "input", "invalid_value")
    return messages, others


def _is_of_other_tool(kind: Any) -> bool:
    if not isinstance(kind, str) or kind in _CALLS or kind in _RESULTS:
        return False
    return kind in _OTHERS or kind.endswith(("_call", "_call_output"))


def _thoughts(name: str, item: dict[str, Any]) -> list[str]:
    """The texts of a thought: the thought itself, or else its summary."""
    for field in ("content", "summary"):
        parts = item.get(field)
        if parts is None:
            continue
        if not isinstance(parts, list) or not all(isinstance(part, dict) for part in parts):
            raise BadRequest(f"{name}.{field} must be a list of parts", f"{name}.{field}",
                             "invalid_value")  # fmt: skip
        texts = [text_field(f"{name}.{field}[{i}]", part, "text") for i, part in enumerate(parts)]
        if any(texts):
            return texts
    return []


def _add_item(messages: list[dict[str, Any]], name: str, item: dict[str, Any]) -> None:
    """Adds a message, a call or its result; calls of one turn become one message."""
    kind = item.get("type", "message")
    if kind == "message":
        role = item.get("role")
        if role not in _ROLES:
            raise BadRequest(f"{name}.role is {role!r:.60}; it must be one of {', '.join(_ROLES)}",
                             f"{name}.role", "invalid_value")  # fmt: skip
        messages.append({"role": role, "content": _content(name, item.get("content"))})
    elif isinstance(kind, str) and kind in _CALLS:
        own, given = _CALLS[kind]
        call = {
            "id": text_field(name, item, "call_id"),
            "type": own,
            own: {"name": text_field(name, item, "name"), given: text_field(name, item, given)},
        }
        last = messages[-1] if messages else {}
        if last.get("role") == "assistant":
            last.setdefault("tool_calls", []).append(call)
        else:
            messages.append({"role": "assistant", "content": None, "tool_calls": [call]})
    elif kind in _RESULTS:
        messages.append(
            {
                "role": "tool",
                "tool_call_id": text_field(name, item, "call_id"),
                "content": _content(name, item.get("output"), "output", is_result=True),
            }
        )
    else:
        raise BadRequest(
            f"{name}.type is {kind!r:.60}; it must be message, function_call, "
            "function_call_output or reasoning",
            f"{name}.type",
            "unsupported_value",
        )


def _content(name: str, content: Any, field: str = "content", *, is_result: bool = False) -> str:
    """The text of a content. A result has words in place of parts that are no text."""
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        raise BadRequest(f"{name}.{field} must be a text or a list of parts", f"{name}.{field}",
                         "invalid_value")  # fmt: skip
    texts = []
    for index, part in enumerate(content):
        path = f"{name}.{field}[{index}]"
        kind = part.get("type") if isinstance(part, dict) else None
        if kind not in _TEXTS:
            if is_result and (words := unread_part(kind)) is not None:
                texts.append(words)
                continue
            raise BadRequest(f"{path}.type is {kind!r:.60}; this server reads text only",
                             f"{path}.type", "unsupported_value")  # fmt: skip
        texts.append(text_field(path, part, "refusal" if kind == "refusal" else "text"))
    return "\n".join(texts)  # as parts in a chat


def _tool(index: int, tool: dict[str, Any]) -> dict[str, Any]:
    """A function or a custom tool as chats name it: one level deeper. Others stay as they are."""
    kind = text_field(f"tools[{index}]", tool, "type")
    if kind not in _TOOLS:
        return tool
    given = {name: value for name, value in tool.items() if name != "type" and value is not None}
    return {"type": kind, kind: given}


def _choice(choice: str | dict[str, Any] | None) -> Any:
    if not isinstance(choice, dict):
        return choice
    kind = choice.get("type")
    if kind in _TOOLS and "name" in choice:
        return {"type": kind, kind: {"name": choice["name"]}}
    if kind not in (*_TOOLS, "allowed_tools"):
        raise BadRequest(
            f"tool_choice.type is {kind!r:.60}; it must be function, custom or allowed_tools: this "
            "server runs no tools itself",
            "tool_choice.type",
            "unsupported_value",
        )
    return choice


def _format(text: TextFormat | None) -> dict[str, Any] | None:
    if text is None or text.format is None:
        return None
    kind: Literal["json_schema"] | Any = text.format.get("type")
    if kind != "json_schema":
        return dict(text.format)
    schema = {name: value for name, value in text.format.items() if name != "type"}
    return {"type": "json_schema", "json_schema": schema}


def _echoed(fields: ResponseFields) -> dict[str, Any]:
    """The fields of the request that the response repeats."""
    extra = fields.model_extra or {}
    return {
        "instructions": fields.instructions,
        "max_output_tokens": fields.max_output_tokens,
        "metadata": fields.metadata or {},
        "parallel_tool_calls": extra.get("parallel_tool_calls", True),
        "previous_response_id": None,
        "reasoning": {"effort": None, "summary": None},
        "store": False,
        "temperature": extra.get("temperature"),
        "text": {"format": (fields.text and fields.text.format) or {"type": "text"}},
        "tool_choice": fields.tool_choice or "auto",
        "tools": fields.tools or [],
        "top_logprobs": extra.get("top_logprobs") or 0,
        "top_p": extra.get("top_p"),
        "truncation": "disabled",
    }
