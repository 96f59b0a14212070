"""Parts of an answer as OpenAI's message, and as the deltas of a stream."""

from __future__ import annotations

import secrets
import string
from typing import TYPE_CHECKING, Any

from specbranch_cpp.openai_api.answers.parts import (
    CallBroken,
    CallPiece,
    CallStart,
    Text,
    Thought,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

    from specbranch_cpp.openai_api.answers.parts import Part
    from specbranch_cpp.openai_api.types import (
        ChatDelta,
        FunctionCallDelta,
        ToolCall,
        ToolCallDelta,
    )

__all__ = ["AnswerDeltas", "CollectedAnswer"]

_ID_LETTERS = string.ascii_letters + string.digits


class CollectedAnswer:
    """The whole answer. The text of a call that is not complete becomes content."""

    def __init__(self) -> None:
        self._texts: list[str] = []
        self._thoughts: list[str] = []
        self._calls: dict[int, tuple[CallStart, list[str]]] = {}

    def add(self, parts: Iterable[Part]) -> None:
        """Adds the next parts."""
        for part in parts:
            if isinstance(part, Text):
                self._texts.append(part.text)
            elif isinstance(part, Thought):
                self._thoughts.append(part.text)
            elif isinstance(part, CallStart):
                self._calls[part.index] = part, []
            elif isinstance(part, CallPiece):
                self._calls[part.index][1].append(part.text)
            elif isinstance(part, CallBroken):
                del self._calls[part.index]
                self._texts.append(part.text)

    def message(self, *, deprecated: bool) -> dict[str, Any]:
        """The message.

        Args:
            deprecated: whether the first call is also in the old field ``function_call``.
        """
        message: dict[str, Any] = {"role": "assistant", "content": "".join(self._texts)}
        if self._thoughts:
            message["reasoning_content"] = "".join(self._thoughts)
        calls = [_call(start, pieces) for start, pieces in self._calls.values()]
        if calls:
            message["content"] = message["content"] or None
            message["tool_calls"] = calls
            if deprecated:
                message["function_call"] = calls[0]["function"]
        return message


class AnswerDeltas:
    """The deltas of a stream.

    Args:
        deprecated: whether the first call is also in the old field ``function_call``.
    """

    def __init__(self, *, deprecated: bool) -> None:
        self._deprecated = deprecated

    def deltas(self, parts: Iterable[Part]) -> list[ChatDelta]:
        """The deltas of the next parts."""
        made: list[ChatDelta] = []
        for part in parts:
            if isinstance(part, Text):
                made.append({"content": part.text})
            elif isinstance(part, Thought):
                made.append({"reasoning_content": part.text})
            elif isinstance(part, CallStart):
                call: ToolCallDelta = {
                    "index": part.index,
                    "id": _id_of(part),
                    "type": "function",
                    "function": {"name": part.name, "arguments": ""},
                }
                made.append(self._called(call))
            elif isinstance(part, CallPiece):
                made.append(
                    self._called({"index": part.index, "function": {"arguments": part.text}})
                )
        return made

    def _called(self, call: ToolCallDelta) -> ChatDelta:
        delta: ChatDelta = {"tool_calls": [call]}
        if self._deprecated and call["index"] == 0:
            function: FunctionCallDelta = call["function"]
            delta["function_call"] = function
        return delta


def _call(start: CallStart, pieces: list[str]) -> ToolCall:
    return {
        "id": _id_of(start),
        "type": "function",
        "function": {"name": start.name, "arguments": "".join(pieces)},
    }


def _id_of(call: CallStart) -> str:
    """The model's id, or a new one. Some templates of Mistral accept an id of nine letters only."""
    return call.id or "".join(secrets.choice(_ID_LETTERS) for _ in range(9))
