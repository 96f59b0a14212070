"""The interface of a format of tool calls, and what several formats share."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Generator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Union

from specbranch_cpp._grammar.regex import literal_of
from specbranch_cpp.openai_api.tool_calls.incoming_text import (
    IncomingText,
    UnreadableError,
    json_text,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from specbranch_cpp._grammar.rule_book import RuleBook
    from specbranch_cpp.openai_api.tool_calls.declarations import Tools

__all__ = [
    "Argument",
    "CallReader",
    "End",
    "Functions",
    "Start",
    "ToolFormat",
    "argument_rules",
    "arguments",
    "call_list",
    "call_object",
    "call_objects",
    "many_of",
    "marked_calls",
    "object_rule",
    "object_starts",
    "separated",
]


@dataclass(frozen=True)
class Start:
    """A call begins. ``id``: the id that the model wrote; ``None``: it wrote none."""

    name: str
    id: str | None = None


@dataclass(frozen=True)
class Argument:
    """An argument, as JSON text."""

    name: str
    value: str


@dataclass(frozen=True)
class End:
    """The call is complete."""


CallReader = Generator[Union[Start, Argument, End, None], None, None]  # noqa: UP007 (Python 3.10)
"""A reader that yields the parts of calls, and ``None`` where it needs more text."""

Functions = Mapping[str, Mapping[str, Any]]
"""The declared functions by name."""

_NAMES = ("name", "tool_name")
_ARGUMENTS = ("arguments", "parameters")
_BESIDE = ("id", "tool_call_id", "type")
_FUNCTION = "function"


class ToolFormat(ABC):
    """A format of tool calls.

    Attributes:
        name: the name that users see.
        marks: strings with which calls may begin. No mark is a part of another mark.
        inner: names of further control tokens in calls.
        plain: marks with which other text may begin, too. Their calls are told when they are
            complete, and the text stays content if it is no call.
        leads: strings with which calls may begin if nothing is before them; they are `plain`.
        sole: those of `plain` and `leads` whose calls count only if they are the whole answer.
            Beside other text they are examples.
        hidden: strings that are no content, such as marks around the answer.
        opening: the string with which the grammar begins calls. A free text is held to the format
            after this string; empty: only forced calls are held.
        prompted: a mark with which the prompt may end already.
    """

    name: str
    marks: tuple[str, ...] = ()
    inner: tuple[str, ...] = ()
    plain: tuple[str, ...] = ()
    leads: tuple[str, ...] = ()
    sole: tuple[str, ...] = ()
    hidden: tuple[str, ...] = ()
    opening: str = ""
    prompted: str = ""

    @abstractmethod
    def read(self, source: IncomingText, mark: str, functions: Functions) -> CallReader:
        """Reads calls behind a mark, which the source has read already.

        Raises:
            UnreadableError: the text is no call, or not after this position.
        """

    @abstractmethod
    def body(self, tools: Tools, book: RuleBook, *, many: bool) -> str:
        """An expression for calls of ``tools.forced``, after `opening`.

        Args:
            tools: the functions.
            book: gets the rules of the expression.
            many: whether there may be several calls.

        Raises:
            InvalidArgument: a grammar cannot express the schema of a function.
        """

    def starts(self, tools: Tools, book: RuleBook) -> dict[str, str]:  # noqa: ARG002
        """Beginnings of an answer that can only be a call, and the expression of the rest.

        A free text is held to the format after them, too.
        """
        return {}

    def grammar(self, tools: Tools, book: RuleBook) -> str:
        """The name of a rule for calls, which the model must make."""
        body = self.body(tools, book, many=tools.many)
        return book.add(f"{literal_of(self.opening)} {body}" if self.opening else body)


def argument_rules(tools: Tools, book: RuleBook) -> dict[str, str]:
    """For each of ``tools.forced``, the rule of its arguments as a JSON object."""
    return {
        name: book.schema(schema, where, strict=strict)
        for name, (schema, where, strict) in zip(tools.forced, tools.schemas(), strict=True)
    }


def object_rule(tools: Tools, book: RuleBook, key: str) -> str:
    """The rule of an object with the name of one of ``tools.forced``, then its arguments.

    Args:
        tools: the functions.
        book: gets the rules.
        key: the name of the member with the arguments.
    """
    frames = [{"name": name} for name in tools.forced]
    return book.objects(frames, tools.schemas(), key)


def object_starts(tools: Tools, book: RuleBook, key: str) -> dict[str, str]:
    """`ToolFormat.starts` for objects with the name first, then the arguments."""
    between = f'"," " "? {literal_of(json_text(key))} ":" " "?'
    return {
        f'{{"name": {json_text(name)}': f'{between} {rule} "}}"'
        for name, rule in argument_rules(tools, book).items()
    }


def many_of(one: str, between: str, *, many: bool) -> str:
    """An expression for one call, or for several."""
    return f"{one} ({between} {one})*" if many else one


def separated(book: RuleBook, items: list[tuple[str, bool]], comma: str) -> str:
    """A rule for items of which some may be left out, with commas between those that are there.

    Args:
        book: gets the rules.
        items: the rule of each item, and whether it must be there.
        comma: the text between two items.
    """
    follow = '""'  # what may follow an item
    begin = '""'  # what may follow the beginning
    for rule, needed in reversed(items):
        with_comma = f"{literal_of(comma)} {rule} {follow}"
        alone = f"{rule} {follow}"
        follow = book.add(with_comma if needed else f"{with_comma} | {follow}")
        begin = book.add(alone if needed else f"{alone} | {begin}")
    return begin


def marked_calls(
    source: IncomingText,
    read_one: Callable[[IncomingText], CallReader],
    *,
    call: str,
    called: str,
    end: str,
) -> CallReader:
    """Calls one after another, each between the marks ``call`` and ``called``, up to ``end``."""
    yield from source.space()
    yield from source.word(call)
    while True:
        yield from read_one(source)
        yield from source.closing(called)
        if not (yield from source.closing(call)):
            break
    yield from source.closing(end)


def call_list(source: IncomingText) -> CallReader:
    """A list of call objects, or a single object."""
    yield from source.space()
    if not (yield from source.accepts("[")):
        yield from call_object(source)
        return
    while True:
        yield from source.space()
        yield from call_object(source)
        yield from source.space()
        if (yield from source.accepts("]")):
            return
        yield from source.word(",")


def call_objects(source: IncomingText) -> CallReader:
    """Objects one after the other, also with semicolons or commas between them."""
    while True:
        yield from call_object(source)
        end = source.at
        yield from source.space()
        for mark in ";,":
            if (yield from source.accepts(mark)):
                yield from source.space()
                break
        if source.at == len(source.text):
            return
        if (yield from source.peek()) != "{":
            source.at = end
            return


def call_object(source: IncomingText) -> CallReader:
    """``{"name": ..., "arguments": {...}}``, also with the old names of these members.

    Some models write the object of a message, ``{"type": "function", "function": {...}}``.
    """
    yield from _call_members(source, whole=True)
    yield End()


def _call_members(source: IncomingText, *, whole: bool) -> CallReader:
    """The name and the arguments. ``whole``: they may be those of a member ``function``."""
    is_named = False
    late: Any = None  # arguments before the name
    known = (*_NAMES, *_ARGUMENTS, *_BESIDE, *((_FUNCTION,) if whole else ()))
    first = True
    yield from source.word("{")
    while True:
        key = yield from source.json()
        if first and key not in known:
            raise UnreadableError
        first = False
        yield from source.space()
        yield from source.word(":")
        yield from source.space()
        if key == _FUNCTION and whole and not is_named and (yield from source.peek()) == "{":
            yield from _call_members(source, whole=False)
            is_named = True
        elif key in _NAMES and not is_named:
            name = yield from source.json()
            if not isinstance(name, str):
                raise UnreadableError
            yield Start(name)
            is_named = True
        elif key in _ARGUMENTS and is_named:
            yield from arguments(source)
        else:
            value = yield from source.json()
            late = value if key in _ARGUMENTS else late
        yield from source.space()
        if (yield from source.accepts("}")):
            break
        yield from source.word(",")
    if not is_named:
        raise UnreadableError
    if late is not None:
        yield from _members_of(late)


def arguments(source: IncomingText) -> CallReader:
    """The arguments as an object, or as the JSON text of an object."""
    yield from source.space()
    if (yield from source.peek()) != "{":
        yield from _members_of((yield from source.json()))
        return
    yield from source.word("{")
    yield from source.space()
    if (yield from source.accepts("}")):
        return
    while True:
        key = yield from source.json()
        if not isinstance(key, str):
            raise UnreadableError
        yield from source.space()
        yield from source.word(":")
        value = yield from source.json()
        yield Argument(key, json_text(value))
        yield from source.space()
        if (yield from source.accepts("}")):
            return
        yield from source.word(",")


def _members_of(value: Any) -> CallReader:
    if isinstance(value, str):
        try:
            value = json.loads(value, strict=False) if value.strip() else {}
        except (ValueError, RecursionError):
            raise UnreadableError from None
    if value is None:
        return
    if not isinstance(value, Mapping):
        raise UnreadableError
    for key, one in value.items():
        yield Argument(key, json_text(one))
