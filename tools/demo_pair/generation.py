"""Continuations of prompts; above temperature 0 with Gumbel noise (coupled choice)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from demo_pair.model import Cache

if TYPE_CHECKING:
    from torch import Tensor

    from demo_pair.model import Decoder


@torch.no_grad()
def generate(
    model: Decoder, prompts: Tensor, count: int, temperature: Tensor, noise: Tensor
) -> Tensor:
    """Continue ``prompts`` [batch, token] by ``count`` tokens.

    Token t is the argmax of ``scores / temperature + noise[:, t]``, which with standard Gumbel
    noise is a sample at that temperature; where the ``temperature`` of a row is 0, the argmax of
    the scores alone.
    """
    cache = Cache(prompts.shape[1] + count)
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
