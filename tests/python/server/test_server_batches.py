"""Several prompts in one request, and vLLM's endpoints about tokens."""

from __future__ import annotations

import asyncio
import json
from statistics import fmean
from typing import TYPE_CHECKING, Any

import openai
import pytest
from tests.python.support.server_models import PROMPT, SAMPLING, completion
from tests.python.support.server_support import (
    FakeModel,
    FakeText,
    Running,
    events,
    serving,
    told,
)

from specbranch_cpp.server.batches import run_batch

if TYPE_CHECKING:
    from collections.abc import Iterator

    from specbranch_cpp import Engine

TEXTS = [PROMPT, "import os\n", "class A:\n    def __init__"]


@pytest.fixture(scope="module")
def server(models: Engine) -> Iterator[Running]:
    with serving(models, request_timeout_s=60) as running:
        yield running


def test_each_prompt_has_a_choice(client: openai.OpenAI, models: Engine) -> None:
    asked = {**SAMPLING, "logprobs": 1}
    alone = [completion(models, text, **asked) for text in TEXTS]
    reply = client.completions.create(model="any", prompt=TEXTS, **asked)
    assert [choice.index for choice in reply.choices] == [0, 1, 2]
    assert [choice.text for choice in reply.choices] == [one["choices"][0]["text"] for one in alone]
    for choice, one in zip(reply.choices, alone, strict=True):
        assert choice.logprobs is not None
        assert choice.logprobs.token_logprobs == one["choices"][0]["logprobs"]["token_logprobs"]
    assert reply.usage is not None
    for name in ("prompt_tokens", "completion_tokens", "total_tokens"):
        assert getattr(reply.usage, name) == sum(one["usage"][name] for one in alone)
    tokens = [models.tokenize(text) for text in TEXTS]
    same = client.completions.create(model="any", prompt=tokens, **asked)
    assert [choice.text for choice in same.choices] == [choice.text for choice in reply.choices]


def test_a_stream_names_the_choice(client: openai.OpenAI, models: Engine) -> None:
    stream = client.completions.create(
        model="any", prompt=TEXTS, stream=True, stream_options={"include_usage": True}, **SAMPLING
    )
    texts = ["", "", ""]
    reasons: list[tuple[int, str]] = []
    usage = []
    ids = set()
    for chunk in stream:
        ids.add(chunk.id)
        if chunk.usage is not None:
            usage.append(chunk.usage)
        for choice in chunk.choices:
            texts[choice.index] += choice.text
            if choice.finish_reason is not None:
                reasons.append((choice.index, choice.finish_reason))
    alone = [completion(models, text, **SAMPLING) for text in TEXTS]
    assert texts == [one["choices"][0]["text"] for one in alone]
    assert reasons == [
        (index, one["choices"][0]["finish_reason"]) for index, one in enumerate(alone)
    ]
    assert len(ids) == 1
    (total,) = usage
    assert total.completion_tokens == sum(one["usage"]["completion_tokens"] for one in alone)


def test_all_texts_have_the_seed_that_the_reply_names(server: Running, models: Engine) -> None:
    asked: dict[str, Any] = {"prompt": [PROMPT, PROMPT], "max_tokens": 24, "temperature": 1.2}
    reply = server.client.post("/v1/completions", json=asked).json()
    first, second = (choice["text"] for choice in reply["choices"])
    again = completion(models, PROMPT, max_tokens=24, temperature=1.2, seed=reply["seed"])
    assert first == second == again["choices"][0]["text"]
    assert reply["timings"]["predicted_n"] == reply["usage"]["completion_tokens"]
    streamed = server.client.post("/v1/completions", json={**asked, "stream": True})
    chunks = [json.loads(data) for data in events(streamed.text) if data != "[DONE]"]
    texts = ["", ""]
    for chunk in chunks:
        for choice in chunk["choices"]:
            texts[choice["index"]] += choice["text"]
    assert texts[0] == texts[1]


def test_a_wrong_prompt_among_them_is_named(server: Running) -> None:
    for prompt, param in (
        ([PROMPT, 5], "prompt[1]"),
        ([PROMPT, []], "prompt[1]"),
        ([PROMPT, ["a"]], "prompt[1][0]"),
        ([[1], [2, -1]], "prompt[1][1]"),
        ([], "prompt"),
        (["a"] * 2049, "prompt"),
    ):
        reply = server.client.post("/v1/completions", json={"prompt": prompt, "max_tokens": 1})
        assert told(reply, 400, "invalid_value")["param"] == param
    traced = {"prompt": TEXTS, "max_tokens": 1, "trace": True}
    error = told(server.client.post("/v1/completions", json=traced), 400, "invalid_value")
    assert "with trace it may have only one" in error["message"]
    long = {"prompt": [PROMPT, "x = 1\n" * 2000], "max_tokens": 1}
    told(server.client.post("/v1/completions", json=long), 400, "context_length_exceeded")
    assert server.client.get("/health").json()["status"] == "ok"


