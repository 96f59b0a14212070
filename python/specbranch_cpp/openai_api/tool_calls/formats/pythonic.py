"""Families that write calls in Python: LFM2, Llama 3.2 and 4, Gemma, OLMo 3.

<|tool_call_start|>[f(a="x", b=2)]<|tool_call_end|>
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, ClassVar

from specbranch_cpp._grammar.json_schema import grammar_of
from specbranch_cpp._grammar.regex import literal_of
from specbranch_cpp.errors import InvalidArgument
from specbranch_cpp.openai_api.tool_calls.incoming_text import Reader, UnreadableError, json_text
from specbranch_cpp.openai_api.tool_calls.parameters import Value, parameters_of, python_value
from specbranch_cpp.openai_api.tool_calls.tool_format import (
    Argument,
    CallReader,
    End,
    Functions,
    Start,
    ToolFormat,
    many_of,
    separated,
)

if TYPE_CHECKING:
    from specbranch_cpp._grammar.rule_book import RuleBook
    from specbranch_cpp.openai_api.tool_calls.declarations import Tools
    from specbranch_cpp.openai_api.tool_calls.incoming_text import IncomingText

__all__ = ["FormatGemma", "FormatLfm2", "FormatLlamaPythonic", "FormatOlmo"]

_NAME = r"[\w.-]*\s*"
_SPECIAL = re.compile(r"""["'()\[\]{},\\]""")


class _Pythonic(ToolFormat):
    """Calls in a list, or one after the other.

    Attributes:
        end: the mark after the calls.
        edges: the text before the first and after the last call, in the grammar.
        comma: the text between two calls, in the grammar.
    """

    end: ClassVar[str] = ""
    edges: ClassVar[tuple[str, str]] = ("[", "]")
    comma: ClassVar[str] = ", "

    def read(self, source: IncomingText, mark: str, functions: Functions) -> CallReader:  # noqa: ARG002
        yield from source.space()
        in_list = yield from source.accepts("[")
        while True:
            yield from source.space()
            yield from _call(source)
            if in_list and (yield from source.closing("]")):
                break
            if in_list:
                yield from source.space()
                yield from source.word(",")
            elif not (yield from self._goes_on(source)):
                break
        if self.end:
            yield from source.closing(self.end)

    def body(self, tools: Tools, book: RuleBook, *, many: bool) -> str:
        first, last = self.edges
        calls = many_of(_one_of(_rests(tools, book), book), literal_of(self.comma), many=many)
        end = self.end if self.opening else ""
        return f"{literal_of(first)} {calls} {literal_of(last + end)}"

    def _goes_on(self, source: IncomingText) -> Reader[bool]:
        """Whether another call follows on the next line."""
        begin = source.at
        yield from source.space()
        if source.at == len(source.text):
            return False
        character = yield from source.peek()
        if character == "_" or character.isalpha():
            return True
        source.at = begin
        return False


class FormatLfm2(_Pythonic):
    """``<|tool_call_start|>[f(a="x")]<|tool_call_end|>``: LFM2."""

    name = "lfm2"
    marks = ("<|tool_call_start|>",)
    inner = ("<|tool_call_end|>",)
    opening = "<|tool_call_start|>"
    end = "<|tool_call_end|>"


class FormatOlmo(_Pythonic):
    """``<function_calls>`` with one call in each line: OLMo 3."""

    name = "olmo3"
    marks = ("<function_calls>",)
    opening = "<function_calls>"
    end = "</function_calls>"
    edges = ("\n", "\n")
    comma = "\n"


class FormatGemma(_Pythonic):
    """A block of code with the name ``tool_code``: Gemma 3."""

    name = "gemma-tool-code"
    plain = ("```tool_code",)
    opening = "```tool_code"
    end = "```"
    edges = ("\n", "\n")
    comma = "\n"


class FormatLlamaPythonic(_Pythonic):
    """``[f(a="x"), g()]`` and nothing else: Llama 3.2 and 4."""

    name = "llama-pythonic"
    marks = ("<|python_start|>",)
    inner = ("<|python_end|>",)
    leads = ("[",)
    end = "<|python_end|>"

    def starts(self, tools: Tools, book: RuleBook) -> dict[str, str]:
        rests = _rests(tools, book)
        more = f'(", " {_one_of(rests, book)})* "]"'
        return {f"[{name}(": f"{rest} {more}" for name, rest in rests.items()}


