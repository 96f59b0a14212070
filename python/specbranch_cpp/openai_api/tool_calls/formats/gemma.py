"""Gemma 4 and FunctionGemma: objects whose texts are between control tokens, and names without.

<|tool_call>call:f{a:<|"|>x<|"|>,b:2}<tool_call|>

<start_function_call>call:f{a:<escape>x<escape>,b:2}<end_function_call>
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, ClassVar

from specbranch_cpp._grammar.regex import literal_of
from specbranch_cpp.openai_api.tool_calls.incoming_text import Reader, UnreadableError, json_text
from specbranch_cpp.openai_api.tool_calls.parameter_schemas import (
    SchemaReader,
    with_definitions,
)
from specbranch_cpp.openai_api.tool_calls.parameters import (
    Value,
    json_or_text,
    parameters_of,
    typed,
)
from specbranch_cpp.openai_api.tool_calls.tool_format import (
    Argument,
    CallReader,
    End,
    Functions,
    Start,
    ToolFormat,
    many_of,
    separated,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from specbranch_cpp._grammar.rule_book import RuleBook
    from specbranch_cpp.openai_api.tool_calls.declarations import Tools
    from specbranch_cpp.openai_api.tool_calls.incoming_text import IncomingText

__all__ = ["FormatFunctionGemma", "FormatGemma4"]

_NAME = r"[^{}<>:,]*"
_SCALARS = {"boolean", "integer", "null", "number"}
_DEEPEST = 32  # values in values
_DEEPEST_SCHEMA = 6  # schemas in schemas that the grammar follows


class FormatGemma4(ToolFormat):
    """``<|tool_call>call:f{a:<|"|>x<|"|>,b:2}<tool_call|>``: Gemma 4."""

    name = "gemma4"
    marks = ("<|tool_call>",)
    inner = ("<tool_call|>", '<|"|>')
    opening = "<|tool_call>"
    end: ClassVar[str] = "<tool_call|>"
    quote: ClassVar[str] = '<|"|>'

    def read(self, source: IncomingText, mark: str, functions: Functions) -> CallReader:  # noqa: ARG002
        yield from source.space()
        yield from source.word("call:")
        called = (yield from source.until("{", within=_NAME)).strip()
        if not called:
            raise UnreadableError
        yield Start(called)
        yield from source.space()
        while not (yield from source.accepts("}")):
            yield from source.accepts(self.quote)
            name = (yield from source.until(":", within=r"[^{}:,]*")).strip()
            name = name.removesuffix(self.quote)
            yield from source.space()
            begin = source.at
            source.at = yield from source.scanned(_end_of_value(source, self.quote))
            written = source.text[begin : source.at].strip()
            yield Argument(name, self._argument(written, functions.get(called), name))
            if not (yield from source.accepts(",")):
                yield from source.word("}")
                break
            yield from source.space()
        yield End()
        yield from source.closing(self.end)

    def body(self, tools: Tools, book: RuleBook, *, many: bool) -> str:
        rules = _Rules(book, self.quote)
        ways = [
            f"{literal_of('call:' + name)} {rules.object(Value(*schema))}"
            for name, schema in zip(tools.forced, tools.schemas(), strict=True)
        ]
        one = f"{book.add(' | '.join(ways))} {literal_of(self.end)}"
        return many_of(book.add(one), literal_of(self.opening), many=many)

    def _argument(self, written: str, function: Mapping[str, Any] | None, name: str) -> str:
        if written[:1] not in ("{", "[", '"') and not written.startswith(self.quote):
            return typed(written, function, name)
        values = _Values(written, self.quote)
        value = values.value()
        if values.at < len(written):
            raise UnreadableError
        return json_text(value)


class FormatFunctionGemma(FormatGemma4):
    """``<start_function_call>call:f{a:<escape>x<escape>}<end_function_call>``: FunctionGemma."""

    name = "function-gemma"
    marks = ("<start_function_call>",)
    inner = ("<end_function_call>", "<escape>")
    hidden = ("<start_function_response>",)
    opening = "<start_function_call>"
    end = "<end_function_call>"
    quote = "<escape>"


def _end_of_value(source: IncomingText, quote: str) -> Reader[int]:
    """The position of the comma or the brace after a value."""
    special = re.compile(rf'{re.escape(quote)}|["{{}}\[\],\\]')
    index, depth, quoted = source.at, 0, ""
    while True:
        found = special.search(source.text, index)
        certain = len(source.text) - source.begun((quote,))
        if found is None or found.start() >= certain:
            index = max(index, certain)
            yield from source.wait()
            continue
        sign, index = found.group(), found.end()
        if quoted:
            if sign == quoted:
                quoted = ""
            elif sign == "\\" and quoted == '"':
                while len(source.text) <= index:
                    yield from source.wait()
                index += 1
        elif depth == 0 and sign in ",}":
            return found.start()
        elif sign in ('"', quote):
            quoted = sign
        elif sign in "{}[]":
            depth += 1 if sign in "{[" else -1
            if depth < 0:
                raise UnreadableError


class _Values:
    """Reads the values of a text that is whole.

    Attributes:
        at: the position behind what was read.
    """

    _SPACE = re.compile(r"\s*")
    _WORD = re.compile(r"[^{}\[\],:]*")
    _STRINGS = json.JSONDecoder(strict=False)

    def __init__(self, text: str, quote: str) -> None:
        self._text = text
        self._quote = quote
        self.at = 0

    def value(self, depth: int = 0) -> Any:
        """The value at the position.

        Raises:
            UnreadableError: there is none.
        """
        if depth > _DEEPEST:
            raise UnreadableError
        self._matched(self._SPACE)
        if self._accepts("{"):
            return dict(self._items("}", lambda: self._member(depth)))
        if self._accepts("["):
            return self._items("]", lambda: self.value(depth + 1))
        text = self._quoted()
        return json_or_text(self._word()) if text is None else text

    def _member(self, depth: int) -> tuple[str, Any]:
        text = self._quoted()
        name = self._word() if text is None else text
        self._matched(self._SPACE)
        if not self._accepts(":"):
            raise UnreadableError
        return name, self.value(depth + 1)

    def _items(self, end: str, one: Callable[[], Any]) -> list[Any]:
        found: list[Any] = []
        self._matched(self._SPACE)
        while not self._accepts(end):
            found.append(one())
            self._matched(self._SPACE)
            if not self._accepts(",") and self._text[self.at : self.at + 1] != end:
                raise UnreadableError
            self._matched(self._SPACE)
        return found

    def _quoted(self) -> str | None:
        """The text between quotes. ``None``: there is no quote."""
        if self._accepts(self._quote):
            end = self._text.find(self._quote, self.at)
            if end < 0:
                raise UnreadableError
            text = self._text[self.at : end]
            self.at = end + len(self._quote)
            return text
        if self._text[self.at : self.at + 1] != '"':
            return None
        try:
            value, self.at = self._STRINGS.raw_decode(self._text, self.at)
        except ValueError:
            raise UnreadableError from None
        return str(value)

    def _word(self) -> str:
        word = self._matched(self._WORD).strip()
        if not word:
            raise UnreadableError
        return word

    def _accepts(self, sign: str) -> bool:
        is_there = self._text.startswith(sign, self.at)
        self.at += len(sign) * is_there
        return is_there

    def _matched(self, pattern: re.Pattern[str]) -> str:
        found = pattern.match(self._text, self.at)
        assert found is not None
        self.at = found.end()
        return found.group()


class _Rules:
    """The rules of values that follow schemas."""

    def __init__(self, book: RuleBook, quote: str) -> None:
        self._book = book
        self._quote = literal_of(quote)
        self._text = book.add(f"{self._quote} {book.until({quote: ''})}")
        self._any, self._any_object = book.reserve(), book.reserve()
        member = book.add(f'[a-zA-Z0-9_.-]+ ":" {self._any}')
        book.define(self._any_object, f'"{{" ({member} ("," {member})*)? "}}"')
        scalar = book.schema({"type": sorted(_SCALARS)}, "a value", strict=False)
        array = f'"[" ({self._any} ("," {self._any})*)? "]"'
        book.define(self._any, f"{self._text} | {scalar} | {self._any_object} | {array}")

    def object(self, value: Value, depth: int = 0) -> str:
        """An object with the members in the order of the schema, or sorted.

        The family's templates sort them, so that is what the models have seen.
        """
        known = None
        if depth < _DEEPEST_SCHEMA:
            known = parameters_of(value.schema, value.where, strict=value.strict)
        if known is None:
            return self._any_object
        members = {
            name: (self._book.add(f"{literal_of(name + ':')} {self._value(one, depth)}"), needed)
            for name, (one, needed) in known.items()
        }
        orders = (tuple(members), tuple(sorted(members, key=str.lower)))
        ways = [
            separated(self._book, [members[name] for name in order], ",")
            for order in dict.fromkeys(orders)
        ]
        return self._book.add(f'"{{" ({" | ".join(ways)}) "}}"')

    def _value(self, value: Value, depth: int) -> str:
        schema, reader = value.schema, SchemaReader(value.schema)
        kinds = reader.kinds(schema)
        if kinds == {"string"}:
            texts = reader.texts(schema)
            if not texts:
                return self._text
            return f"{self._quote} ({' | '.join(map(literal_of, texts))}) {self._quote}"
        if kinds and kinds <= _SCALARS:
            return self._book.schema(schema, value.where, strict=value.strict)
        if kinds == {"object"}:
            return self.object(value, depth + 1)
        if kinds == {"array"} and depth < _DEEPEST_SCHEMA:
            items = with_definitions(schema.get("items", {}), schema)
            one = Value(items, f"{value.where}['items']", value.strict)
            item = self._book.add(self._value(one, depth + 1))
            return f'"[" ({item} ("," {item})*)? "]"'
        return self._any
