"""The grammars of answers: forced calls, calls in a free text, JSON, and thoughts before them."""

from __future__ import annotations

from typing import Any

import pytest
from tests.python.support.call_formats import FAMILIES, TOOLS, Family
from tests.python.support.gbnf_texts import Gbnf

from specbranch_cpp._grammar.cost import check_cost
from specbranch_cpp._grammar.json_schema import grammar_of
from specbranch_cpp._grammar.rule_book import RuleBook
from specbranch_cpp.openai_api.answers.constraints import (
    AnswerShape,
    calls_or_ruled_text,
    forced_calls,
    free_text,
    ruled_text,
)
from specbranch_cpp.openai_api.answers.thoughts import THINK
from specbranch_cpp.openai_api.templates import ChatTemplate
from specbranch_cpp.openai_api.tool_calls.choice import format_of_template
from specbranch_cpp.openai_api.tool_calls.declarations import Tools

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


def form_of(family: Family) -> Any:
    return format_of_template(ChatTemplate(family.template), lambda _: False)


def shape_of(family: Family) -> AnswerShape:
    return CHANNELS if family.channels else PLAIN


def without_end(text: str) -> str:
    """The end token of a call ends the text; it is no part of the grammar."""
    return text.removesuffix("<|call|>")


@pytest.mark.parametrize("name", WRITTEN)
def test_a_forced_answer_is_what_the_family_writes(name: str) -> None:
    family = FAMILIES[name]
    source = forced_calls(Tools(tuple(TOOLS), NAMES, many=False), form_of(family), shape_of(family))
    check_cost(source)
    grammar = Gbnf(source)
    one = without_end(family.one)
    assert grammar.allows(one)
    assert not grammar.begins("I think")
    assert not grammar.allows(one[:-1])
    assert not grammar.begins(one.replace("get", "gut"))
    assert not grammar.begins(one.replace("city", "town"))
    only = forced_calls(
        Tools(tuple(TOOLS), ("set",), many=False), form_of(family), shape_of(family)
    )
    assert not Gbnf(only).begins(one)


@pytest.mark.parametrize(
    "name",
    [n for n in WRITTEN if FAMILIES[n].two and n not in ("gpt-oss", "gemma 3", "mistral 2025")],
)
def test_a_forced_answer_with_several_calls(name: str) -> None:
    family = FAMILIES[name]
    tools = Tools(tuple(TOOLS), NAMES, many=True)
    grammar = Gbnf(forced_calls(tools, form_of(family), PLAIN))
    assert grammar.allows(family.one)
    assert grammar.allows(family.two)


@pytest.mark.parametrize("name", HELD)
def test_a_free_text_is_held_to_the_format_once_a_call_begins(name: str) -> None:
    family = FAMILIES[name]
    form = form_of(family)
    source = free_text(Tools(tuple(TOOLS)), form, shape_of(family))
    assert source is not None
    check_cost(source)
    grammar = Gbnf(source)
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
    once = free_text(Tools(tuple(TOOLS), many=False), form, PLAIN)
    assert once is not None
    assert Gbnf(once).allows(f"Text {family.one}")
    assert not Gbnf(once).begins(f"{family.one}x")


@pytest.mark.parametrize("name", STARTS)
def test_an_answer_that_begins_as_a_call_is_held_to_the_format(name: str) -> None:
    family, start = FAMILIES[name], STARTS[name]
    source = free_text(Tools(tuple(TOOLS)), form_of(family), PLAIN)
    assert source is not None
    check_cost(source)
    grammar = Gbnf(source)
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


def test_a_mark_after_half_a_start_is_a_mark() -> None:
    source = free_text(Tools(tuple(TOOLS)), form_of(FAMILIES["hermes"]), PLAIN)
    assert source is not None
    for text in ("", " ", "{", '{"name": "g', '{"name": "go"', "{<tool_c"):
        assert Gbnf(source).allows(text + FAMILIES["hermes"].one), text
        assert not Gbnf(source).begins(f"{text}<tool_call>oops"), text


