"""The texts of the tokens of an answer, one token after the other."""

from __future__ import annotations

import codecs
from collections import deque
from typing import TYPE_CHECKING

from specbranch_cpp.openai_api.answers.parts import TextRange

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["TokenTexts"]


class TokenTexts:
    """Puts the names of control tokens into a text, and knows where each token is.

    The engine holds back text that may begin a stop string. So the text of a token may come with
    a later token. The name of a control token stands where the token is, not where the text comes.

    Args:
        piece_of: gives the bytes of a token in a text; no bytes for a control token.
        marks: the control tokens that mean something in the answer, and their names.
        n_before: the number of characters of the answer before the first token.

    Attributes:
        last: where the last token is in the answer. The range is empty if the token only begins a
            character that a later token ends. ``None``: the token is not in the answer.
    """

    def __init__(
        self, piece_of: Callable[[int], bytes], marks: Mapping[int, str], n_before: int = 0
    ) -> None:
        self.last: TextRange | None = None
        self._piece_of = piece_of
        self._marks = marks
        self._at = n_before  # the end of the last token in the answer
        self._n_text = 0  # characters of all tokens so far, without marks
        self._n_told = 0  # characters of them that the engine has told
        self._waiting: deque[tuple[int, str]] = deque()  # marks, and the text before each of them
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def add(self, text: str, token: int | None) -> str:
        """The next piece of the answer.

        Args:
            text: the text that the engine tells with the token.
            token: the token. ``None``: the text has ended.
        """
        self.last = None
        if token is not None:
            self._place(token)
        pieces: list[str] = []
        while self._waiting and self._waiting[0][0] <= self._n_told + len(text):
            place, mark = self._waiting.popleft()
            size = place - self._n_told
            pieces += [text[:size], mark]
            text, self._n_told = text[size:], place
        self._n_told += len(text)
        return "".join([*pieces, text])

    def _place(self, token: int) -> None:
        begin = self._at
        mark = self._marks.get(token)
        if mark is not None:
            self._waiting.append((self._n_text, mark))
            self._at += len(mark)
        else:
            piece = self._piece_of(token)
            if not piece:
                return
            n_written = len(self._decoder.decode(piece))
            self._n_text += n_written
            self._at += n_written
        self.last = TextRange(begin, self._at)
