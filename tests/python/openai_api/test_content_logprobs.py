"""Log-probabilities of the tokens of the content alone, and the places of tokens in an answer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from tests.python.support.scripted import make_engine, script, template_with

from specbranch_cpp import Engine, InvalidArgument
from specbranch_cpp.openai_api.answers.content_tokens import ContentTokens
from specbranch_cpp.openai_api.answers.parser import AnswerParser
from specbranch_cpp.openai_api.answers.parts import CallBroken, Text, TextRange, Thought
from specbranch_cpp.openai_api.answers.tagged import AnswerRules
from specbranch_cpp.openai_api.answers.token_texts import TokenTexts

if TYPE_CHECKING:
    from collections.abc import Iterator

    from specbranch_cpp.openai_api.answers.parts import Part

MARKS = ("<think>", "</think>", "<tool_call>", "</tool_call>")
TEMPLATE = template_with(MARKS)
HELLO = [{"role": "user", "content": "hello"}]
TOOL: Any = {"type": "function", "function": {"name": "get", "parameters": {"type": "object"}}}
CALL = '<tool_call>{"name": "get", "arguments": {"a": "t, t"}}</tool_call>'
ASKED: dict[str, Any] = {"tools": [TOOL], "logprobs": True, "top_logprobs": 1}


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    with make_engine(tmp_path_factory.mktemp("model"), TEMPLATE, MARKS) as engine:
        yield engine


def whole(engine: Engine, **more: Any) -> tuple[Any, list[Any]]:
    """The message, and the log-probabilities."""
    answer: Any = engine.create_chat_completion(HELLO, **ASKED, **more)
    choice = answer["choices"][0]
    return choice["message"], choice["logprobs"]["content"]


def streamed(engine: Engine, **more: Any) -> list[tuple[str, list[Any]]]:
    """The pieces of the content that have log-probabilities, with them."""
    chunks: Any = engine.create_chat_completion(HELLO, stream=True, **ASKED, **more)
    choices = [chunk["choices"][0] for chunk in chunks]
    return [
        (choice["delta"].get("content") or "", choice["logprobs"]["content"])
        for choice in choices
        if choice["logprobs"] is not None
    ]


def in_range(entries: list[Any], begin: int, end: int) -> list[Any]:
    """The entries of the tokens that have a byte in this range of the answer."""
    found, at = [], 0
    for entry in entries:
        before, at = at, at + len(entry["bytes"])
        if before < end and at > begin:
            found.append(entry)
    return found


@pytest.mark.parametrize(
    ("before", "text", "after"),
    [
        ("", "Yes, sir.", ""),
        ("", "t", CALL),
        ("", "l", CALL),
        (CALL, "l", ""),
        ("<think>t t t</think>\n\n", "t", CALL),
        ("<think>Oh.</think>\n\n", "Größe: 5 µm\nor so", ""),
        ("<think>Oh.</think>", "", CALL),
        ("", "a < b", CALL),
    ],
)
def test_a_chat_gives_those_of_its_content(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, before: str, text: str, after: str
) -> None:
    script(monkeypatch, engine, before + text + after, MARKS)
    _, of_all = whole(engine)
    message, entries = whole(engine, content_logprobs=True)
    assert (message["content"] or "") == text
    begin = len(before.encode())
    expected = in_range(of_all, begin, begin + len(text.encode())) if text else []
    assert entries == expected
    pieces = streamed(engine, content_logprobs=True)
    assert [entry for _, found in pieces for entry in found] == expected
    assert all(piece for piece, _ in pieces)


def test_a_call_that_a_limit_cuts_is_content(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    script(monkeypatch, engine, f"So:{CALL}", MARKS)
    n_tokens = len(whole(engine)[1]) - 5
    message, entries = whole(engine, content_logprobs=True, max_tokens=n_tokens)
    assert message["content"].startswith('So:<tool_call>{"name"')
    text = b"".join(bytes(entry["bytes"]) for entry in entries).decode()
    assert text == message["content"]


@pytest.mark.parametrize("stream", [False, True])
def test_text_that_a_stop_string_holds_back_keeps_its_tokens(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, stream: bool
) -> None:
    script(monkeypatch, engine, "So be it, sir.", MARKS)
    _, of_all = whole(engine)
    stop = ["be it, madam", "sir, yes", "it, sir. No"]
    if stream:
        pieces = streamed(engine, content_logprobs=True, stop=stop)
        assert "".join(piece for piece, _ in pieces) == "So be it, sir."
        entries = [entry for _, found in pieces for entry in found]
    else:
        _, entries = whole(engine, content_logprobs=True, stop=stop)
    assert entries == of_all


def test_a_stop_string_has_no_entries(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    script(monkeypatch, engine, "So be it, sir.", MARKS)
    _, of_all = whole(engine)
    message, entries = whole(engine, content_logprobs=True, stop=[" it,"])
    assert message["content"] == "So be"
    assert entries == in_range(of_all, 0, len("So be"))


def test_a_mark_ends_a_thought_whose_end_is_held_back(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    script(monkeypatch, engine, "<think>So be</think>Yes.", MARKS)
    message, entries = whole(engine, content_logprobs=True, stop=["be it"])
    assert message["reasoning_content"] == "So be"
    assert message["content"] == "Yes."
    assert b"".join(bytes(entry["bytes"]) for entry in entries) == b"Yes."


def test_it_needs_log_probabilities(engine: Engine) -> None:
    with pytest.raises(InvalidArgument, match="content_logprobs is True; it needs logprobs=True"):
        engine.create_chat_completion(HELLO, content_logprobs=True)
    wrong: Any = "yes"
    with pytest.raises(InvalidArgument, match="content_logprobs is 'yes'"):
        engine.create_chat_completion(HELLO, logprobs=True, content_logprobs=wrong)


PIECES = {1: b"a", 2: b"bc", 3: "ä".encode()[:1], 4: "ä".encode()[1:], 5: b"\n", 9: b""}
NAMES = {7: "<x>", 8: "</x>"}


def texts(n_before: int = 0) -> TokenTexts:
    return TokenTexts(lambda token: PIECES.get(token, b""), NAMES, n_before)


def test_marks_stand_where_their_tokens_are() -> None:
    found = texts(2)
    told = [("a", 1), ("", 7), ("", 2), ("", 8), ("bc", 5), ("\n", None)]
    pieces, ranges = [], []
    for text, token in told:
        pieces.append(found.add(text, token))
        ranges.append(found.last)
    assert pieces == ["a", "<x>", "", "", "bc</x>", "\n"]
    assert ranges == [
        TextRange(2, 3),
        TextRange(3, 6),
        TextRange(6, 8),
        TextRange(8, 12),
        TextRange(12, 13),
        None,
    ]


def test_a_mark_in_a_stop_string_is_no_text() -> None:
    found = texts()
    assert [found.add("", 2), found.add("", 7), found.add("b", 1), found.add("", None)] == [
        "", "", "b", "",
    ]  # fmt: skip


def test_a_part_of_a_character_has_an_empty_range() -> None:
    found = texts()
    assert found.add("", 3) == ""
    assert found.last == TextRange(0, 0)
    assert found.add("ä", 4) == "ä"
    assert found.last == TextRange(0, 1)
    assert found.add("", 9) == ""
    assert found.last is None


def taken(tokens: list[tuple[int, int] | None], *parts: Part) -> list[list[int]]:
    """The numbers of the tokens of each part."""
    found: ContentTokens[int] = ContentTokens()
    for number, token in enumerate(tokens):
        found.add(None if token is None else TextRange(*token), number)
    return [found.take(part) for part in parts]


def test_each_token_is_taken_once() -> None:
    first, second = Text("abc", (TextRange(0, 3),)), Text("def", (TextRange(3, 6),))
    assert taken([(0, 2), (2, 4), None, (4, 6)], first, second) == [[0, 1], [3]]


def test_what_is_no_content_is_passed_over() -> None:
    parts: list[Part] = [
        Thought("a", (TextRange(0, 1),)),
        Text("b", (TextRange(2, 3),)),
        Text("\n\n"),
        CallBroken(0, "d", (TextRange(5, 6), TextRange(7, 8))),
    ]
    tokens: list[tuple[int, int] | None] = [(0, 1), (1, 2), (2, 2), (2, 3), (3, 5), (5, 6), (7, 9)]
    assert taken(tokens, *parts) == [[], [2, 3], [], [5, 6]]


@pytest.mark.parametrize("size", [1, 3, 100])
def test_parts_know_where_they_are(size: int) -> None:
    answer = "\n<think> a b </think>\n c <d> e "
    parser = AnswerParser(AnswerRules())
    parts: list[Any] = []
    for begin in range(0, len(answer), size):
        parts += parser.feed(answer[begin : begin + size])
    parts += parser.finish()
    assert parts
    for part in parts:
        assert "".join(answer[one.begin : one.end] for one in part.ranges) == part.text
