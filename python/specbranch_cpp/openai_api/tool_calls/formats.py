"""Formats of tool calls: Hermes and Qwen, Llama 3, Mistral."""

from __future__ import annotations

import json
import re
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from specbranch_cpp._grammar.json_schema import grammar_of, grammar_of_union
from specbranch_cpp._grammar.regex import literal_of
from specbranch_cpp._grammar.rules import renamed
from specbranch_cpp.openai_api.tool_calls.declarations import Tools

__all__ = ["FormatHermes", "Reading", "ToolFormat", "format_of_template"]

_SPACE = re.compile(r"\s*")
_DECODER = json.JSONDecoder(strict=False)  # models write raw line breaks in JSON strings


@dataclass(frozen=True)
class Reading:
    """The result of parsing a text that begins with a marker.

    Attributes:
        calls: name and arguments of each call. ``None``: the text has no calls.
        end: index of the end of the calls; 0: more text is needed.
    """

    calls: list[tuple[str, Any]] | None
    end: int


MORE = Reading(None, 0)


class ToolFormat(ABC):
    """A format of tool calls.

    Attributes:
        markers: strings with which a call may begin.
        at_start: whether markers count only at the beginning of the text.
        inner: names of further control tokens in calls.
    """

    markers: tuple[str, ...]
    at_start = False
    inner: tuple[str, ...] = ()

    @abstractmethod
    def read(self, text: str, *, final: bool) -> Reading:
        """The calls at the beginning of `text`, which begins with a marker.

        Args:
            text: the text so far.
            final: whether the text is complete.
        """

    @abstractmethod
    def grammar(self, tools: Tools) -> str:
        """A grammar of calls of ``tools.forced``."""


class FormatHermes(ToolFormat):
    """``<tool_call>{"name": ..., "arguments": {...}}</tool_call>``: Hermes, Qwen, many others."""

    markers = ("<tool_call>",)
    _END = "</tool_call>"

    def read(self, text: str, *, final: bool) -> Reading:
        value, end = _json(text, len(self.markers[0]), final=final)
        if end <= 0:
            return Reading(None, end)
        if (call := _call(value)) is None:
            return Reading(None, -1)
        rest = text[(begin := _skip(text, end)) :]
        if rest.startswith(self._END):
            return Reading([call], begin + len(self._END))
        if self._END.startswith(rest):  # if the text is complete, a limit cut it off
            return Reading([call], len(text)) if final else MORE
        return Reading([call], end)

    def grammar(self, tools: Tools) -> str:
        calls, inner = renamed(_objects(tools, "arguments"))
        one = f'"<tool_call>\\n" {inner} "\\n</tool_call>"'
        more = f' ("\\n" {one})*' if tools.many else ""
        return f"root ::= {one}{more}\n{calls}"


class FormatLlama(ToolFormat):
    """``{"name": ..., "parameters": {...}}`` and nothing else: Llama 3.1 to 3.3."""

    markers = ("<|python_tag|>", "{")
    at_start = True

    def read(self, text: str, *, final: bool) -> Reading:
        begin = len(self.markers[0]) if text.startswith(self.markers[0]) else 0
        calls: list[tuple[str, Any]] = []
        while True:
            value, end = _json(text, begin, final=final)
            if end <= 0:
                return Reading(calls or None, begin if calls and end < 0 else end)
            if (call := _call(value)) is None:
                return Reading(calls or None, begin if calls else -1)
            calls.append(call)
            begin = _skip(text, end)
            if text[begin : begin + 1] == ";":
                begin += 1
            elif begin == len(text) and not final:
                return MORE
            elif text[begin : begin + 1] != "{":
                return Reading(calls, end)

    def grammar(self, tools: Tools) -> str:
        calls, inner = renamed(_objects(tools, "parameters"))
        more = f' ("; " {inner})*' if tools.many else ""
        return f"root ::= {inner}{more}\n{calls}"


