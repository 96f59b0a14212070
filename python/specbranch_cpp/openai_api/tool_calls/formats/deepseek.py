"""DeepSeek: R1 and V3 with a block of code, V3.1 without it.

begin-of-calls begin-of-call function separator f
```json
{...}
``` end-of-call end-of-calls

begin-of-calls begin-of-call f separator {...} end-of-call end-of-calls
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from specbranch_cpp._grammar.regex import literal_of
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

__all__ = ["BEGIN", "FormatDeepSeek", "FormatDeepSeekV31"]


def _mark(*words: str) -> str:
    """A control token: words between full-width bars, joined by the mark of a space."""
    return f"<\uff5c{chr(0x2581).join(words)}\uff5c>"


BEGIN, _END = _mark("tool", "calls", "begin"), _mark("tool", "calls", "end")
_CALL, _CALLED = _mark("tool", "call", "begin"), _mark("tool", "call", "end")
_SEPARATOR = _mark("tool", "sep")


def _read_call(source: IncomingText) -> CallReader:
    """A call of V3.1, or one of R1 and V3, whose arguments are a block of code."""
    called = (yield from source.until(_SEPARATOR, within=r"[^{}<>]*")).strip()
    yield from source.space()
    is_block = called == "function" and (yield from source.peek()) != "{"
    if is_block:
        called = (yield from source.until("```", within=r"[^{}<>`]*")).strip()
        yield from source.accepts("json")
    yield Start(called)
    yield from arguments(source)
    yield End()
    if is_block:
        yield from source.closing("```")


class FormatDeepSeekV31(ToolFormat):
    """The calls of DeepSeek V3.1. It reads those of R1 and V3, too."""

    name = "deepseek-v3.1"
    marks = (BEGIN,)
    inner = (_END, _CALL, _CALLED, _SEPARATOR)
    opening = BEGIN

    def read(self, source: IncomingText, mark: str, functions: Functions) -> CallReader:  # noqa: ARG002
        yield from marked_calls(source, _read_call, call=_CALL, called=_CALLED, end=_END)

    def body(self, tools: Tools, book: RuleBook, *, many: bool) -> str:
        ways = [f"{self._head(n)} {r}" for n, r in argument_rules(tools, book).items()]
        one = f"{literal_of(_CALL)} ({' | '.join(ways)}) {literal_of(self._tail())}"
        return f"{many_of(book.add(one), self._between(), many=many)} {literal_of(_END)}"

    def _head(self, name: str) -> str:
        return literal_of(f"{name}{_SEPARATOR}")

    def _tail(self) -> str:
        return _CALLED

    def _between(self) -> str:
        return ""


class FormatDeepSeek(FormatDeepSeekV31):
    """The calls of DeepSeek R1 and V3."""

    name = "deepseek-r1"

    def _head(self, name: str) -> str:
        return literal_of(f"function{_SEPARATOR}{name}\n```json\n")

    def _tail(self) -> str:
        return f"\n```{_CALLED}"

    def _between(self) -> str:
        return '"\\n"'
