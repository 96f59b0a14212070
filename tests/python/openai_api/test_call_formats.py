"""Every format of tool calls: found from the template, read in any pieces, cut at every place."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from tests.python.support.call_formats import BOTH, FAMILIES, FUNCTIONS, GET, Family
from tests.python.support.streamed_answers import Searches, in_pieces

from specbranch_cpp.openai_api.answers.collected import AnswerDeltas, CollectedAnswer
from specbranch_cpp.openai_api.answers.parser import AnswerParser
from specbranch_cpp.openai_api.answers.tagged import AnswerRules

if TYPE_CHECKING:
    from collections.abc import Sequence

FORMATS = {
    "hermes": "hermes",
    "hermes, a list in the tag": "hermes",
    "hermes, arguments as text": "hermes",
    "hermes, arguments first": "hermes",
    "qwen2.5-coder, an object alone": "hermes",
    "qwen2.5-coder, a block of code": "hermes",
    "qwen3-coder": "qwen3-coder",
    "qwen3-coder without the first tag": "qwen3-coder",
    "seed-oss": "seed-oss",
    "glm-4.5": "glm4",
    "minimax-m2": "minimax-m2",
    "llama 3": "llama3",
    "llama 3, tag": "llama3",
    "llama 3.1, function tag": "llama3-tag",
    "llama 4, pythonic": "llama-pythonic",
    "mistral 2024": "mistral",
    "mistral 2025": "mistral-args",
    "deepseek r1": "deepseek-r1",
    "deepseek v3.1": "deepseek-v3.1",
    "deepseek v3.2": "deepseek-v3.2",
    "deepseek v4": "deepseek-v4",
    "kimi k2": "kimi-k2",
    "kimi k2, in the singular": "kimi-k2",
    "lfm2": "lfm2",
    "olmo 3": "olmo3",
    "gemma 3": "gemma-tool-code",
    "gemma 4": "gemma4",
    "function gemma": "function-gemma",
    "gigachat 3.1": "gigachat3.1",
    "phi-4-mini": "phi4",
    "granite 3": "granite3",
    "command r7b": "command-r7b",
    "nemotron": "nemotron",
    "firefunction": "firefunction",
    "functionary 3.2": "functionary-v3.2",
    "gpt-oss": "gpt-oss",
}
ONE = pytest.mark.parametrize("name", FAMILIES)
SEVERAL = pytest.mark.parametrize("name", [n for n, family in FAMILIES.items() if family.two])


class Read:
    """An answer in pieces: the whole message, and what a stream says."""

    def __init__(
        self,
        family: Family,
        text_pieces: Sequence[str],
        *,
        many: bool = True,
        functions: Any = FUNCTIONS,
    ) -> None:
        form = family.form
        self.parser = AnswerParser(
            AnswerRules(form, functions, many), channels=form.name == "gpt-oss"
        )
        whole, written = CollectedAnswer(), AnswerDeltas(deprecated=False)
        deltas: list[Any] = []
        self.parser.feed(family.starts)
        for text in text_pieces:
            parts = self.parser.feed(text)
            whole.add(parts)
            deltas += written.deltas(parts)
        parts = self.parser.finish()
        whole.add(parts)
        deltas += written.deltas(parts)
        message = whole.message(deprecated=False)
        self.content = message["content"] or ""
        self.calls = [
            (call["function"]["name"], json.loads(call["function"]["arguments"]))
            for call in message.get("tool_calls", ())
        ]
        self.streamed_content = "".join(delta.get("content") or "" for delta in deltas)
        self.streamed: dict[int, list[str]] = {}
        for delta in deltas:
            for call in delta.get("tool_calls", ()):
                pieces = self.streamed.setdefault(call["index"], [])
                assert ("name" in call["function"]) == ("id" in call) == (not pieces)
                pieces.append(call["function"]["arguments"])


def test_every_format_is_found() -> None:
    assert {name: family.form.name for name, family in FAMILIES.items()} == FORMATS


@pytest.mark.parametrize("size", [1, 2, 3, 5, 11, 1000])
@ONE
def test_a_call_in_pieces(name: str, size: int) -> None:
    family = FAMILIES[name]
    read = Read(family, in_pieces(family.one, size))
    assert (read.calls, read.content) == ([GET], "")
    assert json.loads("".join(read.streamed[0])) == GET[1]
    assert (read.parser.n_complete, read.parser.n_broken) == (1, 0)


@pytest.mark.parametrize("size", [1, 2, 3, 5, 11, 1000])
@SEVERAL
def test_several_calls_in_pieces(name: str, size: int) -> None:
    family = FAMILIES[name]
    read = Read(family, in_pieces(family.two, size))
    assert (read.calls, read.content) == (BOTH, "")
    streamed = [json.loads("".join(pieces)) for pieces in read.streamed.values()]
    assert streamed == [arguments for _, arguments in BOTH]
    assert Read(family, in_pieces(family.two, size), many=False).calls == [GET]


@SEVERAL
def test_arguments_come_one_by_one(name: str) -> None:
    """Unless the text may also be no call: then the calls come when all of them are complete."""
    family = FAMILIES[name]
    form = family.form
    read = Read(family, in_pieces(family.two, 1))
    careful = any(family.two.lstrip().startswith(each) for each in (*form.plain, *form.leads))
    first, *pieces = read.streamed[1]
    assert first == ""
    assert "".join(pieces) == '{"n": 3, "on": true}'
    assert (pieces[0] == '{"n": 3') == (not careful)


@pytest.mark.parametrize("size", [1, 4, 1000])
@ONE
def test_text_around_a_call_is_content(name: str, size: int) -> None:
    family = FAMILIES[name]
    text = family.one if family.begins else f"First this.\n\n{family.one}"
    read = Read(family, in_pieces(text, size))
    assert (read.calls, read.content) == ([GET], "" if family.begins else "First this.")
    assert read.streamed_content == read.content


@pytest.mark.parametrize("size", [1, 4, 1000])
@ONE
def test_calls_of_unknown_functions_are_content(name: str, size: int) -> None:
    family = FAMILIES[name]
    read = Read(family, in_pieces(family.one, size), functions={"other": {"name": "other"}})
    assert read.calls == []
    assert read.streamed == {}
    expected = '{"city": "Rome"}' if family.channels else (family.starts + family.one)
    assert read.content == read.streamed_content == expected


@SEVERAL
def test_a_cut_at_every_place(name: str) -> None:
    """What is left of the calls does not depend on the pieces, and no call is half there."""
    family = FAMILIES[name]
    for cut in range(len(family.two)):
        text = family.two[:cut]
        reads = [Read(family, in_pieces(text, size)) for size in (1, 3, 1000)]
        assert len({(str(read.calls), read.content) for read in reads}) == 1, text
        read = reads[0]
        assert read.calls == BOTH[: len(read.calls)], text
        assert (read.parser.n_broken > 0) == (len(read.streamed) > len(read.calls)), text
        for index, pieces in read.streamed.items():
            if index < len(read.calls):
                assert json.loads("".join(pieces)) == BOTH[index][1]


@SEVERAL
def test_a_broken_character_at_every_place(name: str) -> None:
    family = FAMILIES[name]
    for place in range(len(family.two)):
        text = family.two[:place] + "\x07" + family.two[place + 1 :]
        reads = [Read(family, in_pieces(text, size)) for size in (1, 2, 1000)]
        assert len({(str(read.calls), read.content) for read in reads}) == 1, text
        assert all(name in FUNCTIONS for name, _ in reads[0].calls)


@ONE
def test_two_pieces_at_every_place(name: str) -> None:
    family = FAMILIES[name]
    text = family.two or family.one
    for cut in range(1, len(text)):
        read = Read(family, [text[:cut], text[cut:]])
        assert (read.calls, read.content) == (BOTH if family.two else [GET], ""), cut


@pytest.mark.parametrize("size", [1, 5, 1000])
def test_messages_of_gpt_oss_with_an_odd_header(size: int) -> None:
    assert Read(FAMILIES["gpt-oss"], in_pieces("<|message|>x", size)).content == "x"
    cut = "<|start<|message|>x"
    assert Read(FAMILIES["gpt-oss"], in_pieces(cut, size)).content == cut


def test_endless_white_space_takes_linear_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """A model may repeat line breaks until the context is full."""
    searches = Searches(monkeypatch)
    parser = AnswerParser(AnswerRules(FAMILIES["hermes"].form, FUNCTIONS))
    collected = CollectedAnswer()
    text = "a" + "\n" * 80_000 + "b"
    for piece in in_pieces(text, 4):
        collected.add(parser.feed(piece))
    collected.add(parser.finish())
    assert collected.message(deprecated=False)["content"] == text
    assert searches.n_searched < 4 * len(text)
