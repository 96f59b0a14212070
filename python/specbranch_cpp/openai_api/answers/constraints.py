"""The grammar of a whole answer: a thought first, then JSON, forced calls, or free text with calls.

A free text is held to the format of calls once a call has begun. The grammar says what may follow
each mark, so the engine needs no trigger: text without a mark may be anything.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from specbranch_cpp._grammar import library
from specbranch_cpp._grammar.ambiguity import check_ambiguity
from specbranch_cpp._grammar.books import best_book
from specbranch_cpp._grammar.cost import check_cost
from specbranch_cpp._grammar.log_lines import indented
from specbranch_cpp._grammar.regex import literal_of
from specbranch_cpp._grammar.rule_book import RuleBook
from specbranch_cpp.errors import InvalidArgument
from specbranch_cpp.grammars import JsonSchema, Lark
from specbranch_cpp.openai_api.tool_calls.declarations import Tools
from specbranch_cpp.openai_api.tool_calls.formats.harmony import (
    CHANNEL,
    CONSTRAIN,
    ENDS,
    MESSAGE,
    RECIPIENT,
    START,
    FormatHarmony,
)

if TYPE_CHECKING:
    from specbranch_cpp.openai_api.answers.thoughts import ThoughtMarks
    from specbranch_cpp.openai_api.tool_calls.tool_format import ToolFormat

__all__ = ["AnswerShape", "calls_or_ruled_text", "forced_calls", "free_text", "ruled_text"]

_SPACE = "[ \\t\\n]{0,4}"
_ASSISTANT = literal_of(f"{START}assistant")
_ANY_OBJECT = {"type": "object"}

NewBook = Callable[[], RuleBook]
"""Makes an empty book."""


@dataclass(frozen=True)
class AnswerShape:
    """What comes before the part that a grammar rules.

    Attributes:
        thought: the marks of a thought with which the answer may begin. ``None``: it may not.
        is_open: whether the prompt has begun the thought.
        channels: whether the answer has the channels of gpt-oss.
    """

    thought: ThoughtMarks | None = None
    is_open: bool = False
    channels: bool = False

    @property
    def is_plain(self) -> bool:
        """Whether the ruled part is the whole answer."""
        return self.thought is None and not self.channels

    def before(self, book: RuleBook, rule: str, *, may_end: bool = False) -> str:
        """An expression for an answer with the rule after the thought.

        Args:
            book: gets the rules.
            rule: the name of a rule.
            may_end: whether the answer may end inside the thought.
        """
        if self.channels:
            return _after_analysis(book, rule)
        if self.thought is None:
            return rule
        after = f"{_SPACE} {rule}"
        thinking = book.until({self.thought.end: after}, may_end=may_end)
        if self.is_open:
            return thinking
        return f"{_SPACE} {literal_of(self.thought.begin)} {thinking} | {rule}"


def ruled_text(schema: JsonSchema, shape: AnswerShape, new_book: NewBook = best_book) -> str | Lark:
    """The grammar of an answer that follows a schema after its thought."""
    book = new_book()
    return book.grammar(shape.before(book, _ruled(schema, shape, book)))


def calls_or_ruled_text(
    tools: Tools,
    form: ToolFormat,
    schema: JsonSchema,
    shape: AnswerShape,
    new_book: NewBook = best_book,
) -> str | Lark:
    """The grammar of an answer with calls, or else with a text that follows a schema."""
    book = new_book()
    calls = form.grammar(_freed(tools, new_book, any_arguments=False), book)
    rule = book.add(f"{calls} | {_ruled(schema, shape, book)}")
    return book.grammar(shape.before(book, rule))


def _ruled(schema: JsonSchema, shape: AnswerShape, book: RuleBook) -> str:
    """The rule of a text that follows a schema, in its channel."""
    rule = book.schema(schema.schema, schema.name, strict=schema.strict)
    if not shape.channels:
        return rule
    final = f'{literal_of(CHANNEL + "final")} (" "? {literal_of(CONSTRAIN)} "json")?'
    return book.add(f"{final} {literal_of(MESSAGE)} {rule}")


def forced_calls(
    tools: Tools, form: ToolFormat, shape: AnswerShape, new_book: NewBook = best_book
) -> str | Lark:
    """The grammar of an answer with calls of ``tools.forced``."""
    book = new_book()
    return book.grammar(shape.before(book, form.grammar(tools, book)))


def free_text(
    tools: Tools, form: ToolFormat, shape: AnswerShape, new_book: NewBook = best_book
) -> str | Lark | None:
    """The grammar of a text that is free until a call begins. ``None``: it is always free.

    A function whose schema a grammar cannot express may get any arguments.
    """
    try:
        given = json.dumps(tools.given)
    except (TypeError, ValueError, RecursionError):  # no JSON: a caller in Python
        return None
    return _free_text(given, tools.many, type(form), shape, new_book)


@lru_cache(maxsize=32)
def _free_text(
    given: str, many: bool, kind: type[ToolFormat], shape: AnswerShape, new_book: NewBook
) -> str | Lark | None:
    """Cached, because the requests of an agent have the same tools."""
    tools = Tools(tuple(json.loads(given)), many=many)
    for any_arguments in (False, True):
        book = new_book()
        try:
            freed = _freed(tools, new_book, any_arguments=any_arguments)
            text = _text_with_calls(freed, kind(), shape, book)
            if text is None:
                return None
            grammar = book.grammar(text)
            _check(grammar)
        except InvalidArgument:
            continue
        return grammar
    return None


def _check(grammar: str | Lark) -> None:
    """Checks that a grammar is not too large, and not too ambiguous.

    Raises:
        InvalidArgument: it is.
    """
    if isinstance(grammar, str):
        check_cost(grammar)
        check_ambiguity(indented(grammar))
    elif (reason := library.refusal(grammar.text)) is not None:
        raise InvalidArgument(f"the grammar of the answer is refused: {reason}")


def _freed(tools: Tools, new_book: NewBook, *, any_arguments: bool) -> Tools:
    """The tools as if all were forced, with schemas that a grammar can express."""
    given = []
    for tool in tools.given:
        function = tool["function"]
        try:
            if any_arguments:
                raise InvalidArgument("every object is allowed")
            if function.get("parameters"):
                name = f"the schema of {function['name']!r}"
                new_book().schema(function["parameters"], name, strict=False)
        except InvalidArgument:
            function = {**function, "parameters": _ANY_OBJECT}
        given.append({**tool, "function": {**function, "strict": False}})
    return Tools(tuple(given), tuple(tools.functions), tools.many)


def _text_with_calls(
    tools: Tools, form: ToolFormat, shape: AnswerShape, book: RuleBook
) -> str | None:
    """The text, or ``None`` if nothing in it can only be a call."""
    if shape.channels:
        return _messages(tools, book)
    # After a call, the same free text again, or the end.
    loop = book.reserve()
    more = loop if tools.many else ""
    marks = {}
    if form.opening in form.marks:
        marks[form.opening] = f"{book.add(form.body(tools, book, many=False))} {more}"
    starts = {start: f"{rest} {more}" for start, rest in form.starts(tools, book).items()}
    if not marks and not starts:
        return None
    book.define(loop, book.until(marks, may_end=True))
    text = book.until(marks, may_end=True, starts=starts)
    return shape.before(book, text, may_end=True)


def _after_analysis(book: RuleBook, rule: str) -> str:
    """Any number of messages in ``analysis``, then the rule."""
    loop = book.reserve()
    thinking = book.until({ENDS[0]: f"{_ASSISTANT} {loop}"})
    begin = literal_of(f"{CHANNEL}analysis{MESSAGE}")
    book.define(loop, f"{begin} {thinking} | {rule}")
    return loop


def _messages(tools: Tools, book: RuleBook) -> str:
    """Messages of gpt-oss. A header that names a function ends with a call of this function."""
    call = book.add(FormatHarmony().body(tools, book, many=False))
    header = book.reserve()
    text = book.until({ENDS[0]: f"({_ASSISTANT} {header})?"}, may_end=True)
    book.define(header, book.until({MESSAGE: text, RECIPIENT: call}))
    return header
