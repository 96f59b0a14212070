"""The parts of an answer, in the order in which the model writes them."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass, field
from typing import Union

__all__ = [
    "CallBroken",
    "CallEnd",
    "CallPiece",
    "CallStart",
    "Part",
    "PartReader",
    "Text",
    "TextRange",
    "Thought",
]


@dataclass(frozen=True)
class TextRange:
    """A range of characters of the answer, as the parser gets it.

    Attributes:
        begin: the number of characters before the range.
        end: the number of characters before the end of the range.
    """

    begin: int
    end: int


@dataclass(frozen=True)
class Text:
    """A piece of the content.

    Attributes:
        text: the piece.
        ranges: where the characters of the piece are in the answer. The empty line that the parser
            adds between two messages is nowhere.
    """

    text: str
    ranges: tuple[TextRange, ...] = field(default=(), compare=False)


@dataclass(frozen=True)
class Thought:
    """A piece of the reasoning.

    Attributes:
        text: the piece.
        ranges: see `Text`.
    """

    text: str
    ranges: tuple[TextRange, ...] = field(default=(), compare=False)


@dataclass(frozen=True)
class CallStart:
    """A call begins.

    Attributes:
        index: the number of calls before this call.
        name: the name of the function.
        id: the id that the model wrote. ``None``: it wrote none.
    """

    index: int
    name: str
    id: str | None


@dataclass(frozen=True)
class CallPiece:
    """A piece of the arguments. All pieces of a complete call are the JSON text of an object."""

    index: int
    text: str


@dataclass(frozen=True)
class CallEnd:
    """The call is complete."""

    index: int


@dataclass(frozen=True)
class CallBroken:
    """The call that began is no call, or the text ends inside it.

    Attributes:
        index: the index of the call.
        text: the text of the call so far.
        ranges: see `Text`.
    """

    index: int
    text: str
    ranges: tuple[TextRange, ...] = field(default=(), compare=False)


Part = Union[Text, Thought, CallStart, CallPiece, CallEnd, CallBroken]  # noqa: UP007 (Python 3.10)
PartReader = Generator[Union[Part, None], None, None]  # noqa: UP007
"""A reader that yields parts, and ``None`` where it needs more text."""
