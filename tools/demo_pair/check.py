"""Whether llama.cpp computes the same scores for a file as PyTorch does."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch

from demo_pair import export

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

Scores = npt.NDArray[np.float32]

#: With Q8_0 weights llama.cpp rounds activations to 8 bits, and keys and values to 16 bits.
LEAST_CORRELATION = 0.99


@dataclass(frozen=True)
class Comparison:
    """Scores of llama.cpp against those of PyTorch, over all positions of a text."""

    worst_correlation: float
    largest_difference: float
    same_best: float

    def __str__(self) -> str:
        return (
            f"worst correlation {self.worst_correlation:.5f}, largest difference "
            f"{self.largest_difference:.3f}, same best token {self.same_best:.1%}"
        )


def llama_scores(path: Path, tokens: Sequence[int]) -> Scores:
    """The scores of llama.cpp after each of the tokens, [position][token]."""
    import llama_cpp

    model = llama_cpp.Llama(
        str(path),
        n_ctx=len(tokens),
        n_gpu_layers=0,
        n_threads=1,
        n_threads_batch=1,
        logits_all=True,
        verbose=False,
    )
    try:
        model.eval(list(tokens))
        return np.array(model.scores[: len(tokens)], dtype=np.float32)
    finally:
        model.close()


@torch.no_grad()
def torch_scores(path: Path, tokens: Sequence[int]) -> Scores:
    """The scores of PyTorch after each of the tokens, [position][token]."""
    scores: Scores = export.read_gguf(path)(torch.tensor([list(tokens)]))[0].numpy()
    return scores


def compare(path: Path, tokens: Sequence[int]) -> Comparison:
    """Compare the scores of both; a ValueError if llama.cpp computes another function."""
    ours, theirs = torch_scores(path, tokens), llama_scores(path, tokens)
    found = Comparison(
        worst_correlation=min(
            float(np.corrcoef(a, b)[0, 1]) for a, b in zip(ours, theirs, strict=True)
        ),
        largest_difference=float(np.abs(ours - theirs).max()),
        same_best=float((ours.argmax(-1) == theirs.argmax(-1)).mean()),
    )
    if not found.worst_correlation >= LEAST_CORRELATION:
        raise ValueError(f"{path}: llama.cpp computes other scores than PyTorch: {found}")
    return found