def test_tokens_with_the_names_of_vllm(server: Running, models: Engine) -> None:
    asked = {"prompt": PROMPT, "add_special_tokens": False}
    reply = server.client.post("/tokenize", json=asked).json()
    tokens = models.tokenize(PROMPT, add_bos=False)
    assert reply == {
        "count": len(tokens), "max_model_len": models.n_ctx, "tokens": tokens, "token_strs": None,
    }  # fmt: skip
    named = server.client.post("/tokenize", json={"prompt": PROMPT, "return_token_strs": True})
    assert named.json()["tokens"] == models.tokenize(PROMPT)
    assert "".join(named.json()["token_strs"]).endswith(PROMPT)
    back = server.client.post("/detokenize", json={"tokens": tokens}).json()
    assert back["prompt"] == PROMPT
    info = server.client.get("/tokenizer_info").json()
    assert models.tokenize(info["eos_token"], add_bos=False, special=True) == [models.eos_token]
    assert info["chat_template"] == models.chat_template
    told(server.client.post("/tokenize", json={"prompt": 5}), 400, "invalid_value")


def test_the_usage_of_a_prediction_is_summed(client: openai.OpenAI) -> None:
    predicted = {"prediction": {"type": "content", "content": "return"}}
    reply = client.completions.create(
        model="any", prompt=TEXTS[:2], **SAMPLING, extra_body=predicted
    )
    assert reply.usage is not None
    assert reply.usage.completion_tokens_details is not None
    assert reply.usage.completion_tokens_details.accepted_prediction_tokens is not None


def test_several_answers(client: openai.OpenAI, models: Engine) -> None:
    asked = {**SAMPLING, "seed": 5}
    alone = [completion(models, PROMPT, **asked | {"seed": 5 + k}) for k in range(3)]
    texts = [one["choices"][0]["text"] for one in alone]
    assert len(set(texts)) > 1
    reply = client.completions.create(model="any", prompt=PROMPT, n=3, **asked)
    assert [choice.text for choice in reply.choices] == texts
    assert [choice.index for choice in reply.choices] == [0, 1, 2]
    check_usage(reply.usage, alone[:1], alone)
    *_, last = client.completions.create(
        model="any", prompt=PROMPT, n=3, stream=True, stream_options={"include_usage": True},
        **asked,
    )  # fmt: skip
    check_usage(last.usage, alone[:1], alone)
    both = client.completions.create(model="any", prompt=[PROMPT, "x"], n=2, **asked)
    assert [choice.text for choice in both.choices][:2] == texts[:2]
    assert [choice.index for choice in both.choices] == [0, 1, 2, 3]


def test_several_answers_of_a_chat(client: openai.OpenAI) -> None:
    messages: Any = [{"role": "user", "content": "Say something."}]
    asked: Any = {"model": "any", "messages": messages, "max_tokens": 12, "temperature": 1.0}
    reply = client.chat.completions.create(**asked, n=2)
    seed = reply.model_extra["seed"] if reply.model_extra else None
    assert isinstance(seed, int)
    alone = [
        client.chat.completions.create(**asked, seed=seed + k).choices[0].message.content
        for k in range(2)
    ]
    assert [choice.message.content for choice in reply.choices] == alone
    streamed = ["", ""]
    for chunk in client.chat.completions.create(**asked, n=2, seed=seed, stream=True):
        for choice in chunk.choices:
            streamed[choice.index] += choice.delta.content or ""
    assert streamed == alone


def mean_of(one: Any) -> float:
    """The mean log-probability of the tokens of a reply."""
    logprobs = one["choices"][0]["logprobs"]["token_logprobs"]
    assert len(logprobs) == one["usage"]["completion_tokens"]
    return fmean(logprobs)