@pytest.mark.parametrize("name", sorted(NOT_HELD))
def test_a_format_without_an_own_mark_is_not_held(name: str) -> None:
    assert free_text(Tools(tuple(TOOLS)), form_of(FAMILIES[name]), PLAIN) is None


@pytest.mark.parametrize("parameters", [{"not": {}}, {"type": "object", "patternProperties": {}}])
def test_a_schema_without_a_grammar_frees_the_arguments(parameters: Any) -> None:
    odd = {"type": "function", "function": {"name": "odd", "parameters": parameters}}
    source = free_text(Tools((*TOOLS, odd)), form_of(FAMILIES["hermes"]), PLAIN)
    assert source is not None
    grammar = Gbnf(source)
    assert grammar.allows('<tool_call>\n{"name": "odd", "arguments": {"a": [1]}}\n</tool_call>')
    assert grammar.allows(FAMILIES["hermes"].one)
    assert not grammar.begins('<tool_call>\n{"name": "get", "arguments": {"town"')


def test_a_thought_comes_before_json() -> None:
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}
    json = grammar_of(schema, "the schema")
    assert ruled_text(json, PLAIN) == json
    may, must = Gbnf(ruled_text(json, THINKING)), Gbnf(ruled_text(json, OPEN))
    assert may.allows('{"a": 1}')
    assert may.allows('<think>\nx </thin </think>\n\n{"a": 1}')
    assert not may.begins("x")
    assert not must.allows('{"a": 1}')
    assert must.allows('{"a": 1} no</think>{"a": 1}')
    assert not must.begins("no</think>oops")
    channels = Gbnf(ruled_text(json, CHANNELS))
    final = '<|channel|>final<|message|>{"a": 1}'
    assert channels.allows(final)
    assert channels.allows(final.replace("<|message|>", " <|constrain|>json<|message|>"))
    analysis = "<|channel|>analysis<|message|>no<|end|><|start|>assistant"
    assert channels.allows(analysis * 2 + final)
    assert not channels.begins('{"a"')
    assert not channels.allows(analysis)


def test_a_thought_comes_before_a_forced_call() -> None:
    family = FAMILIES["hermes"]
    tools = Tools(tuple(TOOLS), NAMES, many=False)
    assert Gbnf(forced_calls(tools, form_of(family), OPEN)).allows(f"no</think>\n{family.one}")
    assert not Gbnf(forced_calls(tools, form_of(family), OPEN)).allows(family.one)
    may = Gbnf(forced_calls(tools, form_of(family), THINKING))
    assert may.allows(family.one)
    assert may.allows(f"<think>no</think>{family.one}")


@pytest.mark.parametrize("name", [n for n in WRITTEN if FAMILIES[n].two])
def test_calls_or_json(name: str) -> None:
    family = FAMILIES[name]
    json = grammar_of({"enum": [7]}, "the schema")
    shape = shape_of(family)
    grammar = Gbnf(
        calls_or_ruled_text(Tools(tuple(TOOLS), many=False), form_of(family), json, shape)
    )
    assert grammar.allows(without_end(family.one))
    assert grammar.allows("<|channel|>final<|message|>7" if family.channels else "7")
    assert not grammar.begins("x")
    assert not grammar.begins("8")


def test_a_mark_in_a_thought_begins_no_call() -> None:
    family = FAMILIES["hermes"]
    source = free_text(Tools(tuple(TOOLS)), form_of(family), OPEN)
    assert source is not None
    grammar = Gbnf(source)
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
def test_a_text_ends_at_the_first_mark(marks: list[str], text: str, rest: str | None) -> None:
    book = RuleBook()
    grammar = Gbnf(book.grammar(book.until(dict.fromkeys(marks, '"!"'))))
    end = text.removesuffix(rest or "")
    assert grammar.allows(f"{end}!")
    assert not grammar.begins(f"{end}?")
    assert not grammar.allows(end[:-1])
