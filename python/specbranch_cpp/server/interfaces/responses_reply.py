"""Replies of ``/v1/responses``, whole and as a stream of events."""

from __future__ import annotations

import json
import secrets
import time
from typing import TYPE_CHECKING, Any

from specbranch_cpp.server.interfaces.call import ReplyForm, n_prompt_tokens
from specbranch_cpp.server.streams import encode

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from specbranch_cpp.server.errors import ApiError

__all__ = ["ResponseForm"]

# Of an item with a call: the field with what the tool is called with, and its events.
_CALLS = {
    "function_call": ("arguments", "response.function_call_arguments"),
    "custom_tool_call": ("input", "response.custom_tool_call_input"),
}


class ResponseForm(ReplyForm):
    """Writes chat completions as responses.

    Args:
        echoed: the fields of the request that the response repeats.
        model: the name of the model in the request, for a response that fails early.
    """

    def __init__(self, echoed: dict[str, Any], model: str = "") -> None:
        self._echoed = echoed
        self._id = _new_id("resp")
        self._created = int(time.time())
        self._model = model
        self._number = 0
        self._output: list[dict[str, Any]] = []  # finished items
        self._open: dict[str, Any] | None = None  # the item that grows
        self._last: dict[str, Any] | None = None
        self._has_input = False  # the open item, which is a call of a custom tool
        self._n_reasoning = 0  # tokens

    def whole(self, reply: dict[str, Any]) -> dict[str, Any]:
        (choice,) = reply["choices"]
        message = choice["message"]
        thought, content = message.get("reasoning_content"), message["content"] or ""
        calls = message.get("tool_calls") or ()
        if thought:
            self._output.append(_reasoning(_new_id("rs"), thought))
        if content or not calls:
            self._output.append(_message(_new_id("msg"), content, _scores_of(choice)))
        self._output += map(_call_item, calls)
        self._output[-1]["status"] = _status(choice["finish_reason"])
        self._created, self._model = reply["created"], reply["model"]
        self._n_reasoning = _n_reasoning(reply)
        return self._response(choice["finish_reason"], reply)

    def chunk(self, chunk: dict[str, Any]) -> bytes:
        return b"".join(self._events(chunk))

    def beat(self) -> bytes:
        """An event, once the response has begun: some clients drop streams that only comment."""
        if not self._number:
            return super().beat()
        return self._event("response.in_progress", response=self._response(None, None))

    def end(self) -> bytes:
        assert self._last is not None
        (choice,) = self._last["choices"]
        response = self._response(choice["finish_reason"], self._last)
        return self._event(f"response.{response['status']}", response=response)

    def error(self, error: ApiError) -> bytes:
        """Both events that tell of a failure: some clients know only one of them."""
        begun = b"" if self._number else b"".join(self._begun())
        told = self._event("error", code=error.code, message=error.message, param=error.param)
        failure = {"code": error.code or "server_error", "message": error.message}
        response = self._response(None, None) | {"status": "failed", "error": failure}
        return begun + told + self._event("response.failed", response=response)

    def _begun(self) -> Iterator[bytes]:
        for name in ("created", "in_progress"):
            yield self._event(f"response.{name}", response=self._response(None, None))

    def _events(self, chunk: dict[str, Any]) -> Iterator[bytes]:
        if self._number == 0:
            self._created, self._model = chunk["created"], chunk["model"]
            yield from self._begun()
        if not chunk["choices"]:
            self._n_reasoning = _n_reasoning(chunk)
            return
        (choice,) = chunk["choices"]
        delta = choice["delta"]
        if delta.get("reasoning_content"):
            yield from self._grow("reasoning", delta["reasoning_content"])
        if delta.get("content"):
            yield from self._grow("message", delta["content"], _scores_of(choice))
        for call in delta.get("tool_calls") or ():
            yield from self._call(call)
        if choice["finish_reason"] is not None:
            status = _status(choice["finish_reason"])
            yield from self._close(status)
            if not self._output:
                yield from self._grow("message", "")
                yield from self._close(status)
            self._last = chunk

    def _grow(self, kind: str, text: str, scores: Sequence[Any] = ()) -> Iterator[bytes]:
        """Text of the answer with the log-probabilities of its tokens, or of the thought."""
        if self._open is None or self._open["type"] != kind:
            yield from self._close()
            yield from self._begin(
                _message(_new_id("msg"), "") if kind == "message" else _reasoning(_new_id("rs"), "")
            )
        assert self._open is not None
        part = self._open["content"][0]
        part["text"] += text
        if text:
            told = {}
            if kind == "message":
                part["logprobs"] += scores
                told["logprobs"] = [*scores]
            yield self._event(f"{_event_of(kind)}.delta", **self._place, content_index=0,
                              delta=text, **told)  # fmt: skip

    def _call(self, call: dict[str, Any]) -> Iterator[bytes]:
        """A call, or more of what the tool is called with."""
        begins = bool(call.get("id"))
        if begins:
            yield from self._close()
            item = _call_item(call)
            yield from self._begin(item | {_CALLS[item["type"]][0]: ""})
            self._has_input = False
        if self._open is None or self._open["type"] not in _CALLS:
            return
        field, events = _CALLS[self._open["type"]]
        text = (call.get("custom") or call.get("function") or {}).get(field) or ""
        self._open[field] += text
        self._has_input |= bool(text) or not begins
        if text:
            yield self._event(f"{events}.delta", **self._place, delta=text)

    def _begin(self, item: dict[str, Any]) -> Iterator[bytes]:
        self._open = item
        content = item.get("content")
        shown = item | {"status": "in_progress"} | ({"content": []} if content else {})
        yield self._event("response.output_item.added", output_index=len(self._output), item=shown)
        if content:
            yield self._event("response.content_part.added", **self._place, content_index=0,
                              part=dict(content[0]))  # fmt: skip

    def _close(self, status: str = "completed") -> Iterator[bytes]:
        item = self._open
        if item is None:
            return
        item["status"] = status
        if item["type"] in _CALLS:
            field, events = _CALLS[item["type"]]
            is_function = item["type"] == "function_call"
            if not (_is_json(item[field]) if is_function else self._has_input):
                item["status"] = "incomplete"  # text came before the end of the call
            told = {"name": item["name"]} if is_function else {}
            yield self._event(f"{events}.done", **self._place, **told, **{field: item[field]})
        else:
            (part,) = item["content"]
            told = {name: part[name] for name in ("text", "logprobs") if name in part}
            yield self._event(f"{_event_of(item['type'])}.done", **self._place, content_index=0,
                              **told)  # fmt: skip
            yield self._event("response.content_part.done", **self._place, content_index=0,
                              part=part)  # fmt: skip
        yield self._event("response.output_item.done", output_index=len(self._output), item=item)
        self._output.append(item)
        self._open = None

    @property
    def _place(self) -> dict[str, Any]:
        assert self._open is not None
        return {"item_id": self._open["id"], "output_index": len(self._output)}

    def _event(self, kind: str, **fields: Any) -> bytes:
        data = encode({"type": kind, "sequence_number": self._number, **fields})
        self._number += 1
        return b"event: " + kind.encode() + b"\ndata: " + data + b"\n\n"

    def _response(self, reason: str | None, reply: dict[str, Any] | None) -> dict[str, Any]:
        """The response object; without a reply it is still in progress."""
        status = "in_progress" if reply is None else _status(reason)
        response = {
            "id": self._id,
            "object": "response",
            "created_at": self._created,
            "status": status,
            "error": None,
            "incomplete_details": {"reason": "max_output_tokens"}
            if status == "incomplete"
            else None,
            "model": self._model,
            "output": list(self._output),
            **self._echoed,
            "usage": None,
        }
        if reply is not None:
            response["usage"] = _usage(reply["timings"], self._n_reasoning)
            response |= {name: reply[name] for name in ("timings", "seed", "mode")}
        return response


