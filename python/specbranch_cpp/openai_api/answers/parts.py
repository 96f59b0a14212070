"""The parts of an answer, in the order in which the model writes them."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from typing import Union

__all__ = [
    "CallBroken",
    "CallEnd",
    "CallPiece",
    "CallStart",
    "Part",
    "PartReader",
    "Text",
    "Thought",
]


@dataclass(frozen=True)
class Text:
    """A piece of the content."""

    text: str


@dataclass(frozen=True)
class Thought:
    """A piece of the reasoning."""

    text: str


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
    """

    index: int
    text: str


Part = Union[Text, Thought, CallStart, CallPiece, CallEnd, CallBroken]  # noqa: UP007 (Python 3.10)
PartReader = Generator[Union[Part, None], None, None]  # noqa: UP007
"""A reader that yields parts, and ``None`` where it needs more text."""
