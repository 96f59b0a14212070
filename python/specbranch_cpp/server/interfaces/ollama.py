"""Ollama's interface for its clients: ``/api/chat`` and ``/api/generate``.

https://github.com/ollama/ollama/blob/main/docs/api.md
"""

from __future__ import annotations

import json
import re
from collections import deque
from dataclasses import replace
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any, Union

from pydantic import Field

from specbranch_cpp.openai_api.messages import unread_part
from specbranch_cpp.server.errors import BadRequest
from specbranch_cpp.server.interfaces.call import (
    Body,
    Items,
    ReplyForm,
    call_of,
    n_prompt_tokens,
    set_field,
)
from specbranch_cpp.server.interfaces.ollama_logprobs import ollama_logprobs
from specbranch_cpp.server.streams import encode

if TYPE_CHECKING:
    from collections.abc import Iterable

    from specbranch_cpp.server.errors import ApiError
    from specbranch_cpp.server.interfaces.call import InterfaceCall

__all__ = ["ChatFields", "GenerateFields", "OllamaForm", "chat", "generate", "loaded"]

_OPTIONS = {
    "num_predict": "max_tokens",
    "repeat_last_n": "repeat_last_n",
    "repeat_penalty": "repeat_penalty",
}
"""Names of options that OpenAI's calls name otherwise, or not at all. Others pass unchanged."""

# They place the model, which is loaded already, or say how long it stays.
_PLACING = frozenset(
    {
        "low_vram", "main_gpu", "num_batch", "num_ctx", "num_gpu", "num_keep", "num_thread", "numa",
        "penalize_newline", "use_mlock", "use_mmap", "vocab_only",
    }
)  # fmt: skip
_NO_TIME = r"-?0+(\.0*)?[a-z]*"  # a number, or a text with a unit
_DEFAULTS = {"temperature": 0.8, "top_k": 40, "top_p": 0.9, "min_p": 0.0}


class OllamaMessage(Body):
    """A message. Calls have arguments as an object, and results the name of their tool."""

    role: str
    content: str = ""
    thinking: str | None = None
    tool_calls: Items[dict[str, Any]] | None = None
    tool_name: str | None = None
    tool_call_id: str | None = None
    images: list[Any] | None = None


class _Common(Body):
    stream: bool = True
    options: dict[str, Any] | None = None
    format: Union[str, dict[str, Any], None] = None  # noqa: UP007 (read on Python 3.10, too)
    think: Union[bool, str, None] = None  # noqa: UP007
    keep_alive: Union[float, str, None] = None  # noqa: UP007
    truncate: Any = None


class ChatFields(_Common):
    """The body of ``/api/chat``."""

    messages: Items[OllamaMessage] = Field(default_factory=list)
    tools: Items[dict[str, Any]] | None = None

    @property
    def asks_nothing(self) -> bool:
        """Whether the client only loads the model, or unloads it."""
        return not self.messages


class GenerateFields(_Common):
    """The body of ``/api/generate``."""

    prompt: str = ""
    suffix: str | None = None
    system: str | None = None
    raw: bool = False
    template: str | None = None
    context: Items[int] | None = None
    images: list[Any] | None = None

    @property
    def asks_nothing(self) -> bool:
        """Whether the client only loads the model, or unloads it."""
        return not self.prompt and not self.suffix


def loaded(fields: ChatFields | GenerateFields, model: str) -> dict[str, Any]:
    """The reply to a request that asks nothing. The model stays loaded in any case."""
    unloads = fields.keep_alive is not None and re.fullmatch(_NO_TIME, str(fields.keep_alive))
    is_chat = isinstance(fields, ChatFields)
    empty = {"message": {"role": "assistant", "content": ""}} if is_chat else {"response": ""}
    reason = "unload" if unloads else "load"
    return {"model": model, "created_at": _now(), **empty, "done": True, "done_reason": reason}


def chat(fields: ChatFields) -> InterfaceCall:
    """The call for ``/api/chat``."""
    data = _common(fields)
    data["messages"] = _messages(fields.messages)
    data["tools"] = fields.tools
    _set_thinking(data, fields)
    return _asked(fields, data, OllamaForm("chat"), chat=True)


def generate(fields: GenerateFields) -> InterfaceCall:
    """The call for ``/api/generate``: an answer to a prompt, or with ``raw`` its continuation."""
    for name in ("template", "context", "images"):
        if getattr(fields, name):
            raise BadRequest(f"{name} is given, but this server does not have it; leave it out",
                             name, "unsupported_value")  # fmt: skip
    data = _common(fields)
    if not fields.raw and not fields.suffix:
        messages = [{"role": "user", "content": fields.prompt}]
        if fields.system:
            messages.insert(0, {"role": "system", "content": fields.system})
        set_field(data, "messages", messages, "prompt")
        _set_thinking(data, fields)
        return _asked(fields, data, OllamaForm("generate"), chat=True)
    if "response_format" in data:
        raise BadRequest("format is given with raw or suffix; use it without them", "format",
                         "unsupported_value")  # fmt: skip
    if fields.think:
        raise BadRequest("think is given with raw or suffix; use it without them", "think",
                         "unsupported_value")  # fmt: skip
    data |= {"prompt": fields.prompt, "suffix": fields.suffix or None}
    n_top = 0
    if data.get("logprobs") is True:  # completions have one field for both
        n_top = data.pop("top_logprobs", None) or 0
        data["logprobs"] = n_top
    return _asked(fields, data, OllamaForm("generate", n_top), chat=False)


