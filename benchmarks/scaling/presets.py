"""Pairs of shapes with a name."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from .shape import Shape

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True)
class Preset:
    """A pair of shapes; `ratio` is about the draft's step time over the target's, measured on a
    CPU with Q8_0 weights, one thread per model and one model working at a time."""

    target: Shape
    draft: Shape
    ratio: float


_BIG = Shape(n_embd=1024, n_layer=24, n_head=16, n_head_kv=8, n_ff=3072)

PRESETS: Mapping[str, Preset] = {
    "r4": Preset(_BIG, Shape(n_embd=768, n_layer=9, n_head=12, n_head_kv=4, n_ff=2048), 1 / 4),
    "r8": Preset(_BIG, Shape(n_embd=768, n_layer=5, n_head=12, n_head_kv=4, n_ff=1536), 1 / 8),
    "r12": Preset(_BIG, Shape(n_embd=768, n_layer=4, n_head=12, n_head_kv=4, n_ff=896), 1 / 12),
}
