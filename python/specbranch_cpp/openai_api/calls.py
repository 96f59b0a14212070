"""The common part of both calls: a running generation and the fields of its answer."""

from __future__ import annotations

import secrets
import time
from abc import ABC, abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from specbranch_cpp._support import checked
from specbranch_cpp._support.words import in_unicode
from specbranch_cpp.openai_api.keywords import include_usage
from specbranch_cpp.openai_api.speculation import Recorder
from specbranch_cpp.openai_api.streams import Stream
from specbranch_cpp.results import TokenLogprobs

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from specbranch_cpp._engine.request import TextRequest
    from specbranch_cpp._engine.text_engine import TextEngine
    from specbranch_cpp.generation import Generation
    from specbranch_cpp.openai_api.keywords import Keywords
    from specbranch_cpp.openai_api.types import Timings, Usage
    from specbranch_cpp.results import Chunk, GenerationStats

__all__ = ["Call"]

AnswerT = TypeVar("AnswerT")
ChunkT = TypeVar("ChunkT")


class Call(ABC, Generic[AnswerT, ChunkT]):
    """A call that is checked and queued. Read it as one `answer` or as a `stream`.

    Args:
        engine: the engine.
        given: the keywords of the call.
        asked: the request for the engine.
        prefix: the prefix of the id.

    Raises:
        InvalidArgument: or another error of `Engine.generate`.
    """

    def __init__(
        self,
        engine: TextEngine,
        given: Keywords,
        asked: TextRequest,
        prefix: str,
    ) -> None:
        checked.flag("stream", given.stream)
        if given.model is not None:
            checked.text("model", given.model)
        self._include_usage = include_usage(given)
        self._has_logprobs = asked.logprobs is not None
        self._has_trace = asked.trace
        self._has_prediction = asked.prediction is not None
        self._has_token_ids = checked.flag("return_token_ids", given.return_token_ids)
        self.generation: Generation = engine._submit(asked)
        self._recorder = Recorder(engine, self.generation)
        self._prompt_ids = _prompt_ids(engine, asked.prompt) if self._has_token_ids else {}
        self._head = {
            "id": f"{prefix}-{secrets.token_hex(12)}",
            "created": int(time.time()),
            "model": given.model or model_name(engine),
        }

    @abstractmethod
    def answer(self) -> AnswerT:
        """Waits for the end and returns the whole answer."""

    @abstractmethod
    def _chunks(self) -> Iterator[ChunkT]:
        """Yields the items of the stream."""

    def stream(self) -> Stream[ChunkT]:
        """Yields the answer in pieces. Call it only once, and not after `answer`."""
        return Stream(self._chunks(), self.generation, self.cancel)

    def cancel(self) -> None:
        """Stops the generation within one forward pass."""
        self.generation.cancel()

    def _read(self) -> Iterator[Chunk]:
        """The chunks of the generation."""
        return self.generation

    def _logprobs(self, chunk: Chunk) -> TokenLogprobs | None:
        if not self._has_logprobs or chunk.token is None or chunk.logprob is None:
            return None
        return TokenLogprobs(chunk.token, chunk.logprob, chunk.top or {})

    def _token_ids(self, *chunks: Chunk) -> dict[str, list[int]]:
        """The ids of the tokens of these chunks, as a field of a choice, if they are asked for."""
        if not self._has_token_ids:
            return {}
        return {"token_ids": [chunk.token for chunk in chunks if chunk.token is not None]}

    @property
    def _has_records(self) -> bool:
        """Whether a chunk without text says something all the same."""
        return self._has_logprobs or self._has_trace or self._has_token_ids

    @property
    def _stats(self) -> GenerationStats:
        stats = self.generation.stats
        assert stats is not None, "known only after the last chunk"
        return stats

    def _added(self) -> dict[str, Any]:
        """The last fields, which OpenAI's answers do not have."""
        return {"timings": timings(self._stats), "seed": self._stats.seed, "mode": self._stats.mode}

    def _usage(self) -> Usage:
        stats = self._stats
        usage: Usage = {
            "prompt_tokens": stats.n_prompt,
            "completion_tokens": stats.n_generated,
            "total_tokens": stats.n_prompt + stats.n_generated,
            "prompt_tokens_details": {"cached_tokens": stats.n_reused},
        }
        if self._has_prediction:
            usage["completion_tokens_details"] = {
                "accepted_prediction_tokens": stats.n_prediction_accepted,
                "rejected_prediction_tokens": stats.n_prediction_rejected,
            }
        return usage

    def _whole(self, kind: str, choice: Mapping[str, Any], chunks: Sequence[Chunk]) -> Any:
        """The whole answer, after all `chunks` were read."""
        return {
            **self._head,
            "object": kind,
            "choices": [choice],
            "usage": self._usage(),
            **self._added(),
            **self._speculation(*chunks),
        }

    def _usage_items(self, kind: str) -> Iterator[Any]:
        """The last item of a stream with ``include_usage``."""
        if self._include_usage:
            yield self._item(kind, [], usage=self._usage(), **self._added())

    def _item(self, kind: str, choices: list[Any], **fields: Any) -> Any:
        """A chunk of a stream."""
        usage = {"usage": None} if self._include_usage else {}
        return {**self._head, "object": kind, "choices": choices, **usage, **fields}

    def _speculation(self, *chunks: Chunk) -> dict[str, Any]:
        return {"speculation": self._recorder.take(chunks)} if self._has_trace else {}


def _prompt_ids(engine: TextEngine, prompt: str | Sequence[int]) -> dict[str, list[int]]:
    """The field with the ids of the prompt's tokens."""
    tokens = engine.tokenize(prompt, special=True) if isinstance(prompt, str) else [*prompt]
    return {"prompt_token_ids": tokens}


def timings(stats: GenerationStats) -> Timings:
    """The field ``timings`` of llama-server."""
    n_computed = stats.n_prompt - stats.n_reused
    return {
        "cache_n": stats.n_reused,
        "prompt_n": n_computed,
        "prompt_ms": stats.prefill_ms,
        "prompt_per_second": 1000.0 * n_computed / stats.prefill_ms if stats.prefill_ms else 0.0,
        "predicted_n": stats.n_generated,
        "predicted_ms": stats.decode_ms,
        "predicted_per_second": stats.tokens_per_second,
        "draft_n": stats.n_drafted,
        "draft_n_accepted": stats.n_accepted,
    }


def model_name(engine: TextEngine) -> str:
    """The name in the model's metadata, or else the name of its file."""
    name = engine.metadata.get("general.name")
    if name:
        return name
    return in_unicode(Path(engine.model_paths[0]).stem)
