"""Pairs of shapes with a name."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from gguf import GGML_QUANT_SIZES

from specbranch_cpp._scaling.shape import Shape

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gguf import GGMLQuantizationType


@dataclass(frozen=True)
class Preset:
    """A pair of shapes.

    `ratio` is about the draft's step time over the target's, measured on a CPU with Q8_0 weights,
    one thread per model and one model working at a time; None: not measured.
    """

    target: Shape
    draft: Shape
    ratio: float | None = None


SHAPES: Mapping[str, Shape] = {
    # Published shapes; embeddings and biases aside, these are their sizes.
    "Llama-68M": Shape(768, 2, 12, 12, 3072, 64),
    "Llama-2-7B": Shape(4096, 32, 32, 32, 11008, 128),
    "Llama-2-13B": Shape(5120, 40, 40, 40, 13824, 128),
    "DeepSeek-Coder-1.3B": Shape(2048, 24, 16, 16, 5504, 128),
    "DeepSeek-Coder-33B": Shape(7168, 62, 56, 8, 19200, 128),
    "Llama-3-8B": Shape(4096, 32, 32, 8, 14336, 128),
    "Llama-3-70B": Shape(8192, 80, 64, 8, 28672, 128),
    "Llama-3.2-1B": Shape(2048, 16, 32, 8, 8192, 64),
    "Qwen3-0.6B": Shape(1024, 28, 16, 8, 3072, 128),
    "Qwen3-32B": Shape(5120, 64, 64, 8, 25600, 128),
}
"""By the name of a model that has the shape: width, blocks, query heads, key-value heads,
feed-forward rows, size of a head. The vocabulary is not part of it."""

_BIG = Shape(n_embd=1024, n_layer=24, n_head=16, n_head_kv=8, n_ff=3072)


def _pair(draft: str, target: str) -> Preset:
    return Preset(SHAPES[target], SHAPES[draft])


PRESETS: Mapping[str, Preset] = {
    "r4": Preset(_BIG, Shape(n_embd=768, n_layer=9, n_head=12, n_head_kv=4, n_ff=2048), 1 / 4),
    "r8": Preset(_BIG, Shape(n_embd=768, n_layer=5, n_head=12, n_head_kv=4, n_ff=1536), 1 / 8),
    # As r8; GPUs have flash attention for heads of 64 values, and none for the 32 of the draft.
    "r8-64": Preset(
        _BIG, Shape(n_embd=768, n_layer=5, n_head=12, n_head_kv=4, n_ff=1536, head_size=64)
    ),
    "r12": Preset(_BIG, Shape(n_embd=768, n_layer=4, n_head=12, n_head_kv=4, n_ff=896), 1 / 12),
    "68m-7b": _pair("Llama-68M", "Llama-2-7B"),
    "68m-13b": _pair("Llama-68M", "Llama-2-13B"),
    "1.3b-33b": _pair("DeepSeek-Coder-1.3B", "DeepSeek-Coder-33B"),
    "8b-70b": _pair("Llama-3-8B", "Llama-3-70B"),
    "0.6b-32b": _pair("Qwen3-0.6B", "Qwen3-32B"),
    "1b-70b": _pair("Llama-3.2-1B", "Llama-3-70B"),
}


def fit(shape: Shape, kind: GGMLQuantizationType) -> tuple[Shape, list[str]]:
    """The nearest larger shape whose rows are whole blocks of that type, and what is different.

    The size of a head must be known and stays; there are more query heads for a key-value head
    where their values do not fill blocks.
    """
    block = GGML_QUANT_SIZES[kind][0]
    deviations = []
    for name in ("n_embd", "n_ff"):
        size = getattr(shape, name)
        if size % block:
            larger = -(-size // block) * block
            shape = replace(shape, **{name: larger})
            deviations.append(f"{name} {larger}, not {size}: {kind.name} has blocks of {block}")
    n_head = shape.n_head
    while n_head * shape.head_size % block:
        n_head += shape.n_head_kv
    if n_head != shape.n_head:
        deviations.append(f"n_head {n_head}, not {shape.n_head}: {kind.name} has blocks of {block}")
    return replace(shape, n_head=n_head), deviations
