"""The tokens of the content, among all tokens of an answer."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Generic, TypeVar

from specbranch_cpp.openai_api.answers.parts import CallBroken, Text

if TYPE_CHECKING:
    from specbranch_cpp.openai_api.answers.parts import Part, TextRange

__all__ = ["ContentTokens"]

EntryT = TypeVar("EntryT")


class ContentTokens(Generic[EntryT]):
    """Entries of tokens, until the parser knows whether their text is content.

    A token belongs to the first piece of the content that has a character of it.
    """

    def __init__(self) -> None:
        self._waiting: deque[tuple[TextRange, EntryT]] = deque()

    def add(self, where: TextRange | None, entry: EntryT) -> None:
        """The next token.

        Args:
            where: where the token is in the answer. ``None``: the token is not in the answer.
            entry: what is kept for the token.
        """
        if where is not None:
            self._waiting.append((where, entry))

    def take(self, part: Part) -> list[EntryT]:
        """The entries of the tokens of a part. It is empty for a part that is no content.

        The parts come in the order of the answer. The entries are not kept any longer.
        """
        taken = []
        for where in part.ranges if isinstance(part, (Text, CallBroken)) else ():
            while self._waiting and self._waiting[0][0].begin < where.end:
                token, entry = self._waiting.popleft()
                if token.end > where.begin or token.begin == token.end == where.begin:
                    taken.append(entry)
        return taken