class FormatMistral(ToolFormat):
    """``[TOOL_CALLS][{"name": ..., "arguments": {...}}, ...]``: Mistral until 2024."""

    markers = ("[TOOL_CALLS]",)

    def read(self, text: str, *, final: bool) -> Reading:
        value, end = _json(text, len(self.markers[0]), final=final)
        if end <= 0:
            return Reading(None, end)
        calls = [_call(one) for one in (value if isinstance(value, list) else [value])]
        known = [call for call in calls if call is not None]
        return Reading(known, end) if known and len(known) == len(calls) else Reading(None, -1)

    def grammar(self, tools: Tools) -> str:
        calls, inner = renamed(_objects(tools, "arguments"))
        more = f' ("," " "? {inner})*' if tools.many else ""
        return f'root ::= "[TOOL_CALLS]" " "? "[" {inner}{more} "]"\n{calls}'


class FormatMistralArgs(ToolFormat):
    """``[TOOL_CALLS]name[ARGS]{...}``: Mistral since 2025."""

    markers = ("[TOOL_CALLS]",)
    inner = ("[CALL_ID]", "[ARGS]")
    _HEAD = re.compile(r"\[TOOL_CALLS\]\s*([^\[\]{}\s]+)\s*(?:\[CALL_ID\][^\[\]]*)?\[ARGS\]")

    def read(self, text: str, *, final: bool) -> Reading:
        head = self._HEAD.match(text)
        if head is None:
            return Reading(None, -1) if final or "{" in text else MORE
        value, end = _json(text, head.end(), final=final)
        if end > 0 and not isinstance(value, Mapping):
            return Reading(None, -1)
        return Reading([(head.group(1), value)], end) if end > 0 else Reading(None, end)

    def grammar(self, tools: Tools) -> str:
        ways: list[str] = []
        rules: list[str] = []
        for schema, name, strict in tools.schemas():
            text, inner = renamed(grammar_of(schema, name, strict=strict), f"f{len(ways)}-")
            ways.append(f"{literal_of(tools.forced[len(ways)] + '[ARGS]')} {inner}")
            rules.append(text)
        call = f'"[TOOL_CALLS]" ({" | ".join(ways)})'
        return "\n".join([f"root ::= ({call}){'+' if tools.many else ''}", *rules])


def format_of_template(source: str) -> ToolFormat:
    """The format that a template mentions; Hermes if it mentions none."""
    if "<tool_call>" in source:
        return FormatHermes()
    if "[TOOL_CALLS]" in source:
        return FormatMistralArgs() if "[ARGS]" in source else FormatMistral()
    if "<|python_tag|>" in source or '"parameters":' in source:
        return FormatLlama()
    return FormatHermes()


def _objects(tools: Tools, key: str) -> str:
    return grammar_of_union([{"name": name} for name in tools.forced], tools.schemas(), key)


def _json(text: str, begin: int, *, final: bool) -> tuple[Any, int]:
    """The JSON value at `begin` and its end; 0: more text is needed; -1: this is not JSON."""
    begin = _skip(text, begin)
    if begin < len(text) and text[begin] not in "{[":
        return None, -1
    try:
        return _DECODER.raw_decode(text, begin)
    except (ValueError, RecursionError):
        return None, -1 if final else 0


def _call(value: Any) -> tuple[str, Any] | None:
    """Name and arguments of a call. Also reads the old spelling, and arguments as JSON text."""
    if not isinstance(value, Mapping) or not isinstance(value.get("name"), str):
        return None
    arguments = value.get("arguments", value.get("parameters", {}))
    if isinstance(arguments, str):
        try:
            arguments = json.loads(arguments)
        except ValueError:
            return None
    return (value["name"], arguments) if isinstance(arguments, Mapping) else None


def _skip(text: str, begin: int) -> int:
    found = _SPACE.match(text, begin)
    return found.end() if found else begin
