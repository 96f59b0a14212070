"""Finds the place where two texts diverge, and the gap of the scores there.

Rounding can change the choice between two tokens only if their scores are almost equal
(docs/exactness.md). Any other difference is a bug.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from specbranch_cpp import _core

if TYPE_CHECKING:
    from collections.abc import Sequence

    from specbranch_cpp.engine import Engine

LIMIT = 0.25
"""Largest gap of two scores, in nats, that counts as a near-tie."""


@dataclass(frozen=True)
class Difference:
    """The first place where two texts diverge.

    Attributes:
        index: number of tokens before this place.
        expected: the token of `autoregressive`. ``None``: its text ended there.
        found: the token of the other text. ``None``: that text ended there.
        gap: difference of the two scores, after temperature and noise. ``None``: not known.
    """

    index: int
    expected: int | None
    found: int | None
    gap: float | None = None


def first_difference(expected: Sequence[int], found: Sequence[int]) -> Difference | None:
    """The first place where two texts diverge. ``None``: the texts are equal."""
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
    """The difference of the target's scores of the two tokens.

    If a text ended there, the end token is used; ``None`` if the model has no end token.

    Args:
        engine: an engine with the target.
        prompt: the tokens before the text.
        text: the tokens of one of the texts, at least up to the difference.
        difference: the place where the texts diverge.
        temperature: temperature of the texts.
        seed: seed of the texts.
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
    """A bias against the end token, because an end token has no log-probabilities."""
    return None if engine.eos_token is None else {engine.eos_token: float("-inf")}
