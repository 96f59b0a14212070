"""`Engine.create_completion`: continues a text."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from specbranch_cpp._engine.request import check_length
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

__all__ = ["CompletionCall", "fill_in_the_middle"]


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
        prompt, written = _prompt(engine, given.prompt, suffix)
        self._before = written if echo else ""
        self._style = CompletionStyle(engine, len(written))
        asked = text_request(
            given,
            prompt,
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
            "text": "".join(texts),
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
                if chunk.text:
                    yield self._made(chunk.text)
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


def _prompt(engine: TextEngine, prompt: Any, suffix: str | None) -> tuple[str | Sequence[int], str]:
    """The prompt for the engine, and its text without the suffix.

    An empty text becomes the BOS token. An empty suffix counts as none for a model that cannot fill
    in the middle.
    """
    text = prompt
    if not isinstance(prompt, str):
        prompt = checked.tokens("prompt", prompt, engine.vocab_size)
        text = engine.detokenize(prompt)
    if suffix or (suffix is not None and engine.fim_tokens is not None):
        return fill_in_the_middle(engine, prompt, suffix), text
    if prompt or not isinstance(prompt, str):
        return prompt, text
    if engine.bos_token is None:
        raise InvalidArgument("prompt is empty, and the model has no BOS token; give a prompt")
    return [engine.bos_token], ""


def fill_in_the_middle(engine: TextEngine, prompt: str | Sequence[int], suffix: str) -> list[int]:
    """The tokens of a prompt with the texts before and after the gap.

    Names of control tokens in these texts are plain text. BOS, if the model wants it, is first.

    Raises:
        InvalidArgument: the model has no fill-in-the-middle tokens.
        ContextOverflow: the texts cannot fit.
    """
    tokens = engine.fim_tokens
    if tokens is None:
        raise InvalidArgument(
            "suffix is given, but the model has no fill-in-the-middle tokens (such as "
            "<|fim_prefix|>, <|fim_suffix|> and <|fim_middle|>); leave suffix out, or use a model "
            "that was trained to fill in the middle"
        )
    n_bytes = len(checked.encoded("suffix", suffix))
    if isinstance(prompt, str):
        n_bytes += len(checked.encoded("prompt", prompt))
    check_length(engine._core, n_bytes)
    begin = [token for token in engine.tokenize("") if token == engine.bos_token][:1]
    prefix = engine.tokenize(prompt, add_bos=False) if isinstance(prompt, str) else [*prompt]
    if prefix and prefix[0] == engine.bos_token:
        begin, prefix = prefix[:1], prefix[1:]
    rest = engine.tokenize(suffix, add_bos=False)
    before, after, middle = tokens
    return [*begin, before, *prefix, after, *rest, middle]
