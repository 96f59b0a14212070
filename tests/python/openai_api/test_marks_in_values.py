"""Values of calls that contain the marks of calls: a file that documents such calls has them."""

from __future__ import annotations

import json
import random
import re
from typing import Any

import pytest
from tests.python.support.call_formats import FAMILIES, FUNCTIONS, TOOLS, Family
from tests.python.support.lark_texts import texts_of

from specbranch_cpp._grammar.lark_book import LarkBook
from specbranch_cpp._grammar.rule_book import RuleBook
from specbranch_cpp.openai_api.answers.collected import CollectedAnswer
from specbranch_cpp.openai_api.answers.constraints import AnswerShape, forced_calls
from specbranch_cpp.openai_api.answers.parser import AnswerParser
from specbranch_cpp.openai_api.answers.tagged import AnswerRules
from specbranch_cpp.openai_api.tool_calls.declarations import Tools
from specbranch_cpp.openai_api.tool_calls.incoming_text import CutError, IncomingText

PLAIN = AnswerShape()
DSML = "\uff5cDSML\uff5c"
# The mark after a value, a mark of another argument, and the mark at the end of a call.
MARKS = {
    "qwen3-coder": ("</parameter>", "<parameter=n>", "</function>"),
    "seed-oss": ("</parameter>", "<parameter=n>", "</function>"),
    "glm-4.5": ("</arg_value>", "<arg_key>n</arg_key>", "</tool_call>"),
    "minimax-m2": ("</parameter>", '<parameter name="n">', "</invoke>"),
    "deepseek v3.2": (
        f"</{DSML}parameter>", f'<{DSML}parameter name="n" string="false">', f"</{DSML}invoke>",
    ),
    "deepseek v4": (
        f"</{DSML}parameter>", f'<{DSML}parameter name="n" string="false">', f"</{DSML}invoke>",
    ),
}  # fmt: skip
BY_FAMILY = pytest.mark.parametrize("name", MARKS)
BOOKS = pytest.mark.parametrize("new_book", [RuleBook, LarkBook])
VALUES = [
    "{argument}30{mark}\n<b/>",
    "x\n{mark}\ny",
    "{mark}",
    "{mark}{mark} {mark}",
    "{mark} \t\r\n",
    "{mark}x{end}",
    "{end}",
    "{argument}",
    "<{mark}<",
]


def values(name: str) -> list[str]:
    mark, argument, end = MARKS[name]
    return [each.format(mark=mark, argument=argument, end=end) for each in VALUES]


def calls(family: Family, text: str, size: int) -> list[tuple[str, Any]]:
    """What a reader of the answer, in pieces of a size, finds."""
    parser = AnswerParser(AnswerRules(family.form, FUNCTIONS, True), channels=False)
    answer = CollectedAnswer()
    for begin in range(0, len(text), size):
        answer.add(parser.feed(text[begin : begin + size]))
    answer.add(parser.finish())
    found = answer.message(deprecated=False).get("tool_calls", ())
    return [(one["function"]["name"], json.loads(one["function"]["arguments"])) for one in found]


@BY_FAMILY
@pytest.mark.parametrize("size", [1, 2, 5, 10_000])
def test_a_value_may_contain_the_marks(name: str, size: int) -> None:
    family = FAMILIES[name]
    for value in values(name):
        text = family.one.replace("Rome", value)
        assert calls(family, text, size) == [("get", {"city": value})], value


@BY_FAMILY
@BOOKS
def test_the_grammar_lets_such_a_value_go_on(name: str, new_book: type[RuleBook]) -> None:
    family = FAMILIES[name]
    tools = Tools(tuple(TOOLS), ("get", "set"), many=False)
    grammar = texts_of(forced_calls(tools, family.form, PLAIN, new_book))
    mark, argument, end = MARKS[name]
    for value in values(name):
        text = family.one.replace("Rome", value)
        assert grammar.allows(text), value
        before = text[: text.index(value) + len(value)]
        assert grammar.begins(f"{before}{mark}\nand so on"), value
    before = family.one[: family.one.index("Rome")]
    assert not grammar.begins(f"{before}Rome{mark}\n{argument}")  # `get` has one parameter
    assert not grammar.begins(f"{before}Rome{mark}{end}x")


