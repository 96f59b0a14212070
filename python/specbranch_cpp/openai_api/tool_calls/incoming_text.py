"""A text that comes in pieces, for readers that are written as if all of it was there.

A reader is a generator. It yields ``None`` where it needs more text. So its result cannot depend on
the sizes of the pieces.
"""

from __future__ import annotations

import json
import re
from collections.abc import Generator, Sequence
from typing import Any, NoReturn, TypeVar

from specbranch_cpp._grammar.followed_marks import BLANKS

__all__ = ["CutError", "IncomingText", "Reader", "UnreadableError", "json_text"]

T = TypeVar("T")
Reader = Generator[None, None, T]
"""A reader that returns a value."""

_SPACE = re.compile(r"\s*")
_BLANKS = re.compile(f"[{BLANKS}]*")
_IN_STRING = re.compile(r'["\\]')
_OUTSIDE = re.compile(r'["{}\[\]]')
_SCALAR = re.compile(r"[-+.0-9A-Za-z]*")
_LONGEST = 5000  # characters of a name, or of a number; Python reads no longer numbers


class UnreadableError(Exception):
    """The text is not of the expected form. The position of the source is at the fault."""


class CutError(UnreadableError):
    """The text ends too early."""


def _refuse(name: str) -> NoReturn:
    raise ValueError(name)


# Models write raw line breaks in strings. NaN is not JSON.
_DECODER = json.JSONDecoder(strict=False, parse_constant=_refuse)


