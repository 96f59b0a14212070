"""Calls of functions in a text that comes in pieces: every format, and what is no call."""

from __future__ import annotations

import json
from typing import Any

import pytest
from tests.python.support.tool_templates import SOURCES

from specbranch_cpp.openai_api.tool_calls.formats import format_of_template
from specbranch_cpp.openai_api.tool_calls.stream_parser import ToolParser

NAMES = ("paint", "wait", "stop")
WRITTEN = {
    "hermes": '<tool_call>\n{"name": "paint", "arguments": {"color": "red"}}\n</tool_call>',
    "llama": '{"name": "paint", "parameters": {"color": "red"}}',
    "mistral": '[TOOL_CALLS] [{"name": "paint", "arguments": {"color": "red"}}]',
    "mistral with arguments": '[TOOL_CALLS]paint[ARGS]{"color": "red"}',
}


def parsed(source: str, text: str, size: int = 3, *, many: bool = True) -> tuple[str, list[Any]]:
    """Content and calls, from pieces of `size` characters."""
    parser = ToolParser(format_of_template(SOURCES[source]), NAMES, many=many)
    parts = [p for i in range(0, len(text), size) for p in parser.feed(text[i : i + size])]
    parts += parser.finish()
    calls = [part for part in parts if not isinstance(part, str)]
    assert [call["index"] for call in calls] == list(range(len(calls)))
    return "".join(part for part in parts if isinstance(part, str)), [
        (call["function"]["name"], json.loads(call["function"]["arguments"])) for call in calls
    ]


RED = ("paint", {"color": "red"})


@pytest.mark.parametrize("size", [1, 2, 7, 1000])
@pytest.mark.parametrize("source", WRITTEN)
def test_calls_are_found_in_any_pieces(source: str, size: int) -> None:
    written = WRITTEN[source]
    assert parsed(source, written, size) == ("", [RED])
    assert parsed(source, f"\n {written}\n", size) == ("", [RED])
    if source != "llama":
        assert parsed(source, f"First this. {written}", size) == ("First this.", [RED])


@pytest.mark.parametrize("size", [1, 5, 1000])
@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("hermes", "{0}\n{0}"),
        ("hermes", "{0}{0}"),
        ("llama", "{0}; {0}"),
        ("llama", "<|python_tag|>{0};{0}"),
        ("mistral with arguments", "{0}{0}"),
        (
            "mistral",
            (
                '[TOOL_CALLS][{{"name": "paint", "arguments": {{"color": "red"}}}},'
                '{{"name": "paint", "arguments": "{{\\"color\\": \\"red\\"}}"}}]'
            ),
        ),
    ],
)
def test_several_calls(source: str, text: str, size: int) -> None:
    text = text.format(WRITTEN[source])
    assert parsed(source, text, size) == ("", [RED, RED])
    assert parsed(source, text, size, many=False) == ("", [RED])


@pytest.mark.parametrize("size", [1, 4, 1000])
@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("hermes", "no call at all \n"),
        ("hermes", '<tool_call>{"name": "paint", "arguments": {"color"</tool_call> x'),
        ("hermes", '<tool_call>{"name": "unknown", "arguments": {}}</tool_call>'),
        ("hermes", '<tool_call>{"name": "paint", "arguments": 3}</tool_call>'),
        ("hermes", "<tool_call>paint</tool_call>"),
        ("hermes", "<tool_call>"),
        ("hermes", "a < b, <tool, <tool_cal"),
        ("llama", '{"a": 1} is an object'),
        ("llama", ' {"name": "paint", "parameters": {'),
        ("llama", "text " + WRITTEN["llama"]),
        ("mistral", "[TOOL_CALLS] [3]"),
        ("mistral", "[1, 2]"),
        ("mistral with arguments", "[TOOL_CALLS]paint{}"),
        ("mistral with arguments", "[TOOL_CALLS]paint[ARGS][]"),
    ],
)
def test_what_is_no_call_stays_content(source: str, text: str, size: int) -> None:
    assert parsed(source, text, size) == (text, [])


def test_line_breaks_in_strings_are_forgiven() -> None:
    text = '<tool_call>{"name": "paint", "arguments": {"color": "a\nb"}}</tool_call>'
    assert parsed("hermes", text) == ("", [("paint", {"color": "a\nb"})])


def test_an_unclosed_call_counts_and_what_follows_is_content() -> None:
    written = WRITTEN["hermes"]
    assert parsed("hermes", written.removesuffix("\n</tool_call>")) == ("", [RED])
    assert parsed("hermes", f"{written} and then") == (" and then", [RED])


def test_content_flows_until_a_marker_may_begin() -> None:
    parser = ToolParser(format_of_template(SOURCES["hermes"]), NAMES, many=True)
    assert [*parser.feed("I will <")] == ["I will"]
    assert [*parser.feed("b>")] == [" <b>"]
    assert [*parser.feed("<tool_call>")] == []


@pytest.mark.parametrize("size", [1, 1000])
@pytest.mark.parametrize("cut", range(1, len("\n</tool_call>")))
def test_a_mark_of_the_end_that_is_cut_off_is_no_content(size: int, cut: int) -> None:
    assert parsed("hermes", WRITTEN["hermes"][:-cut], size) == ("", [RED])
