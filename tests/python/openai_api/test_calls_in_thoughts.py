"""A call that begins in a thought: it ends a thought that is never closed."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from tests.python.support.call_formats import BOTH, FAMILIES, FUNCTIONS, GET, TOOLS
from tests.python.support.scripted import make_engine, script
from tests.python.support.streamed_answers import Searches, in_pieces, read_in_pieces

from specbranch_cpp.openai_api.answers.collected import CollectedAnswer
from specbranch_cpp.openai_api.answers.parser import AnswerParser
from specbranch_cpp.openai_api.answers.tagged import AnswerRules
from specbranch_cpp.openai_api.answers.thoughts import THINK

if TYPE_CHECKING:
    from pathlib import Path

HERMES = FAMILIES["hermes"]
# Families whose calls have a mark that other text does not have.
MARKED = [
    name
    for name, family in FAMILIES.items()
    if not family.begins and "```" not in family.one[:3] and "functools" not in family.one
]
SIZES = pytest.mark.parametrize("size", [1, 2, 5, 1000])
ONE = '<tool_call>\n{"name": "get", "arguments": {"city": "Rome"}}\n</tool_call>'
TWO = '<tool_call>\n{"name": "set", "arguments": {"n": 3, "on": true}}\n</tool_call>'


def parsed(
    text: str, size: int, name: str = "hermes", *, many: bool = True, is_open: bool = True
) -> tuple[str, str, list[tuple[str, Any]]]:
    """Thought, content and calls. The pieces of a stream must make the same message."""
    opened = THINK if is_open else None
    rules = AnswerRules(FAMILIES[name].form, FUNCTIONS, many, THINK, opened)
    return read_in_pieces(rules, text, size)


@SIZES
@pytest.mark.parametrize("name", MARKED)
def test_a_call_ends_an_unclosed_thought(name: str, size: int) -> None:
    family = FAMILIES[name]
    for text, calls in ((family.one, [GET]), (family.two, BOTH)):
        if text:
            assert parsed(f"I look. {text}", size, name) == ("I look.", "", calls)
            answer = f"<think>\nI look.\n\n{text}\n"
            assert parsed(answer, size, name, is_open=False) == ("I look.", "", calls)
            assert parsed(f"I look. {text}", size, name, many=False)[2] == [GET]
    assert parsed(f"t</think>{family.one}", size, name) == ("t", "", [GET])
    assert parsed(family.one, size, name) == ("", "", [GET])


@SIZES
def test_what_follows_such_a_call_is_content(size: int) -> None:
    assert parsed(f"a {ONE} b {TWO}", size) == ("a", " b", BOTH)
    assert parsed(f"a {ONE} b", size) == ("a", " b", [GET])
    assert parsed(f"a {ONE} b </thi", size) == ("a", " b </thi", [GET])


@SIZES
@pytest.mark.parametrize(
    "thought",
    [
        f"Shall I write {ONE}? No.",
        f"{ONE}",
        f"{ONE}\n{TWO}\nlater",
        f"{ONE} or {TWO}",
    ],
)
def test_a_thought_that_is_closed_contains_no_calls(thought: str, size: int) -> None:
    assert parsed(f"{thought}</think>\n\nHello", size) == (thought, "Hello", [])
    assert parsed(f"{thought}</think>{TWO}", size) == (thought, "", BOTH[1:])
    assert parsed(f"<think>{thought}</think>x", size, is_open=False) == (thought, "x", [])


@SIZES
@pytest.mark.parametrize("end", ["</think>", "\n</think>\n\n"])
def test_an_end_of_the_thought_behind_the_last_calls_is_dropped(end: str, size: int) -> None:
    """Nothing else would be the answer."""
    assert parsed(f"a {ONE}{end}", size) == ("a", "", [GET])
    assert parsed(f"a {ONE}\n{TWO}{end}", size) == ("a", "", BOTH)
    assert parsed(f"a {ONE}\n{TWO}{end}", size, many=False) == ("a", "", [GET])
    kimi = FAMILIES["kimi k2"].two
    assert parsed(f"a {kimi}{end}", size, "kimi k2") == ("a", "", BOTH)
    thought = f"a {ONE} no"
    assert parsed(thought + end, size) == (thought, "", [])


@SIZES
@pytest.mark.parametrize(
    "thought",
    [
        "I write <tool_call> and then JSON",
        '{"name": "get", "arguments": {"city": "Rome"}}',
        'Say {"name": "get", "arguments": {"city": "Rome"}}',
        '```json\n{"name": "get", "arguments": {"city": "Rome"}}\n```',
        '<tool_call>{"name": "fly", "arguments": {}}</tool_call>',
        '<tool_call>{"name": "get", "arguments": 3}</tool_call> is wrong',
        '<tool_call>{"na',
        "a <tool_ca",
        "a < b",
    ],
)
def test_a_thought_that_only_mentions_calls_goes_on(thought: str, size: int) -> None:
    assert parsed(thought, size) == (thought, "", [])
    assert parsed(f"{thought}</think>x", size) == (thought, "x", [])


def test_a_mark_in_an_argument_does_not_close_the_thought() -> None:
    text = 'a <tool_call>{"name": "get", "arguments": {"city": "</think>x"}}</tool_call>'
    assert parsed(text, 3) == ("a", "", [("get", {"city": "</think>x"})])


def test_a_call_in_a_thought_that_is_cut() -> None:
    text = f"a {ONE}\n{TWO}"
    for cut in range(len(text)):
        answers = []
        for size in (1, 3, 1000):
            parser = AnswerParser(AnswerRules(HERMES.form, FUNCTIONS, True, THINK, THINK))
            whole = CollectedAnswer()
            for piece in in_pieces(text[:cut], size):
                whole.add(parser.feed(piece))
            whole.add(parser.finish())
            message = whole.message(deprecated=False)
            for call in message.get("tool_calls", ()):
                json.loads(call["function"].pop("arguments"))
                del call["id"]
            answers.append((message, parser.n_broken))
        assert answers[0] == answers[1] == answers[2], text[:cut]


@SIZES
def test_a_broken_call_in_a_thought_that_is_closed(size: int) -> None:
    for begun in ('<tool_call>{"name": "get", "arguments": {"city": "', f"{ONE}{TWO[:49]}"):
        assert parsed(f"a {begun}</think>x", size) == (f"a {begun}", "x", [])


@pytest.mark.parametrize("end", ["", "</think>x"])
@pytest.mark.parametrize(
    "piece",
    [
        ONE,
        f"{ONE} ",
        '<tool_call>{"name": "get", "arguments": {"a": [',
        '<tool_call>{"name": "get", "arguments": {"a": "',
        '<tool_call>{"name": "fly"}',
    ],
)
def test_many_calls_in_a_thought_take_linear_time(
    monkeypatch: pytest.MonkeyPatch, piece: str, end: str
) -> None:
    searches = Searches(monkeypatch)
    text = piece * 1_000 + end
    parser = AnswerParser(AnswerRules(HERMES.form, FUNCTIONS, True, THINK, THINK))
    whole = CollectedAnswer()
    for part in in_pieces(text, 50):
        whole.add(parser.feed(part))
    whole.add(parser.finish())
    message = whole.message(deprecated=False)
    assert ("tool_calls" in message) == (piece.startswith(ONE) and not end)
    assert parser._source.n_scanned < 4 * len(text)
    assert searches.n_searched < 4 * len(text)


def test_an_engine_thinks_and_calls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    family = FAMILIES["kimi k2"]
    tokens = (*family.tokens, THINK.begin, THINK.end)
    source = family.template + "<think>"
    messages = [{"role": "user", "content": "x"}]
    with make_engine(tmp_path, source, tokens) as engine:
        script(monkeypatch, engine, f"I look. {family.two}", tokens)
        answer: Any = engine.create_chat_completion(messages, tools=TOOLS, max_tokens=400)
        (choice,) = answer["choices"]
        assert choice["finish_reason"] == "tool_calls"
        assert choice["message"]["reasoning_content"] == "I look."
        assert len(choice["message"]["tool_calls"]) == 2
