"""OpenAI's own client against the running server, with real models."""

from __future__ import annotations

import asyncio
import json
import time
from typing import TYPE_CHECKING, Any

import openai
import pytest
from tests.python.server_support import KEY, Running, serving

from specbranch_cpp import Engine

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

TEMPLATE = """{% for message in messages %}# {{ message.role }}: {{ message.content }}
{% endfor %}{% if add_generation_prompt %}# assistant:
{% endif %}"""
PROMPT = "def fibonacci(n):\n"
MESSAGES: list[Any] = [{"role": "user", "content": "Sort a list of numbers."}]
SAMPLING: dict[str, Any] = {"max_tokens": 40, "temperature": 0.7, "seed": 11}
SCHEMA = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 8},
        "size": {"type": "integer", "minimum": 0, "maximum": 99},
    },
    "required": ["name", "size"],
    "additionalProperties": False,
}
TOOL: Any = {"type": "function", "function": {"name": "measure", "parameters": SCHEMA}}


def completion(engine: Engine, prompt: str, **options: Any) -> Any:
    return engine.create_completion(prompt, **options)


def chat(engine: Engine, messages: list[Any], **options: Any) -> Any:
    return engine.create_chat_completion(messages, **options)


@pytest.fixture(scope="module")
def models(pair: tuple[Path, Path]) -> Iterator[Engine]:
    options: dict[str, Any] = {"n_threads": 1, "draft_n_threads": 1}
    with Engine(*pair, n_ctx=1024, chat_template=TEMPLATE, **options) as engine:
        yield engine


@pytest.fixture(scope="module")
def server(models: Engine) -> Iterator[Running]:
    with serving(models, api_keys=(KEY,), request_timeout_s=60) as running:
        yield running


@pytest.fixture
def client(server: Running) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key=KEY, max_retries=0) as client:
        yield client


def test_models(client: openai.OpenAI, models: Engine) -> None:
    (model,) = client.models.list().data
    assert client.models.retrieve(model.id).id == model.id
    meta = (model.model_extra or {})["meta"]
    assert (meta["n_ctx"], meta["n_vocab"]) == (models.n_ctx, models.vocab_size)
    assert meta["has_chat_template"] is True
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
        assert 0 <= thing["size"] <= 99


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


def test_logprobs(client: openai.OpenAI, models: Engine) -> None:
    expected = completion(models, PROMPT, logprobs=2, **SAMPLING)["choices"][0]["logprobs"]
    reply = client.completions.create(model="any", prompt=PROMPT, logprobs=2, **SAMPLING)
    logprobs = reply.choices[0].logprobs
    assert logprobs is not None
    assert expected is not None
    assert logprobs.tokens == expected["tokens"]
    assert logprobs.token_logprobs == expected["token_logprobs"]
    assert logprobs.top_logprobs == expected["top_logprobs"]
    answer = client.chat.completions.create(
        model="any", messages=MESSAGES, logprobs=True, top_logprobs=3, **SAMPLING
    )
    assert answer.choices[0].logprobs is not None
    entries = answer.choices[0].logprobs.content or []
    assert len(entries) == 40
    assert all(len(entry.top_logprobs) == 3 for entry in entries)
    text = b"".join(bytes(entry.bytes or ()) for entry in entries).decode(errors="replace")
    assert text == answer.choices[0].message.content


def test_errors(client: openai.OpenAI, server: Running) -> None:
    with pytest.raises(openai.BadRequestError) as wrong:
        client.completions.create(model="any", prompt=PROMPT, temperature=-1)
    assert wrong.value.param == "temperature"
    with pytest.raises(openai.BadRequestError) as unknown_mode:
        client.completions.create(model="any", prompt=PROMPT, extra_body={"mode": "magic"})
    assert unknown_mode.value.param == "mode"
    for stream in (False, True):
        with pytest.raises(openai.BadRequestError) as too_long:
            client.completions.create(model="any", prompt="x = 1\n" * 2000, stream=stream)
        assert too_long.value.code == "context_length_exceeded"
    with pytest.raises(openai.BadRequestError, match="grammar"):
        client.completions.create(model="any", prompt=PROMPT, extra_body={"grammar": "root := x"})
    with (
        openai.OpenAI(base_url=f"{server.url}/v1", api_key="wrong", max_retries=0) as stranger,
        pytest.raises(openai.AuthenticationError),
    ):
        stranger.models.list()
    assert client.completions.create(model="any", prompt=PROMPT, **SAMPLING).choices