def _call(source: IncomingText) -> CallReader:
    """``f(a="x")``, also inside ``print(...)``."""
    called = (yield from source.until("(", within=_NAME)).strip()
    is_printed = called == "print"
    if is_printed:
        yield from source.space()
        called = (yield from source.until("(", within=_NAME)).strip()
    if not called:
        raise UnreadableError
    yield Start(called)
    yield from source.space()
    while not (yield from source.accepts(")")):
        key = (yield from source.until("=", within=r"\w*\s*")).strip()
        if not key:
            raise UnreadableError
        begin = source.at
        source.at = yield from source.scanned(_end_of_literal(source))
        written = source.text[begin : source.at]
        yield Argument(key, json_text(python_value(written)))
        if not (yield from source.accepts(",")):
            yield from source.word(")")
            break
        yield from source.space()
    if is_printed:
        yield from source.space()
        yield from source.word(")")
    yield End()


def _end_of_literal(source: IncomingText) -> Reader[int]:
    """The position of the comma or the parenthesis after a value."""
    index, depth, quote = source.at, 0, ""
    while True:
        found = _SPECIAL.search(source.text, index)
        if found is None:
            index = len(source.text)
            yield from source.wait()
            continue
        character = found.group()
        if not quote and depth == 0 and character in ",)":
            return found.start()
        index = found.end()
        if character == "\\":
            while len(source.text) <= index:
                yield from source.wait()
            index += 1
        elif character in "\"'" and (not quote or quote[0] == character):
            quotes = yield from _quotes(source, found.start())
            if not quote:
                index, quote = found.start() + len(quotes), quotes
            elif len(quotes) >= len(quote):
                index, quote = found.start() + len(quote), ""
        elif quote:
            continue
        elif character in "([{":
            depth += 1
        elif character in ")]}":
            depth -= 1
            if depth < 0:
                raise UnreadableError


def _quotes(source: IncomingText, begin: int) -> Reader[str]:
    """The quote at a position, or three of them."""
    three = source.text[begin] * 3
    while three != source.text[begin : begin + 3]:
        if source.complete or not three.startswith(source.text[begin : begin + 3]):
            return three[0]
        yield from source.wait()
    return three


def _rests(tools: Tools, book: RuleBook) -> dict[str, str]:
    """For each function, the rule of what follows its name and the parenthesis."""
    return {
        name: book.add(f'{_arguments(book, schema, where, strict)} ")"')
        for name, (schema, where, strict) in zip(tools.forced, tools.schemas(), strict=True)
    }


def _one_of(rests: dict[str, str], book: RuleBook) -> str:
    return book.add(" | ".join(f"{literal_of(n + '(')} {rest}" for n, rest in rests.items()))


def _arguments(book: RuleBook, schema: object, where: str, strict: bool) -> str:
    """Keyword arguments in the order of the schema, with commas between them."""
    known = parameters_of(schema, where, strict=strict)
    if known is None:
        one = book.add(f'[a-zA-Z_] [a-zA-Z0-9_]* "=" {_value(book, Value({}, where, False))}')
        return f'({one} (", " {one})*)?'
    items = [
        (book.add(f"{literal_of(name + '=')} {_value(book, one)}"), needed)
        for name, (one, needed) in known.items()
    ]
    return separated(book, items, ", ")


def _value(book: RuleBook, value: Value) -> str:
    """A value as JSON, where Python's names are allowed, too, unless only llguidance knows it."""
    try:
        grammar = grammar_of(value.schema or True, value.where, strict=value.strict)
    except InvalidArgument:
        return book.schema(value.schema, value.where, strict=value.strict)
    for ours, pythons in (("true", "True"), ("false", "False"), ("null", "None")):
        grammar = grammar.replace(f'"{ours}"', f'("{ours}" | "{pythons}")')
    return book.include(grammar)
