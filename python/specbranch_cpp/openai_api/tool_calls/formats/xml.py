"""Families that write each argument between marks: Qwen3-Coder, Seed-OSS, GLM-4.5, MiniMax-M2,
DeepSeek V3.2 and V4.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from specbranch_cpp._grammar.regex import literal_of
from specbranch_cpp.openai_api.tool_calls.incoming_text import UnreadableError, json_text
from specbranch_cpp.openai_api.tool_calls.parameter_schemas import SchemaReader
from specbranch_cpp.openai_api.tool_calls.parameters import (
    AfterValue,
    Value,
    json_rule,
    parameters_of,
    typed,
    value_rule,
)
from specbranch_cpp.openai_api.tool_calls.tool_format import (
    Argument,
    CallReader,
    End,
    Functions,
    Start,
    ToolFormat,
    call_list,
    many_of,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from specbranch_cpp._grammar.rule_book import RuleBook
    from specbranch_cpp.openai_api.tool_calls.declarations import Tools
    from specbranch_cpp.openai_api.tool_calls.incoming_text import IncomingText, Reader

__all__ = [
    "DSML",
    "FormatDeepSeekV4",
    "FormatDeepSeekV32",
    "FormatGlm",
    "FormatMiniMax",
    "FormatQwenCoder",
    "FormatSeed",
]

DSML = "\uff5cDSML\uff5c"
"""The control token in the marks of DeepSeek V3.2 and V4."""

_IS_TEXT, _IS_JSON = 'true">', 'false">'
_NAME = r"[^\s<>{}\"]*"


class _Tagged(ToolFormat):
    """The grammar of calls whose arguments are between marks.

    Attributes:
        call: the text before and after the name, and after the arguments.
        argument: the text before and after the name of an argument, and after its value.
    """

    call: tuple[str, str, str]
    argument: tuple[str, str, str]
    closed: str  # after all calls
    between: str  # between two calls

    def body(self, tools: Tools, book: RuleBook, *, many: bool) -> str:
        before, behind, _ = self.call
        ways = []
        for name, (schema, where, strict) in zip(tools.forced, tools.schemas(), strict=True):
            known = parameters_of(schema, where, strict=strict)
            rest = self._any_arguments(book) if known is None else self._arguments(book, known)
            ways.append(f"{literal_of(before + name + behind)} {rest}")
        one = book.add(" | ".join(ways))
        between = literal_of(self.between)
        return f"{many_of(one, between, many=many)} {literal_of(self.closed)}"

    def _any_arguments(self, book: RuleBook) -> str:
        """Arguments with any names, and the end of the call."""
        argument = book.reserve()
        after = self._after(book, argument, may_end=True)
        name = r"[a-zA-Z0-9_.-]+"
        book.define(argument, self._argument(book, name, Value({}, "", False), after))
        return after.rest

    def _arguments(self, book: RuleBook, known: Mapping[str, tuple[Value, bool]]) -> str:
        """The known arguments in their order, of which some may lack, and the end of the call."""
        following, may_end = "", True
        after = self._after(book, following, may_end=may_end)
        for name, (value, needed) in reversed(list(known.items())):
            one = self._argument(book, literal_of(name), value, after)
            following = book.add(f"{one} | {following}" if following and not needed else one)
            may_end = may_end and not needed
            after = self._after(book, following, may_end=may_end)
        return after.rest

    def _after(self, book: RuleBook, argument: str, *, may_end: bool) -> AfterValue:
        """What may follow a value.

        Args:
            book: gets the rules.
            argument: the rule of a further argument, from its name on; empty: there is none.
            may_end: whether the call may end here.
        """
        mark, (before, end) = self._ends
        to_next, to_end = book.until_followed(mark, (before, end))
        rests, texts = [], []
        if argument:
            rests.append(f"{literal_of(before)} {argument}")
            texts.append(f"{to_next} {argument}")
        if may_end:
            rests.append(literal_of(self.call[2]))
            texts.append(f"{to_end} {literal_of(self.call[2].removeprefix(end))}")
        rest, text = book.add(" | ".join(rests)), book.add(" | ".join(texts))
        return AfterValue(self.argument[2], rest, text)

    def _argument(self, book: RuleBook, name: str, value: Value, after: AfterValue) -> str:
        """An argument from its name on, and all that follows."""
        return f"{name} {literal_of(self.argument[1])} {self._value(book, value, after)}"

    def _value(self, book: RuleBook, value: Value, after: AfterValue) -> str:
        return value_rule(book, value, after)

    def _text(self, source: IncomingText) -> Reader[str]:
        """The text of a value, up to the mark after it."""
        return source.until_followed(*self._ends)

    @property
    def _ends(self) -> tuple[str, tuple[str, str]]:
        """The mark after a value, and what must follow it: a further argument, or the end."""
        return self.argument[2].strip(), (self.argument[0], self.call[2].rstrip())


class FormatQwenCoder(_Tagged):
    """``<tool_call><function=f><parameter=a>...``: Qwen3-Coder, Qwen3.5.

    The model may leave out ``<tool_call>``. Qwen3-Coder puts line breaks around each value.
    """

    name = "qwen3-coder"
    marks = ("<tool_call>", "<function=")
    opening = "<tool_call>"
    call = ("\n<function=", ">\n", "</function>\n")
    argument = ("<parameter=", ">\n", "\n</parameter>\n")
    between = "</tool_call>\n<tool_call>"
    closed = "</tool_call>"

    def read(self, source: IncomingText, mark: str, functions: Functions) -> CallReader:
        if mark == self.opening:
            yield from source.space()
            if (yield from source.peek()) in "{[":  # the format of the models before
                yield from call_list(source)
                yield from source.closing(self.closed)
                return
            yield from source.word("<function=")
        while True:
            yield from self._function(source, functions)
            if not (yield from source.closing("<function=")):
                break
        yield from source.closing(self.closed)

    def _function(self, source: IncomingText, functions: Functions) -> CallReader:
        called = (yield from source.until(">", within=_NAME)).strip()
        if not called:
            raise UnreadableError
        yield Start(called)
        while True:
            yield from source.space()
            if (yield from source.accepts("</function>")):
                yield End()
                return
            yield from source.word("<parameter=")
            key = yield from source.until(">", within=_NAME)
            value = yield from self._text(source)
            if self.argument[2].startswith("\n"):
                value = value.removeprefix("\n").removesuffix("\n")
            yield Argument(key, typed(value, functions.get(called), key))


class FormatSeed(FormatQwenCoder):
    """The same with another mark around it, and no line breaks around the values: Seed-OSS."""

    name = "seed-oss"
    marks = ("<seed:tool_call>", "<function=")
    inner = ("</seed:tool_call>",)
    opening = "<seed:tool_call>"
    argument = ("<parameter=", ">", "</parameter>\n")
    between = "</seed:tool_call>\n<seed:tool_call>"
    closed = "</seed:tool_call>"


class FormatGlm(_Tagged):
    """``<tool_call>f<arg_key>a</arg_key><arg_value>...</arg_value></tool_call>``: GLM-4.5."""

    name = "glm4"
    marks = ("<tool_call>",)
    opening = "<tool_call>"
    call = ("", "\n", "</tool_call>")
    argument = ("<arg_key>", "</arg_key>\n<arg_value>", "</arg_value>\n")
    between = "\n<tool_call>"
    closed = ""
    _NAME_CHARACTERS = re.compile(_NAME)

    def read(self, source: IncomingText, mark: str, functions: Functions) -> CallReader:  # noqa: ARG002
        yield from source.space()
        end = yield from source.end_of_run(self._NAME_CHARACTERS)
        called, source.at = source.text[source.at : end], end
        yield Start(called)
        while True:
            yield from source.space()
            if (yield from source.accepts("</tool_call>")):
                yield End()
                return
            yield from source.word("<arg_key>")
            key = (yield from source.until("</arg_key>", within=r"[^<>]*")).strip()
            yield from source.space()
            yield from source.word("<arg_value>")
            value = yield from self._text(source)
            yield Argument(key, typed(value, functions.get(called), key))


class FormatMiniMax(_Tagged):
    """``<minimax:tool_call><invoke name="f"><parameter name="a">...``: MiniMax-M2.

    Attributes:
        head: a regular expression for the rest of an argument's mark: its name, perhaps more.
    """

    name = "minimax-m2"
    marks: tuple[str, ...] = ("<minimax:tool_call>",)
    opening = "<minimax:tool_call>"
    call = ('\n<invoke name="', '">\n', "</invoke>")
    argument = ('<parameter name="', '">', "</parameter>\n")
    between = ""
    closed = "\n</minimax:tool_call>"
    head = _NAME

    def read(self, source: IncomingText, mark: str, functions: Functions) -> CallReader:
        invoke = self.call[0].lstrip()
        yield from source.space()
        yield from source.word(invoke)
        while True:
            yield from self._invoke(source, functions)
            if not (yield from source.closing(invoke)):
                break
        yield from source.closing(f"</{mark[1:]}")

    def _invoke(self, source: IncomingText, functions: Functions) -> CallReader:
        called = yield from source.until('">', within=_NAME)
        yield Start(called)
        while True:
            yield from source.space()
            if (yield from source.accepts(self.call[2])):
                yield End()
                return
            yield from source.word(self.argument[0])
            key, is_text = self._key((yield from source.until('">', within=self.head)))
            value = yield from self._text(source)
            found = json_text(value) if is_text else typed(value, functions.get(called), key)
            yield Argument(key, found)

    def _key(self, head: str) -> tuple[str, bool]:
        """The name of an argument, and whether its mark says that it is text."""
        return head, False


class FormatDeepSeekV32(FormatMiniMax):
    """The same with a control token in each mark: DeepSeek V3.2.

    Each argument says whether it is text: ``<DSML parameter name="a" string="true">``. Otherwise it
    is JSON.
    """

    name = "deepseek-v3.2"
    marks = (f"<{DSML}function_calls>", f"<{DSML}tool_calls>")
    inner = (DSML,)
    opening = marks[0]
    call = (f'\n<{DSML}invoke name="', '">\n', f"</{DSML}invoke>")
    argument = (f'<{DSML}parameter name="', '" string="', f"</{DSML}parameter>\n")
    closed = f"\n</{DSML}function_calls>"
    head = r"[^<>{}]*"
    _HEAD = re.compile(rf'({_NAME})(?:"\s+string="(true|false))?')

    def _value(self, book: RuleBook, value: Value, after: AfterValue) -> str:
        kinds = SchemaReader(value.schema).kinds(value.schema)
        ways = []
        if not kinds or "string" in kinds:
            ways.append(f"{literal_of(_IS_TEXT)} {value_rule(book, value, after)}")
        if kinds != {"string"}:
            ways.append(f"{literal_of(_IS_JSON)} {json_rule(book, value, after)}")
        return f"({' | '.join(ways)})"

    def _key(self, head: str) -> tuple[str, bool]:
        found = self._HEAD.fullmatch(head)
        if found is None:
            raise UnreadableError
        return found[1], found[2] == "true"


class FormatDeepSeekV4(FormatDeepSeekV32):
    """The same with another name of the first mark: DeepSeek V4."""

    name = "deepseek-v4"
    opening = FormatDeepSeekV32.marks[1]
    closed = f"\n</{DSML}tool_calls>"
