"""Where two texts that should be equal part, and how near a tie that was.

Rounding can turn over the choice between two tokens only where their scores are nearly equal
(docs/exactness.md). Anything else is a fault.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from specbranch_cpp import _core

if TYPE_CHECKING:
    from collections.abc import Sequence

    from specbranch_cpp.engine import Engine

LIMIT = 0.25
"""Greatest distance of two scores, in nats, that counts as a near-tie."""


@dataclass(frozen=True)
class Difference:
    """The first place where two texts part.

    Attributes:
        index: tokens before it.
        expected: the token of `autoregressive`; None: its text ended there.
        found: the other one, likewise.
        gap: how far apart the scores of the two are, after temperature and noise; None: not known.
    """

    index: int
    expected: int | None
    found: int | None
    gap: float | None = None


def first_difference(expected: Sequence[int], found: Sequence[int]) -> Difference | None:
    """Where two texts part; None: nowhere."""
    shorter = min(len(expected), len(found))
    pairs = zip(expected[:shorter], found[:shorter], strict=True)
    index = next((i for i, (a, b) in enumerate(pairs) if a != b), shorter)
    if index == len(expected) == len(found):
        return None

    def at(tokens: Sequence[int]) -> int | None:
        return tokens[index] if index < len(tokens) else None

    return Difference(index, at(expected), at(found))


def gap(
    engine: Engine,
    prompt: Sequence[int],
    text: Sequence[int],
    difference: Difference,
    *,
    temperature: float,
    seed: int,
) -> float | None:
    """How far apart the target finds the two tokens, by the rule that chooses between them.

    Where a text ended, the end token stands for what it chose; None if the model has none.

    Args:
        engine: with the target.
        prompt: tokens before the text.
        text: of one of the two, at least up to the difference.
        difference: where they part.
        temperature: of the choice.
        seed: likewise.
    """
    tokens = [
        engine.eos_token if token is None else token
        for token in (difference.expected, difference.found)
    ]
    context = [*prompt, *text[: difference.index]]
    done = engine.generate(
        context, max_tokens=1, mode="autoregressive", logprobs=engine.vocab_size,
        logit_bias=_without_end(engine),
    ).result()  # fmt: skip
    if not done.logprobs or None in tokens:
        return None
    scores = []
    for token in tokens:
        assert token is not None
        score = done.logprobs[0].top[token]
        if temperature > 0.0:
            score = score / temperature + _core._gumbel(seed, len(context), token)
        scores.append(score)
    return abs(scores[0] - scores[1])


def _without_end(engine: Engine) -> dict[int, float] | None:
    """A bias that lets the probe give a token: an end token has no log-probabilities."""
    return None if engine.eos_token is None else {engine.eos_token: float("-inf")}