def test_a_cancelled_stream_ends_the_work(client: openai.OpenAI, models: Engine) -> None:
    before = models.stats
    stream = client.completions.create(
        model="any", prompt=PROMPT, max_tokens=900, stream=True, temperature=0.0,
        extra_body={"logit_bias": {str(models.eos_token): -1000}},
    )  # fmt: skip
    for _ in range(3):
        next(iter(stream))
    stream.close()
    end = time.monotonic() + 20
    while models.stats.n_generations == before.n_generations:
        assert time.monotonic() < end
        time.sleep(0.005)
    assert models.stats.n_generated - before.n_generated < 800
    assert client.completions.create(model="any", prompt=PROMPT, **SAMPLING).choices


def test_a_client_that_gives_up_ends_the_work(server: Running, models: Engine) -> None:
    before = models.stats
    with (
        openai.OpenAI(
            base_url=f"{server.url}/v1", api_key=KEY, max_retries=0, timeout=0.1
        ) as hasty,
        pytest.raises(openai.APITimeoutError),
    ):
        hasty.completions.create(
            model="any", prompt=PROMPT, max_tokens=900, temperature=0.0,
            logit_bias={str(models.eos_token): -1000}, extra_body={"mode": "autoregressive"},
        )  # fmt: skip
    end = time.monotonic() + 20
    while models.stats.n_generations == before.n_generations:
        assert time.monotonic() < end
        time.sleep(0.005)
    assert models.stats.n_generated - before.n_generated < 800


def test_the_trace_comes_with_the_chunks(client: openai.OpenAI) -> None:
    chunks = list(
        client.completions.create(
            model="any", prompt=PROMPT, stream=True,
            extra_body={"trace": True, "mode": "specbranch"}, **SAMPLING,
        )
    )  # fmt: skip
    parts = [(chunk.model_extra or {}).get("speculation") for chunk in chunks]
    tokens = [token for part in parts if part for token in part["tokens"]]
    assert len(tokens) == 40
    assert {token["origin"] for token in tokens} <= {"target", "draft", "branch"}
    assert parts[-1]["stats"]["n_generated"] == 40  # type: ignore[index]


def test_metrics_tell_what_was_done(client: openai.OpenAI, server: Running) -> None:
    def figures() -> dict[str, float]:
        headers = {"authorization": f"Bearer {KEY}"}
        text = server.client.get("/metrics", headers=headers).text
        lines = [line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#")]
        return {name: float(value) for name, value in lines}

    before = figures()
    reply = client.completions.create(
        model="any", prompt=PROMPT, extra_body={"mode": "speculative", "trace": True}, **SAMPLING
    )
    after = figures()
    stats = (reply.model_extra or {})["speculation"]["stats"]

    def added(name: str) -> float:
        return round(after[name] - before.get(name, 0.0), 9)

    assert added("llamacpp:tokens_predicted_total") == 40
    assert added("llamacpp:prompt_tokens_total") == stats["n_prompt"] - stats["n_reused"]
    assert added("llamacpp:prompt_tokens_cached_total") == stats["n_reused"]
    assert added("llamacpp:n_decode_total") == stats["n_target_steps"]
    assert added("llamacpp:spec_decode_num_draft_tokens_total") == stats["n_drafted"] > 0
    assert added("llamacpp:spec_decode_num_accepted_tokens_total") == stats["n_accepted"] > 0
    positions = [
        name
        for name in after
        if name.startswith("llamacpp:spec_decode_num_accepted_tokens_per_pos")
    ]
    assert sum(map(added, positions)) == sum(
        i * n for i, n in enumerate(stats["acceptance_histogram"])
    )
    assert added("specbranch:rolled_back_tokens_total") == stats["n_rolled_back"]
    assert added("specbranch:target_busy_seconds_total") == round(stats["target_busy_ms"] / 1000, 9)
    assert after["llamacpp:predicted_tokens_seconds"] > 0
    assert added('specbranch:requests_total{endpoint="/v1/completions",status="200"}') == 1
