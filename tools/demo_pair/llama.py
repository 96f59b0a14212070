"""The llama architecture.

Rotary embeddings turn neighbouring pairs (0, 1), (2, 3), ... as llama.cpp does for this
architecture, so that the weights are exported without a permutation.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from demo_pair.model import AttentionBlock, Decoder

if TYPE_CHECKING:
    from torch import Tensor

    from demo_pair.model import Angles, Shape


class LlamaBlock(AttentionBlock):
    def place_queries(self, query: Tensor, angles: Angles) -> Tensor:
        return rotate(query, angles)

    def place_keys(self, key: Tensor, angles: Angles) -> Tensor:
        return rotate(key, angles)


class Llama(Decoder):
    """Attention in every block."""

    architecture = "llama"
    last_norm = "output_norm"
    writers = ("attn_output.weight", "ffn_down.weight")

    def __init__(self, shape: Shape) -> None:
        super().__init__(shape, (LlamaBlock(shape, index) for index in range(shape.layers)))


def rotate(x: Tensor, angles: Angles) -> Tensor:
    """Rotary position embedding on neighbouring pairs; ``x`` is [batch, head, token, width]."""
    cosine, sine = angles
    even, odd = torch.unflatten(x, -1, (-1, 2)).unbind(-1)
    turned = torch.stack((even * cosine - odd * sine, even * sine + odd * cosine), dim=-1)
    return turned.flatten(-2)
