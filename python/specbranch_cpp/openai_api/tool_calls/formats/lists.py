"""Families that write a JSON object, or a list of them, behind a mark."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from specbranch_cpp._grammar.regex import literal_of
from specbranch_cpp.openai_api.tool_calls.incoming_text import json_text
from specbranch_cpp.openai_api.tool_calls.tool_format import (
    CallReader,
    Functions,
    ToolFormat,
    argument_rules,
    call_list,
    call_object,
    many_of,
    object_rule,
)

if TYPE_CHECKING:
    from specbranch_cpp._grammar.rule_book import RuleBook
    from specbranch_cpp.openai_api.tool_calls.declarations import Tools
    from specbranch_cpp.openai_api.tool_calls.incoming_text import IncomingText

__all__ = [
    "FormatCommand",
    "FormatFire",
    "FormatGigaChat",
    "FormatGranite",
    "FormatNemotron",
    "FormatPhi",
]


_SPACE = "[ \\n]{0,12}"
_ID, _NAME, _PARAMETERS = '"tool_call_id": "', '"tool_name": ', '"parameters": '
_COMMA = '",'


class _List(ToolFormat):
    """A list, and the mark after it."""

    end: ClassVar[str] = ""

    def read(self, source: IncomingText, mark: str, functions: Functions) -> CallReader:  # noqa: ARG002
        yield from call_list(source)
        if self.end:
            yield from source.closing(self.end)

    def body(self, tools: Tools, book: RuleBook, *, many: bool) -> str:
        calls = many_of(self._one(tools, book), f'"," {_SPACE}', many=many)
        return f'"[" {_SPACE} {calls} {_SPACE} {literal_of("]" + self.end)}'

    def _one(self, tools: Tools, book: RuleBook) -> str:
        return object_rule(tools, book, "arguments")


class FormatPhi(_List):
    """``<|tool_call|>[{"name": ..., "arguments": {...}}]<|/tool_call|>``: Phi-4-mini."""

    name = "phi4"
    marks = ("<|tool_call|>",)
    opening = "<|tool_call|>"
    end = "<|/tool_call|>"
    inner = ("<|/tool_call|>",)


class FormatGranite(_List):
    """``<|tool_call|>[{"name": ..., "arguments": {...}}]``: Granite 3."""

    name = "granite3"
    marks = ("<|tool_call|>", "<tool_call>")
    opening = "<|tool_call|>"

    def read(self, source: IncomingText, mark: str, functions: Functions) -> CallReader:
        yield from super().read(source, mark, functions)
        if mark == "<tool_call>":
            yield from source.closing("</tool_call>")


class FormatCommand(_List):
    """Command R7B and A: behind ``<|START_ACTION|>``, with other names of the members."""

    name = "command-r7b"
    marks = ("<|START_ACTION|>",)
    opening = "<|START_ACTION|>"
    end = "<|END_ACTION|>"
    inner = ("<|END_ACTION|>",)
    hidden = ("<|START_RESPONSE|>", "<|END_RESPONSE|>")

    def _one(self, tools: Tools, book: RuleBook) -> str:
        first = f'"{{" {_SPACE} {literal_of(_ID)} [0-9]+ {literal_of(_COMMA)} {_SPACE}'
        ways = [
            f"{literal_of(_NAME + json_text(name) + _COMMA[1:])} {_SPACE} "
            f"{literal_of(_PARAMETERS)} {rule}"
            for name, rule in argument_rules(tools, book).items()
        ]
        return book.add(f'{first} ({" | ".join(ways)}) "}}"')


class FormatNemotron(_List):
    """``<TOOLCALL>[{"name": ..., "arguments": {...}}]</TOOLCALL>``: Nemotron."""

    name = "nemotron"
    marks = ("<TOOLCALL>",)
    opening = "<TOOLCALL>"
    end = "</TOOLCALL>"


class FormatGigaChat(ToolFormat):
    """``<|function_call|>{"name": ..., "arguments": {...}}``, one in an answer: GigaChat 3.1."""

    name = "gigachat3.1"
    marks = ("<|function_call|>",)
    opening = "<|function_call|>"

    def read(self, source: IncomingText, mark: str, functions: Functions) -> CallReader:  # noqa: ARG002
        yield from source.space()
        yield from call_object(source)

    def body(self, tools: Tools, book: RuleBook, *, many: bool) -> str:  # noqa: ARG002
        return object_rule(tools, book, "arguments")


class FormatFire(_List):
    """``functools[{"name": ..., "arguments": {...}}]``: FireFunction."""

    name = "firefunction"
    plain = ("functools[",)
    opening = "functools"

    def read(self, source: IncomingText, mark: str, functions: Functions) -> CallReader:
        source.at -= 1  # the bracket belongs to the list
        yield from super().read(source, mark, functions)
