"""``return_token_ids``: the ids of the tokens in answers and in streams, as vLLM names them."""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING, Any, cast

import pytest

from specbranch_cpp import InvalidArgument

if TYPE_CHECKING:
    from specbranch_cpp import Engine

PROMPT = "import os\n"
MESSAGES = [{"role": "user", "content": "Add é and 日本."}]
OPTIONS: dict[str, Any] = {"max_tokens": 24, "temperature": 0, "return_token_ids": True}
ENDS: list[dict[str, Any]] = [
    {},
    {"stop": ["\n"]},
    {"grammar": 'root ::= "é" "日本" [a-c]{3}'},  # ends by an end token
]


def ids_of(chunks: list[Any]) -> list[int]:
    choices = chain.from_iterable(chunk["choices"] for chunk in chunks)
    return [*chain.from_iterable(choice["token_ids"] for choice in choices)]


@pytest.mark.parametrize("options", ENDS)
def test_they_are_the_tokens_of_generate(engine: Engine, options: dict[str, Any]) -> None:
    done = engine.generate(PROMPT, max_tokens=24, temperature=0, **options).result()
    prompt = engine.tokenize(PROMPT)
    given: Any = {**OPTIONS, **options}
    answer: Any = engine.create_completion(PROMPT, **given)
    (choice,) = answer["choices"]
    assert choice["token_ids"] == [*done.tokens]
    assert choice["prompt_token_ids"] == prompt
    first, *rest = chunks = [*cast("Any", engine.create_completion(PROMPT, stream=True, **given))]
    assert ids_of(chunks) == [*done.tokens]
    assert first["choices"][0]["prompt_token_ids"] == prompt
    assert not any("prompt_token_ids" in chunk["choices"][0] for chunk in rest)
    assert "".join(chunk["choices"][0]["text"] for chunk in chunks) == choice["text"]


@pytest.mark.parametrize("options", ENDS)
def test_chats_have_them_too(engine: Engine, options: dict[str, Any]) -> None:
    given: Any = {**OPTIONS, **options}
    answer: Any = engine.create_chat_completion(MESSAGES, **given)
    (choice,) = answer["choices"]
    prompt = answer["prompt_token_ids"]
    assert len(prompt) == answer["usage"]["prompt_tokens"]
    stop = [*options.get("stop", ()), "<|im_end|>"]
    done = engine.complete(prompt, max_tokens=24, temperature=0, **{**options, "stop": stop})
    assert choice["token_ids"] == [*done.tokens]
    chunks = [*cast("Any", engine.create_chat_completion(MESSAGES, stream=True, **given))]
    assert ids_of(chunks) == choice["token_ids"]
    assert [chunk.get("prompt_token_ids") for chunk in chunks] == [prompt] + [None] * (
        len(chunks) - 1
    )


def test_a_call_has_the_ids_of_its_tokens(engine: Engine) -> None:
    """Also of those that a stream shows later or never, such as the marks around a call."""
    tools = [{"type": "function", "function": {"name": "add", "parameters": {"type": "object"}}}]
    given: Any = {**OPTIONS, "tools": tools, "tool_choice": "required", "max_tokens": 60}
    answer: Any = engine.create_chat_completion(MESSAGES, **given)
    ids = answer["choices"][0]["token_ids"]
    assert len(ids) == answer["usage"]["completion_tokens"]
    chunks = [*cast("Any", engine.create_chat_completion(MESSAGES, stream=True, **given))]
    assert ids_of(chunks) == ids


def test_an_echoed_prompt_is_not_among_them(engine: Engine) -> None:
    prompt = engine.tokenize(PROMPT)
    given: Any = {**OPTIONS, "echo": True, "max_tokens": 2}
    answer: Any = engine.create_completion(prompt, **given)
    assert answer["choices"][0]["text"].startswith(PROMPT)
    assert len(answer["choices"][0]["token_ids"]) == 2
    first, *rest = cast("Any", engine.create_completion(prompt, stream=True, **given))
    assert first["choices"][0]["prompt_token_ids"] == prompt
    assert first["choices"][0]["token_ids"] == []
    assert ids_of(rest) == answer["choices"][0]["token_ids"]


def test_without_the_keyword_there_are_none(engine: Engine) -> None:
    answer: Any = engine.create_completion(PROMPT, max_tokens=2)
    assert not {"token_ids", "prompt_token_ids"} & answer["choices"][0].keys()
    chat: Any = engine.create_chat_completion(MESSAGES, max_tokens=2)
    assert "prompt_token_ids" not in chat
    assert "token_ids" not in chat["choices"][0]


def test_the_keyword_is_a_flag(engine: Engine) -> None:
    wrong: Any = "yes"
    with pytest.raises(InvalidArgument, match="return_token_ids is 'yes'"):
        engine.create_completion(PROMPT, return_token_ids=wrong)
    with pytest.raises(InvalidArgument, match="return_token_ids is 'yes'"):
        engine.create_chat_completion(MESSAGES, return_token_ids=wrong)
