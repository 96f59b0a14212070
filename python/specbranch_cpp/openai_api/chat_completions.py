"""`Engine.create_chat_completion`: answers messages."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, cast

from specbranch_cpp.openai_api.answers.collected import AnswerDeltas, CollectedAnswer
from specbranch_cpp.openai_api.answers.content_tokens import ContentTokens
from specbranch_cpp.openai_api.answers.parser import AnswerParser
from specbranch_cpp.openai_api.answers.thought_tokens import ThoughtTokens
from specbranch_cpp.openai_api.answers.token_texts import TokenTexts
from specbranch_cpp.openai_api.calls import Call
from specbranch_cpp.openai_api.chat_requests import chat_request, joined_stops, rendered
from specbranch_cpp.openai_api.logprobs import ChatStyle
from specbranch_cpp.openai_api.types import ChatChunk, ChatCompletion
from specbranch_cpp.openai_api.vocabulary import piece_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from specbranch_cpp._engine.text_engine import GenerateKeywords, TextEngine
    from specbranch_cpp.generation import Generation
    from specbranch_cpp.openai_api.answers.parts import Part
    from specbranch_cpp.openai_api.keywords import ChatKeywords
    from specbranch_cpp.openai_api.types import (
        ChatDelta,
        ChatLogprobs,
        CompletionTokensDetails,
        Usage,
    )
    from specbranch_cpp.results import Chunk

__all__ = ["ChatCall", "chat_generation"]

_KIND = "chat.completion.chunk"


class ChatCall(Call[ChatCompletion, ChatChunk]):
    """A call of `create_chat_completion` that is checked and queued."""

    def __init__(self, engine: TextEngine, given: ChatKeywords) -> None:
        request = chat_request(engine, given)
        self._texts = TokenTexts(partial(piece_of, engine), request.marks, len(request.begun))
        self._content: ContentTokens[ChatLogprobs] | None = None
        if given.content_logprobs:
            self._content = ContentTokens()
        self._stops = joined_stops(given.stop, [])
        self._deprecated = request.tools.deprecated
        self._custom = request.tools.custom
        self._parser = AnswerParser(request.rules, channels=request.channels)
        self._parser.feed(request.begun)
        self._thoughts = ThoughtTokens()
        self._style = ChatStyle(engine)
        super().__init__(engine, given, request.asked, "chatcmpl")

    def answer(self) -> ChatCompletion:
        collected = CollectedAnswer(self._custom)
        entries: list[ChatLogprobs | None] = []
        chunks = []
        for chunk in self._read():
            parts = self._parts(chunk)
            collected.add(parts)
            entries += [self._entry(chunk), *map(self._content_entry, parts)]
            chunks.append(chunk)
        known = [entry for entry in entries if entry is not None]
        message = collected.message(deprecated=self._deprecated)
        choice = {
            "index": 0,
            "message": message,
            "logprobs": ChatStyle.joined(known) if self._has_logprobs else None,
            **self._reasons(chunks[-1]),
            **self._token_ids(*chunks),
        }
        whole = self._whole("chat.completion", choice, chunks)
        return cast("ChatCompletion", {**whole, **self._prompt_ids})

    def _chunks(self) -> Iterator[ChatChunk]:
        written = AnswerDeltas(deprecated=self._deprecated, custom=self._custom)
        fields: dict[str, Any] = self._prompt_ids
        yield self._made({"role": "assistant"}, **fields)
        for chunk in self._read():
            told = [
                (delta, self._content_entry(part))
                for part in self._parts(chunk)
                for delta in written.deltas([part])
            ]
            if chunk.finish_reason is not None:
                for delta, entry in told:
                    yield self._made(delta, logprobs=entry)
                fields = {**self._speculation(), **self._added()}
                yield self._made({}, reasons=self._reasons(chunk), **fields)
                yield from self._usage_items(_KIND)
                return
            if not told and self._has_records:
                told = [({"content": ""}, None)]
            of_all = self._entry(chunk)
            read, fields = [chunk], self._speculation(chunk)
            for delta, entry in told:
                yield self._made(delta, *read, logprobs=of_all or entry, **fields)
                read, of_all, fields = [], None, {}

    def _parts(self, chunk: Chunk) -> list[Part]:
        """The parts of the answer that are certain after a chunk."""
        parts = self._parser.feed(self._texts.add(chunk.text, chunk.token))
        logprobs = self._logprobs(chunk)
        if self._content is not None and logprobs is not None:
            self._content.add(self._texts.last, self._style.entry(logprobs))
        n_tokens = 0 if chunk.token is None else 1
        if chunk.finish_reason is None:
            self._thoughts.add(n_tokens, parts)
            return parts
        parts += self._parser.finish()
        self._thoughts.add(n_tokens, parts)
        self._thoughts.end()
        return parts

    def _usage(self) -> Usage:
        usage = super()._usage()
        details: CompletionTokensDetails = usage.get("completion_tokens_details") or {}
        details["reasoning_tokens"] = self._thoughts.n
        usage["completion_tokens_details"] = details
        return usage

    def _reasons(self, last: Chunk) -> dict[str, str | None]:
        """Why the answer ended: ``tool_calls`` if every call that has begun is complete.

        A stop string counts only if it is the caller's: the template has some of its own.
        """
        called = self._parser.n_complete > 0 and self._parser.n_broken == 0
        reason = "tool_calls" if called and last.finish_reason == "stop" else last.finish_reason
        return {
            "finish_reason": reason,
            "stop_reason": last.stop if last.stop in self._stops else None,
        }

    def _made(
        self,
        delta: ChatDelta,
        *read: Chunk,
        logprobs: ChatLogprobs | None = None,
        reasons: Mapping[str, str | None] | None = None,
        **fields: Any,
    ) -> ChatChunk:
        choice = {
            "index": 0,
            "delta": delta,
            "logprobs": logprobs,
            **(reasons or {"finish_reason": None}),
            **self._token_ids(*read),
        }
        return cast("ChatChunk", self._item(_KIND, [choice], **fields))

    def _entry(self, chunk: Chunk) -> ChatLogprobs | None:
        """The log-probabilities of a token, if those of all tokens are asked for."""
        token = None if self._content is not None else self._logprobs(chunk)
        return None if token is None else self._style.entry(token)

    def _content_entry(self, part: Part) -> ChatLogprobs | None:
        """The log-probabilities of a part's tokens, if those of the content are asked for."""
        if self._content is None:
            return None
        entries = self._content.take(part)
        return ChatStyle.joined(entries) if entries else None


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
