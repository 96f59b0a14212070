"""Hermes, Qwen and many others: JSON objects in ``<tool_call>``.

    <tool_call>
    {"name": "f", "arguments": {...}}
    </tool_call>

Qwen2.5-Coder often writes the object alone, or in a block of code.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from specbranch_cpp.openai_api.tool_calls.incoming_text import UnreadableError
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

__all__ = ["FormatDescribed", "FormatHermes", "code_block"]

_BLOCK = "```"


class FormatHermes(ToolFormat):
    """``<tool_call>`` with an object or a list, an object alone, or a block of code with them."""

    name = "hermes"
    marks = ("<tool_call>",)
    plain = (_BLOCK,)
    leads = ("{",)
    opening = "<tool_call>"
    _END = "</tool_call>"

    def read(self, source: IncomingText, mark: str, functions: Functions) -> CallReader:  # noqa: ARG002
        if mark == _BLOCK:
            yield from code_block(source)
        elif mark == "{":
            yield from call_objects(source)
        else:
            yield from call_list(source)
            yield from source.closing(self._END)

    def body(self, tools: Tools, book: RuleBook, *, many: bool) -> str:
        inner = object_rule(tools, book, "arguments")
        one = f'"\\n" {inner} "\\n{self._END}"'
        return many_of(one, f'"\\n{self.opening}"', many=many)

    def starts(self, tools: Tools, book: RuleBook) -> dict[str, str]:
        return object_starts(tools, book, "arguments")


class FormatDescribed(FormatHermes):
    """The same for models whose template has no format: the prompt describes the tags.

    JSON without the tags is no format of theirs, so it counts only if it is the whole answer.
    """

    sole = (_BLOCK, *FormatHermes.leads)


def code_block(source: IncomingText) -> CallReader:
    """Calls in a block of code, after its first mark. Nothing else may be in the block."""
    yield from source.accepts("json")
    yield from source.space()
    first = yield from source.peek()
    if first not in "{[":
        raise UnreadableError
    yield from call_list(source) if first == "[" else call_objects(source)
    yield from source.space()
    if not source.complete or source.at < len(source.text):
        yield from source.word(_BLOCK)
