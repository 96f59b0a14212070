"""Calls of Gemma 4: values in values, texts with every character, and grammars of their schemas."""

from __future__ import annotations

import json
from typing import Any

import pytest
from tests.python.support.gbnf_texts import Gbnf
from tests.python.support.lark_texts import LarkTexts

from specbranch_cpp._grammar.lark_book import LarkBook
from specbranch_cpp._grammar.rule_book import RuleBook
from specbranch_cpp.grammars import Lark
from specbranch_cpp.openai_api.answers.collected import CollectedAnswer
from specbranch_cpp.openai_api.answers.constraints import AnswerShape, forced_calls
from specbranch_cpp.openai_api.answers.parser import AnswerParser
from specbranch_cpp.openai_api.answers.tagged import AnswerRules
from specbranch_cpp.openai_api.tool_calls.declarations import Tools
from specbranch_cpp.openai_api.tool_calls.formats.gemma import FormatFunctionGemma, FormatGemma4

Q = '<|"|>'
TEXT = {"type": "string"}


def tool(**properties: Any) -> dict[str, Any]:
    schema = {"type": "object", "properties": properties, "required": list(properties)}
    return {"type": "function", "function": {"name": "f", "parameters": schema}}


def arguments_in(
    text: str, size: int = 1, *, form: type[FormatGemma4] = FormatGemma4, **properties: Any
) -> Any:
    """The arguments of the call that a text is. ``None``: it is none."""
    functions = {"f": tool(**properties)["function"]}
    parser = AnswerParser(AnswerRules(form(), functions))
    whole = CollectedAnswer()
    for begin in range(0, len(text), size):
        whole.add(parser.feed(text[begin : begin + size]))
    whole.add(parser.finish())
    message = whole.message(deprecated=False)
    if "tool_calls" not in message:
        assert message["content"] == text
        return None
    (call,) = message["tool_calls"]
    assert not message["content"]
    return json.loads(call["function"]["arguments"])


@pytest.mark.parametrize("size", [1, 2, 3, 1000])
@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("", {}),
        (f"a:{Q}{Q}", {"a": ""}),
        (f'a:{Q}{{"x": [1]}}, "b" \\n \\ }}{Q}', {"a": '{"x": [1]}, "b" \\n \\ }'}),
        (f"a:{Q}<|tool{Q},b:{Q}<|\"{Q}", {"a": "<|tool", "b": '<|"'}),
        ("a:-1.5e3,b:true,c:null,d:False", {"a": -1500.0, "b": True, "c": None, "d": False}),
        (f"a:[1,{Q}x{Q},[],{{}}],b:{{c:{{d:{Q},{Q}}},{Q}e f{Q}:2}}",
         {"a": [1, "x", [], {}], "b": {"c": {"d": ","}, "e f": 2}}),
        (f" a : {Q}x{Q} ,\n b : [ 1 , 2 ] ", {"a": "x", "b": [1, 2]}),
        ('a:"x, \\"y\\" }",b:["z"]', {"a": 'x, "y" }', "b": ["z"]}),
        (f"{Q}a{Q}:1", {"a": 1}),
        ("a:,b:1", {"a": "", "b": 1}),
        ("a:two words,b:[two words]", {"a": "two words", "b": ["two words"]}),
    ],
)  # fmt: skip
def test_values(written: str, expected: Any, size: int) -> None:
    assert arguments_in(f"<|tool_call>call:f{{{written}}}<tool_call|>", size) == expected


def test_words_without_quotes_have_the_type_of_their_schema() -> None:
    text = "<|tool_call>call:f{zip:01234,n:7}<tool_call|>"
    assert arguments_in(text, zip=TEXT, n=TEXT) == {"zip": "01234", "n": "7"}
    assert arguments_in(text, zip=TEXT, n={"type": "integer"}) == {"zip": "01234", "n": 7}


@pytest.mark.parametrize(
    "text",
    [
        "<|tool_call>call:f{a}<tool_call|>",
        "<|tool_call>call:f{a:1",
        "<|tool_call>call:{a:1}<tool_call|>",
        f"<|tool_call>call:f{{a:{Q}x}}<tool_call|>",
        "<|tool_call>call:f{a:[1}<tool_call|>",
        "<|tool_call>call:f{a:1]}<tool_call|>",
        "<|tool_call>call:f{a:[1 2},b:{]}<tool_call|>",
        "<|tool_call>f{a:1}<tool_call|>",
        "<|tool_call>call:f{a:{b}}<tool_call|>",
        "<|tool_call>call:f{a:" + "[" * 5000 + "]" * 5000 + "}<tool_call|>",
    ],
)
def test_what_is_no_call_stays_text(text: str) -> None:
    assert {str(arguments_in(text, size)) for size in (1, 7, 100_000)} == {"None"}


@pytest.mark.parametrize("book", [RuleBook, LarkBook])
def test_the_grammar_follows_the_schema(book: type[RuleBook]) -> None:
    given = tool(
        path=TEXT,
        kind={"enum": ["new", "old"]},
        lines={"type": "array", "items": {"$ref": "#/$defs/line"}},
        any={},
    )
    schema = given["function"]["parameters"]
    schema["required"] = ["path", "lines"]
    schema["$defs"] = {
        "line": {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
    }
    source = forced_calls(
        Tools((given,), ("f",), many=False), FormatGemma4(), AnswerShape(None), book
    )
    assert source is not None
    grammar = LarkTexts(source) if isinstance(source, Lark) else Gbnf(source)

    def allows(written: str) -> bool:
        return grammar.allows(f"<|tool_call>call:f{{{written}}}<tool_call|>")

    lines = "lines:[{n:1},{n:2}]"
    assert allows(f"path:{Q}a}}\nb{Q},kind:{Q}old{Q},{lines},any:{{x:[1,{Q}y{Q},null]}}")
    assert allows(f"path:{Q}a{Q},lines:[]")
    assert allows(f"any:-2,kind:{Q}new{Q},{lines},path:{Q}{Q}")  # sorted, as templates show them
    assert allows(f"{lines},path:{Q}x{Q}")
    for wrong in (
        f"path:{Q}a{Q}",
        f"path:a,{lines}",
        f"path:{Q}a{Q},kind:{Q}odd{Q},{lines}",
        f"path:{Q}a{Q},lines:[1]",
        f"path:{Q}a{Q},lines:[{{n:{Q}1{Q}}}]",
        f"path:{Q}a{Q},{lines},path:{Q}a{Q}",
    ):
        assert not allows(wrong), wrong


def test_the_marks_of_function_gemma() -> None:
    call = "<start_function_call>call:f{a:<escape>x, }<escape>,b:[<escape>y<escape>]}"
    text = f"{call}<end_function_call><start_function_response>"
    found = arguments_in(text, 1000, form=FormatFunctionGemma)
    assert found == {"a": "x, }", "b": ["y"]}
