"""The grammars of answers: forced calls, calls in a free text, JSON, and thoughts before them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
from tests.python.support.call_formats import FAMILIES, TOOLS, Family
from tests.python.support.gbnf_texts import Gbnf
from tests.python.support.lark_texts import LarkTexts, texts_of

from specbranch_cpp._grammar.lark_book import LarkBook
from specbranch_cpp._grammar.rule_book import RuleBook
from specbranch_cpp.errors import InvalidArgument
from specbranch_cpp.grammars import JsonSchema, Lark
from specbranch_cpp.openai_api.answers.constraints import (
    AnswerShape,
    calls_or_ruled_text,
    forced_calls,
    free_text,
    ruled_text,
)
from specbranch_cpp.openai_api.answers.thoughts import THINK
from specbranch_cpp.openai_api.tool_calls.declarations import Tools
from specbranch_cpp.openai_api.tool_calls.formats.pythonic import FormatLfm2
from specbranch_cpp.openai_api.tool_calls.formats.xml import FormatGlm, FormatQwenCoder

if TYPE_CHECKING:
    from collections.abc import Callable

    from specbranch_cpp.openai_api.tool_calls.tool_format import ToolFormat

PLAIN = AnswerShape()
THINKING = AnswerShape(THINK)
OPEN = AnswerShape(THINK, is_open=True)
CHANNELS = AnswerShape(channels=True)
NAMES = ("get", "set")
# How models of these families may write calls, too; the grammar has one way.
OTHER_WAYS = {
    "hermes, a list in the tag",
    "hermes, arguments as text",
    "hermes, arguments first",
    "qwen2.5-coder, an object alone",
    "qwen2.5-coder, a block of code",
    "qwen3-coder without the first tag",
    "llama 3, tag",
    "mistral 2024",  # with an id
    "firefunction",  # with a space
    "kimi k2, in the singular",
}
# Text with their marks may also be no call.
NOT_HELD = {"gemma 3", "firefunction"}
# An answer is a call if it begins with the name of a function in this way.
STARTS = {
    "llama 3": '{"name": "get", ',
    "llama 4, pythonic": "[get(",
    "functionary 3.2": "get\n",
    "qwen2.5-coder, an object alone": '{"name": "get", ',
}
WRITTEN = [name for name in FAMILIES if name not in OTHER_WAYS]
HELD = [name for name in WRITTEN if name not in NOT_HELD | set(STARTS)]


@dataclass(frozen=True)
class Kind:
    """GBNF or Lark: the book that makes a grammar, and what reads it."""

    book: Callable[[], RuleBook]

    def read(self, source: str | Lark | None) -> Gbnf | LarkTexts:
        assert source is not None
        return texts_of(source)


@pytest.fixture(params=[RuleBook, LarkBook], ids=["gbnf", "lark"])
def kind(request: pytest.FixtureRequest) -> Kind:
    return Kind(request.param)


def shape_of(family: Family) -> AnswerShape:
    return CHANNELS if family.channels else PLAIN


def without_end(text: str) -> str:
    """The end token of a call ends the text; it is no part of the grammar."""
    return text.removesuffix("<|call|>")


@pytest.mark.parametrize("name", WRITTEN)
def test_a_forced_answer_is_what_the_family_writes(kind: Kind, name: str) -> None:
    family = FAMILIES[name]
    source = forced_calls(
        Tools(tuple(TOOLS), NAMES, many=False), family.form, shape_of(family), kind.book
    )
    grammar = kind.read(source)
    one = without_end(family.one)
    assert grammar.allows(one)
    assert not grammar.begins("I think")
    assert not grammar.allows(one[:-1])
    assert not grammar.begins(one.replace("get", "gut"))
    assert not grammar.begins(one.replace("city", "town"))
    only = forced_calls(
        Tools(tuple(TOOLS), ("set",), many=False), family.form, shape_of(family), kind.book
    )
    assert not kind.read(only).begins(one)


@pytest.mark.parametrize(
    "name",
    [n for n in WRITTEN if FAMILIES[n].two and n not in ("gpt-oss", "gemma 3", "mistral 2025")],
)
def test_a_forced_answer_with_several_calls(kind: Kind, name: str) -> None:
    family = FAMILIES[name]
    tools = Tools(tuple(TOOLS), NAMES, many=True)
    grammar = kind.read(forced_calls(tools, family.form, PLAIN, kind.book))
    assert grammar.allows(family.one)
    assert grammar.allows(family.two)


@pytest.mark.parametrize("name", HELD)
def test_a_free_text_is_held_to_the_format_once_a_call_begins(kind: Kind, name: str) -> None:
    family = FAMILIES[name]
    form = family.form
    source = free_text(Tools(tuple(TOOLS)), form, shape_of(family), kind.book)
    assert source is not None
    grammar = kind.read(source)
    if family.channels:
        assert grammar.allows("<|channel|>final<|message|>no call")
        assert grammar.allows(
            "<|channel|>analysis<|message|>to=functions.get?<|end|><|start|>assistant"
            + without_end(family.one)
        )
        assert not grammar.begins("<|channel|>commentary to=functions.gut")
        return
    for text in ("", "no call", f"<{form.opening[:-1]}", "{}[]", "\n\u00e9\U0001f600"):
        assert grammar.allows(text), text
        assert grammar.allows(f"{text}{family.one} more"), text
        assert not grammar.begins(f"{text}{form.opening}oops"), text
    assert grammar.allows(family.one * 2)
    assert not grammar.allows(family.one[:-1])
    once = free_text(Tools(tuple(TOOLS), many=False), form, PLAIN, kind.book)
    assert once is not None
    assert kind.read(once).allows(f"Text {family.one}")
    assert not kind.read(once).begins(f"{family.one}x")


@pytest.mark.parametrize("name", STARTS)
def test_an_answer_that_begins_as_a_call_is_held_to_the_format(kind: Kind, name: str) -> None:
    family, start = FAMILIES[name], STARTS[name]
    source = free_text(Tools(tuple(TOOLS)), family.form, PLAIN, kind.book)
    assert source is not None
    grammar = kind.read(source)
    assert family.one.startswith(start)
    for before in ("", "\n "):
        assert grammar.allows(before + family.one)
        assert grammar.allows(f"{before}{family.one} more")
        assert not grammar.begins(f"{before}{start}oops")
        assert not grammar.allows(before + start)
    other = start.replace("get", "gut")
    half = start[: start.index("get") + 2]
    for text in ("", "no call", f"Then {start}oops", f"{other}oops", half, "{}", "[1]", '{"'):
        assert grammar.allows(text), text


def test_a_mark_after_half_a_start_is_a_mark(kind: Kind) -> None:
    source = free_text(Tools(tuple(TOOLS)), FAMILIES["hermes"].form, PLAIN, kind.book)
    assert source is not None
    for text in ("", " ", "{", '{"name": "g', '{"name": "go"', "{<tool_c"):
        assert kind.read(source).allows(text + FAMILIES["hermes"].one), text
        assert not kind.read(source).begins(f"{text}<tool_call>oops"), text


@pytest.mark.parametrize("name", sorted(NOT_HELD))
def test_a_format_without_an_own_mark_is_not_held(kind: Kind, name: str) -> None:
    assert free_text(Tools(tuple(TOOLS)), FAMILIES[name].form, PLAIN, kind.book) is None


@pytest.mark.parametrize("parameters", [{"not": {}}, {"type": "object", "patternProperties": {}}])
def test_a_schema_without_a_grammar_frees_the_arguments(kind: Kind, parameters: Any) -> None:
    odd = {"type": "function", "function": {"name": "odd", "parameters": parameters}}
    source = free_text(Tools((*TOOLS, odd)), FAMILIES["hermes"].form, PLAIN, kind.book)
    assert source is not None
    grammar = kind.read(source)
    assert grammar.allows('<tool_call>\n{"name": "odd", "arguments": {"a": [1]}}\n</tool_call>')
    assert grammar.allows(FAMILIES["hermes"].one)
    assert not grammar.begins('<tool_call>\n{"name": "get", "arguments": {"town"')


def test_a_thought_comes_before_json(kind: Kind) -> None:
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}
    json = JsonSchema(schema)
    may, must = (
        kind.read(ruled_text(json, THINKING, kind.book)),
        kind.read(ruled_text(json, OPEN, kind.book)),
    )
    assert may.allows('{"a": 1}')
    assert may.allows('<think>\nx </thin </think>\n\n{"a": 1}')
    assert not may.begins("x")
    assert not must.allows('{"a": 1}')
    assert must.allows('{"a": 1} no</think>{"a": 1}')
    assert not must.begins("no</think>oops")
    channels = kind.read(ruled_text(json, CHANNELS, kind.book))
    final = '<|channel|>final<|message|>{"a": 1}'
    assert channels.allows(final)
    assert channels.allows(final.replace("<|message|>", " <|constrain|>json<|message|>"))
    analysis = "<|channel|>analysis<|message|>no<|end|><|start|>assistant"
    assert channels.allows(analysis * 2 + final)
    assert not channels.begins('{"a"')
    assert not channels.allows(analysis)


def test_a_thought_comes_before_a_forced_call(kind: Kind) -> None:
    family = FAMILIES["hermes"]
    tools = Tools(tuple(TOOLS), NAMES, many=False)
    assert kind.read(forced_calls(tools, family.form, OPEN, kind.book)).allows(
        f"no</think>\n{family.one}"
    )
    assert not kind.read(forced_calls(tools, family.form, OPEN, kind.book)).allows(family.one)
    may = kind.read(forced_calls(tools, family.form, THINKING, kind.book))
    assert may.allows(family.one)
    assert may.allows(f"<think>no</think>{family.one}")


@pytest.mark.parametrize("name", [n for n in WRITTEN if FAMILIES[n].two])
def test_calls_or_json(kind: Kind, name: str) -> None:
    family = FAMILIES[name]
    json = JsonSchema({"enum": [7]})
    shape = shape_of(family)
    grammar = kind.read(
        calls_or_ruled_text(Tools(tuple(TOOLS), many=False), family.form, json, shape, kind.book)
    )
    assert grammar.allows(without_end(family.one))
    assert grammar.allows("<|channel|>final<|message|>7" if family.channels else "7")
    assert not grammar.begins("x")
    assert not grammar.begins("8")


def test_a_mark_in_a_thought_begins_no_call(kind: Kind) -> None:
    family = FAMILIES["hermes"]
    source = free_text(Tools(tuple(TOOLS)), family.form, OPEN, kind.book)
    assert source is not None
    grammar = kind.read(source)
    assert grammar.allows("use <tool_call>?")
    assert grammar.allows(f"use <tool_call>? </think> So: {family.one}")
    assert not grammar.begins("</think><tool_call>?")


@pytest.mark.parametrize(
    ("marks", "text", "rest"),
    [
        (["</a>"], "<</</a</a>", None),
        (["aab"], "aaab", None),
        (["abc", "bcd"], "abcd", "d"),
        (["ab", "b\u00e9"], "xb\u00e9", None),
    ],
)
def test_a_text_ends_at_the_first_mark(
    kind: Kind, marks: list[str], text: str, rest: str | None
) -> None:
    book = kind.book()
    grammar = kind.read(book.grammar(book.until(dict.fromkeys(marks, '"!"'))))
    end = text.removesuffix(rest or "")
    assert grammar.allows(f"{end}!")
    assert not grammar.begins(f"{end}?")
    assert not grammar.allows(end[:-1])


CITY = {"type": "string", "enum": ["Rome", "Bonn", None]}
PLACE = {"type": "object", "properties": {"city": CITY}, "required": ["city"]}


@pytest.mark.parametrize("name", ["qwen3-coder", "glm-4.5", "lfm2"])
@pytest.mark.parametrize(
    "parameters",
    [
        PLACE,
        {"$ref": "#/$defs/Place", "$defs": {"Place": PLACE}},
        {
            "allOf": [{"$ref": "#/$defs/Place"}, {"properties": {"n": {"type": "integer"}}}],
            "$defs": {"Place": PLACE},
        },
        {
            "properties": {"city": {"$ref": "#/$defs/Place/properties/city"}},
            "required": ["city"],
            "$defs": {"Place": PLACE},
        },
        {
            "properties": {"n": {"anyOf": [{"const": "Rome"}]}, "city": {"$ref": "#/properties/n"}},
            "required": ["city"],
        },
    ],
)
def test_parameters_behind_references_are_known(kind: Kind, name: str, parameters: Any) -> None:
    family = FAMILIES[name]
    given = {"type": "function", "function": {"name": "get", "parameters": parameters}}
    grammar = kind.read(
        forced_calls(Tools((given,), ("get",), many=False), family.form, PLAIN, kind.book)
    )
    assert grammar.allows(family.one)
    assert not grammar.allows(family.one.replace("city", "town"))
    assert not grammar.allows(family.one.replace("Rome", "Oslo"))


@pytest.mark.parametrize("form", [FormatQwenCoder, FormatGlm, FormatLfm2])
def test_a_parameter_that_only_llguidance_can_express(form: type[ToolFormat]) -> None:
    named = {"type": "object", "patternProperties": {"^x": {"type": "integer"}}}
    parameters = {"properties": {"a": {**named, "additionalProperties": False}}, "required": ["a"]}
    given = {"type": "function", "function": {"name": "get", "parameters": parameters}}
    kind = Kind(LarkBook)
    forced = kind.read(forced_calls(Tools((given,), ("get",)), form(), PLAIN, LarkBook))
    written = {
        "qwen3-coder": "<tool_call>\n<function=get>\n<parameter=a>\n",
        "glm4": "<tool_call>get\n<arg_key>a</arg_key>\n<arg_value>",
        "lfm2": "<|tool_call_start|>[get(a=",
    }[form.name]
    assert forced.begins(written + '{"x1": 1')
    assert not forced.begins(written + '{"y1": 1')
    either = calls_or_ruled_text(
        Tools((given,)), form(), JsonSchema({"enum": [7]}), PLAIN, LarkBook
    )
    assert kind.read(either).begins(written + '{"x1": 1')
    with pytest.raises(InvalidArgument, match="patternProperties"):
        forced_calls(Tools((given,), ("get",)), form(), PLAIN, RuleBook)


@pytest.mark.parametrize("required", [True, 1, "key", [1]])
@pytest.mark.parametrize("form", [FormatQwenCoder, FormatGlm, FormatLfm2])
@pytest.mark.parametrize("new_book", [RuleBook, LarkBook])
def test_a_wrong_list_of_required_parameters_is_refused(
    required: object, form: type[ToolFormat], new_book: Callable[[], RuleBook]
) -> None:
    parameters = {"type": "object", "properties": {"a": {"type": "string"}}, "required": required}
    given = {"type": "function", "function": {"name": "get", "parameters": parameters}}
    tools = Tools((given,), ("get",))
    with pytest.raises(InvalidArgument, match="required"):
        forced_calls(tools, form(), PLAIN, new_book)
    assert free_text(tools, form(), PLAIN, new_book) is not None  # any arguments
