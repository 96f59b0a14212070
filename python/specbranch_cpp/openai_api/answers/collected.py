"""Parts of an answer as OpenAI's message, and as the deltas of a stream."""

from __future__ import annotations

import secrets
import string
from typing import TYPE_CHECKING, Any

from specbranch_cpp.openai_api.answers.parts import (
    CallBroken,
    CallEnd,
    CallPiece,
    CallStart,
    Text,
    Thought,
)
from specbranch_cpp.openai_api.tool_calls.custom_tools import input_of

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from specbranch_cpp.openai_api.answers.parts import Part
    from specbranch_cpp.openai_api.types import (
        ChatDelta,
        CustomToolCall,
        CustomToolCallDelta,
        FunctionCallDelta,
        ToolCall,
        ToolCallDelta,
    )

__all__ = ["AnswerDeltas", "CollectedAnswer"]

_ID_LETTERS = string.ascii_letters + string.digits


class CollectedAnswer:
    """The whole answer. The text of a call that is not complete becomes content.

    Args:
        custom: names of the custom tools.
    """

    def __init__(self, custom: Collection[str] = ()) -> None:
        self._custom = custom
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
        calls = [self._call(start, pieces) for start, pieces in self._calls.values()]
        if calls:
            message["content"] = message["content"] or None
            message["tool_calls"] = calls
            if deprecated and calls[0]["type"] == "function":
                message["function_call"] = calls[0]["function"]
        return message

    def _call(self, start: CallStart, pieces: list[str]) -> ToolCall | CustomToolCall:
        arguments = "".join(pieces)
        if start.name in self._custom:
            given = input_of(arguments)
            return {
                "id": _id_of(start),
                "type": "custom",
                "custom": {"name": start.name, "input": given},
            }
        return {
            "id": _id_of(start),
            "type": "function",
            "function": {"name": start.name, "arguments": arguments},
        }


class AnswerDeltas:
    """The deltas of a stream.

    The input of a custom tool comes when the call is complete.

    Args:
        deprecated: whether the first call is also in the old field ``function_call``.
        custom: names of the custom tools.
    """

    def __init__(self, *, deprecated: bool, custom: Collection[str] = ()) -> None:
        self._deprecated = deprecated
        self._custom = custom
        self._arguments: dict[int, list[str]] = {}  # of calls of custom tools

    def deltas(self, parts: Iterable[Part]) -> list[ChatDelta]:
        """The deltas of the next parts."""
        made: list[ChatDelta] = []
        for part in parts:
            if isinstance(part, Text):
                made.append({"content": part.text})
            elif isinstance(part, Thought):
                made.append({"reasoning_content": part.text})
            elif isinstance(part, CallStart):
                made.append(self._begun(part))
            elif isinstance(part, CallPiece) and part.index in self._arguments:
                self._arguments[part.index].append(part.text)
            elif isinstance(part, CallPiece):
                made.append(
                    self._called({"index": part.index, "function": {"arguments": part.text}})
                )
            elif isinstance(part, CallEnd) and part.index in self._arguments:
                given = input_of("".join(self._arguments.pop(part.index)))
                made.append({"tool_calls": [{"index": part.index, "custom": {"input": given}}]})
        return made

    def _begun(self, call: CallStart) -> ChatDelta:
        if call.name in self._custom:
            self._arguments[call.index] = []
            begun: CustomToolCallDelta = {
                "index": call.index,
                "id": _id_of(call),
                "type": "custom",
                "custom": {"name": call.name, "input": ""},
            }
            return {"tool_calls": [begun]}
        return self._called(
            {
                "index": call.index,
                "id": _id_of(call),
                "type": "function",
                "function": {"name": call.name, "arguments": ""},
            }
        )

    def _called(self, call: ToolCallDelta) -> ChatDelta:
        delta: ChatDelta = {"tool_calls": [call]}
        if self._deprecated and call["index"] == 0:
            function: FunctionCallDelta = call["function"]
            delta["function_call"] = function
        return delta


def _id_of(call: CallStart) -> str:
    """The model's id, or a new one. Some templates of Mistral accept an id of nine letters only."""
    return call.id or "".join(secrets.choice(_ID_LETTERS) for _ in range(9))
