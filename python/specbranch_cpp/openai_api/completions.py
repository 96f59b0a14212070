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
    max_tokens_of,
    text_request,
)
from specbranch_cpp.openai_api.logprobs import CompletionStyle
from specbranch_cpp.openai_api.response_format import chosen_grammar
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
        check_supported(given)
        echo = checked.flag("echo", given.echo)
        suffix = given.suffix
        if suffix is not None:
            checked.encoded("suffix", suffix)
        is_scored = echo and given.logprobs is not None
        if is_scored and _fills(engine, suffix):
            raise InvalidArgument(
                "suffix is given with echo and logprobs; leave suffix out, because the echoed "
                "prompt does not have the order of the tokens that the model reads"
            )
        prompt, written = _prompt(engine, given.prompt, suffix)
        self._before = written if echo else ""
        self._style = CompletionStyle(engine, len(written))
        self._scored: list[int] | None = None
        if is_scored:
            prompt, self._n_hidden = _scored(engine, prompt)
            self._scored = prompt
        asked = text_request(
            engine,
            given,
            prompt,
            max_tokens=_max_tokens(given.max_tokens, echo=echo),
            logprobs=given.logprobs,
            grammar=chosen_grammar(given.grammar, given.response_format),
            stop=given.stop,
            prompt_logprobs=given.logprobs if is_scored else None,
        )
        super().__init__(engine, given, asked, "cmpl")
        self._engine = engine

    def answer(self) -> TextCompletion:
        texts, chunks = [self._before], []
        entries: list[CompletionLogprobs | None] = list(self._before_entries())
        for chunk in self._read():
            texts.append(chunk.text)
            entries.append(self._entry(chunk))
            chunks.append(chunk)
        known = [entry for entry in entries if entry is not None]
        choice = {
            "text": "".join(texts),
            "index": 0,
            "logprobs": CompletionStyle.joined(known) if self._has_logprobs else None,
            "finish_reason": chunks[-1].finish_reason,
            "stop_reason": chunks[-1].stop,
            **self._prompt_ids,
            **self._token_ids(*chunks),
        }
        return cast("TextCompletion", self._whole("text_completion", choice, chunks))

    def _chunks(self) -> Iterator[CompletionChunk]:
        before = list(self._before_entries())
        if self._before or before:
            logprobs = CompletionStyle.joined(before) if before else None
            yield self._made(self._before, logprobs=logprobs)
        for chunk in self._read():
            if chunk.finish_reason is not None:
                if chunk.text:
                    yield self._made(chunk.text)
                yield self._made("", last=chunk, **self._speculation(), **self._added())
                yield from self._usage_items("text_completion")
            elif chunk.text or self._has_records:
                yield self._made(
                    chunk.text, chunk, logprobs=self._entry(chunk), **self._speculation(chunk)
                )

    def _made(
        self,
        text: str,
        *read: Chunk,
        logprobs: CompletionLogprobs | None = None,
        last: Chunk | None = None,
        **fields: Any,
    ) -> CompletionChunk:
        choice = {"text": text, "index": 0, "logprobs": logprobs, "finish_reason": None}
        choice |= {**self._prompt_ids, **self._token_ids(*read)}
        self._prompt_ids = {}  # the first chunk has them
        if last is not None:
            choice |= {"finish_reason": last.finish_reason, "stop_reason": last.stop}
        return cast("CompletionChunk", self._item("text_completion", [choice], **fields))

    def _before_entries(self) -> Iterator[CompletionLogprobs]:
        """The log-probabilities of the prompt's tokens, if they are to be echoed."""
        if self._scored is None:
            return
        style = CompletionStyle(self._engine, 0)
        # After a cancel there are fewer scores.
        scores = zip(self._scored, self.generation.prompt_logprobs(), strict=False)
        for index, (token, score) in enumerate(scores):
            if index >= self._n_hidden:
                yield style.entry(score) if score is not None else style.unscored(token)

    def _entry(self, chunk: Chunk) -> CompletionLogprobs | None:
        token = self._logprobs(chunk)
        return None if token is None else self._style.entry(token)


def _max_tokens(value: int | None, *, echo: bool) -> int | None:
    """The largest number of tokens. With ``echo``, 0 asks for the prompt alone."""
    if echo and value is not None and checked.integer("max_tokens", value) == 0:
        return 0
    return max_tokens_of("max_tokens", value)


def _fills(engine: TextEngine, suffix: str | None) -> bool:
    """Whether the model fills a gap. An empty suffix counts only for a model that can do so."""
    return bool(suffix) or (suffix is not None and engine.fim_tokens is not None)


def _scored(engine: TextEngine, prompt: str | Sequence[int]) -> tuple[list[int], int]:
    """The tokens of a prompt to be scored, and the number of tokens that its text does not show.

    Raises:
        ContextOverflow: the prompt cannot fit.
    """
    if not isinstance(prompt, str):
        return [*prompt], 0
    check_length(engine._core, len(checked.encoded("prompt", prompt)))
    tokens = engine.tokenize(prompt, special=True)
    return tokens, len(tokens) - len(engine.tokenize(prompt, add_bos=False, special=True))


def _prompt(engine: TextEngine, prompt: Any, suffix: str | None) -> tuple[str | Sequence[int], str]:
    """The prompt for the engine, and its text without the suffix.

    An empty text becomes the BOS token. An empty suffix counts as none for a model that cannot fill
    in the middle.
    """
    text = prompt
    if not isinstance(prompt, str):
        prompt = checked.tokens("prompt", prompt, engine.vocab_size)
        text = engine.detokenize(prompt)
    if suffix is not None and _fills(engine, suffix):
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