def _asked(
    fields: ChatFields | GenerateFields, data: dict[str, Any], form: OllamaForm, *, chat: bool
) -> InterfaceCall:
    call = call_of(data, form, chat=chat, harmless=frozenset())
    if call.effort is not None and isinstance(fields.think, str):
        call = replace(call, effort="think")
    # True is Ollama's default, so it is no wish; this server never cuts a prompt.
    return replace(call, unknown=[*call.unknown, "truncate"]) if fields.truncate else call


def _common(fields: ChatFields | GenerateFields) -> dict[str, Any]:
    data: dict[str, Any] = dict(fields.model_extra or {})
    for name, value in (fields.options or {}).items():
        if name not in _PLACING:
            set_field(data, _OPTIONS.get(name, name), value, f"options.{name}")
    limit = data.get("max_tokens")
    if limit is None or (isinstance(limit, int) and limit < 0):
        data["max_tokens"] = -1
    data["stream"] = fields.stream
    if fields.format:
        set_field(data, "response_format", _format(fields.format), "format")
    return _DEFAULTS | data


def _set_thinking(data: dict[str, Any], fields: ChatFields | GenerateFields) -> None:
    switch = "enable_thinking" if isinstance(fields.think, bool) else "reasoning_effort"
    set_field(data, switch, fields.think, "think")


def _format(form: str | dict[str, Any]) -> dict[str, Any]:
    if isinstance(form, dict):
        return {"type": "json_schema", "json_schema": {"name": "answer", "schema": form,
                                                       "strict": True}}  # fmt: skip
    if form != "json":
        raise BadRequest(f"format is {form!r:.60}; it must be json or a schema", "format")
    return {"type": "json_object"}


def _messages(messages: list[OllamaMessage]) -> list[dict[str, Any]]:
    """The messages with OpenAI's fields. Results follow the calls in their order."""
    told: list[dict[str, Any]] = []
    waiting = _Waiting(())
    for index, message in enumerate(messages):
        if message.images and message.role != "tool":
            raise BadRequest(f"messages[{index}].images is given; this server reads text only",
                             f"messages[{index}].images", "unsupported_value")  # fmt: skip
        lines = [message.content] if message.content else []
        lines += [unread_part("image") or ""] * len(message.images or ())
        plain: dict[str, Any] = {"role": message.role, "content": "\n".join(lines)}
        if message.thinking:
            plain["reasoning_content"] = message.thinking
        if message.tool_calls:
            plain["tool_calls"] = [
                _call(index, i, call) for i, call in enumerate(message.tool_calls)
            ]
            waiting = _Waiting(
                (call["id"], call["function"]["name"]) for call in plain["tool_calls"]
            )
        elif message.role == "tool":
            found = waiting.answered(message) or (f"call_{index}", message.tool_name or "")
            plain["tool_call_id"] = found[0]
            plain["name"] = message.tool_name or found[1]
        told.append(plain)
    return told


class _Waiting:
    """Calls without a result: their ids and names."""

    def __init__(self, calls: Iterable[tuple[str, str]]) -> None:
        self._calls = dict(enumerate(calls))  # in their order
        self._places: tuple[dict[str, deque[int]], ...] = ({}, {})  # by id, by name
        for place, call in self._calls.items():
            for places, said in zip(self._places, call, strict=True):
                places.setdefault(said, deque()).append(place)

    def answered(self, message: OllamaMessage) -> tuple[str, str] | None:
        """The call that a result answers: that of its id, else of its name, else the first one."""
        for places, said in zip(
            self._places, (message.tool_call_id, message.tool_name), strict=True
        ):
            found = None if said is None else places.get(said)
            while found:
                if (place := found.popleft()) in self._calls:
                    return self._calls.pop(place)
        return self._calls.pop(next(iter(self._calls))) if self._calls else None


def _call(index: int, i: int, call: dict[str, Any]) -> dict[str, Any]:
    function = call.get("function")
    path = f"messages[{index}].tool_calls[{i}].function"
    if not isinstance(function, dict) or not isinstance(function.get("name"), str):
        raise BadRequest(f"{path} must have a name", path)
    arguments = function.get("arguments") or {}
    text = arguments if isinstance(arguments, str) else json.dumps(arguments, ensure_ascii=False)
    return {
        "id": call.get("id") or f"call_{index}_{i}",
        "type": "function",
        "function": {"name": function["name"], "arguments": text},
    }


