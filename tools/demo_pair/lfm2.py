"""The LFM2 architecture: most blocks mix tokens by a short convolution, the others by attention.

The convolution is a recurrent state for llama.cpp: its last inputs. Queries and keys are
normalized. Rotary embeddings turn the pairs (0, n/2), (1, n/2 + 1), ... of a head of n values.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional

from demo_pair.model import AttentionBlock, Block, Decoder, Shape

if TYPE_CHECKING:
    from demo_pair.model import Angles, Cache


@dataclass(frozen=True)
class Lfm2Shape(Shape):
    """The size of a model, the numbers of its blocks with attention, the taps of a convolution."""

    attention: tuple[int, ...] = ()
    kernel: int = 3

    def __post_init__(self) -> None:
        super().__post_init__()
        known = set(range(self.layers))
        if not set(self.attention) < known or not self.attention:
            raise ValueError(f"needs blocks with attention and others without: {self}")
        if self.kernel < 2:
            raise ValueError(f"a convolution needs 2 taps or more: {self}")


class Lfm2Attention(AttentionBlock):
    """Attention with normalized queries and keys."""

    def __init__(self, shape: Lfm2Shape, index: int) -> None:
        super().__init__(shape, index)
        self.attn_q_norm = nn.RMSNorm(shape.head_width, eps=shape.norm_epsilon)
        self.attn_k_norm = nn.RMSNorm(shape.head_width, eps=shape.norm_epsilon)

    def place_queries(self, query: Tensor, angles: Angles) -> Tensor:
        return rotate(self.attn_q_norm(query), angles)

    def place_keys(self, key: Tensor, angles: Angles) -> Tensor:
        return rotate(self.attn_k_norm(key), angles)


class DepthwiseConvolution(nn.Module):
    """Weights [channel, tap]; the last tap is that of the newest token."""

    def __init__(self, width: int, kernel: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(width, kernel))

    def forward(self, x: Tensor) -> Tensor:
        """``x`` [batch, kernel - 1 + token, channel] to [batch, token, channel]."""
        count = x.shape[1] - self.weight.shape[1] + 1
        taps = self.weight.unbind(1)
        parts = [x[:, start : start + count] * tap for start, tap in enumerate(taps)]
        return torch.stack(parts).sum(dim=0)


class ShortConvolution(nn.Module):
    """A gated input, a convolution over its last tokens, and a gated output."""

    def __init__(self, shape: Lfm2Shape) -> None:
        super().__init__()
        self.in_proj = nn.Linear(shape.width, 3 * shape.width, bias=False)
        self.conv = DepthwiseConvolution(shape.width, shape.kernel)
        self.out_proj = nn.Linear(shape.width, shape.width, bias=False)


class ConvolutionBlock(Block):
    def __init__(self, shape: Lfm2Shape, index: int) -> None:
        super().__init__(shape, index)
        self.kept = shape.kernel - 1
        self.shortconv = ShortConvolution(shape)

    def mix(self, x: Tensor, angles: Angles, cache: Cache | None) -> Tensor:
        del angles
        gate_in, gate_out, value = self.shortconv.in_proj(x).chunk(3, dim=-1)
        gated = gate_in * value
        if cache is None:
            gated = functional.pad(gated, (0, 0, self.kept, 0))
        else:
            gated = cache.extend(self.index, gated, self.kept)
        out: Tensor = self.shortconv.out_proj(gate_out * self.shortconv.conv(gated))
        return out


class Lfm2(Decoder):
    """Short convolutions, and attention in the blocks that the shape names."""

    architecture = "lfm2"
    last_norm = "token_embd_norm"
    writers = ("attn_output.weight", "ffn_down.weight", "out_proj.weight")

    shape: Lfm2Shape

    def __init__(self, shape: Lfm2Shape) -> None:
        kinds = dict.fromkeys(shape.attention, Lfm2Attention)
        super().__init__(
            shape,
            (kinds.get(index, ConvolutionBlock)(shape, index) for index in range(shape.layers)),
        )

    def deviation(self, name: str) -> float:
        # The gates multiply the inputs: with small weights their product would vanish.
        if name.endswith("conv.weight"):
            return float(self.shape.kernel**-0.5)
        if name.endswith("in_proj.weight"):
            return float(self.shape.width**-0.5)
        return super().deviation(name)


def rotate(x: Tensor, angles: Angles) -> Tensor:
    """Rotary position embedding on the halves of a head; ``x`` is [batch, head, token, width]."""
    cosine, sine = angles
    first, second = x.chunk(2, dim=-1)
    return torch.cat((first * cosine - second * sine, first * sine + second * cosine), dim=-1)
