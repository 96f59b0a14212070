"""Functionary 3.2: a recipient in the first line of each part.

    >>>all
    text
    >>>f
    {...}

The prompt ends with the first ``>>>``.
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
)

if TYPE_CHECKING:
    from specbranch_cpp._grammar.rule_book import RuleBook
    from specbranch_cpp.openai_api.tool_calls.declarations import Tools
    from specbranch_cpp.openai_api.tool_calls.incoming_text import IncomingText

__all__ = ["FormatFunctionary"]

_MARK = ">>>"


class FormatFunctionary(ToolFormat):
    """The calls of functionary 3.2."""

    name = "functionary-v3.2"
    marks = (_MARK,)
    prompted = _MARK

    def read(self, source: IncomingText, mark: str, functions: Functions) -> CallReader:  # noqa: ARG002
        called = (yield from source.until("\n", within=r"[\w.-]*")).strip()
        if called == "all":
            return
        yield Start(called)
        yield from arguments(source)
        yield End()

    def body(self, tools: Tools, book: RuleBook, *, many: bool) -> str:
        line = book.add(literal_of("\n"))
        ways = [f"{literal_of(n)} {line} {r}" for n, r in argument_rules(tools, book).items()]
        return many_of(book.add(" | ".join(ways)), literal_of(_MARK), many=many)

    def starts(self, tools: Tools, book: RuleBook) -> dict[str, str]:
        return {f"{n}\n": r for n, r in argument_rules(tools, book).items()}
