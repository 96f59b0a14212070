"""Speculative decoding with parallel branches over llama.cpp.

from specbranch_cpp import Engine

with Engine("target.gguf", "draft.gguf") as engine:
    for chunk in engine.generate("def fib(n):", max_tokens=64):
        print(chunk.text, end="")
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from specbranch_cpp._llama import native

# Load the extension before any other module can import it, or load another llama.cpp.
try:
    native.load()
except ImportError as _error:
    from specbranch_cpp._support.program import end_with_one_line

    end_with_one_line(_error)
    raise

from specbranch_cpp._core import __version__

if TYPE_CHECKING:
    from specbranch_cpp import policies
    from specbranch_cpp.async_engine import AsyncEngine, AsyncGeneration, AsyncStream
    from specbranch_cpp.engine import Engine
    from specbranch_cpp.errors import (
        ContextOverflow,
        DecodeError,
        EngineClosed,
        EngineDied,
        IncompatibleModels,
        InvalidArgument,
        MissingExtra,
        ModelLoadError,
        SpecBranchError,
    )
    from specbranch_cpp.generation import Generation
    from specbranch_cpp.options import Model, Sampling, Speculation
    from specbranch_cpp.processors import LogitsProcessorList, StoppingCriteriaList, TokenMask
    from specbranch_cpp.results import (
        Chunk,
        Completion,
        EngineStats,
        ExactRows,
        GenerationStats,
        LoraAdapter,
        ModelPlacement,
        PairPlacement,
        Span,
        StepCosts,
        TokenLogprobs,
        Trace,
        TraceRound,
    )

__all__ = [
    "AsyncEngine",
    "AsyncGeneration",
    "AsyncStream",
    "Chunk",
    "Completion",
    "ContextOverflow",
    "DecodeError",
    "Engine",
    "EngineClosed",
    "EngineDied",
    "EngineStats",
    "ExactRows",
    "Generation",
    "GenerationStats",
    "IncompatibleModels",
    "InvalidArgument",
    "LogitsProcessorList",
    "LoraAdapter",
    "MissingExtra",
    "Model",
    "ModelLoadError",
    "ModelPlacement",
    "PairPlacement",
    "Sampling",
    "Span",
    "SpecBranchError",
    "Speculation",
    "StepCosts",
    "StoppingCriteriaList",
    "TokenLogprobs",
    "TokenMask",
    "Trace",
    "TraceRound",
    "__version__",
    "policies",
]

_HOMES = {
    "async_engine": ("AsyncEngine", "AsyncGeneration", "AsyncStream"),
    "engine": ("Engine",),
    "errors": (
        "ContextOverflow",
        "DecodeError",
        "EngineClosed",
        "EngineDied",
        "IncompatibleModels",
        "InvalidArgument",
        "MissingExtra",
        "ModelLoadError",
        "SpecBranchError",
    ),
    "generation": ("Generation",),
    "options": ("Model", "Sampling", "Speculation"),
    "processors": ("LogitsProcessorList", "StoppingCriteriaList", "TokenMask"),
    "results": (
        "Chunk",
        "Completion",
        "EngineStats",
        "ExactRows",
        "GenerationStats",
        "LoraAdapter",
        "ModelPlacement",
        "PairPlacement",
        "TraceRound",
        "Span",
        "StepCosts",
        "TokenLogprobs",
        "Trace",
    ),
}
"""The names of each module. A module is imported when one of its names is first used, so that a
program loads only the modules that it uses."""

_MODULES = {*_HOMES, "demo", "grammars", "policies", "simulation", "timeline"}
_MODULE_OF = {name: module for module, names in _HOMES.items() for name in names}

if not TYPE_CHECKING:  # otherwise a type checker would accept every name

    def __getattr__(name: str) -> object:
        if name in _MODULES:
            return import_module(f"{__name__}.{name}")
        if name not in _MODULE_OF:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = getattr(import_module(f"{__name__}.{_MODULE_OF[name]}"), name)
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, *_MODULES})
