"""Divides a streamed answer into its parts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from specbranch_cpp.openai_api.answers.harmony import HarmonyReader
from specbranch_cpp.openai_api.answers.parts import (
    CallBroken,
    CallEnd,
    CallPiece,
    Text,
    TextRange,
    Thought,
)
from specbranch_cpp.openai_api.answers.tagged import TaggedReader
from specbranch_cpp.openai_api.tool_calls.incoming_text import IncomingText

if TYPE_CHECKING:
    from specbranch_cpp.openai_api.answers.parts import Part
    from specbranch_cpp.openai_api.answers.tagged import AnswerRules

__all__ = ["AnswerParser"]


class AnswerParser:
    """Divides a text that comes in pieces. The parts do not depend on the sizes of the pieces.

    Args:
        rules: how to read the answer.
        channels: whether the answer has the channels of gpt-oss.

    Attributes:
        n_complete: number of complete calls so far.
        n_broken: number of calls that began, but are no calls or were cut.
    """

    def __init__(self, rules: AnswerRules, *, channels: bool = False) -> None:
        self._source = IncomingText()
        reader = (HarmonyReader if channels else TaggedReader)(self._source, rules)
        self._reader = reader.parts()
        self.n_complete = 0
        self.n_broken = 0

    def feed(self, text: str) -> list[Part]:
        """The parts that are certain after the next piece."""
        self._source.feed(text)
        return self._go()

    def finish(self) -> list[Part]:
        """The rest, at the end of the text."""
        self._source.complete = True
        return self._go()

    def _go(self) -> list[Part]:
        parts: list[Part] = []
        for part in self._reader:
            if part is None:
                break
            self.n_complete += isinstance(part, CallEnd)
            self.n_broken += isinstance(part, CallBroken)
            _append(parts, part)
        return parts


def _append(parts: list[Part], part: Part) -> None:
    """Adds a part; joins neighbours of one kind."""
    last = parts[-1] if parts else None
    if isinstance(part, Text) and isinstance(last, Text):
        parts[-1] = Text(last.text + part.text, _joined(last.ranges, part.ranges))
    elif isinstance(part, Thought) and isinstance(last, Thought):
        parts[-1] = Thought(last.text + part.text, _joined(last.ranges, part.ranges))
    elif isinstance(part, CallPiece) and isinstance(last, CallPiece) and last.index == part.index:
        parts[-1] = CallPiece(part.index, last.text + part.text)
    else:
        parts.append(part)


def _joined(first: tuple[TextRange, ...], second: tuple[TextRange, ...]) -> tuple[TextRange, ...]:
    """The ranges of two pieces. Two ranges without a gap become one range."""
    if first and second and first[-1].end == second[0].begin:
        return *first[:-1], TextRange(first[-1].begin, second[0].end), *second[1:]
    return first + second
