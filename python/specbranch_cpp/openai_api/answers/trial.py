"""Reads calls on trial: only what follows them says whether they count."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from specbranch_cpp.openai_api.tool_calls.incoming_text import CutError, UnreadableError
from specbranch_cpp.openai_api.tool_calls.tool_format import End, Start

if TYPE_CHECKING:
    from specbranch_cpp.openai_api.tool_calls.incoming_text import IncomingText, Reader
    from specbranch_cpp.openai_api.tool_calls.tool_format import CallReader, Functions

__all__ = ["Trial", "tried"]


@dataclass(frozen=True)
class Trial:
    """What a reader of calls has found.

    Attributes:
        n_begun: number of calls of known functions that have begun.
        n_complete: number of complete calls.
        end: the position behind the last complete call and its marks.
        is_cut: whether the text ends inside the calls.
        is_whole: whether all of the calls are readable.
    """

    n_begun: int
    n_complete: int
    end: int
    is_cut: bool
    is_whole: bool

    @property
    def has_call(self) -> bool:
        """Whether there is a complete call, or one that a limit has cut."""
        return self.n_complete > 0 or (self.is_cut and self.n_begun > 0)


def tried(source: IncomingText, reader: CallReader, functions: Functions) -> Reader[Trial]:
    """Reads calls to their end, and tells nobody. The caller puts the position back."""
    n_begun = n_complete = 0
    end = source.at
    is_cut = is_whole = False
    try:
        for event in reader:
            if event is None:
                yield None
            elif isinstance(event, Start):
                if event.name not in functions:
                    break
                n_begun += 1
            elif isinstance(event, End):
                n_complete, end = n_complete + 1, source.at
        else:
            is_whole, end = True, source.at
    except UnreadableError as error:
        is_cut = isinstance(error, CutError)
    return Trial(n_begun, n_complete, end, is_cut, is_whole)
