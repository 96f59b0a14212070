"""OpenAI's own client: log-probabilities, errors, leaving, traces, and the figures afterwards."""

from __future__ import annotations

from typing import TYPE_CHECKING

import openai
import pytest
from tests.python.support.openai_clients import openai_client
from tests.python.support.server_models import MESSAGES, PROMPT, SAMPLING, chatting, completion
from tests.python.support.server_support import KEY, Running, serving, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from specbranch_cpp import Engine


@pytest.fixture(scope="module")
def server(models: Engine) -> Iterator[Running]:
    with serving(models, api_keys=(KEY,), request_timeout_s=60) as running:
        yield running


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
    with pytest.raises(openai.BadRequestError, match="no fill-in-the-middle tokens") as no_gap:
        client.completions.create(model="any", prompt=PROMPT, suffix="return x\n")
    assert no_gap.value.param == "suffix"
    for stream in (False, True):
        with pytest.raises(openai.BadRequestError) as too_long:
            client.completions.create(model="any", prompt="x = 1\n" * 2000, stream=stream)
        assert too_long.value.code == "context_length_exceeded"
    for name in ("messages", "tools"):
        with pytest.raises(openai.BadRequestError, match=f"chat_template_kwargs has '{name}'"):
            client.chat.completions.create(
                model="any", messages=MESSAGES, extra_body={"chat_template_kwargs": {name: 1}}
            )
    with pytest.raises(openai.BadRequestError, match="grammar"):
        client.completions.create(model="any", prompt=PROMPT, extra_body={"grammar": "root := x"})
    with (
        openai_client(server, api_key="wrong") as stranger,
        pytest.raises(openai.AuthenticationError),
    ):
        stranger.models.list()
    assert client.completions.create(model="any", prompt=PROMPT, **SAMPLING).choices


def figures(server: Running) -> dict[str, float]:
    headers = {"authorization": f"Bearer {KEY}"}
    text = server.client.get("/metrics", headers=headers).text
    lines = [line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#")]
    return {name: float(value) for name, value in lines}


# A text that no machine writes before it hears of the client.
N_LONG = 7_900


@pytest.fixture
def roomy(pair: tuple[Path, Path]) -> Iterator[tuple[Engine, Running]]:
    """Models with room for such a text, and their server."""
    with (
        chatting(pair, n_ctx=8192) as models,
        serving(models, api_keys=(KEY,), request_timeout_s=120) as running,
    ):
        yield models, running


def test_a_cancelled_stream_ends_the_work(roomy: tuple[Engine, Running]) -> None:
    models, server = roomy
    with openai_client(server) as client:
        stream = client.completions.create(
            model="any", prompt=PROMPT, max_tokens=N_LONG, stream=True, temperature=0.0,
            extra_body={"logit_bias": {str(models.eos_token): -1000}},
        )  # fmt: skip
        for _ in range(3):
            next(iter(stream))
        stream.close()
        wait_until(lambda: models.stats.n_generations == 1)
        n_generated = models.stats.n_generated
        assert n_generated < N_LONG
        assert client.completions.create(model="any", prompt=PROMPT, **SAMPLING).choices
    # What was cancelled is counted, too.
    assert figures(server)["llamacpp:tokens_predicted_total"] == n_generated + 40


def test_a_client_that_gives_up_ends_the_work(roomy: tuple[Engine, Running]) -> None:
    models, server = roomy
    patience = openai.Timeout(120, read=0.3)  # the request itself comes whole
    with (
        openai_client(server, timeout=patience) as hasty,
        pytest.raises(openai.APITimeoutError),
    ):
        hasty.completions.create(
            model="any", prompt=PROMPT, max_tokens=N_LONG, temperature=0.0,
            logit_bias={str(models.eos_token): -1000}, extra_body={"mode": "autoregressive"},
        )  # fmt: skip
    wait_until(lambda: server.client.get("/health").json()["requests_processing"] == 0)
    assert models.stats.n_generated < N_LONG


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
    before = figures(server)
    reply = client.completions.create(
        model="any", prompt=PROMPT, extra_body={"mode": "speculative", "trace": True}, **SAMPLING
    )
    after = figures(server)
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


@pytest.mark.parametrize("prompt", ["", [""]])
def test_an_empty_prompt_is_the_engines(
    client: openai.OpenAI, models: Engine, prompt: str | list[str]
) -> None:
    expected = completion(models, "", **SAMPLING)["choices"][0]["text"]
    reply = client.completions.create(model="any", prompt=prompt, **SAMPLING)
    assert reply.choices[0].text == expected


def test_a_long_value_is_told_in_part(client: openai.OpenAI) -> None:
    schema = ["x" * 1_000_000]
    form = {"type": "json_schema", "json_schema": {"name": "long", "schema": schema}}
    with pytest.raises(openai.BadRequestError, match="must be a JSON schema") as wrong:
        client.chat.completions.create(
            model="any", messages=MESSAGES, extra_body={"response_format": form}
        )
    assert len(wrong.value.message) < 3000
