"""What the exported pair is worth: held-out loss, and acceptance of the draft.

The target continues a prompt, token by token; the draft is then asked for its choice at every
position of that text. At a temperature above 0 both choose with the same Gumbel noise (coupled
choice), so that acceptance is plain equality there too.
"""

from __future__ import annotations

import json
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from demo_pair.data import Tokens, even_windows
from demo_pair.generation import generate, gumbel, perturb
from demo_pair.tokenizer import END_OF_TEXT_ID

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from tokenizers import Tokenizer

    from demo_pair.model import Decoder

BATCH = 16


@dataclass(frozen=True)
class Acceptance:
    """Shares of the target's tokens that are the draft's first choice, or among its first 3."""

    temperature: float
    positions: int
    top1: float
    top3: float


def to_tensor(windows: Tokens) -> Tensor:
    return torch.from_numpy(windows.astype(np.int64))


@torch.no_grad()
def held_out_loss(model: Decoder, stream: Tokens, window: int, count: int = 64) -> float:
    """Mean cross entropy per token on windows of held-out text."""
    windows = to_tensor(even_windows(stream, count, window))
    total = 0.0
    for tokens in torch.split(windows, 4):
        scores = model(tokens[:, :-1])
        loss = functional.cross_entropy(
            scores.flatten(0, 1), tokens[:, 1:].flatten(), reduction="sum"
        )
        total += loss.item()
    return total / windows[:, 1:].numel()


def held_out_prompts(stream: Tokens, count: int, length: int) -> list[list[int]]:
    """Prompts of equal length from held-out text."""
    return [[int(token) for token in row] for row in even_windows(stream, count, length)]


def file_prompts(path: Path, tokenizer: Tokenizer) -> list[list[int]]:
    """Prompts from a JSON Lines file whose objects have the field ``prompt``."""
    with path.open(encoding="utf-8") as lines:
        texts = [str(json.loads(line)["prompt"]) for line in lines if line.strip()]
    return [[END_OF_TEXT_ID, *tokenizer.encode(text).ids] for text in texts]


@torch.no_grad()
def acceptance(
    target: Decoder,
    draft: Decoder,
    prompts: Sequence[Sequence[int]],
    *,
    temperature: float,
    count: int = 128,
    seed: int = 0,
) -> Acceptance:
    """Acceptance on ``count`` tokens after each prompt, or up to the end of the text."""
    generator = torch.Generator().manual_seed(seed)
    by_length: defaultdict[int, list[Sequence[int]]] = defaultdict(list)
    for prompt in prompts:
        by_length[len(prompt)].append(prompt)
    positions = first = among = 0
    for group in by_length.values():
        for rows in torch.split(torch.tensor(group), BATCH):
            heat = torch.full((len(rows),), temperature)
            size = (len(rows), count, target.shape.vocab_size)
            noise = gumbel(size, generator, rows.device)
            chosen = generate(target, rows, count, heat, noise)
            scores = draft(torch.cat([rows, chosen], dim=1)[:, :-1])[:, rows.shape[1] - 1 :]
            best = perturb(scores, heat, noise).topk(3, dim=-1).indices
            hits = best == chosen[..., None]
            ended = (chosen == END_OF_TEXT_ID).long()
            alive = ended.cumsum(dim=1) - ended == 0
            positions += int(alive.sum())
            first += int((hits[..., 0] & alive).sum())
            among += int((hits.any(dim=-1) & alive).sum())
    return Acceptance(temperature, positions, first / positions, among / positions)
