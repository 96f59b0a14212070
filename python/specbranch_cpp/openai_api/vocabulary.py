"""Single tokens as bytes: a token may be a part of a character."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from specbranch_cpp._engine.text_engine import TextEngine

__all__ = ["name_of", "piece_of"]


def piece_of(engine: TextEngine, token: int) -> bytes:
    """The bytes of a token in a text; empty for control tokens."""
    return engine._core.detokenize([token], special=False)


def name_of(engine: TextEngine, token: int) -> bytes:
    """The bytes of a token; the name of a control token."""
    return engine._core.detokenize([token], special=True)
