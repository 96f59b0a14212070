"""Compares a text of several at once with the text of a generation alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from specbranch_cpp.bench import near_ties

if TYPE_CHECKING:
    from collections.abc import Mapping

    from specbranch_cpp import Completion, Engine

__all__ = ["check"]


def check(engine: Engine, request: Mapping[str, Any], wanted: Completion, got: Completion) -> None:
    """Both texts are the same, or diverge at a near-tie."""
    difference = near_ties.first_difference(wanted.tokens, got.tokens)
    if difference is None:
        assert got.text == wanted.text
        assert got.finish_reason == wanted.finish_reason
        return
    prompt = engine.tokenize(request["prompt"], add_bos=True, special=True)
    gap = near_ties.gap(
        engine, prompt, wanted.tokens, difference,
        temperature=request.get("temperature", 0.0), seed=request.get("seed", 0),
    )  # fmt: skip
    assert gap is not None
    # Cells of several texts lie between each other, and sums over cells in another order round
    # otherwise: by up to 0.05 nats, as attention adds up 16-bit numbers.
    assert gap <= near_ties.LIMIT
