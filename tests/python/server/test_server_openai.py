"""OpenAI's own client against the running server, with real models: texts."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import openai
import pytest
from tests.python.support.server_models import (
    MESSAGES,
    PROMPT,
    SAMPLING,
    chat,
    completion,
)
from tests.python.support.server_support import KEY, Running, serving

if TYPE_CHECKING:
    from collections.abc import Iterator

    from specbranch_cpp import Engine

SCHEMA = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 8},
        "size": {"enum": [1, 2, 5]},
    },
    "required": ["name", "size"],
    "additionalProperties": False,
}
TOOL: Any = {"type": "function", "function": {"name": "measure", "parameters": SCHEMA}}


@pytest.fixture(scope="module")
def server(models: Engine) -> Iterator[Running]:
    with serving(models, api_keys=(KEY,), request_timeout_s=60) as running:
        yield running


def test_models(client: openai.OpenAI, models: Engine) -> None:
    (model,) = client.models.list().data
    assert client.models.retrieve(model.id).id == model.id
    meta = (model.model_extra or {})["meta"]
    assert (meta["n_ctx"], meta["n_vocab"]) == (models.n_ctx, models.vocab_size)
    assert meta["has_chat_template"] is True
    assert (meta["tool_format"], meta["reasoning"]) == ("hermes", None)
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("gpt-9")


def test_a_completion_is_the_engines_text(client: openai.OpenAI, models: Engine) -> None:
    expected = completion(models, PROMPT, **SAMPLING)
    reply = client.completions.create(model="any", prompt=PROMPT, **SAMPLING)
    assert reply.id.startswith("cmpl-")
    assert reply.object == "text_completion"
    (choice,) = reply.choices
    assert choice.text == expected["choices"][0]["text"]
    assert choice.finish_reason == expected["choices"][0]["finish_reason"] == "length"
    assert reply.usage is not None
    assert reply.usage.completion_tokens == 40
    assert reply.usage.total_tokens == reply.usage.prompt_tokens + 40
    extra = reply.model_extra or {}
    assert extra["seed"] == 11
    assert extra["timings"]["predicted_n"] == 40


def test_a_streamed_completion_is_the_same(client: openai.OpenAI, models: Engine) -> None:
    expected = completion(models, PROMPT, **SAMPLING)["choices"][0]["text"]
    stream = client.completions.create(
        model="any", prompt=PROMPT, stream=True, stream_options={"include_usage": True}, **SAMPLING
    )
    chunks = list(stream)
    assert len({chunk.id for chunk in chunks}) == 1
    assert chunks[-1].choices == []
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.completion_tokens == 40
    texts = [chunk.choices[0].text for chunk in chunks if chunk.choices]
    assert len(texts) > 10
    assert "".join(texts) == expected
    assert [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices][-1] == "length"


def test_prompts_of_tokens(client: openai.OpenAI, models: Engine) -> None:
    tokens = models.tokenize(PROMPT)
    for prompt in (tokens, [tokens], [PROMPT]):
        reply = client.completions.create(model="any", prompt=prompt, **SAMPLING)
        assert reply.choices[0].text == completion(models, PROMPT, **SAMPLING)["choices"][0]["text"]


@pytest.mark.parametrize("stream", [False, True])
def test_a_chat_is_the_engines_text(client: openai.OpenAI, models: Engine, stream: bool) -> None:
    expected = chat(models, MESSAGES, **SAMPLING)["choices"][0]["message"]
    if stream:
        chunks = list(
            client.chat.completions.create(model="any", messages=MESSAGES, stream=True, **SAMPLING)
        )
        assert chunks[0].choices[0].delta.role == "assistant"
        text: str | None = "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
        assert chunks[-1].choices[0].finish_reason == "length"
    else:
        reply = client.chat.completions.create(model="any", messages=MESSAGES, **SAMPLING)
        assert reply.id.startswith("chatcmpl-")
        text = reply.choices[0].message.content
    assert text == expected["content"] != ""


def test_parts_and_other_fields(client: openai.OpenAI, models: Engine) -> None:
    parts: Any = [{"role": "user", "content": [{"type": "text", "text": MESSAGES[0]["content"]}]}]
    sampling = {k: v for k, v in SAMPLING.items() if k != "max_tokens"}
    reply = client.chat.completions.create(
        model="any", messages=parts, max_completion_tokens=40, user="me", n=1, stop=["\n\n\n\n"],
        extra_body={"mode": "autoregressive", "top_k": 40, "min_p": 0.05}, **sampling,
    )  # fmt: skip
    expected = chat(models, MESSAGES, stop=["\n\n\n\n"], **SAMPLING)
    assert reply.choices[0].message.content == expected["choices"][0]["message"]["content"]
    assert (reply.model_extra or {})["mode"] == "autoregressive"


def test_many_at_once_do_not_mix(server: Running, models: Engine) -> None:
    prompts = [f"def f{i}(x):\n    return" for i in range(12)]
    expected = [
        completion(models, prompt, seed=i, max_tokens=20)["choices"][0]["text"]
        for i, prompt in enumerate(prompts)
    ]

    async def ask(client: openai.AsyncOpenAI, i: int) -> str:
        fields: dict[str, Any] = {"model": "any", "prompt": prompts[i], "seed": i, "max_tokens": 20}
        if i % 2:
            stream = await client.completions.create(stream=True, **fields)
            return "".join([chunk.choices[0].text async for chunk in stream])
        return str((await client.completions.create(**fields)).choices[0].text)

    async def ask_all() -> list[str]:
        url = f"{server.url}/v1"
        async with openai.AsyncOpenAI(base_url=url, api_key=KEY, max_retries=0) as client:
            return await asyncio.gather(*(ask(client, i) for i in range(12)))

    assert asyncio.run(ask_all()) == expected


def test_json_schema(client: openai.OpenAI) -> None:
    schema: Any = {
        "type": "json_schema", "json_schema": {"name": "thing", "schema": SCHEMA, "strict": True},
    }  # fmt: skip
    for seed in range(3):
        reply = client.chat.completions.create(
            model="any", messages=MESSAGES, response_format=schema, temperature=1.0, seed=seed
        )
        thing = json.loads(reply.choices[0].message.content or "")
        assert set(thing) == {"name", "size"}
        assert len(thing["name"]) <= 8
        assert thing["size"] in (1, 2, 5)


def test_tools(client: openai.OpenAI) -> None:
    fields: dict[str, Any] = {
        "model": "any", "messages": MESSAGES, "tools": [TOOL], "seed": 1, "temperature": 1.0,
        "tool_choice": {"type": "function", "function": {"name": "measure"}},
    }  # fmt: skip
    reply = client.chat.completions.create(**fields)
    assert reply.choices[0].finish_reason == "tool_calls"
    (call,) = reply.choices[0].message.tool_calls or []
    assert call.type == "function"
    assert call.function.name == "measure"
    assert set(json.loads(call.function.arguments)) == {"name", "size"}
    deltas = [
        delta
        for chunk in client.chat.completions.create(stream=True, **fields)
        for choice in chunk.choices
        for delta in choice.delta.tool_calls or []
    ]
    assert deltas[0].function is not None
    assert deltas[0].function.name == "measure"
    pieces = [delta.function.arguments or "" for delta in deltas if delta.function]
    assert "".join(pieces) == call.function.arguments


def test_samplers_are_obeyed(client: openai.OpenAI, models: Engine) -> None:
    """Over HTTP as in Python, and differently from a request without them."""

    def text(**fields: Any) -> str:
        done = client.completions.create(
            model="any", prompt=PROMPT, max_tokens=24, seed=3, temperature=1.0, extra_body=fields
        )
        return done.choices[0].text

    plain = text()
    settings: list[dict[str, Any]] = [
        {"mirostat": 2, "mirostat_tau": 1.0},
        {"typical_p": 0.2},
        {"xtc_probability": 1.0, "xtc_threshold": 0.05},
        {"top_n_sigma": 0.5},
        {"dynatemp_range": 0.9},
        {"adaptive_target": 0.2},
        {"samplers": "t"},
        {"samplers": ["temperature", "top_k"], "top_k": 1},
        {"repeat_penalty": 2.0, "repeat_last_n": -1},
    ]
    for fields in settings:
        python = dict(fields)
        if "mirostat" in python:
            python["mirostat_mode"] = python.pop("mirostat")
        if python.get("samplers") == "t":
            python["samplers"] = ["temperature"]
        same: Any = models.create_completion(
            PROMPT, max_tokens=24, seed=3, temperature=1.0, **python
        )
        assert text(**fields) == same["choices"][0]["text"] != plain
    assert text(repeat_penalty=2.0, repeat_last_n=0) == plain
    assert text(dry_multiplier=0, dry_base=1.75) == plain


def test_a_sampler_that_does_not_exist_is_named(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError, match="samplers has 'tfs_z'; it may have penalties"):
        client.completions.create(
            model="any", prompt=PROMPT, extra_body={"samplers": ["top_k", "tfs_z"]}
        )
