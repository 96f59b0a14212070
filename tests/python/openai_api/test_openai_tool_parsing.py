"""Calls of functions in a text that comes in pieces, and what is no call."""

from __future__ import annotations

import json
from typing import Any

import pytest
from tests.python.support.streamed_answers import Searches, in_pieces
from tests.python.support.tool_templates import SOURCES

from specbranch_cpp.openai_api.answers import tagged
from specbranch_cpp.openai_api.answers.collected import CollectedAnswer
from specbranch_cpp.openai_api.answers.parser import AnswerParser
from specbranch_cpp.openai_api.answers.parts import Text
from specbranch_cpp.openai_api.answers.tagged import AnswerRules
from specbranch_cpp.openai_api.tool_calls.choice import format_of_source
from specbranch_cpp.openai_api.tool_calls.parameters import typed

NAMES = ("paint", "wait", "stop")
FUNCTIONS: dict[str, Any] = {name: {"name": name} for name in NAMES}
WRITTEN = {
    "hermes": '<tool_call>\n{"name": "paint", "arguments": {"color": "red"}}\n</tool_call>',
    "llama": '{"name": "paint", "parameters": {"color": "red"}}',
    "mistral": '[TOOL_CALLS] [{"name": "paint", "arguments": {"color": "red"}}]',
    "mistral with arguments": '[TOOL_CALLS]paint[ARGS]{"color": "red"}',
}


def parser_of(source: str, *, many: bool = True) -> AnswerParser:
    return AnswerParser(AnswerRules(format_of_source(SOURCES[source]), FUNCTIONS, many))


def parsed(source: str, text: str, size: int = 3, *, many: bool = True) -> tuple[str, list[Any]]:
    """Content and calls, from pieces of `size` characters."""
    parser, answer = parser_of(source, many=many), CollectedAnswer()
    for piece in in_pieces(text, size):
        answer.add(parser.feed(piece))
    answer.add(parser.finish())
    message = answer.message(deprecated=False)
    return message["content"] or "", [
        (call["function"]["name"], json.loads(call["function"]["arguments"]))
        for call in message.get("tool_calls", ())
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
        ("llama", "{0}\n{0}"),
        ("llama", "<|python_tag|>{0};{0}"),
        ("hermes", '{{"name": "paint", "arguments": {{"color": "red"}}}}' * 2),
        ("llama", "```\n{0}\n\n{0}\n```"),
        (  # as Qwen2.5-Coder 1.5B writes two calls
            "hermes",
            "```json\n" + '{{"name": "paint", "arguments": {{"color": "red"}}}}\n' * 2 + "```",
        ),
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
@pytest.mark.parametrize("rest", [" and", "; and", '; {"name": "fly"}', '\n{"name": "paint", "par'])
def test_what_follows_a_call_without_marks_is_content(rest: str, size: int) -> None:
    assert parsed("llama", WRITTEN["llama"] + rest, size) == (rest, [RED])


@pytest.mark.parametrize("size", [1, 4, 1000])
@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("hermes", "no call at all \n"),
        ("hermes", '<tool_call>{"name": "paint", "arguments": {"color"</tool_call> x'),
        ("hermes", '<tool_call>{"name": "unknown", "arguments": {}}</tool_call>'),
        ("hermes", '<tool_call>{"name": "paint", "arguments": 3}</tool_call>'),
        ("hermes", '<tool_call>{"name": "paint", "arguments": {"a": NaN}}</tool_call>'),
        ("hermes", '<tool_call>{"name": "paint", "arguments": {"a": 1e999}}</tool_call>'),
        ("hermes", '<tool_call>{"name": ["paint"]}</tool_call>'),
        ("hermes", "<tool_call>paint</tool_call>"),
        ("hermes", "<tool_call>"),
        ("hermes", "a < b, <tool, <tool_cal"),
        ("hermes", '```json\n{"name": "paint"} and more\n```'),
        ("hermes", '```json\n[{"name": "paint"}, 3]\n```'),
        ("hermes", '```json\n{"name": "paint"}\n{"name": "fly"}\n```'),
        ("hermes", '```json\n{"name": "paint"}\n{"a": 1}\n```'),
        ("hermes", "```python\nprint({})\n```\n"),
        ("hermes", '{"name": "Ann", "arguments": {}}'),
        ("hermes", "{'name': 'paint'}"),
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


@pytest.mark.parametrize("size", [1, 5, 1000])
@pytest.mark.parametrize("source", ["hermes", "llama", "mistral"])
@pytest.mark.parametrize(
    "written",
    [
        '{"type": "function", "function": {"name": "paint", "arguments": {"color": "red"}}}',
        '{"function": {"arguments": {"color": "red"}, "name": "paint"}, "type": "function"}',
        '{"id": "1", "function": {"name": "paint", "arguments": "{\\"color\\": \\"red\\"}"}}',
    ],
)
def test_the_object_of_a_message_is_a_call(source: str, written: str, size: int) -> None:
    begin, end = {
        "hermes": ("<tool_call>", "</tool_call>"),
        "llama": ("", ""),
        "mistral": ("[TOOL_CALLS][", "]"),
    }[source]
    assert parsed(source, begin + written + end, size) == ("", [RED])
    if source != "hermes":  # one object between tags
        assert parsed(source, f"{begin}{written},{written}{end}", size)[1] == [RED, RED]


@pytest.mark.parametrize(
    "text",
    [
        '<tool_call>{"function": {}}</tool_call>',
        '<tool_call>{"function": {"function": {"name": "paint"}}}</tool_call>',
        '<tool_call>{"function": "paint"}</tool_call>',
        '<tool_call>{"type": "function", "function": {"name": "fly"}}</tool_call>',
    ],
)
def test_an_object_with_another_function_is_content(text: str) -> None:
    assert parsed("hermes", text) == (text, [])


def test_line_breaks_in_strings_are_forgiven() -> None:
    text = '<tool_call>{"name": "paint", "arguments": {"color": "a\nb"}}</tool_call>'
    assert parsed("hermes", text) == ("", [("paint", {"color": "a\nb"})])


def test_a_lone_surrogate_can_be_sent() -> None:
    text = '<tool_call>{"name": "paint", "arguments": {"\\udc00": "\\ud800"}}</tool_call>'
    parser = parser_of("hermes")
    (_, piece, _) = [*parser.feed(text), *parser.finish()]
    assert piece.text.encode() == b'{"\\udc00": "\\ud800"}'  # type: ignore[union-attr]


@pytest.mark.parametrize("size", [997, 10**6])
@pytest.mark.parametrize("opening", ["[", '{"a":', "(", '"', "-"])
def test_values_without_an_end_are_content(opening: str, size: int) -> None:
    text = '<tool_call>{"name": "paint", "arguments": {"color": ' + opening * 100_000
    for end in ("", "]}", "}}</tool_call>"):
        assert parsed("hermes", text + end, size)[1] == []
    for end in ("", ")]", '")]'):
        assert read_in_python("[paint(color=" + opening * 100_000 + end, size) == []


def read_in_python(text: str, size: int = 10**6) -> list[Any]:
    """The arguments of calls that are written in Python."""
    form = format_of_source("[func_name1(params_name1=params_value1)]")
    parser, answer = AnswerParser(AnswerRules(form, FUNCTIONS)), CollectedAnswer()
    for piece in in_pieces(text, size):
        answer.add(parser.feed(piece))
    answer.add(parser.finish())
    calls = answer.message(deprecated=False).get("tool_calls", ())
    return [json.loads(call["function"]["arguments"]) for call in calls]


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("'a\"b'", 'a"b'),
        ('"a\nb"', "a\nb"),
        (r'"\d \n"', "\\d \n"),
        ("(1, -2.5)", [1, -2.5]),
        ("[\n1,\n2]", [1, 2]),
        ("{'a': [True, false, None, null]}", {"a": [True, False, None, None]}),
        ("'),('", "),("),
        ('"""say "hi", ok)"""', 'say "hi", ok)'),
        ("'''it's\n\"\"\"'''", 'it\'s\n"""'),
        ('""', ""),
        ("''", ""),
    ],
)
def test_values_in_python(written: str, value: Any) -> None:
    for size in (1, 2, 1000):
        text = f"[paint(color={written}, n = 1)]"
        assert read_in_python(text, size) == [{"color": value, "n": 1}]


