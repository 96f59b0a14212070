"""Replies of ``/v1/messages``, whole and as a stream of events.

https://platform.claude.com/docs/en/build-with-claude/streaming
"""

from __future__ import annotations

import json
import secrets
from typing import TYPE_CHECKING, Any

from specbranch_cpp.server.error_forms import message_error
from specbranch_cpp.server.interfaces.call import ReplyForm
from specbranch_cpp.server.streams import encode

if TYPE_CHECKING:
    from collections.abc import Iterator

    from specbranch_cpp.server.errors import ApiError

__all__ = ["MessageForm"]

_REASONS = {"length": "max_tokens", "tool_calls": "tool_use"}


class MessageForm(ReplyForm):
    """Writes chat completions as messages.

    Args:
        max_tokens: the limit of the request; below 0, there is none. 0: the message has no content,
            because the request only has the prompt read, and its one token does not count.
    """

    heartbeat = b'event: ping\ndata: {"type":"ping"}\n\n'

    def __init__(self, max_tokens: int) -> None:
        self._max_tokens = max_tokens
        self._is_silent = max_tokens == 0
        self._id = f"msg_{secrets.token_hex(12)}"
        self._n_blocks = 0  # complete ones
        self._open: str | None = None  # the type of the block that grows
        self._has_begun = False

    def whole(self, reply: dict[str, Any]) -> dict[str, Any]:
        (choice,) = reply["choices"]
        message = choice["message"]
        content: list[dict[str, Any]] = []
        usage = self._usage(reply["timings"])
        if self._is_silent:
            return self._message(reply["model"], content, usage) | self._ending(choice, usage)
        if message.get("reasoning_content"):
            content.append(_thought(message["reasoning_content"]))
        if message["content"]:
            content.append(_text(message["content"]))
        for call in message.get("tool_calls") or ():
            function = call["function"]
            content.append(_call(call["id"], function["name"], _read(function["arguments"])))
        return self._message(reply["model"], content, usage) | self._ending(choice, usage)

    def chunk(self, chunk: dict[str, Any]) -> bytes:
        return b"".join(_event(kind, **fields) for kind, fields in self._events(chunk))

    def end(self) -> bytes:
        return _event("message_stop")

    def error(self, error: ApiError) -> bytes:
        body = message_error(error)
        return _event(body.pop("type"), **body)

    def _events(self, chunk: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
        if not self._has_begun:
            self._has_begun = True
            # How much of the prompt was cached is known, and told, only at the end.
            usage = self._usage({"prompt_n": self.n_prompt, "cache_n": 0, "predicted_n": 0})
            yield "message_start", {"message": self._message(chunk["model"], [], usage)}
        if not chunk["choices"]:
            return
        (choice,) = chunk["choices"]
        delta = choice["delta"]
        if self._is_silent:
            delta = {}
        if delta.get("reasoning_content"):
            thought = delta["reasoning_content"]
            yield from self._grow(_thought(""), {"type": "thinking_delta", "thinking": thought})
        if delta.get("content"):
            text = delta["content"]
            yield from self._grow(_text(""), {"type": "text_delta", "text": text})
        for call in delta.get("tool_calls") or ():
            yield from self._add_call(call)
        if choice["finish_reason"] is not None:
            yield from self._close()
            usage = self._usage(chunk["timings"])
            yield "message_delta", {"delta": self._ending(choice, usage), "usage": usage}

    def _grow(
        self, block: dict[str, Any], delta: dict[str, Any]
    ) -> Iterator[tuple[str, dict[str, Any]]]:
        """More of a thought or of the text, in the block that is open or in a new one."""
        if self._open != block["type"]:
            yield from self._begin(block)
        yield "content_block_delta", {"index": self._n_blocks, "delta": delta}

    def _add_call(self, call: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
        """A call, or more of its arguments."""
        function = call.get("function") or {}
        if call.get("id"):
            yield from self._begin(_call(call["id"], function.get("name", ""), {}))
        text = function.get("arguments")
        if text and self._open == "tool_use":
            delta = {"type": "input_json_delta", "partial_json": text}
            yield "content_block_delta", {"index": self._n_blocks, "delta": delta}

    def _begin(self, block: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
        yield from self._close()
        self._open = block["type"]
        yield "content_block_start", {"index": self._n_blocks, "content_block": block}

    def _close(self) -> Iterator[tuple[str, dict[str, Any]]]:
        if self._open is None:
            return
        yield "content_block_stop", {"index": self._n_blocks}
        self._open = None
        self._n_blocks += 1

    def _ending(self, choice: dict[str, Any], usage: dict[str, int]) -> dict[str, Any]:
        """Why the message ended."""
        if self._is_silent:
            return {"stop_reason": "max_tokens", "stop_sequence": None}
        word = choice["stop_reason"]
        usual = "end_turn" if word is None else "stop_sequence"
        reason = _REASONS.get(choice["finish_reason"], usual)
        if reason == "max_tokens" and not 0 < self._max_tokens <= usage["output_tokens"]:
            reason = "model_context_window_exceeded"
        return {"stop_reason": reason, "stop_sequence": word if reason == "stop_sequence" else None}

    def _usage(self, timings: dict[str, Any]) -> dict[str, int]:
        """Tokens of the prompt that were computed, those from the cache, those of the answer."""
        return {
            "input_tokens": timings["prompt_n"],
            "cache_creation_input_tokens": 0,
            "cache_read_input_tokens": timings["cache_n"],
            "output_tokens": 0 if self._is_silent else timings["predicted_n"],
        }

    def _message(
        self, model: str, content: list[dict[str, Any]], usage: dict[str, int]
    ) -> dict[str, Any]:
        return {
            "id": self._id,
            "type": "message",
            "role": "assistant",
            "model": model,
            "content": content,
            "stop_reason": None,
            "stop_sequence": None,
            "usage": usage,
        }


def _event(kind: str, **fields: Any) -> bytes:
    return b"event: " + kind.encode() + b"\ndata: " + encode({"type": kind, **fields}) + b"\n\n"


def _text(text: str) -> dict[str, Any]:
    return {"type": "text", "text": text}


def _thought(text: str) -> dict[str, Any]:
    return {"type": "thinking", "thinking": text, "signature": ""}


def _call(call_id: str, name: str, arguments: dict[str, Any]) -> dict[str, Any]:
    return {"type": "tool_use", "id": call_id, "name": name, "input": arguments}


def _read(arguments: str) -> dict[str, Any]:
    """The arguments as an object; empty if ``max_tokens`` has cut them off."""
    try:
        value = json.loads(arguments or "{}")
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}
