"""`Engine.create_chat_completion`: an answer to messages."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from specbranch_cpp.openai_api.calls import Call
from specbranch_cpp.openai_api.keywords import generate_arguments
from specbranch_cpp.openai_api.logprobs import ChatStyle, n_of_chat
from specbranch_cpp.openai_api.messages import plain_messages
from specbranch_cpp.openai_api.prompts import format_of
from specbranch_cpp.openai_api.types import ChatChunk, ChatCompletion

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from specbranch_cpp.engine import Engine
    from specbranch_cpp.generation import Generation
    from specbranch_cpp.openai_api.types import ChatDelta, ChatLogprobs
    from specbranch_cpp.results import Chunk

__all__ = ["ChatCall"]

_KIND = "chat.completion.chunk"


class ChatCall(Call[ChatCompletion, ChatChunk]):
    """A `create_chat_completion` that has been checked and queued."""

    def __init__(self, engine: Engine, given: Mapping[str, Any]) -> None:
        arguments = generate_arguments(given)
        arguments["logprobs"] = n_of_chat(given)
        prompt, stop = _rendered(engine, given["messages"], given["chat_template_kwargs"])
        arguments["stop"] = _joined(arguments["stop"], stop)
        self._style = ChatStyle(engine)
        super().__init__(engine, given, prompt, arguments, "chatcmpl")

    def answer(self) -> ChatCompletion:
        texts, entries, chunks = [], [], []
        for chunk in self.generation:
            texts.append(chunk.text)
            entries.append(self._entry(chunk))
            chunks.append(chunk)
        known = [entry for entry in entries if entry is not None]
        choice = {
            "index": 0,
            "message": {"role": "assistant", "content": "".join(texts)},
            "logprobs": ChatStyle.joined(known) if self._has_logprobs else None,
            "finish_reason": chunks[-1].finish_reason,
        }
        return cast(
            "ChatCompletion",
            {
                **self._head,
                "object": "chat.completion",
                "choices": [choice],
                "usage": self._usage(),
                **self._added(),
                **self._speculation(*chunks),
            },
        )

    def _chunks(self) -> Iterator[ChatChunk]:
        yield self._made({"role": "assistant"})
        for chunk in self.generation:
            if chunk.finish_reason is not None:
                if chunk.text:
                    yield self._made({"content": chunk.text})
                yield self._made(
                    {}, finish_reason=chunk.finish_reason, **self._speculation(), **self._added()
                )
                if self._include_usage:
                    fields = {"usage": self._usage(), **self._added()}
                    yield cast("ChatChunk", self._item(_KIND, [], **fields))
            elif chunk.text or self._has_logprobs or self._has_trace:
                yield self._made(
                    {"content": chunk.text},
                    logprobs=self._entry(chunk),
                    **self._speculation(chunk),
                )

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
    engine: Engine,
    messages: Any,
    chat_template_kwargs: Mapping[str, Any] | None,
    options: Mapping[str, Any],
) -> Generation:
    """`Engine.generate` with the prompt and the stop strings of a chat."""
    prompt, stop = _rendered(engine, messages, chat_template_kwargs)
    return engine.generate(prompt, **{**options, "stop": _joined(options.get("stop"), stop)})


def _rendered(engine: Engine, messages: Any, variables: Any) -> tuple[list[int], list[str]]:
    """The tokens of the prompt, and what ends the answer besides end tokens."""
    form = format_of(engine)
    prompt = form.prompt(engine, plain_messages(messages), **(variables or {}))
    return prompt, form.stops(engine, form.template(has_tools=False))


def _joined(stop: Any, more: list[str]) -> Any:
    """Stop strings of the caller, not checked yet, and those of the template."""
    if not more:
        return stop
    return [*([stop] if isinstance(stop, str) else stop or ()), *more]
