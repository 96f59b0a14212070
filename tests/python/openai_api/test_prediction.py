"""OpenAI's field ``prediction``: its forms, and what the usage tells of it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from specbranch_cpp import AsyncEngine, Engine, InvalidArgument
from specbranch_cpp.openai_api.prediction import predicted_text

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

TEMPLATE = "{% for message in messages %}{{ message.content }}\n{% endfor %}"
PROMPT = "def add(a, b):\n"
MESSAGES = [{"role": "user", "content": PROMPT}]
OPTIONS: dict[str, Any] = {"max_tokens": 40, "temperature": 0, "mode": "speculative"}


@pytest.fixture(scope="module")
def alone(pair: tuple[Path, Path]) -> Iterator[Engine]:
    """A target without a draft, so that only texts propose tokens."""
    with Engine(
        pair[0], n_ctx=512, n_threads=1, chat_template=TEMPLATE, lookup_answers=False
    ) as engine:
        yield engine


def forms(text: str) -> list[Any]:
    half = len(text) // 2
    parts = [{"type": "text", "text": part} for part in (text[:half], text[half:])]
    return [
        text,
        {"type": "content", "content": text},
        {"type": "content", "content": parts},
    ]


def details(answer: Any) -> tuple[int, int]:
    found = answer["usage"]["completion_tokens_details"]
    return found["accepted_prediction_tokens"], found["rejected_prediction_tokens"]


def test_the_forms_are_the_same_text() -> None:
    assert {predicted_text(form) for form in forms("one two three")} == {"one two three"}
    assert predicted_text([1, 2]) == [1, 2]
    assert predicted_text(None) is None
    assert predicted_text({"type": "content", "content": []}) == ""


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"content": "x"}, r"prediction\['type'\] is None"),
        ({"type": "text", "content": "x"}, r"prediction\['type'\] is 'text'"),
        ({"type": "content"}, r"prediction\['content'\] is None"),
        ({"type": "content", "content": 5}, r"prediction\['content'\] is 5"),
        ({"type": "content", "content": b"x"}, r"prediction\['content'\] is b'x'"),
        ({"type": "content", "content": ["x"]}, r"prediction\['content'\]\[0\] is 'x'"),
        (
            {"type": "content", "content": [{"type": "image_url", "image_url": {}}]},
            r"prediction\['content'\]\[0\] is .*a prediction is a text",
        ),
        ({"type": "content", "content": [{"type": "text"}]}, r"\[0\]\['text'\] is None"),
        ({"type": "content", "content": "\ud800"}, "lone surrogate"),
        (5, "prediction is 5"),
    ],
)
def test_wrong_forms(alone: Engine, wrong: Any, message: str) -> None:
    with pytest.raises(InvalidArgument, match=message):
        alone.create_completion(PROMPT, prediction=wrong)
    with pytest.raises(InvalidArgument, match=message):
        alone.create_chat_completion(MESSAGES, prediction=wrong)


def test_the_usage_of_a_completion(alone: Engine) -> None:
    plain: Any = alone.create_completion(PROMPT, **OPTIONS)
    text = plain["choices"][0]["text"]
    assert "completion_tokens_details" not in plain["usage"]
    for form in forms(text):
        answer: Any = alone.create_completion(PROMPT, prediction=form, **OPTIONS)
        assert answer["choices"][0]["text"] == text
        accepted, rejected = details(answer)
        assert accepted > 20
        assert 0 <= rejected <= answer["timings"]["draft_n"]
        assert answer["timings"]["draft_n_accepted"] >= accepted


def test_a_prediction_of_something_else(alone: Engine) -> None:
    plain: Any = alone.create_completion(PROMPT, **OPTIONS)
    answer: Any = alone.create_completion(PROMPT, prediction="0 1 2 3 4 5 6 7", **OPTIONS)
    assert answer["choices"] == plain["choices"]
    assert details(answer)[0] < 5


@pytest.mark.parametrize("chat", [False, True])
def test_the_usage_of_a_stream(alone: Engine, chat: bool) -> None:
    first: Any = MESSAGES if chat else PROMPT
    create: Any = alone.create_chat_completion if chat else alone.create_completion
    whole = create(first, **OPTIONS)["choices"][0]
    text = whole["message"]["content"] if chat else whole["text"]
    chunks = list(
        create(
            first, stream=True, stream_options={"include_usage": True},
            prediction={"type": "content", "content": text}, **OPTIONS,
        )
    )  # fmt: skip
    assert details(chunks[-1])[0] > 20
    assert all(chunk["usage"] is None for chunk in chunks[:-1])
    pieces = [chunk["choices"][0] for chunk in chunks[:-1]]
    said = [piece["delta"].get("content") or "" if chat else piece["text"] for piece in pieces]
    assert "".join(said) == text


def test_in_an_event_loop(alone: Engine) -> None:
    plain: Any = alone.create_chat_completion(MESSAGES, **OPTIONS)
    content = plain["choices"][0]["message"]["content"]

    async def run() -> Any:
        return await AsyncEngine.of(alone).create_chat_completion(
            MESSAGES, prediction={"type": "content", "content": content}, **OPTIONS
        )

    answer = asyncio.run(run())
    assert answer["choices"] == plain["choices"]
    assert details(answer)[0] > 20