def _scores_of(choice: dict[str, Any]) -> list[dict[str, Any]]:
    """The log-probabilities of the content of a choice. They may be missing."""
    return (choice.get("logprobs") or {}).get("content") or []


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


def _status(reason: str | None) -> str:
    return "incomplete" if reason in ("length", "cancelled") else "completed"


def _n_reasoning(reply: dict[str, Any]) -> int:
    """Tokens of the thought, from the usage of a chat."""
    details = (reply.get("usage") or {}).get("completion_tokens_details") or {}
    return int(details.get("reasoning_tokens", 0))


def _usage(timings: dict[str, Any], n_reasoning: int) -> dict[str, Any]:
    n_prompt = n_prompt_tokens(timings)
    return {
        "input_tokens": n_prompt,
        "input_tokens_details": {"cached_tokens": timings["cache_n"]},
        "output_tokens": timings["predicted_n"],
        "output_tokens_details": {"reasoning_tokens": n_reasoning},
        "total_tokens": n_prompt + timings["predicted_n"],
    }


def _new_id(prefix: str) -> str:
    return f"{prefix}_{secrets.token_hex(12)}"


def _message(name: str, text: str, logprobs: Sequence[Any] = ()) -> dict[str, Any]:
    part = {"type": "output_text", "text": text, "annotations": [], "logprobs": [*logprobs]}
    return {
        "id": name,
        "type": "message",
        "status": "completed",
        "role": "assistant",
        "content": [part],
    }


def _reasoning(name: str, text: str) -> dict[str, Any]:
    return {
        "id": name,
        "type": "reasoning",
        "status": "completed",
        "summary": [],
        "content": [{"type": "reasoning_text", "text": text}],
    }


def _call_item(call: dict[str, Any]) -> dict[str, Any]:
    """A call of a chat, or the begin of a call in a stream, as an item."""
    is_custom = call.get("type") == "custom"
    kind, prefix = ("custom_tool_call", "ctc") if is_custom else ("function_call", "fc")
    called = call["custom" if is_custom else "function"]
    field, _ = _CALLS[kind]
    return {
        "id": _new_id(prefix),
        "type": kind,
        "status": "completed",
        "call_id": call["id"],
        "name": called.get("name", ""),
        field: called.get(field) or "",
    }


def _event_of(kind: str) -> str:
    return "response.output_text" if kind == "message" else "response.reasoning_text"
