"""What the architectures have in common in PyTorch, laid out as llama.cpp computes it.

A decoder is a list of blocks. A block mixes tokens, then has a gated feed-forward layer. The
output matrix is the token embedding. The names of all weights are those of the GGUF file.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

if TYPE_CHECKING:
    from collections.abc import Iterable

#: Values in a block of Q8_0.
BLOCK = 32

#: Cosine and sine of the rotation, [token, pair].
Angles = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class Shape:
    """The size of a model."""

    vocab_size: int
    width: int
    layers: int
    heads: int
    kv_heads: int
    feed_forward: int
    rope_theta: float = 10_000.0
    norm_epsilon: float = 1e-5

    def __post_init__(self) -> None:
        if self.width % self.heads or self.heads % self.kv_heads or self.head_width % 2:
            raise ValueError(f"heads do not divide the width evenly: {self}")
        if self.width % BLOCK or self.feed_forward % BLOCK:
            raise ValueError(f"Q8_0 needs rows of a multiple of {BLOCK} values: {self}")

    @property
    def head_width(self) -> int:
        return self.width // self.heads


def is_matrix(weight: Tensor) -> bool:
    """Whether Q8_0 can hold the weight: a norm is a vector, a convolution has rows of few taps."""
    return weight.ndim == 2 and weight.shape[1] % BLOCK == 0


class Cache:
    """What the blocks keep of the tokens seen so far, for generation."""

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.length = 0
        self._keys: dict[int, Tensor] = {}
        self._values: dict[int, Tensor] = {}
        self._tails: dict[int, Tensor] = {}

    def append(self, layer: int, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """Store new keys and values, [batch, head, token, width], and return those of all."""
        if layer not in self._keys:
            size = (*key.shape[:2], self.capacity, key.shape[3])
            self._keys[layer], self._values[layer] = key.new_zeros(size), value.new_zeros(size)
        keys, values = self._keys[layer], self._values[layer]
        end = self.length + key.shape[2]
        keys[:, :, self.length : end] = key
        values[:, :, self.length : end] = value
        return keys[:, :, :end], values[:, :, :end]

    def extend(self, layer: int, new: Tensor, kept: int) -> Tensor:
        """``new`` [batch, token, width] after the ``kept`` tokens before it; at the begin zeros."""
        tail = self._tails.get(layer)
        if tail is None:
            tail = new.new_zeros((new.shape[0], kept, new.shape[2]))
        whole = torch.cat((tail, new), dim=1)
        self._tails[layer] = whole[:, -kept:]
        return whole


class Block(nn.Module):
    """Mixes tokens, then has a gated feed-forward layer."""

    def __init__(self, shape: Shape, index: int) -> None:
        super().__init__()
        self.shape = shape
        self.index = index
        self.attn_norm = nn.RMSNorm(shape.width, eps=shape.norm_epsilon)
        self.ffn_norm = nn.RMSNorm(shape.width, eps=shape.norm_epsilon)
        self.ffn_gate = nn.Linear(shape.width, shape.feed_forward, bias=False)
        self.ffn_up = nn.Linear(shape.width, shape.feed_forward, bias=False)
        self.ffn_down = nn.Linear(shape.feed_forward, shape.width, bias=False)

    @abstractmethod
    def mix(self, x: Tensor, angles: Angles, cache: Cache | None) -> Tensor:
        """What each token, [batch, token, width], takes from the tokens before it."""

    def forward(self, x: Tensor, angles: Angles, cache: Cache | None) -> Tensor:
        x = x + self.mix(self.attn_norm(x), angles, cache)
        h = self.ffn_norm(x)
        out: Tensor = x + self.ffn_down(functional.silu(self.ffn_gate(h)) * self.ffn_up(h))
        return out


class AttentionBlock(Block):
    """Attention with grouped queries."""

    def __init__(self, shape: Shape, index: int) -> None:
        super().__init__(shape, index)
        kv_width = shape.kv_heads * shape.head_width
        self.attn_q = nn.Linear(shape.width, shape.width, bias=False)
        self.attn_k = nn.Linear(shape.width, kv_width, bias=False)
        self.attn_v = nn.Linear(shape.width, kv_width, bias=False)
        self.attn_output = nn.Linear(shape.width, shape.width, bias=False)

    @abstractmethod
    def place_queries(self, query: Tensor, angles: Angles) -> Tensor:
        """Queries [batch, head, token, width] with their positions."""

    @abstractmethod
    def place_keys(self, key: Tensor, angles: Angles) -> Tensor:
        """Keys [batch, head, token, width] with their positions."""

    def split(self, x: Tensor) -> Tensor:
        """[batch, token, heads * width] to [batch, head, token, width]."""
        return torch.unflatten(x, -1, (-1, self.shape.head_width)).transpose(1, 2)

    def mix(self, x: Tensor, angles: Angles, cache: Cache | None) -> Tensor:
        value = self.split(self.attn_v(x))
        query = self.place_queries(self.split(self.attn_q(x)), angles).to(value.dtype)
        key = self.place_keys(self.split(self.attn_k(x)), angles).to(value.dtype)
        causal = True
        if cache is not None:
            causal = cache.length == 0
            key, value = cache.append(self.index, key, value)
        group = self.shape.heads // self.shape.kv_heads
        mixed = functional.scaled_dot_product_attention(
            query,
            key.repeat_interleave(group, dim=1),
            value.repeat_interleave(group, dim=1),
            is_causal=causal,
        )
        out: Tensor = self.attn_output(mixed.transpose(1, 2).flatten(-2))
        return out


class Decoder(nn.Module):
    """Called with token ids [batch, token] it gives scores [batch, token, vocab]."""

    #: GGUF's names of the architecture, and of the norm before the output matrix.
    architecture: ClassVar[str]
    last_norm: ClassVar[str]
    #: The ends of the names of the matrices that write to the residual stream.
    writers: ClassVar[tuple[str, ...]]

    def __init__(self, shape: Shape, blocks: Iterable[Block]) -> None:
        super().__init__()
        self.shape = shape
        self.token_embd = nn.Embedding(shape.vocab_size, shape.width)
        self.blk = nn.ModuleList(blocks)
        self.add_module(self.last_norm, nn.RMSNorm(shape.width, eps=shape.norm_epsilon))
        pairs = torch.arange(0, shape.head_width, 2, dtype=torch.float32)
        frequency = shape.rope_theta ** (-pairs / shape.head_width)
        self.register_buffer("frequency", frequency, persistent=False)

    def initialize(self, generator: torch.Generator) -> None:
        """Random weights; layers that add to the residual stream start smaller."""
        for name, parameter in self.named_parameters():
            if parameter.ndim == 2:
                with torch.no_grad():
                    parameter.normal_(0.0, self.deviation(name), generator=generator)

    def deviation(self, name: str) -> float:
        """The standard deviation of a matrix at the begin."""
        residual_scale = (2 * self.shape.layers) ** -0.5
        return 0.02 * (residual_scale if name.endswith(self.writers) else 1.0)

    def parameter_count(self) -> int:
        return sum(parameter.numel() for parameter in self.parameters())

    def forward(self, tokens: Tensor, cache: Cache | None = None) -> Tensor:
        start = 0 if cache is None else cache.length
        if start and tokens.shape[1] != 1:
            raise ValueError("after the prompt, a cached forward takes one token at a time")
        positions = torch.arange(start, start + tokens.shape[1], device=tokens.device)
        turns = positions[:, None].float() * self.get_buffer("frequency")
        angles = (turns.cos(), turns.sin())
        x = self.token_embd(tokens)
        for block in self.blk:
            x = block(x, angles, cache)
        if cache is not None:
            cache.length += tokens.shape[1]
        return functional.linear(getattr(self, self.last_norm)(x), self.token_embd.weight)
