"""``stop_token_ids``: ends a text at given tokens."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from specbranch_cpp._support import checked
from specbranch_cpp.openai_api.vocabulary import piece_of
from specbranch_cpp.results import Chunk

if TYPE_CHECKING:
    from collections.abc import Iterator

    from specbranch_cpp._engine.text_engine import TextEngine
    from specbranch_cpp.generation import Generation

__all__ = ["TokenStops"]


class TokenStops:
    """Reads a generation up to a token that ends the text.

    The text does not contain the token. Tokens that the engine committed behind it are dropped.

    Args:
        engine: the engine with the vocabulary.
        ids: the tokens that end the text. ``None``: no tokens.

    Attributes:
        n_read: the number of tokens before the token that ended the text. ``None``: no such token
            was read.

    Raises:
        InvalidArgument: an id is not in the vocabulary.
    """

    def __init__(self, engine: TextEngine, ids: Any) -> None:
        self._engine = engine
        self._ids: frozenset[int] = frozenset()
        if ids is not None:
            self._ids = frozenset(checked.tokens("stop_token_ids", ids, engine.vocab_size))
        self.n_read: int | None = None

    def read(self, generation: Generation) -> Iterator[Chunk]:
        """The chunks of the generation. The last chunk has a ``finish_reason``.

        Raises:
            DecodeError: or another error of `Generation.__next__`.
        """
        pieces: list[bytes] = []
        n_said = 0
        for chunk in generation:
            if chunk.token is None or chunk.token not in self._ids:
                if self._ids and chunk.token is not None:
                    pieces.append(piece_of(self._engine, chunk.token))
                    n_said += len(chunk.text)
                yield chunk
                continue
            self.n_read = len(pieces)
            generation.cancel()
            generation.result()  # the statistics are known only at the end
            # Text before the token was held back if a stop string or a character could follow.
            rest = b"".join(pieces).decode(errors="replace")[n_said:]
            yield Chunk(rest, token=None, from_draft=False, finish_reason="stop")
            return