@pytest.mark.parametrize("written", ["open('x')", "{1: 2}", "{'a'}", "1e999", "b'x'", "x", "1 +"])
def test_what_is_no_value_in_python_is_content(written: str) -> None:
    assert read_in_python(f"[paint(color={written})]") == []


@pytest.mark.parametrize(
    ("schema", "text", "value"),
    [
        ({"type": "string"}, "3", "3"),
        ({"type": "integer"}, "3", 3),
        ({"type": "number"}, " 3 ", 3),
        ({"type": "boolean"}, "True", True),
        ({"type": ["string", "null"]}, "null", None),
        ({"type": ["string", "null"]}, "3", "3"),
        ({"enum": ["1", "2"]}, "1", "1"),
        ({"anyOf": [{"type": "integer"}, {"type": "string"}]}, "x", "x"),
        ({"$ref": "#/$defs/s"}, "1", "1"),
        ({"$ref": "#/$defs/loop"}, "1", 1),
        ({"$ref": "#/$defs/endless"}, "1", 1),
        ({"$ref": "#/$defs/x~1y"}, "1", "1"),
        ({"$ref": "#/properties/b"}, "1", "1"),
        ({"allOf": [{"$ref": "#/$defs/s"}], "default": "1"}, "1", "1"),
        ({"allOf": [{"type": ["string", "integer"]}, {"type": "number"}]}, "x1", "x1"),
        ({"minLength": 1}, "1", "1"),
        ({"type": "array"}, "[1, {}]", [1, {}]),
        ({"type": "array"}, "no list", "no list"),
        ({"type": "array"}, "['a', True]", ["a", True]),
        ({"type": ["object", "null"]}, "{'a': None}", {"a": None}),
        ({"type": ["array", "string"]}, "['a']", "['a']"),
        ({"type": "array"}, "[1e999]", "[1e999]"),
        ({}, "NaN", "NaN"),
        ({}, "\ud800", "\ud800"),
        (None, "[1", "[1"),
    ],
)
def test_text_gets_the_type_of_the_schema(schema: Any, text: str, value: Any) -> None:
    text_only = {"type": "string"}
    definitions = {
        "s": text_only,
        "x/y": text_only,
        "loop": {"$ref": "#/$defs/loop"},
        "endless": {"anyOf": [{"$ref": "#/$defs/endless"}, text_only] * 5},
    }
    properties = {"a": schema, "b": text_only}
    parameters = {"type": "object", "properties": properties, "$defs": definitions}
    if schema is None:
        parameters = {"type": "object"}
    assert json.loads(typed(text, {"name": "f", "parameters": parameters}, "a")) == value


