"""The field ``speculation``: how a text was generated."""

from __future__ import annotations

from typing import TYPE_CHECKING

from specbranch_cpp.openai_api.vocabulary import piece_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from specbranch_cpp._engine.text_engine import TextEngine
    from specbranch_cpp.generation import Generation
    from specbranch_cpp.openai_api.types import (
        SpeculationRecord,
        SpeculationRound,
        SpeculationSpan,
        TokenText,
    )
    from specbranch_cpp.results import Chunk, Span, TraceRound

__all__ = ["Recorder"]


class Recorder:
    """Reads the trace of a generation piece by piece."""

    def __init__(self, engine: TextEngine, generation: Generation) -> None:
        self._engine = engine
        self._generation = generation
        self._n_spans = 0
        self._n_rounds = 0

    def take(self, chunks: Sequence[Chunk]) -> SpeculationRecord:
        """The records since the last call, and the origins of the tokens of `chunks`."""
        trace = self._generation.trace_since(self._n_spans, self._n_rounds)
        self._n_spans += len(trace.spans)
        self._n_rounds += len(trace.rounds)
        speculation: SpeculationRecord = {
            "tokens": [
                {**self._token(chunk.token), "origin": chunk.origin}
                for chunk in chunks
                if chunk.token is not None
            ],
            "rounds": [self._round(one) for one in trace.rounds],
            "spans": [_span(one) for one in trace.spans],
        }
        if self._generation.stats is not None:
            speculation["stats"] = self._generation.stats.as_dict()
        return speculation

    def _token(self, token: int) -> TokenText:
        text = piece_of(self._engine, token).decode(errors="replace")
        return {"id": token, "text": text}

    def _round(self, one: TraceRound) -> SpeculationRound:
        return {
            "at_ms": one.at_ms,
            "n_accepted": one.n_accepted,
            "n_submitted": one.n_submitted,
            "branch_hit": one.branch_hit,
            "branch_miss": one.branch_miss,
            "committed": [self._token(token) for token in one.committed],
            "rolled_back": [self._token(token) for token in one.rolled_back],
        }


def _span(span: Span) -> SpeculationSpan:
    return {
        "side": span.side,
        "kind": span.kind,
        "begin_ms": span.begin_ms,
        "end_ms": span.end_ms,
        "n_tokens": span.n_tokens,
        "n_branches": span.n_branches,
        "n_accepted": span.n_accepted,
        "end": span.end,
    }