@pytest.mark.parametrize("n", [1, 2, 4])
def test_the_best_of_several_texts(client: openai.OpenAI, models: Engine, n: int) -> None:
    asked: dict[str, Any] = {"max_tokens": 12, "temperature": 1.0}
    alone = [completion(models, PROMPT, **asked, seed=5 + k, logprobs=0) for k in range(4)]
    best = sorted(alone, key=mean_of, reverse=True)[:n]
    texts = [one["choices"][0]["text"] for one in best]
    reply = client.completions.create(model="any", prompt=PROMPT, n=n, best_of=4, seed=5, **asked)
    assert [choice.text for choice in reply.choices] == texts
    assert [choice.index for choice in reply.choices] == list(range(n))
    for choice, one in zip(reply.choices, best, strict=True):
        assert choice.logprobs is None
        assert choice.model_extra is not None
        assert choice.model_extra["mean_logprob"] == pytest.approx(mean_of(one), abs=1e-5)
        assert choice.model_extra["seed"] == one["seed"]
    check_usage(reply.usage, alone[:1], alone)


def check_usage(usage: Any, prompts: list[Any], texts: list[Any]) -> None:
    """Each prompt counts once, and each text."""
    assert usage.prompt_tokens == sum(one["usage"]["prompt_tokens"] for one in prompts)
    assert usage.completion_tokens == sum(one["usage"]["completion_tokens"] for one in texts)
    assert usage.total_tokens == usage.prompt_tokens + usage.completion_tokens
    assert usage.prompt_tokens_details.cached_tokens <= usage.prompt_tokens


def test_the_best_of_each_prompt(server: Running, models: Engine) -> None:
    asked: dict[str, Any] = {"max_tokens": 9, "temperature": 1.0, "seed": 3, "logprobs": 1}
    texts: list[str] = []
    for prompt in TEXTS:
        alone = [completion(models, prompt, **asked | {"seed": 3 + k}) for k in range(3)]
        texts += [one["choices"][0]["text"] for one in sorted(alone, key=mean_of)[:0:-1]]
    body = {**asked, "prompt": TEXTS, "n": 2, "best_of": 3}
    reply = server.client.post("/v1/completions", json=body).json()
    assert [choice["text"] for choice in reply["choices"]] == texts
    assert [choice["index"] for choice in reply["choices"]] == list(range(6))
    for choice in reply["choices"]:
        assert fmean(choice["logprobs"]["token_logprobs"]) == choice["mean_logprob"]


def test_an_echoed_prompt_does_not_count(server: Running) -> None:
    body: dict[str, Any] = {"prompt": PROMPT, "max_tokens": 9, "temperature": 1.0, "seed": 3}
    (plain,) = server.client.post("/v1/completions", json=body | {"best_of": 3}).json()["choices"]
    for more in ({"echo": True}, {"echo": True, "logprobs": 0}):
        reply = server.client.post("/v1/completions", json=body | {"best_of": 3} | more).json()
        (choice,) = reply["choices"]
        assert choice["text"] == PROMPT + plain["text"]
        assert choice["mean_logprob"] == pytest.approx(plain["mean_logprob"], abs=1e-5)
        assert (choice["logprobs"] is not None) == ("logprobs" in more)
    alone = server.client.post("/completion", json=body | {"best_of": 3, "n_predict": 9}).json()
    assert alone["content"] == plain["text"]


def test_an_empty_text_is_the_last() -> None:
    texts = {5: ("a", [-2.0]), 6: ("", []), 7: ("bc", [-0.5, -1.0]), 8: ("", [])}

    async def create(**given: Any) -> dict[str, Any]:
        text, logprobs = texts[given["seed"]]
        n = len(logprobs)
        usage = {"prompt_tokens": 1, "completion_tokens": n, "total_tokens": 1 + n}
        return {
            "seed": given["seed"],
            "choices": [{"text": text, "logprobs": {"token_logprobs": logprobs}}],
            "usage": usage,
            "timings": {"prompt_n": 1, "prompt_ms": 1.0, "predicted_n": n, "predicted_ms": 0.0},
        }

    replies: list[dict[str, Any]] = []
    arguments = {"prompt": "x", "n": 3, "best_of": 4, "seed": 5}
    asyncio.run(run_batch(create, arguments, replies.append))
    (reply,) = replies
    assert [choice["text"] for choice in reply["choices"]] == ["bc", "a", ""]
    assert [choice["seed"] for choice in reply["choices"]] == [7, 5, 6]
    assert [choice["mean_logprob"] for choice in reply["choices"]] == [-0.75, -2.0, None]
    assert reply["usage"] == {"prompt_tokens": 1, "completion_tokens": 3, "total_tokens": 4}
    assert reply["timings"]["prompt_n"] == 4