@BY_FAMILY
@BOOKS
def test_arguments_that_may_lack(name: str, new_book: type[RuleBook]) -> None:
    """Texts and other values in every order of the declaration, of which one is required."""
    family = FAMILIES[name]
    kinds = {"a": "string", "b": "integer", "c": "string", "d": "integer"}
    parameters = {
        "type": "object",
        "properties": {one: {"type": kind} for one, kind in kinds.items()},
        "required": ["c"],
    }
    function = {"name": "get", "parameters": parameters}
    tools = Tools(({"type": "function", "function": function},), ("get",), many=False)
    form = family.form
    grammar = texts_of(forced_calls(tools, form, PLAIN, new_book))
    begin, end = family.one.split(argument_of(form, "city", "Rome", is_text=True))
    for bits in range(16):
        given = [one for i, one in enumerate(kinds) if bits >> i & 1]
        inside = "".join(
            argument_of(form, one, "7" if kinds[one] == "integer" else "x y",
                        is_text=kinds[one] == "string")
            for one in given
        )  # fmt: skip
        assert grammar.allows(begin + inside + end) == ("c" in given), given
    twice = argument_of(form, "c", "1", is_text=True) + argument_of(form, "a", "1", is_text=True)
    assert not grammar.allows(begin + twice + end)


def argument_of(form: Any, name: str, value: str, *, is_text: bool) -> str:
    """An argument as the family writes it."""
    before, behind, after = form.argument
    kind = f'{"true" if is_text else "false"}">' if form.name.startswith("deepseek") else ""
    return f"{before}{name}{behind}{kind}{value}{after}"


@BY_FAMILY
def test_a_mark_that_nothing_follows_ends_the_value_of_a_broken_call(name: str) -> None:
    family = FAMILIES[name]
    mark, _, _ = MARKS[name]
    broken = f"{family.one[: family.one.index('Rome')]}Rome{mark} oops {mark}."
    source = IncomingText()
    source.feed(broken[broken.index("Rome") :])
    source.complete = True
    assert list(source.until_followed(mark, ("<never>",))) == []
    assert source.text[source.at :] == f" oops {mark}."


def first_end(text: str) -> int | None:
    found = re.search(r"</a>[ \t\r\n]*(<a>|</b>)", text)
    return found and found.end()


def random_texts(n: int) -> list[str]:
    draw = random.Random(5)
    pieces = [
        "</a>",
        "</a>",
        "</a>",
        "<a>",
        "<a>",
        "</b>",
        " ",
        "\n",
        "<",
        "</",
        "a",
        ">",
        "b",
        "</a",
        "\xa0",
    ]
    return ["".join(draw.choices(pieces, k=draw.randint(1, 12))) for _ in range(n)]


@BOOKS
def test_the_rule_is_that_of_a_regular_expression(new_book: type[RuleBook]) -> None:
    book = new_book()
    to_a, to_b = book.until_followed("</a>", ("<a>", "</b>"))
    assert book.until_followed("</a>", ("<a>", "</b>")) == [to_a, to_b]  # made once
    grammar = texts_of(book.grammar(f'{to_a} "1" | {to_b} "2"'))
    n_ended = 0
    for text in random_texts(400):
        end = first_end(text)
        if end is None:
            assert grammar.begins(text)
            continue
        n_ended += 1
        own, other = ("1", "2") if text[:end].endswith("<a>") else ("2", "1")
        assert grammar.allows(text[:end] + own)
        assert not grammar.begins(text[:end] + other)
        assert not grammar.begins(text[:end] + "x")
    assert n_ended > 50


def test_the_reader_follows_the_same_rule() -> None:
    n_ended = 0
    for text in random_texts(400):
        source = IncomingText()
        reader = source.until_followed("</a>", ("<a>", "</b>"))
        found, value = first_end(text), None
        try:
            for letter in text:
                next(reader)
                source.feed(letter)
            source.complete = True
            next(reader)
        except StopIteration as stop:
            value = stop.value
        except CutError:
            assert "</a>" not in text
            continue
        assert value is not None
        if found is not None:
            n_ended += 1
            assert value == text[: text[:found].rindex("</a>")]
    assert n_ended > 50


def test_many_marks_take_linear_time() -> None:
    """Each mark, and each run of white space behind one, is looked at once."""
    source = IncomingText()
    reader = source.until_followed("</a>", ("<a>",))
    for _ in range(20_000):
        next(reader)
        source.feed("</a> \n")
    source.feed(" " * 10)
    for _ in range(20_000):
        next(reader)
        source.feed(" ")
    source.feed("<a>")
    with pytest.raises(StopIteration) as stop:
        next(reader)
    assert len(stop.value.value) == 19_999 * len("</a> \n")