TEXT_A = {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]}


@pytest.mark.parametrize(
    "parameters",
    [
        {"$ref": "#/$defs/A"},
        {"$ref": "#/$defs/B"},
        {"allOf": [{"properties": {"b": {"type": "integer"}}}, {"$ref": "#/$defs/A"}]},
        {"anyOf": [TEXT_A, {"properties": {"b": {"type": "integer"}}}]},
        {"oneOf": [{"required": ["a"]}, {"required": ["b"]}], "properties": TEXT_A["properties"]},
        {"$ref": "#/$defs/A", "allOf": [None, 3, {"$ref": 3}, {"$ref": "#/$defs/lost"}]},
    ],
)
def test_the_type_of_a_parameter_that_is_not_listed_at_the_top(parameters: Any) -> None:
    definitions = {"A": TEXT_A, "B": {"allOf": [{"$ref": "#/$defs/A"}]}}
    function = {"name": "f", "parameters": {**parameters, "$defs": definitions}}
    assert json.loads(typed("1", function, "a")) == "1"


@pytest.mark.parametrize(
    "parameters",
    [
        {"$ref": "#"},
        {"$ref": "#/$defs/0", "$defs": {str(i): {"$ref": f"#/$defs/{i + 1}"} for i in range(3000)}},
        {"allOf": [{"$ref": "#"}] * 9},
        {"anyOf": [{"$ref": "#"}] * 9},
        3,
    ],
)
def test_parameters_without_an_end_have_no_type(parameters: Any) -> None:
    assert typed("1", {"name": "f", "parameters": parameters}, "a") == "1"


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("hermes", '```json\n{"id": [' * 12_000),
        ("hermes", '<tool_call>{"id": [' * 12_000),
        ("hermes", '<tool_call>{"id": [' * 5_000 + "]}" * 5_000),
        ("mistral with arguments", "[TOOL_CALLS]" + "a" * 500_000),
        ("hermes", '<tool_call>{"name": "paint", "arguments": ' + "a" * 500_000),
    ],
)
def test_calls_without_an_end_take_linear_time(
    monkeypatch: pytest.MonkeyPatch, source: str, text: str
) -> None:
    searches = Searches(monkeypatch)
    parser, answer = parser_of(source), CollectedAnswer()
    for piece in in_pieces(text, 10):
        answer.add(parser.feed(piece))
    answer.add(parser.finish())
    message = answer.message(deprecated=False)
    assert len(message["content"] or "") == len(text)
    assert "tool_calls" not in message
    assert parser._source.n_scanned < tagged._MOST_WASTED + 4 * len(text)
    assert searches.n_searched < 8 * len(text)


def test_an_unclosed_call_counts_and_what_follows_is_content() -> None:
    written = WRITTEN["hermes"]
    assert parsed("hermes", written.removesuffix("\n</tool_call>")) == ("", [RED])
    assert parsed("hermes", f"{written} and then") == (" and then", [RED])


def test_content_flows_until_a_mark_may_begin() -> None:
    parser = parser_of("hermes")
    assert parser.feed("I will <") == [Text("I will")]
    assert parser.feed("b>") == [Text(" <b>")]
    assert parser.feed("<tool_call>") == []


@pytest.mark.parametrize("size", [1, 3, 1000])
@pytest.mark.parametrize("between", ["", " ", "\n\n"])
def test_the_text_of_a_cut_call_is_whole(size: int, between: str) -> None:
    begin, call = f"First this.{between}", WRITTEN["hermes"]
    cut = f"{begin}{call[:-20]}"
    assert parsed("hermes", cut, size) == (cut, [])
    # White space between calls is none of the content.
    assert parsed("hermes", f"{begin}{call}{between}{call[:-20]}", size) == (
        f"First this.{call[:-20]}", [RED],
    )  # fmt: skip


@pytest.mark.parametrize("size", [1, 1000])
@pytest.mark.parametrize("cut", range(1, len("\n</tool_call>")))
def test_a_mark_of_the_end_that_is_cut_off_is_no_content(size: int, cut: int) -> None:
    assert parsed("hermes", WRITTEN["hermes"][:-cut], size) == ("", [RED])