def test_a_prompt_counts_once_in_the_usage() -> None:
    """Other texts of a prompt find in the cache what the first one has computed."""
    cached = {"a": iter([2, 5, 5]), "bb": iter([7, 7, 1])}

    async def create(**given: Any) -> dict[str, Any]:
        n = 10 * len(given["prompt"])
        return {
            "choices": [{"text": ""}],
            "usage": {
                "prompt_tokens": n,
                "completion_tokens": 3,
                "total_tokens": n + 3,
                "prompt_tokens_details": {"cached_tokens": next(cached[given["prompt"]])},
            },
            "timings": {"prompt_n": n, "prompt_ms": 1.0, "predicted_n": 3, "predicted_ms": 0.0},
        }

    replies: list[dict[str, Any]] = []
    asyncio.run(run_batch(create, {"prompt": ["a", "bb"], "n": 3, "seed": 5}, replies.append))
    assert replies[0]["usage"] == {
        "prompt_tokens": 30,
        "completion_tokens": 18,
        "total_tokens": 48,
        "prompt_tokens_details": {"cached_tokens": 3},
    }
    assert replies[0]["timings"]["prompt_n"] == 90


def test_only_those_that_run_are_begun() -> None:
    """2048 prompts with 128 answers each are many."""
    n_texts, most = 0, 0

    async def create(**given: Any) -> dict[str, Any]:
        nonlocal n_texts, most
        n_texts += 1
        most = max(most, len(asyncio.all_tasks()))
        await asyncio.sleep(0)
        usage = {"prompt_tokens": 1, "completion_tokens": 0, "total_tokens": 1}
        timings = {"prompt_n": 1, "prompt_ms": 1.0, "predicted_n": 0, "predicted_ms": 0.0}
        choices = [{"text": f"{given['prompt']}{given['seed']}"}]
        return {"choices": choices, "usage": usage, "timings": timings}

    replies: list[dict[str, Any]] = []
    arguments = {"prompt": ["a", "b"], "n": 100, "seed": 5}
    asyncio.run(run_batch(create, arguments, replies.append, 3))
    texts = [choice["text"] for choice in replies[0]["choices"]]
    assert texts == [f"{prompt}{5 + k}" for prompt in "ab" for k in range(100)]
    assert n_texts == 200
    assert most <= 4  # of three texts, and that of the request


def test_without_a_seed_all_begin_at_once() -> None:
    class Three(FakeModel):
        n_parallel = 3

    seeds: list[int] = []

    class Together(FakeText):
        async def create_completion(self, **arguments: Any) -> Any:
            seeds.append(arguments["seed"])
            while len(seeds) < 3:
                await asyncio.sleep(0.005)
            usage = {"prompt_tokens": 1, "completion_tokens": 0, "total_tokens": 1}
            timings = {"prompt_n": 1, "prompt_ms": 1.0, "predicted_n": 0, "predicted_ms": 0.0}
            return {"choices": [{"text": ""}], "usage": usage, "timings": timings}

    with serving(Three(), Together(), request_timeout_s=60) as server:
        reply = server.client.post("/v1/completions", json={"prompt": "x", "n": 3})
    assert reply.status_code == 200, reply.text
    assert seeds == [seeds[0], seeds[0] + 1, seeds[0] + 2]


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"best_of": 2, "n": 3}, "best_of is 2: it must be at least n, which is 3"),
        ({"best_of": 129}, "best_of is 129: Input should be less than or equal to 128"),
        ({"best_of": 0}, "best_of is 0: Input should be greater than or equal to 1"),
        ({"best_of": 3, "stream": True}, "best_of is 3: with stream it must be 1"),
        ({"best_of": 3, "trace": True}, "best_of is 3: with trace it must be 1"),
    ],
)
def test_best_of_is_checked(server: Running, fields: dict[str, Any], words: str) -> None:
    reply = server.client.post("/v1/completions", json={"prompt": "x", "max_tokens": 1, **fields})
    error = told(reply, 400, "invalid_value")
    assert (error["message"], error["param"]) == (words, "best_of")
    chat = {"messages": [{"role": "user", "content": "x"}], "best_of": 2}
    error = told(server.client.post("/v1/chat/completions", json=chat), 400, "unsupported_value")
    assert error["message"].startswith("best_of is 2; chats have no such field")
    assert server.client.post("/v1/chat/completions", json=chat | {"best_of": 1}).is_success
