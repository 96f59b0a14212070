"""Mistral: a list of JSON objects, and since 2025 the name before the arguments.

[TOOL_CALLS][{"name": "f", "arguments": {...}}]
[TOOL_CALLS]f[ARGS]{...}
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from specbranch_cpp._grammar.regex import literal_of
from specbranch_cpp.openai_api.tool_calls.incoming_text import UnreadableError
from specbranch_cpp.openai_api.tool_calls.tool_format import (
    CallReader,
    End,
    Functions,
    Start,
    ToolFormat,
    argument_rules,
    arguments,
    call_list,
    many_of,
    object_rule,
)

if TYPE_CHECKING:
    from specbranch_cpp._grammar.rule_book import RuleBook
    from specbranch_cpp.openai_api.tool_calls.declarations import Tools
    from specbranch_cpp.openai_api.tool_calls.incoming_text import IncomingText

__all__ = ["FormatMistral", "FormatMistralArgs"]

_MARK, _ARGS, _ID = "[TOOL_CALLS]", "[ARGS]", "[CALL_ID]"


class FormatMistral(ToolFormat):
    """A list of objects: Mistral until 2024. It reads the later format, too."""

    name = "mistral"
    marks = (_MARK,)
    inner = (_ARGS, _ID)
    opening = _MARK

    def read(self, source: IncomingText, mark: str, functions: Functions) -> CallReader:  # noqa: ARG002
        yield from source.space()
        if (yield from source.peek()) in "[{":
            yield from call_list(source)
            return
        while True:
            head = yield from source.until(_ARGS, within=r"[^\s{}]+\s*")
            called, _, _ = head.partition(_ID)
            if not called.strip():
                raise UnreadableError
            yield Start(called.strip())
            yield from arguments(source)
            yield End()
            if not (yield from source.closing(_MARK)):
                return
            yield from source.space()

    def body(self, tools: Tools, book: RuleBook, *, many: bool) -> str:
        inner = object_rule(tools, book, "arguments")
        return f'" "? "[" {many_of(inner, literal_of(", "), many=many)} "]"'


class FormatMistralArgs(FormatMistral):
    """The name, then the arguments: Mistral since 2025."""

    name = "mistral-args"

    def body(self, tools: Tools, book: RuleBook, *, many: bool) -> str:
        ways = [f"{literal_of(n + _ARGS)} {r}" for n, r in argument_rules(tools, book).items()]
        return many_of(book.add(" | ".join(ways)), literal_of(_MARK), many=many)
