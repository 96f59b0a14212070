"""The log-probabilities of the text of a response, among those of all tokens of an answer."""

from __future__ import annotations

import codecs
from bisect import bisect_left
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = ["TokenScores", "scores_of"]

_MOST_RUNS = 1000


def scores_of(choice: dict[str, Any]) -> list[dict[str, Any]]:
    """The log-probabilities in a choice of a chat; empty: they were not asked for."""
    return (choice.get("logprobs") or {}).get("content") or []


class TokenScores:
    """Log-probabilities of tokens, until their text is known to be text, thought or call.

    An answer also has tokens that are no text: marks, thoughts, calls, white space around them. So
    the text is looked for in the texts of the tokens.
    """

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._written = ""
        self._tokens: list[tuple[int, int, dict[str, Any]]] = []  # with begin and end in it
        self._kind = ""

    def add(self, scores: Sequence[dict[str, Any]]) -> None:
        """The next tokens."""
        pieces = [self._decoder.decode(bytes(one["bytes"])) for one in scores]
        end = len(self._written)
        for piece, one in zip(pieces, scores, strict=True):
            begin, end = end, end + len(piece)
            self._tokens.append((begin, end, one))
        self._written += "".join(pieces)

    def take(self, text: str, kind: str, *, first: bool = False) -> list[dict[str, Any]]:
        """The tokens of a piece of the answer. They and those before it are not needed any more.

        Args:
            text: the piece; it ends where the tokens end, but for what is not certain yet.
            kind: what the piece is; pieces of one kind follow each other.
            first: whether other pieces may follow it here, so that it is the first such text.
        """
        goes_on, self._kind = kind == self._kind, kind
        if goes_on and self._written.startswith(text):
            place = 0
        else:
            place = self._written.find(text) if first else self._written.rfind(text)
        runs = [(place, place + len(text))] if place >= 0 else sorted(self._runs(text))
        if not runs:
            return []
        taken = [
            score
            for begin, end, score in self._tokens
            if any(begin < stop and (end > start or begin == end >= start) for start, stop in runs)
        ]
        self._drop(runs[-1][1])
        return taken

    def stop(self) -> None:
        """A piece that is no text comes: a call."""
        self._kind = ""

    def _runs(self, text: str) -> Iterator[tuple[int, int]]:
        """Where the parts of a text are between which something was left out, the last first."""
        limit = len(self._written)
        for _ in range(_MOST_RUNS):
            if not text or not limit:
                return
            # The longest end of the text that is there.
            n = bisect_left(
                range(1, len(text) + 1),
                True,
                key=lambda n: self._written.rfind(text[-n:], 0, limit) < 0,
            )
            if n:
                limit = self._written.rfind(text[-n:], 0, limit)
                yield limit, limit + n
            text = text[: -max(n, 1)]

    def _drop(self, end: int) -> None:
        """Forgets what is before this place, and the tokens that begin there."""
        self._written = self._written[end:]
        self._tokens = [
            (begin - end, stop - end, one) for begin, stop, one in self._tokens if begin >= end
        ]
