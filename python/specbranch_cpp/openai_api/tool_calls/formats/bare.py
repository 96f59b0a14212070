"""JSON objects without marks, for templates that write no mark around a call.

Nothing but its place tells a call from an example, so an answer has calls only if it is nothing but
calls: see `answers.tagged`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from specbranch_cpp._grammar.regex import literal_of
from specbranch_cpp.openai_api.tool_calls.formats.hermes import code_block
from specbranch_cpp.openai_api.tool_calls.tool_format import (
    CallReader,
    Functions,
    ToolFormat,
    call_list,
    call_objects,
    many_of,
    object_rule,
    object_starts,
)

if TYPE_CHECKING:
    from specbranch_cpp._grammar.rule_book import RuleBook
    from specbranch_cpp.openai_api.tool_calls.declarations import Tools
    from specbranch_cpp.openai_api.tool_calls.incoming_text import IncomingText

__all__ = ["FormatBare"]

_BLOCK = "```"


class FormatBare(ToolFormat):
    """``{"name": ..., "arguments": {...}}``, a list of such objects, or a block of code."""

    name = "json"
    plain = (_BLOCK,)
    leads = ("{", "[")
    sole = (_BLOCK, *leads)

    def read(self, source: IncomingText, mark: str, functions: Functions) -> CallReader:  # noqa: ARG002
        if mark == _BLOCK:
            yield from code_block(source)
        else:
            yield from call_list(source) if mark == "[" else call_objects(source)

    def body(self, tools: Tools, book: RuleBook, *, many: bool) -> str:
        inner = object_rule(tools, book, "arguments")
        if not many:
            return inner
        return f'{inner} | {literal_of("[")} {many_of(inner, literal_of(", "), many=True)} "]"'

    def starts(self, tools: Tools, book: RuleBook) -> dict[str, str]:
        return object_starts(tools, book, "arguments")
