"""Single tokens as bytes: a token may be a part of a character."""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from specbranch_cpp._engine.text_engine import TextEngine

__all__ = ["end_tokens", "name_of", "piece_of"]

_ends: weakref.WeakKeyDictionary[TextEngine, frozenset[int]] = weakref.WeakKeyDictionary()


def piece_of(engine: TextEngine, token: int) -> bytes:
    """The bytes of a token in a text; empty for control tokens."""
    return engine._core.detokenize([token], special=False)


def name_of(engine: TextEngine, token: int) -> bytes:
    """The bytes of a token; the name of a control token."""
    return engine._core.detokenize([token], special=True)


def end_tokens(engine: TextEngine) -> frozenset[int]:
    """The tokens that end a text: EOS and the other end-of-turn tokens."""
    if engine not in _ends:
        is_end = engine._core.is_end
        _ends[engine] = frozenset(token for token in range(engine.vocab_size) if is_end(token))
    return _ends[engine]
