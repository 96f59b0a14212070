"""How many tokens of an answer are its thoughts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from specbranch_cpp.openai_api.answers.parts import Thought

if TYPE_CHECKING:
    from collections.abc import Sequence

    from specbranch_cpp.openai_api.answers.parts import Part

__all__ = ["ThoughtTokens"]


class ThoughtTokens:
    """Counts the tokens of the thoughts, one after the other.

    A token that shows nothing yet (a mark, white space, a part of a character) counts with what
    follows it, and at the end of the answer with what came before it.

    Attributes:
        n: their number so far.
    """

    def __init__(self) -> None:
        self.n = 0
        self._n_waiting = 0
        self._thinks = False

    def add(self, n_tokens: int, parts: Sequence[Part]) -> None:
        """The next tokens, and the parts of the answer that are certain after them."""
        if not parts:
            self._n_waiting += n_tokens
            return
        self.n += self._n_waiting * isinstance(parts[0], Thought)
        self._n_waiting = 0
        self._thinks = isinstance(parts[-1], Thought)
        self.n += n_tokens * self._thinks

    def end(self) -> None:
        """The answer has ended."""
        self.n += self._n_waiting * self._thinks
        self._n_waiting = 0