class IncomingText:
    """The text so far, and the position of the reader.

    Attributes:
        text: the text so far.
        at: the position of the reader.
        complete: whether no more text comes.
        held: after `flow`: the white space before the mark, which it did not yield.
        n_scanned: number of characters in which an end of a value was searched.
    """

    def __init__(self) -> None:
        self.text = ""
        self.at = 0
        self.complete = False
        self.held = ""
        self.n_scanned = 0
        self._n_forgotten = 0

    def feed(self, piece: str) -> None:
        """Adds a piece of the text."""
        self.text += piece

    def forget(self) -> None:
        """Drops the text before the position. Older positions are then wrong."""
        self._n_forgotten += self.at
        self.text, self.at = self.text[self.at :], 0

    @property
    def place(self) -> int:
        """The number of characters before the position, those that were dropped included."""
        return self._n_forgotten + self.at

    def wait(self) -> Reader[None]:
        """Waits for more text.

        Raises:
            CutError: the text is complete.
        """
        if self.complete:
            raise CutError
        yield None

    def space(self) -> Reader[None]:
        """Skips white space. More of it may come, unless another character is there."""
        while True:
            found = _SPACE.match(self.text, self.at)
            assert found is not None
            self.at = found.end()
            if self.at < len(self.text) or self.complete:
                return
            yield None

    def peek(self) -> Reader[str]:
        """The next character."""
        while self.at >= len(self.text):
            yield from self.wait()
        return self.text[self.at]

    def accepts(self, word: str) -> Reader[bool]:
        """Whether the word comes next. If it does, it is read."""
        while True:
            have = self.text[self.at : self.at + len(word)]
            if have == word:
                self.at += len(word)
                return True
            if self.complete or not word.startswith(have):
                return False
            yield None

    def one_of(self, words: Sequence[str]) -> Reader[str | None]:
        """Reads the first of these words that comes next, and returns it. ``None``: none does."""
        for word in words:
            if (yield from self.accepts(word)):
                return word
        return None

    def comes(self, word: str) -> Reader[bool]:
        """Whether the word is in the rest of the text. The position stays."""
        searched = self.at
        while self.text.find(word, searched) < 0:
            if self.complete:
                return False
            searched = max(searched, len(self.text) - len(word) + 1)
            yield None
        return True

    def word(self, word: str) -> Reader[None]:
        """Reads a word that must come next.

        Raises:
            CutError: the text ends inside the word.
            UnreadableError: something else comes.
        """
        if not (yield from self.accepts(word)):
            raise CutError if word.startswith(self.text[self.at :]) else UnreadableError

    def closing(self, word: str) -> Reader[bool]:
        """Reads the end mark of something that is complete without it, or the begin of a cut mark.

        Returns:
            Whether the mark was there; otherwise the position is as before.
        """
        begin = self.at
        yield from self.space()
        if (yield from self.accepts(word)):
            return True
        if self.complete and word.startswith(self.text[self.at :]):
            self.at = len(self.text)
            return True
        self.at = begin
        return False

    def until(self, mark: str, *, within: str | None = None) -> Reader[str]:
        """The text before a mark; reads both.

        Args:
            mark: the mark.
            within: a regular expression that the text, whole or in part, must match. The text is a
                name then, which is not long.

        Raises:
            UnreadableError: the text before the mark does not match ``within``.
        """
        begin = searched = self.at
        while (end := self.text.find(mark, searched)) < 0:
            # The last characters may belong to the mark.
            searched = max(begin, len(self.text) - len(mark) + 1)
            if within is not None and searched > begin:
                _check_name(within, self.text[begin:searched])
            yield from self.wait()
        if within is not None:
            _check_name(within, self.text[begin:end])
        self.at = end + len(mark)
        return self.text[begin:end]

    def until_followed(self, mark: str, followers: Sequence[str]) -> Reader[str]:
        """The text before the first mark that one of the followers follows; reads text and mark.

        White space may be between mark and follower; the follower is not read. If no mark is
        followed so, the text ends at the first mark.

        Args:
            mark: the mark.
            followers: none of them begins with white space.

        Raises:
            CutError: the text is complete and has no mark.
        """
        begin = searched = self.at
        first = -1
        while True:
            end = self.text.find(mark, searched)
            if end < 0:
                if self.complete and first >= 0:
                    end = first
                    break
                searched = max(searched, len(self.text) - len(mark) + 1)  # a mark may have begun
                yield from self.wait()
                continue
            first = end if first < 0 else first
            searched = end + len(mark)
            if (yield from self._comes_one(searched, followers)):
                break
        self.at = end + len(mark)
        return self.text[begin:end]

    def _comes_one(self, at: int, words: Sequence[str]) -> Reader[bool]:
        """Whether one of the words comes at a place, or behind white space; or may, if cut."""
        while True:
            found = _BLANKS.match(self.text, at)
            assert found is not None
            at = found.end()
            if any(self.text.startswith(word, at) for word in words):
                return True
            rest = self.text[at : at + max(map(len, words))]
            may_come = any(word.startswith(rest) for word in words)
            if self.complete or not may_come:
                return may_come
            yield None

    def flow(
        self, marks: Sequence[str], *, trims: bool = False
    ) -> Generator[str | None, None, str | None]:
        """Yields the text before the first mark as it comes; returns the mark, which is read.

        Args:
            marks: the marks. No mark is a part of another mark.
            trims: whether white space before a mark, and at the end, is not yielded but `held`.

        Returns:
            The mark. ``None``: the text is complete and has no further mark.
        """
        self.held = ""
        n_blank = 0  # so much white space without a mark has come; text before it may be dropped
        while True:
            blank = self.at + n_blank
            first, mark = self._first(marks, blank)
            end = first if mark or self.complete else first - self.begun(marks)
            certain = end
            if trims:
                size = len(self.text[blank:end].rstrip())
                certain = blank + size if size else self.at
            if certain > self.at:
                piece = self.text[self.at : certain]
                self.at = certain
                yield piece
                n_blank = 0
                continue
            if mark or self.complete:
                self.held = self.text[self.at : end]
                self.at = end + len(mark)
                return mark or None
            n_blank = end - self.at
            yield None

    def _first(self, marks: Sequence[str], begin: int) -> tuple[int, str]:
        """The first mark from a position on, and its place; the longest of those at one place."""
        first, mark = len(self.text), ""
        for each in marks:
            # Not behind the first mark: it may be near, and the end of the text far away.
            place = self.text.find(each, begin, first + len(each))
            if place >= 0 and (place, -len(each)) < (first, -len(mark)):
                first, mark = place, each
        return first, mark

    def json(self) -> Reader[Any]:
        """A JSON value, after white space.

        Raises:
            CutError: the text ends inside the value.
            UnreadableError: something else comes.
        """
        yield from self.space()
        first = yield from self.peek()
        begin = self.at
        end = yield from self.scanned(
            self._nested() if first in '"{[' else self.end_of_run(_SCALAR, may_end=True)
        )
        try:
            value, read = _DECODER.raw_decode(self.text, begin)
        except (ValueError, RecursionError):
            is_cut = first not in '"{[' and end == len(self.text)  # such as tru
            raise (CutError if is_cut else UnreadableError) from None
        if read != end:
            raise UnreadableError
        self.at = end
        return value

    def scanned(self, search: Reader[int]) -> Reader[int]:
        """The end of a value, found by ``search``. The characters are counted."""
        begin = self.at
        try:
            end = yield from search
        except CutError:
            self.n_scanned += len(self.text) - begin
            raise
        self.n_scanned += end - begin
        return end

    def _nested(self) -> Reader[int]:
        """The end of a string, an array or an object, found without parsing it twice."""
        depth, index, quoted = 0, self.at, False
        while True:
            found = (_IN_STRING if quoted else _OUTSIDE).search(self.text, index)
            if found is None:
                index = len(self.text)
                yield from self.wait()
                continue
            index = found.end()
            if found.group() == "\\":
                while len(self.text) <= index:
                    yield from self.wait()
                index += 1
            elif found.group() == '"':
                quoted = not quoted
            else:
                depth += 1 if found.group() in "{[" else -1
            if depth <= 0 and not quoted:
                return index

    def end_of_run(self, characters: re.Pattern[str], *, may_end: bool = False) -> Reader[int]:
        """The end of the characters that match a pattern of any number of characters.

        Args:
            characters: the pattern.
            may_end: whether the text may end with these characters.

        Raises:
            CutError: the text ends with them, but may not.
            UnreadableError: there are none, or too many.
        """
        while True:
            found = characters.match(self.text, self.at)
            assert found is not None
            size = found.end() - self.at
            if size > _LONGEST:
                raise UnreadableError
            if found.end() < len(self.text) or (may_end and self.complete):
                if not size:
                    raise UnreadableError
                return found.end()
            yield from self.wait()

    def begun(self, marks: Sequence[str]) -> int:
        """The length of the longest end of the text that may begin a mark."""
        longest = max(map(len, marks), default=1) - 1
        rest = self.text[max(self.at, len(self.text) - longest) :]
        for size in range(min(longest, len(rest)), 0, -1):
            if any(mark.startswith(rest[-size:]) for mark in marks):
                return size
        return 0


def _check_name(within: str, name: str) -> None:
    if len(name) > _LONGEST or not re.fullmatch(within, name):
        raise UnreadableError


def json_text(value: Any) -> str:
    """A value as JSON text in UTF-8.

    Raises:
        UnreadableError: JSON has no such value, for example an infinite number.
    """
    try:
        text = json.dumps(value, ensure_ascii=False, allow_nan=False)
        return text if text.isascii() or _is_text(text) else json.dumps(value)
    except (TypeError, ValueError, RecursionError):
        raise UnreadableError from None


def _is_text(text: str) -> bool:
    """False for lone surrogates."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
