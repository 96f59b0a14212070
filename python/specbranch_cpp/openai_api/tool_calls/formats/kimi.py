"""Kimi K2: marks around the name with a number, and around the arguments.

    <|tool_calls_section_begin|><|tool_call_begin|>functions.f:0<|tool_call_argument_begin|>{...}
    <|tool_call_end|><|tool_calls_section_end|>

The name with its number is the id of the call. The template writes this id in later prompts.
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
    many_of,
    marked_calls,
)

if TYPE_CHECKING:
    from specbranch_cpp._grammar.rule_book import RuleBook
    from specbranch_cpp.openai_api.tool_calls.declarations import Tools
    from specbranch_cpp.openai_api.tool_calls.incoming_text import IncomingText

__all__ = ["FormatKimi"]

_BEGIN, _END = "<|tool_calls_section_begin|>", "<|tool_calls_section_end|>"
_BEGIN_ONE, _END_ONE = "<|tool_call_section_begin|>", "<|tool_call_section_end|>"
_CALL, _ARGUMENTS, _CALLED = (
    "<|tool_call_begin|>",
    "<|tool_call_argument_begin|>",
    "<|tool_call_end|>",
)


def _read_call(source: IncomingText) -> CallReader:
    written = (yield from source.until(_ARGUMENTS, within=r"[^{}<>]*")).strip()
    called = written.removeprefix("functions.").rpartition(":")[0]
    if not called:
        raise UnreadableError
    yield Start(called, written)
    yield from arguments(source)
    yield End()


class FormatKimi(ToolFormat):
    """The calls of Kimi K2. Its models sometimes write the marks of the section in the singular."""

    name = "kimi-k2"
    marks = (_BEGIN, _BEGIN_ONE)
    inner = (_END, _END_ONE, _CALL, _ARGUMENTS, _CALLED)
    opening = _BEGIN

    def read(self, source: IncomingText, mark: str, functions: Functions) -> CallReader:  # noqa: ARG002
        end = _END if mark == _BEGIN else _END_ONE
        yield from marked_calls(source, _read_call, call=_CALL, called=_CALLED, end=end)

    def body(self, tools: Tools, book: RuleBook, *, many: bool) -> str:
        number = f'":" [0-9]+ {literal_of(_ARGUMENTS)}'
        ways = [
            f"{literal_of('functions.' + name)} {number} {rule}"
            for name, rule in argument_rules(tools, book).items()
        ]
        one = f"{literal_of(_CALL)} {book.add(' | '.join(ways))} {literal_of(_CALLED)}"
        return f"{many_of(one, '', many=many)} {literal_of(_END)}"