class OllamaForm(ReplyForm):
    """Writes replies as lines of JSON.

    Args:
        kind: ``chat`` or ``generate``.
        n_top: how many alternatives of each token the log-probabilities of a completion have.
    """

    media_type = "application/x-ndjson"
    heartbeat = b""  # clients read every line as JSON

    def __init__(self, kind: str, n_top: int = 0) -> None:
        self._kind = kind
        self._n_top = n_top
        self._calls: dict[int, dict[str, Any]] = {}

    def whole(self, reply: dict[str, Any]) -> dict[str, Any]:
        (choice,) = reply["choices"]
        message = choice.get("message") or {"content": choice["text"]}
        calls = [
            _shown_call(index, call["id"], call["function"])
            for index, call in enumerate(message.get("tool_calls") or ())
        ]
        head = self._piece(reply, message["content"] or "", message.get("reasoning_content"), calls)
        return head | self._logprobs(choice) | _end(reply, choice["finish_reason"])

    def chunk(self, chunk: dict[str, Any]) -> bytes:
        if not chunk["choices"]:
            return b""
        (choice,) = chunk["choices"]
        delta = choice.get("delta")
        text = choice["text"] if delta is None else delta.get("content") or ""
        thought = None if delta is None else delta.get("reasoning_content")
        for call in () if delta is None else delta.get("tool_calls") or ():
            known = self._calls.setdefault(call["index"], {"id": "", "name": "", "arguments": ""})
            known["id"] = known["id"] or call.get("id") or ""
            known["name"] = known["name"] or call["function"].get("name") or ""
            known["arguments"] += call["function"].get("arguments") or ""
        lines = b""
        reason = choice["finish_reason"]
        scores = self._logprobs(choice)
        if text or thought or scores:
            lines += self._line(self._piece(chunk, text, thought, []) | scores | {"done": False})
        if reason is not None:
            complete, cut = _sorted(self._calls.values())
            if complete or cut:
                lines += self._line(self._piece(chunk, cut, None, complete) | {"done": False})
            lines += self._line(self._piece(chunk, "", None, []) | _end(chunk, reason))
        return lines

    def end(self) -> bytes:
        return b""

    def error(self, error: ApiError) -> bytes:
        return self._line({"error": error.message})

    def _logprobs(self, choice: dict[str, Any]) -> dict[str, Any]:
        found = ollama_logprobs(choice.get("logprobs"), self._n_top)
        return {"logprobs": found} if found else {}

    def _line(self, value: dict[str, Any]) -> bytes:
        return encode(value) + b"\n"

    def _piece(
        self,
        reply: dict[str, Any],
        text: str,
        thought: str | None,
        calls: list[dict[str, Any]],
    ) -> dict[str, Any]:
        head = {"model": reply["model"], "created_at": _now()}
        added = {"thinking": thought} if thought else {}
        if self._kind == "generate":
            return {**head, "response": text, **added}
        message: dict[str, Any] = {"role": "assistant", "content": text, **added}
        if calls:
            message["tool_calls"] = calls
        return {**head, "message": message}


def _sorted(calls: Iterable[dict[str, Any]]) -> tuple[list[dict[str, Any]], str]:
    """The complete calls, and the text of a call that a limit has cut: nobody must run that."""
    complete: list[dict[str, Any]] = []
    cut = ""
    for call in calls:
        try:
            complete.append(_shown_call(len(complete), call["id"], call))
        except ValueError:
            cut += f'{{"name": "{call["name"]}", "arguments": {call["arguments"]}'
    return complete, cut


def _shown_call(index: int, call_id: str, function: dict[str, Any]) -> dict[str, Any]:
    """The call with its arguments as an object. Some clients join calls of one index.

    Raises:
        ValueError: the arguments are not complete.
    """
    arguments = json.loads(function["arguments"])
    shown = {"index": index, "name": function["name"], "arguments": arguments}
    return {"id": call_id, "function": shown}


def _end(reply: dict[str, Any], reason: str) -> dict[str, Any]:
    timings = reply["timings"]

    def ns(name: str) -> int:
        return round(1e6 * float(timings[name]))

    return {
        "done": True,
        "done_reason": "length" if reason == "length" else "stop",
        "total_duration": ns("prompt_ms") + ns("predicted_ms"),
        "load_duration": 0,
        "prompt_eval_count": n_prompt_tokens(timings),
        "prompt_eval_duration": ns("prompt_ms"),
        "eval_count": timings["predicted_n"],
        "eval_duration": ns("predicted_ms"),
    }


def _now() -> str:
    return datetime.now(timezone.utc).isoformat().replace("+00:00", "Z")
