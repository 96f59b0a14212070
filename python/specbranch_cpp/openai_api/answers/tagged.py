"""Reads answers whose thoughts and calls are between marks in the text.

Calls count where the model makes them, not where it shows them or thinks about them:

- A call behind a mark of its format is a call wherever it stands in the content.
- JSON without such a mark is a call at the beginning of the answer, if the format says so
  (`ToolFormat.leads`). In the formats of models that have no format of their own it is one only if
  the whole answer, after the thought, consists of such calls (`ToolFormat.sole`): an object,
  several ones, a list, or one block of code with them. Beside other text it is an example, and
  stays content. If a limit cuts the answer, the complete calls before the cut count.
- A mark in a thought ends the thought if a call of a known function follows and the thought is
  never closed: the model has forgotten to close it. If the end of the thought follows, the call
  was only considered, and is a part of the thought. One exception: if the end follows directly
  behind the calls, and nothing follows the end, the calls are all that the model answers, so they
  count. Until this is known, a stream waits. JSON without a mark never ends a thought.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from specbranch_cpp.openai_api.answers.parts import (
    CallBroken,
    CallEnd,
    CallPiece,
    CallStart,
    Text,
    TextRange,
    Thought,
)
from specbranch_cpp.openai_api.answers.thoughts import THINK
from specbranch_cpp.openai_api.answers.trial import tried
from specbranch_cpp.openai_api.tool_calls.incoming_text import CutError, UnreadableError, json_text
from specbranch_cpp.openai_api.tool_calls.tool_format import Argument, Start

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

    from specbranch_cpp.openai_api.answers.parts import Part, PartReader
    from specbranch_cpp.openai_api.answers.thoughts import ThoughtMarks
    from specbranch_cpp.openai_api.tool_calls.incoming_text import IncomingText, Reader
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
        self._dropped: tuple[str, ...] = ()  # an end of the thought behind calls that ended it

    def parts(self) -> PartReader:
        """Reads the whole answer."""
        yield from self._first_thought()
        form = self._rules.form
        if form is None:
            yield from self._plain((), trims=False)
            return
        if form.leads or form.sole:
            yield from self._leading_calls(form)
        plain = [mark for mark in form.plain if mark not in form.sole]
        hidden = (*form.hidden, *self._dropped)
        marks = (*form.marks, *plain, *hidden)
        while not self._is_full:
            mark = yield from self._plain(marks if self._n_wasted < _MOST_WASTED else ())
            if mark is None:
                return
            if mark not in hidden:
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
        yield from self._thought(marks.end)
        yield from source.space()

    def _thought(self, end: str) -> PartReader:
        """The thought up to its end, or up to the call that ends it."""
        source, form = self._source, self._rules.form
        calls = () if form is None else form.marks
        while True:
            mark = yield from self._flow((end, *calls), Thought, trims=True)
            if form is None or mark is None or mark == end:
                return
            held, begin, n_scanned = source.held, source.at - len(mark), source.n_scanned
            ends = yield from self._end_thought(form, mark, end)
            if ends:
                source.at = begin
                return
            self._n_wasted += source.n_scanned - n_scanned
            if ends is False or self._n_wasted >= _MOST_WASTED:
                calls = ()
            source.at = begin + 1
            yield self._piece(Thought, held + source.text[begin])

    def _end_thought(self, form: ToolFormat, mark: str, end: str) -> Reader[bool | None]:
        """Whether calls behind a mark, which is read, end the thought.

        Args:
            form: the format.
            mark: the mark.
            end: the end of the thought.

        Returns:
            False: the thought is closed later. ``None``: no call follows the mark.
        """
        source = self._source
        behind: int | None = None  # the position behind the calls
        found: str | None = mark
        while found is not None:
            reader = form.read(source, found, self._rules.functions)
            trial = yield from tried(source, reader, self._rules.functions)
            if not trial.has_call:
                break
            behind = source.at = trial.end
            if trial.is_cut:
                break
            yield from source.space()
            found = yield from source.one_of(form.marks)
        if behind is None:
            return None
        if found is None and (yield from source.accepts(end)):
            # Directly behind the calls.
            yield from source.space()
            if source.at == len(source.text):
                self._dropped = (end,)
                return True
            return False
        source.at = behind
        return not (yield from source.comes(end))

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
                yield self._piece(kind, piece)

    def _text(self, piece: str) -> PartReader:
        """Content, without white space between calls."""
        if piece and (piece.strip() or not self._n_calls):
            yield self._piece(Text, piece)

    def _piece(self, kind: type[Text | Thought], piece: str) -> Text | Thought:
        """The part for the text directly before the position."""
        return kind(piece, self._ranges(len(piece)))

    def _ranges(self, size: int) -> tuple[TextRange, ...]:
        """The range of the last characters before the position."""
        end = self._source.place
        return (TextRange(end - size, end),)

    def _leading_calls(self, form: ToolFormat) -> PartReader:
        """Calls without a mark, if nothing is before them."""
        source = self._source
        begin = source.at
        yield from source.space()
        place = source.at
        lead = yield from source.one_of((*form.leads, *form.sole))
        if lead is not None:
            is_part = lead in form.leads
            if is_part:
                source.at = place  # the lead is a part of the call
            counts = lead not in form.sole or (yield from self._is_all(form, lead))
            if counts and (yield from self._complete_calls(form, lead, partly=is_part)):
                return
        source.at = begin

    def _is_all(self, form: ToolFormat, mark: str) -> Reader[bool]:
        """Whether the rest of the answer consists of calls. The position stays."""
        source = self._source
        begin, functions = source.at, self._rules.functions
        trial = yield from tried(source, form.read(source, mark, functions), functions)
        yield from source.space()
        is_all = trial.is_cut or (trial.is_whole and source.at == len(source.text))
        source.at = begin
        return is_all

    def _calls_behind(self, form: ToolFormat, mark: str) -> PartReader:
        source, held, before = self._source, self._source.held, self._n_calls
        begin, n_scanned = source.at - len(mark), source.n_scanned
        if mark in form.plain:
            whole = yield from self._complete_calls(form, mark, partly=False)
        else:
            reader = form.read(source, mark, self._rules.functions)
            n_held = 0 if self._n_calls else len(held)
            whole = yield from self._calls(reader, begin, n_held)
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

    def _calls(
        self, reader: CallReader, begin: int, n_held: int = 0
    ) -> Generator[Part | None, None, bool]:
        """Reads calls.

        Args:
            reader: the reader of the format.
            begin: the position at which the text of the calls begins.
            n_held: the length of the white space before it, which is content if the first call is
                no call.

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
                    is_open, begin, n_held = False, source.at, 0
                    if not self._rules.many:
                        self._is_full = True
                        return True
        except UnreadableError as error:
            is_cut = isinstance(error, CutError)
            if is_open:
                if is_cut:
                    source.at = len(source.text)
                text = source.text[begin - n_held : source.at]
                yield CallBroken(self._n_calls, text, self._ranges(len(text)))
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
