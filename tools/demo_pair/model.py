"""The llama architecture in PyTorch, laid out as llama.cpp computes it.

Rotary embeddings turn neighbouring pairs (0, 1), (2, 3), ... as llama.cpp does for this
architecture, so that the weights are exported without a permutation.
The output matrix is the token embedding.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional


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
        if self.width % 32 or self.feed_forward % 32:
            raise ValueError(f"Q8_0 needs rows of a multiple of 32 values: {self}")

    @property
    def head_width(self) -> int:
        return self.width // self.heads


class KVCache:
    """Keys and values of the tokens seen so far, for generation."""

    def __init__(self, shape: Shape, batch: int, capacity: int, device: torch.device) -> None:
        size = (shape.layers, batch, shape.kv_heads, capacity, shape.head_width)
        self.keys = torch.zeros(size, device=device)
        self.values = torch.zeros(size, device=device)
        self.length = 0

    def append(self, layer: int, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """Store new keys and values, and return those of all tokens."""
        end = self.length + key.shape[2]
        self.keys[layer, :, :, self.length : end] = key
        self.values[layer, :, :, self.length : end] = value
        return self.keys[layer, :, :, :end], self.values[layer, :, :, :end]


def rotate(x: Tensor, cosine: Tensor, sine: Tensor) -> Tensor:
    """Rotary position embedding on neighbouring pairs; ``x`` is [batch, head, token, width]."""
    even, odd = torch.unflatten(x, -1, (-1, 2)).unbind(-1)
    turned = torch.stack((even * cosine - odd * sine, even * sine + odd * cosine), dim=-1)
    return turned.flatten(-2).to(x.dtype)


class Block(nn.Module):
    """Attention with grouped queries, then a gated feed-forward layer."""

    def __init__(self, shape: Shape, index: int) -> None:
        super().__init__()
        self.shape = shape
        self.index = index
        kv_width = shape.kv_heads * shape.head_width
        self.attn_norm = nn.RMSNorm(shape.width, eps=shape.norm_epsilon)
        self.attn_q = nn.Linear(shape.width, shape.width, bias=False)
        self.attn_k = nn.Linear(shape.width, kv_width, bias=False)
        self.attn_v = nn.Linear(shape.width, kv_width, bias=False)
        self.attn_output = nn.Linear(shape.width, shape.width, bias=False)
        self.ffn_norm = nn.RMSNorm(shape.width, eps=shape.norm_epsilon)
        self.ffn_gate = nn.Linear(shape.width, shape.feed_forward, bias=False)
        self.ffn_up = nn.Linear(shape.width, shape.feed_forward, bias=False)
        self.ffn_down = nn.Linear(shape.feed_forward, shape.width, bias=False)

    def split(self, x: Tensor) -> Tensor:
        """[batch, token, heads * width] to [batch, head, token, width]."""
        return torch.unflatten(x, -1, (-1, self.shape.head_width)).transpose(1, 2)

    def attention(self, x: Tensor, angles: tuple[Tensor, Tensor], cache: KVCache | None) -> Tensor:
        query = rotate(self.split(self.attn_q(x)), *angles)
        key = rotate(self.split(self.attn_k(x)), *angles)
        value = self.split(self.attn_v(x))
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

    def forward(self, x: Tensor, angles: tuple[Tensor, Tensor], cache: KVCache | None) -> Tensor:
        x = x + self.attention(self.attn_norm(x), angles, cache)
        h = self.ffn_norm(x)
        out: Tensor = x + self.ffn_down(functional.silu(self.ffn_gate(h)) * self.ffn_up(h))
        return out


class Llama(nn.Module):
    """A decoder; called with token ids [batch, token] it gives scores [batch, token, vocab]."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        self.token_embd = nn.Embedding(shape.vocab_size, shape.width)
        self.blk = nn.ModuleList(Block(shape, index) for index in range(shape.layers))
        self.output_norm = nn.RMSNorm(shape.width, eps=shape.norm_epsilon)
        pairs = torch.arange(0, shape.head_width, 2, dtype=torch.float32)
        frequency = shape.rope_theta ** (-pairs / shape.head_width)
        self.register_buffer("frequency", frequency, persistent=False)

    def initialize(self, generator: torch.Generator) -> None:
        """Random weights; layers that add to the residual stream start smaller."""
        residual_scale = (2 * self.shape.layers) ** -0.5
        for name, parameter in self.named_parameters():
            if parameter.ndim == 2:
                deviation = 0.02
                if name.endswith(("attn_output.weight", "ffn_down.weight")):
                    deviation *= residual_scale
                with torch.no_grad():
                    parameter.normal_(0.0, deviation, generator=generator)

    def parameter_count(self) -> int:
        return sum(parameter.numel() for parameter in self.parameters())

    def forward(self, tokens: Tensor, cache: KVCache | None = None) -> Tensor:
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
        return functional.linear(self.output_norm(x), self.token_embd.weight)


@torch.no_grad()
def generate(
    model: Llama, prompts: Tensor, count: int, temperature: Tensor, noise: Tensor
) -> Tensor:
    """Continue ``prompts`` [batch, token] by ``count`` tokens.

    Token t is the argmax of ``scores / temperature + noise[:, t]``, which with standard Gumbel
    noise is a sample at that temperature; where the ``temperature`` of a row is 0, the argmax of
    the scores alone.
    """
    cache = KVCache(model.shape, len(prompts), prompts.shape[1] + count, prompts.device)
    scores = model(prompts, cache)[:, -1]
    chosen: list[Tensor] = []
    for index in range(count):
        chosen.append(choose(scores, temperature, noise[:, index]))
        if index + 1 < count:
            scores = model(chosen[-1][:, None], cache)[:, -1]
    return torch.stack(chosen, dim=1)


def perturb(scores: Tensor, temperature: Tensor, noise: Tensor) -> Tensor:
    """Scores whose argmax is the choice; ``temperature`` has one value for each row."""
    heat = temperature.view(-1, *[1] * (scores.ndim - 1))
    return torch.where(heat > 0, scores / heat.clamp_min(1e-6) + noise, scores)


def choose(scores: Tensor, temperature: Tensor, noise: Tensor) -> Tensor:
    """The chosen token of each row."""
    return perturb(scores, temperature, noise).argmax(dim=-1)


def gumbel(size: tuple[int, ...], generator: torch.Generator, device: torch.device) -> Tensor:
    """Standard Gumbel noise, drawn on the generator's device."""
    uniform = torch.rand(size, generator=generator).clamp_(1e-20, 1.0 - 1e-7)
    return -(-uniform.log()).log().to(device)
