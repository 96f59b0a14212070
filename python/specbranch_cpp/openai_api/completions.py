"""`Engine.create_completion`: continues a text."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from specbranch_cpp._support import checked
from specbranch_cpp.errors import InvalidArgument
from specbranch_cpp.openai_api.calls import Call
from specbranch_cpp.openai_api.keywords import (
    CompletionKeywords,
    check_supported,
    gbnf_of,
    max_tokens_of,
    text_request,
)
from specbranch_cpp.openai_api.logprobs import CompletionStyle
from specbranch_cpp.openai_api.types import CompletionChunk, TextCompletion

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from specbranch_cpp._engine.text_engine import TextEngine
    from specbranch_cpp.openai_api.types import CompletionLogprobs
    from specbranch_cpp.results import Chunk

__all__ = ["CompletionCall"]

_FIM_KEYS = (
    ("fim_pre_token_id", "prefix_token_id"),
    ("fim_suf_token_id", "suffix_token_id"),
    ("fim_mid_token_id", "middle_token_id"),
)


class CompletionCall(Call[TextCompletion, CompletionChunk]):
    """A call of `create_completion` that is checked and queued."""

    def __init__(self, engine: TextEngine, given: CompletionKeywords) -> None:
        check_supported(given, stopping_criteria=given.stopping_criteria)
        max_tokens = max_tokens_of("max_tokens", given.max_tokens)
        grammar = gbnf_of(given.grammar)
        echo = checked.flag("echo", given.echo)
        if echo and given.logprobs is not None:
            raise InvalidArgument(
                "echo and logprobs are given; give only one of them, because the engine keeps no "
                "logits of the prompt"
            )
        suffix = given.suffix
        if suffix is not None:
            checked.encoded("suffix", suffix)
        prompt, written = _prompt(engine, given.prompt)
        fim = None if suffix is None else _fill_in_the_middle(engine, prompt, suffix)
        self._before = written if echo else ""
        self._after = suffix if suffix is not None and fim is None else ""
        self._style = CompletionStyle(engine, len(written))
        asked = text_request(
            given,
            prompt if fim is None else fim,
            max_tokens=max_tokens,
            logprobs=given.logprobs,
            grammar=grammar,
            stop=given.stop,
        )
        super().__init__(engine, given, asked, "cmpl")

    def answer(self) -> TextCompletion:
        texts, entries, chunks = [self._before], [], []
        for chunk in self.generation:
            texts.append(chunk.text)
            entries.append(self._entry(chunk))
            chunks.append(chunk)
        known = [entry for entry in entries if entry is not None]
        choice = {
            "text": "".join([*texts, self._after]),
            "index": 0,
            "logprobs": CompletionStyle.joined(known) if self._has_logprobs else None,
            "finish_reason": chunks[-1].finish_reason,
        }
        return cast("TextCompletion", self._whole("text_completion", choice, chunks))

    def _chunks(self) -> Iterator[CompletionChunk]:
        if self._before:
            yield self._made(self._before)
        for chunk in self.generation:
            if chunk.finish_reason is not None:
                if text := chunk.text + self._after:
                    yield self._made(text)
                yield self._made(
                    "", finish_reason=chunk.finish_reason, **self._speculation(), **self._added()
                )
                yield from self._usage_items("text_completion")
            elif chunk.text or self._has_logprobs or self._has_trace:
                yield self._made(
                    chunk.text, logprobs=self._entry(chunk), **self._speculation(chunk)
                )

    def _made(
        self,
        text: str,
        *,
        logprobs: CompletionLogprobs | None = None,
        finish_reason: str | None = None,
        **fields: Any,
    ) -> CompletionChunk:
        choice = {"text": text, "index": 0, "logprobs": logprobs, "finish_reason": finish_reason}
        return cast("CompletionChunk", self._item("text_completion", [choice], **fields))

    def _entry(self, chunk: Chunk) -> CompletionLogprobs | None:
        token = self._logprobs(chunk)
        return None if token is None else self._style.entry(token)


def _prompt(engine: TextEngine, prompt: Any) -> tuple[str | Sequence[int], str]:
    """The prompt for the engine, and its text. An empty text becomes the BOS token."""
    if isinstance(prompt, str):
        if prompt:
            return prompt, prompt
        if engine.bos_token is None:
            raise InvalidArgument("prompt is empty, and the model has no BOS token; give a prompt")
        return [engine.bos_token], ""
    tokens = checked.tokens("prompt", prompt, engine.vocab_size)
    return tokens, engine.detokenize(tokens)


def _fill_in_the_middle(
    engine: TextEngine, prompt: str | Sequence[int], suffix: str
) -> list[int] | None:
    """The prompt with prefix, suffix and middle. ``None``: the model has no such tokens."""
    metadata = engine.metadata
    marks = []
    for keys in _FIM_KEYS:
        values = [metadata.get(f"tokenizer.ggml.{key}") for key in keys]
        marks.append(next((int(value) for value in values if value is not None), None))
    before, after, middle = marks
    if before is None or after is None or middle is None:
        return None
    begin = engine.tokenize("", add_bos=True)[:1]
    prefix = engine.tokenize(prompt, add_bos=False) if isinstance(prompt, str) else [*prompt]
    rest = engine.tokenize(suffix, add_bos=False)
    return [*(begin if begin != prefix[:1] else ()), before, *prefix, after, *rest, middle]
