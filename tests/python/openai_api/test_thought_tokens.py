"""How many tokens of an answer are its thoughts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from tests.python.support.scripted import make_engine, script

from specbranch_cpp import Engine
from specbranch_cpp.openai_api.answers.parts import CallStart, Text, Thought
from specbranch_cpp.openai_api.answers.thought_tokens import ThoughtTokens

if TYPE_CHECKING:
    from collections.abc import Iterator

    from specbranch_cpp.openai_api.answers.parts import Part

TEMPLATE = (
    "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}assistant:"
    "{# <think> </think> #}"
)
HELLO = [{"role": "user", "content": "hello"}]
MARKS = ("<think>", "</think>")


def n_of(*steps: list[Part]) -> int:
    """Each step is one token."""
    counted = ThoughtTokens()
    for parts in steps:
        counted.add(1, parts)
    counted.end()
    return counted.n


A, B, TEXT = Thought("a"), Thought("b"), Text("x")


@pytest.mark.parametrize(
    ("steps", "expected"),
    [
        ([], 0),
        ([[TEXT], [TEXT]], 0),
        ([[A], [B]], 2),
        ([[], [A], [B], [], [], [TEXT], []], 3),  # marks and white space
        ([[], [], [TEXT]], 0),  # an empty thought
        ([[], [A], [], []], 4),  # cut, or nothing behind the thought
        ([[A], [], [A, TEXT], [TEXT]], 2),
        ([[A], [], [CallStart(0, "f", None)], []], 1),
        ([[TEXT], [], [A]], 2),  # channels
    ],
)
def test_each_token_counts_once(steps: list[list[Part]], expected: int) -> None:
    assert n_of(*steps) == expected


def test_the_end_of_a_text_is_no_token() -> None:
    counted = ThoughtTokens()
    counted.add(1, [])
    counted.add(0, [Thought("a"), Text("b")])
    counted.end()
    assert counted.n == 1


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    with make_engine(tmp_path_factory.mktemp("model"), TEMPLATE, MARKS) as engine:
        yield engine


def usage_of(engine: Engine, **options: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """The message and the usage, which a stream must have, too."""
    asked: dict[str, Any] = {"max_tokens": 400, "seed": 1, **options}
    whole: Any = engine.create_chat_completion(HELLO, **asked)
    *_, last = engine.create_chat_completion(
        HELLO, stream=True, stream_options={"include_usage": True}, **asked
    )
    usage: dict[str, Any] = whole["usage"]
    details: Any = last["usage"]["completion_tokens_details"]  # type: ignore[index]
    assert details["reasoning_tokens"] == usage["completion_tokens_details"]["reasoning_tokens"]
    return whole["choices"][0]["message"], usage


@pytest.mark.parametrize(
    ("thought", "between", "answer"),
    [("So be it.", "\n\n", "Yes, sir."), ("", "", "Yes, sir."), ("So be it.", "", "")],
)
def test_a_chat_tells_them(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, thought: str, between: str, answer: str
) -> None:
    begin, end = MARKS
    script(monkeypatch, engine, f"{begin}{thought}{end}{between}{answer}", MARKS)
    message, usage = usage_of(engine)
    assert message.get("reasoning_content", "") == thought
    assert message["content"] == answer
    n = usage["completion_tokens_details"]["reasoning_tokens"]
    n_thought = len(engine.tokenize(thought, add_bos=False))
    if not thought:
        assert n == 0
    elif answer:
        # Of the mark before it and of the thought; what follows counts with the answer.
        assert n_thought <= n <= n_thought + 1
        n_answer = len(engine.tokenize(answer, add_bos=False))
        assert usage["completion_tokens"] - n >= n_answer
    else:
        assert n == usage["completion_tokens"]


def test_an_answer_without_a_thought_has_none(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    script(monkeypatch, engine, "Yes, sir.")
    _, usage = usage_of(engine)
    assert usage["completion_tokens_details"] == {"reasoning_tokens": 0}


def test_they_stand_beside_those_of_a_prediction(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    script(monkeypatch, engine, "<think>So be it.</think>Yes, sir.", MARKS)
    _, usage = usage_of(engine, prediction="Yes, sir.")
    details = usage["completion_tokens_details"]
    assert details["reasoning_tokens"] > 0
    assert set(details) == {
        "reasoning_tokens", "accepted_prediction_tokens", "rejected_prediction_tokens",
    }  # fmt: skip
