"""Speculative decoding with parallel branches over llama.cpp.

from specbranch_cpp import Engine

with Engine("target.gguf", "draft.gguf") as engine:
    for chunk in engine.generate("def fib(n):", max_tokens=64):
        print(chunk.text, end="")
"""

from __future__ import annotations

from specbranch_cpp._llama import native

native.load()

# The extension needs its libraries.
from specbranch_cpp import policies  # noqa: E402
from specbranch_cpp._core import __version__  # noqa: E402
from specbranch_cpp.async_engine import AsyncEngine, AsyncGeneration, AsyncStream  # noqa: E402
from specbranch_cpp.engine import Engine  # noqa: E402
from specbranch_cpp.errors import (  # noqa: E402
    ContextOverflow,
    DecodeError,
    EngineClosed,
    IncompatibleModels,
    InvalidArgument,
    MissingExtra,
    ModelLoadError,
    SpecBranchError,
)
from specbranch_cpp.generation import Generation  # noqa: E402
from specbranch_cpp.results import (  # noqa: E402
    Chunk,
    Completion,
    EngineStats,
    GenerationStats,
    Round,
    Span,
    StepCosts,
    TokenLogprobs,
    Trace,
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
    "EngineStats",
    "Generation",
    "GenerationStats",
    "IncompatibleModels",
    "InvalidArgument",
    "MissingExtra",
    "ModelLoadError",
    "Round",
    "Span",
    "SpecBranchError",
    "StepCosts",
    "TokenLogprobs",
    "Trace",
    "__version__",
    "policies",
]
