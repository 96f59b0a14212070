"""`create_chat_completion`: the text of `generate` for the prompt of the template."""

from __future__ import annotations

from typing import Any

import pytest

from specbranch_cpp import ContextOverflow, Engine
from specbranch_cpp.openai_api.prompts import format_of

HELLO: list[dict[str, Any]] = [
    {"role": "system", "content": "Write Python."},
    {"role": "user", "content": [{"type": "text", "text": "def f(x):"}]},
]
OPTIONS: dict[str, Any] = {"max_tokens": 24, "seed": 5, "temperature": 0.8}
ENDLESS = {0: float("-inf")}


def chat(engine: Engine, **options: Any) -> Any:
    return engine.create_chat_completion(HELLO, **{**OPTIONS, **options})


def pieces(engine: Engine, **options: Any) -> list[Any]:
    return [*chat(engine, stream=True, **options)]


def text_of(chunks: list[Any]) -> str:
    return "".join(
        chunk["choices"][0]["delta"].get("content", "") for chunk in chunks if chunk["choices"]
    )


@pytest.mark.parametrize("mode", ["autoregressive", "speculative", "pearl", "specbranch", "auto"])
def test_it_is_the_text_of_generate(engine: Engine, mode: str) -> None:
    messages = [HELLO[0], {"role": "user", "content": "def f(x):"}]
    prompt = format_of(engine).prompt(engine, messages)
    done = engine.generate(
        prompt, **OPTIONS, top_p=0.95, min_p=0.05, top_k=40, mode="autoregressive"
    ).result()
    answer = chat(engine, mode=mode)
    assert answer["id"].startswith("chatcmpl-")
    assert answer["object"] == "chat.completion"
    assert answer["choices"] == [
        {
            "index": 0,
            "message": {"role": "assistant", "content": done.text},
            "logprobs": None,
            "finish_reason": done.finish_reason,
            "stop_reason": None,
        }
    ]
    assert answer["usage"]["prompt_tokens"] == len(prompt)
    assert (answer["mode"], answer["seed"]) == (mode, 5)
    chunks = pieces(engine, mode=mode)
    assert text_of(chunks) == done.text
    assert chunks[0]["choices"][0]["delta"] == {"role": "assistant"}
    assert chunks[-1]["choices"][0]["delta"] == {}
    assert chunks[-1]["choices"][0]["finish_reason"] == done.finish_reason
    assert {chunk["object"] for chunk in chunks} == {"chat.completion.chunk"}
    assert len({chunk["id"] for chunk in chunks}) == 1


def test_the_end_of_a_turn_ends_the_answer(engine: Engine) -> None:
    # This vocabulary has no token for it: ChatML's end is text here.
    options = {"grammar": 'root ::= "ab<|im_end|>cd"'}
    choice = chat(engine, **options)["choices"][0]
    assert (choice["message"]["content"], choice["finish_reason"]) == ("ab", "stop")
    assert text_of(pieces(engine, **options)) == "ab"
    assert engine.chat(HELLO, grammar=options["grammar"]).text == "ab"
    for stop in ("b", ["x", "b"]):
        assert chat(engine, stop=stop, **options)["choices"][0]["message"]["content"] == "a"
        assert engine.chat(HELLO, stop=stop, grammar=options["grammar"]).text == "a"


def test_openais_new_name_of_the_limit(engine: Engine) -> None:
    answer = chat(engine, max_tokens=None, max_completion_tokens=3)
    assert answer["usage"]["completion_tokens"] == 3
    assert answer["choices"][0]["finish_reason"] == "length"


def test_usage_and_speculation_in_a_stream(engine: Engine) -> None:
    *chunks, last = pieces(
        engine, mode="specbranch", trace=True, stream_options={"include_usage": True}
    )
    tokens = [t for chunk in chunks for t in chunk.get("speculation", {}).get("tokens", [])]
    assert "".join(token["text"] for token in tokens) == text_of(chunks)
    assert last["choices"] == []
    assert last["usage"]["completion_tokens"] == len(tokens) == 24
    assert "stats" in chunks[-1]["speculation"]
    assert chunks[-1]["timings"]["draft_n"] > 0
    whole = chat(engine, mode="specbranch", trace=True)["speculation"]["tokens"]
    assert [token["id"] for token in whole] == [token["id"] for token in tokens]


def test_a_stream_can_be_stopped(engine: Engine) -> None:
    options = {"max_tokens": None, "logit_bias": ENDLESS}
    stream = chat(engine, stream=True, **options)
    assert next(stream)["choices"][0]["delta"] == {"role": "assistant"}
    next(stream)
    stream.cancel()
    assert [*stream][-1]["choices"][0]["finish_reason"] == "cancelled"
    with chat(engine, stream=True, **options) as stream:
        next(stream)
    assert [*stream] == []
    assert chat(engine)["usage"]["completion_tokens"] == 24


def test_a_prompt_that_is_too_long_is_told_when_called(engine: Engine) -> None:
    messages = [{"role": "user", "content": "x = 1\n" * engine.n_ctx}]
    with pytest.raises(ContextOverflow):
        engine.create_chat_completion(messages, stream=True)
    assert chat(engine)["usage"]["completion_tokens"] == 24


def test_variables_reach_the_template(engine: Engine, pair: Any) -> None:
    source = "{{ messages[0].content }}{% if enable_thinking %} think{% endif %}"
    with Engine(pair[0], n_ctx=256, n_threads=1, chat_template=source) as other:
        for thinking in (False, True):
            options: dict[str, Any] = {"chat_template_kwargs": {"enable_thinking": thinking}}
            answer: Any = other.create_chat_completion(HELLO, max_tokens=2, **options)
            text = "Write Python." + " think" * thinking
            assert answer["usage"]["prompt_tokens"] == len(engine.tokenize(text))
            assert other.chat(HELLO, max_tokens=2, **options).stats.n_prompt == len(
                engine.tokenize(text)
            )
