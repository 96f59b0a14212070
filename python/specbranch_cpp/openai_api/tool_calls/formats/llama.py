"""Llama 3: JSON objects without marks, or with a tag."""

from __future__ import annotations

from typing import TYPE_CHECKING

from specbranch_cpp._grammar.regex import literal_of
from specbranch_cpp.openai_api.tool_calls.formats.hermes import code_block
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
    call_objects,
    many_of,
    object_rule,
    object_starts,
)

if TYPE_CHECKING:
    from specbranch_cpp._grammar.rule_book import RuleBook
    from specbranch_cpp.openai_api.tool_calls.declarations import Tools
    from specbranch_cpp.openai_api.tool_calls.incoming_text import IncomingText

__all__ = ["FormatLlama", "FormatLlamaTag"]

_TAG, _BLOCK = "<|python_tag|>", "```"


class FormatLlama(ToolFormat):
    """``{"name": ..., "parameters": {...}}``, several with ``;`` between them: Llama 3.1 to 3.3."""

    name = "llama3"
    marks = (_TAG,)
    plain = (_BLOCK,)
    leads = ("{",)
    sole = (_BLOCK,)

    def read(self, source: IncomingText, mark: str, functions: Functions) -> CallReader:  # noqa: ARG002
        if mark == _BLOCK:
            yield from code_block(source)
            return
        yield from source.space()
        is_list = (yield from source.peek()) == "["
        yield from call_list(source) if is_list else call_objects(source)

    def body(self, tools: Tools, book: RuleBook, *, many: bool) -> str:
        inner = object_rule(tools, book, "parameters")
        return many_of(inner, '"; "', many=many)

    def starts(self, tools: Tools, book: RuleBook) -> dict[str, str]:
        return object_starts(tools, book, "parameters")


class FormatLlamaTag(ToolFormat):
    """``<function=f>{...}</function>``: the other format that Llama 3.1 knows."""

    name = "llama3-tag"
    marks = ("<function=",)
    opening = "<function="
    _END = "</function>"

    def read(self, source: IncomingText, mark: str, functions: Functions) -> CallReader:  # noqa: ARG002
        called = yield from source.until(">", within=r"[^\s<>{}]*")
        if not called:
            raise UnreadableError
        yield Start(called)
        yield from arguments(source)
        yield End()
        yield from source.closing(self._END)

    def body(self, tools: Tools, book: RuleBook, *, many: bool) -> str:
        ways = [f"{literal_of(n + '>')} {r}" for n, r in argument_rules(tools, book).items()]
        one = f'{book.add(" | ".join(ways))} "{self._END}"'
        return many_of(one, f'"\\n"? "{self.opening}"', many=many)
