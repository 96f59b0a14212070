"""Stands in for properties of the engine that are not there yet."""

from __future__ import annotations

from typing import Any


def metadata(engine: Any) -> Any:
    return getattr(engine, "metadata", {})


def chat_template(engine: Any) -> Any:
    return getattr(engine, "chat_template", None)


def model_names(engine: Any) -> Any:
    return getattr(engine, "model_names", tuple(engine._names))


def origin(chunk: Any) -> Any:
    return getattr(chunk, "origin", "draft" if chunk.from_draft else "target")


def top(generation: Any, chunk: Any, index: int) -> Any:
    if hasattr(chunk, "top"):
        return chunk.top
    return dict(generation._steps[index].output.top)


def trace_since(generation: Any, n_spans: int, n_rounds: int) -> Any:
    from specbranch_cpp.results import Trace

    if hasattr(generation, "trace_since"):
        return generation.trace_since(n_spans, n_rounds)
    if generation.stats is None:
        return Trace((), ())
    trace = generation.result().trace
    return Trace(trace.spans[n_spans:], trace.rounds[n_rounds:])


def name(engine: Any, token: int) -> bytes:
    piece = engine._core.detokenize([token])
    if piece:
        return piece  # type: ignore[no-any-return]
    try:
        return engine.detokenize([token], special=True).encode()  # type: ignore[no-any-return]
    except TypeError:
        return b""
