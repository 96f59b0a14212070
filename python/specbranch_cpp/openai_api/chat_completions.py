"""`Engine.create_chat_completion`: answers messages."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from specbranch_cpp.openai_api.calls import Call
from specbranch_cpp.openai_api.chat_requests import chat_request, joined_stops, rendered
from specbranch_cpp.openai_api.logprobs import ChatStyle
from specbranch_cpp.openai_api.tool_calls.stream_parser import ToolParser
from specbranch_cpp.openai_api.types import ChatChunk, ChatCompletion

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from specbranch_cpp._engine.text_engine import GenerateKeywords, TextEngine
    from specbranch_cpp.generation import Generation
    from specbranch_cpp.openai_api.keywords import ChatKeywords
    from specbranch_cpp.openai_api.types import ChatDelta, ChatLogprobs, ToolCallDelta
    from specbranch_cpp.results import Chunk

__all__ = ["ChatCall", "chat_generation"]

_KIND = "chat.completion.chunk"


class ChatCall(Call[ChatCompletion, ChatChunk]):
    """A call of `create_chat_completion` that is checked and queued."""

    def __init__(self, engine: TextEngine, given: ChatKeywords) -> None:
        request = chat_request(engine, given)
        tools = request.tools
        self._marks = request.marks
        self._deprecated = tools.deprecated
        self._parser = None
        if tools.given:
            self._parser = ToolParser(request.form, tools.functions, many=tools.many)
        self._style = ChatStyle(engine)
        super().__init__(engine, given, request.asked, "chatcmpl")

    def answer(self) -> ChatCompletion:
        texts: list[str] = []
        calls: list[ToolCallDelta] = []
        entries, chunks = [], []
        for chunk in self._read():
            for part in self._parts(chunk):
                texts.append(part) if isinstance(part, str) else calls.append(part)
            entries.append(self._entry(chunk))
            chunks.append(chunk)
        known = [entry for entry in entries if entry is not None]
        message: dict[str, Any] = {"role": "assistant", "content": "".join(texts)}
        if calls:
            message["content"] = message["content"] or None
            message["tool_calls"] = [
                {name: call[name] for name in ("id", "type", "function")} for call in calls
            ]
            if self._deprecated:
                message["function_call"] = calls[0]["function"]
        choice = {
            "index": 0,
            "message": message,
            "logprobs": ChatStyle.joined(known) if self._has_logprobs else None,
            "finish_reason": self._reason(chunks[-1]),
        }
        return cast("ChatCompletion", self._whole("chat.completion", choice, chunks))

    def _chunks(self) -> Iterator[ChatChunk]:
        yield self._made({"role": "assistant"})
        for chunk in self._read():
            deltas = [self._delta(part) for part in self._parts(chunk)]
            if chunk.finish_reason is not None:
                for delta in deltas:
                    yield self._made(delta)
                fields = {**self._speculation(), **self._added()}
                yield self._made({}, finish_reason=self._reason(chunk), **fields)
                yield from self._usage_items(_KIND)
                return
            if not deltas and (self._has_logprobs or self._has_trace):
                deltas = [{"content": ""}]
            fields = {"logprobs": self._entry(chunk), **self._speculation(chunk)}
            for delta in deltas:
                yield self._made(delta, **fields)
                fields = {}

    def _parts(self, chunk: Chunk) -> Iterator[str | ToolCallDelta]:
        """The content and the complete tool calls of a chunk."""
        if self._parser is None:
            if chunk.text:
                yield chunk.text
            return
        mark = "" if chunk.token is None else self._marks.get(chunk.token, "")
        yield from self._parser.feed(chunk.text + mark)
        if chunk.finish_reason is not None:
            yield from self._parser.finish()

    def _delta(self, part: str | ToolCallDelta) -> ChatDelta:
        if isinstance(part, str):
            return {"content": part}
        delta: ChatDelta = {"tool_calls": [part]}
        if self._deprecated and part["index"] == 0:
            delta["function_call"] = part["function"]
        return delta

    def _reason(self, chunk: Chunk) -> str | None:
        called = self._parser is not None and self._parser.n_calls > 0
        return "tool_calls" if called and chunk.finish_reason == "stop" else chunk.finish_reason

    def _made(
        self,
        delta: ChatDelta,
        *,
        logprobs: ChatLogprobs | None = None,
        finish_reason: str | None = None,
        **fields: Any,
    ) -> ChatChunk:
        choice = {"index": 0, "delta": delta, "logprobs": logprobs, "finish_reason": finish_reason}
        return cast("ChatChunk", self._item(_KIND, [choice], **fields))

    def _entry(self, chunk: Chunk) -> ChatLogprobs | None:
        token = self._logprobs(chunk)
        return None if token is None else self._style.entry(token)


def chat_generation(
    engine: TextEngine,
    messages: str | Sequence[Mapping[str, Any]],
    chat_template_kwargs: Mapping[str, Any] | None,
    options: GenerateKeywords,
) -> Generation:
    """`Engine.generate` with the prompt and the stop strings of a chat.

    If ``messages`` is a string, this string is one message of the user.
    """
    if isinstance(messages, str):
        messages = [{"role": "user", "content": messages}]
    prompt, stops = rendered(engine, messages, chat_template_kwargs)
    options["stop"] = joined_stops(options.get("stop"), stops)
    return engine.generate(prompt, **options)
