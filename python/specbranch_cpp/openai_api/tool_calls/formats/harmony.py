"""gpt-oss: a call is a message of the channel ``commentary`` to a function.

<|channel|>commentary to=functions.NAME <|constrain|>json<|message|>{...}<|call|>
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
)

if TYPE_CHECKING:
    from specbranch_cpp._grammar.rule_book import RuleBook
    from specbranch_cpp.openai_api.tool_calls.declarations import Tools
    from specbranch_cpp.openai_api.tool_calls.incoming_text import IncomingText

__all__ = ["CHANNEL", "CONSTRAIN", "ENDS", "MESSAGE", "RECIPIENT", "START", "FormatHarmony"]

CHANNEL, MESSAGE, START = "<|channel|>", "<|message|>", "<|start|>"
CONSTRAIN = "<|constrain|>"
ENDS = ("<|end|>", "<|return|>", "<|call|>")
RECIPIENT = "to=functions."


class FormatHarmony(ToolFormat):
    """The calls of gpt-oss. `answers.harmony` finds the messages."""

    name = "gpt-oss"
    inner = (CHANNEL, MESSAGE, START, CONSTRAIN, *ENDS)

    def read(self, source: IncomingText, mark: str, functions: Functions) -> CallReader:  # noqa: ARG002
        raise UnreadableError

    def read_message(self, source: IncomingText, name: str) -> CallReader:
        """Reads the message of a call, after its header."""
        yield Start(name)
        yield from arguments(source)
        yield End()
        for end in ENDS:
            if (yield from source.closing(end)):
                return

    def body(self, tools: Tools, book: RuleBook, *, many: bool) -> str:  # noqa: ARG002
        """The rest of a header behind `RECIPIENT`, and the arguments. ``<|call|>`` ends a text."""
        header = book.add(_header_end())
        ways = [f"{literal_of(n)} {header} {r}" for n, r in argument_rules(tools, book).items()]
        return book.add(" | ".join(ways))

    def grammar(self, tools: Tools, book: RuleBook) -> str:
        begin = literal_of(f"{CHANNEL}commentary {RECIPIENT}")
        return book.add(f"{begin} {self.body(tools, book, many=False)}")


def _header_end() -> str:
    channel = f'({literal_of(CHANNEL)} "commentary")?'
    kind = f'(" "? {literal_of(CONSTRAIN)}? "json")?'
    return f"{channel} {kind} {literal_of(MESSAGE)}"
