"""Reads answers whose thoughts and calls are between marks in the text."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from specbranch_cpp.openai_api.answers.parts import (
    CallBroken,
    CallEnd,
    CallPiece,
    CallStart,
    Text,
    Thought,
)
from specbranch_cpp.openai_api.answers.thoughts import THINK
from specbranch_cpp.openai_api.tool_calls.incoming_text import CutError, UnreadableError, json_text
from specbranch_cpp.openai_api.tool_calls.tool_format import Argument, Start

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

    from specbranch_cpp.openai_api.answers.parts import Part, PartReader
    from specbranch_cpp.openai_api.answers.thoughts import ThoughtMarks
    from specbranch_cpp.openai_api.tool_calls.incoming_text import IncomingText
    from specbranch_cpp.openai_api.tool_calls.tool_format import CallReader, Functions, ToolFormat

__all__ = ["AnswerRules", "TaggedReader"]


_MOST_WASTED = 1 << 22
"""Characters that are scanned for what turns out to be no call. Then further marks are content.

Each of many marks may begin a value without an end, so the time would grow with their square.
"""


@dataclass(frozen=True)
class AnswerRules:
    """How to read an answer.

    Attributes:
        form: the format of tool calls. ``None``: the answer has no calls.
        functions: the declared functions by name.
        many: if False, the text after the first call is dropped.
        thought: the marks of a thought. ``None``: the template mentions none.
        opened: the marks of the thought that the prompt has begun. ``None``: it has begun none.
    """

    form: ToolFormat | None = None
    functions: Functions = field(default_factory=dict)
    many: bool = True
    thought: ThoughtMarks | None = None
    opened: ThoughtMarks | None = None


class TaggedReader:
    """Reads an answer: a thought first, then content with calls.

    White space around thoughts and calls is dropped.
    """

    def __init__(self, source: IncomingText, rules: AnswerRules) -> None:
        self._source = source
        self._rules = rules
        self._n_calls = 0
        self._n_wasted = 0
        self._is_full = False  # whether no further call counts

    def parts(self) -> PartReader:
        """Reads the whole answer."""
        yield from self._first_thought()
        form = self._rules.form
        if form is None:
            yield from self._plain((), trims=False)
            return
        if form.leads:
            yield from self._leading_calls(form)
        marks = (*form.marks, *form.plain, *form.hidden)
        while not self._is_full:
            mark = yield from self._plain(marks if self._n_wasted < _MOST_WASTED else ())
            if mark is None:
                return
            if mark not in form.hidden:
                yield from self._calls_behind(form, mark)
        yield from self._drop_rest()

    def _first_thought(self) -> PartReader:
        source, marks = self._source, self._rules.opened
        begin = source.at
        yield from source.space()
        for each in dict.fromkeys((marks or self._rules.thought or THINK, THINK)):
            if (yield from source.accepts(each.begin)):
                marks = each
                break
        if marks is None:
            source.at = begin
            return
        yield from source.space()
        yield from self._flow((marks.end,), Thought, trims=True)
        yield from source.space()

    def _plain(
        self, marks: Sequence[str], *, trims: bool = True
    ) -> Generator[Part | None, None, str | None]:
        """Reads content up to a mark and returns it. ``None``: the text is complete."""
        mark = yield from self._flow(marks, Text, trims=trims)
        if mark is None:
            yield from self._text(self._source.held)
        return mark

    def _flow(
        self, marks: Sequence[str], kind: type[Text | Thought], *, trims: bool
    ) -> Generator[Part | None, None, str | None]:
        flow = self._source.flow(marks, trims=trims)
        while True:
            try:
                piece = next(flow)
            except StopIteration as end:
                mark: str | None = end.value
                return mark
            if piece is None:
                yield None
                continue
            self._source.forget()
            if kind is Text:
                yield from self._text(piece)
            else:
                yield kind(piece)

    def _text(self, piece: str) -> PartReader:
        """Content, without white space between calls."""
        if piece and (piece.strip() or not self._n_calls):
            yield Text(piece)

    def _leading_calls(self, form: ToolFormat) -> PartReader:
        """Calls without a mark, if nothing is before them."""
        source = self._source
        begin = source.at
        yield from source.space()
        for lead in form.leads:
            place = source.at
            if (yield from source.accepts(lead)):
                source.at = place  # the lead is a part of the call
                if (yield from self._complete_calls(form, lead, partly=True)):
                    return
                break
        source.at = begin

    def _calls_behind(self, form: ToolFormat, mark: str) -> PartReader:
        source, held, before = self._source, self._source.held, self._n_calls
        begin, n_scanned = source.at - len(mark), source.n_scanned
        if mark in form.plain:
            whole = yield from self._complete_calls(form, mark, partly=False)
        else:
            whole = yield from self._calls(form.read(source, mark, self._rules.functions), begin)
        if not whole:
            self._n_wasted += source.n_scanned - n_scanned
        if not whole and self._n_calls == before:
            source.at = begin + 1
            yield from self._text(held + source.text[begin])

    def _complete_calls(
        self, form: ToolFormat, mark: str, *, partly: bool
    ) -> Generator[Part | None, None, bool]:
        """Yields calls when the text of all of them is there. False: it is no call.

        Args:
            form: the format.
            mark: the mark before the text.
            partly: whether calls before a fault count.
        """
        source, before = self._source, self._n_calls
        parts: list[Part] = []
        n_good, end = 0, source.at  # up to the end of the last complete call
        reader = self._calls(form.read(source, mark, self._rules.functions), source.at)
        while True:
            try:
                part = next(reader)
            except StopIteration as stop:
                whole: bool = stop.value
                break
            if part is None:
                yield None
                continue
            parts.append(part)
            if isinstance(part, CallEnd):
                n_good, end = len(parts), source.at
        if not whole:
            parts = parts[:n_good] if partly else []
            self._n_calls = before + sum(isinstance(part, CallEnd) for part in parts)
            source.at = end
        yield from parts
        return bool(parts)

    def _calls(self, reader: CallReader, begin: int) -> Generator[Part | None, None, bool]:
        """Reads calls.

        Args:
            reader: the reader of the format.
            begin: the position at which the text of the calls begins.

        Returns:
            Whether all of the text was readable. If not, the position is behind the last call.
        """
        source = self._source
        n_arguments, is_open, n_calls = 0, False, 0
        try:
            for event in reader:
                if event is None:
                    yield None
                elif isinstance(event, Start):
                    if event.name not in self._rules.functions:
                        raise UnreadableError
                    n_arguments, is_open = 0, True
                    yield CallStart(self._n_calls, event.name, event.id)
                elif isinstance(event, Argument):
                    begun = ", " if n_arguments else "{"
                    n_arguments += 1
                    written = f"{begun}{json_text(event.name)}: {event.value}"
                    yield CallPiece(self._n_calls, written)
                else:
                    yield CallPiece(self._n_calls, "}" if n_arguments else "{}")
                    yield CallEnd(self._n_calls)
                    self._n_calls += 1
                    n_calls += 1
                    is_open, begin = False, source.at
                    if not self._rules.many:
                        self._is_full = True
                        return True
        except UnreadableError as error:
            is_cut = isinstance(error, CutError)
            if is_open:
                if is_cut:
                    source.at = len(source.text)
                yield CallBroken(self._n_calls, source.text[begin : source.at])
                self._n_calls += 1
                return False
            if n_calls and is_cut and not any(map(str.isalnum, source.text[begin:])):
                source.at = len(source.text)  # a cut mark between or behind calls
                return True
            source.at = begin
            return False
        return True

    def _drop_rest(self) -> PartReader:
        while not self._source.complete:
            yield None
        self._source.at = len(self._source.text)
