"""``echo`` with ``logprobs``: the target scores the prompt, as evaluation harnesses ask for."""

from __future__ import annotations

import asyncio
import math
import threading
from typing import TYPE_CHECKING, Any

import pytest

from specbranch_cpp import AsyncEngine, Engine
from specbranch_cpp.openai_api.prompt_scores import PromptScores

if TYPE_CHECKING:
    from pathlib import Path

PROMPT = "import os\nimport sys\n"


def scored(engine: Engine, prompt: Any, **options: Any) -> Any:
    given = {"max_tokens": 0, "echo": True, "logprobs": 2, "temperature": 0.0, **options}
    return engine.create_completion(prompt, **given)


def test_the_scores_are_those_of_the_same_text_when_generated(engine: Engine) -> None:
    """A text of the target itself, so that every token is the most probable token."""
    start = engine.tokenize("def f(", add_bos=False)
    done = engine.complete(start, max_tokens=6, logprobs=2, mode="autoregressive")
    assert done.logprobs is not None
    lists = scored(engine, [*start, *done.tokens])["choices"][0]["logprobs"]
    after = len(start)
    assert lists["token_logprobs"][after:] == pytest.approx(
        [one.logprob for one in done.logprobs], abs=1e-3
    )
    for top, value in zip(
        lists["top_logprobs"][after:], lists["token_logprobs"][after:], strict=True
    ):
        assert max(top.values()) == value
        assert len(top) == 2
    assert lists["token_logprobs"][0] is None
    assert lists["top_logprobs"][0] is None


def test_the_prompt_alone(engine: Engine) -> None:
    answer = scored(engine, PROMPT)
    choice = answer["choices"][0]
    assert choice["text"] == PROMPT
    assert answer["usage"]["completion_tokens"] == 0
    lists = choice["logprobs"]
    assert "".join(lists["tokens"]) == PROMPT
    assert lists["text_offset"][0] == 0
    assert [
        PROMPT[offset:].startswith(token)
        for offset, token in zip(lists["text_offset"], lists["tokens"], strict=True)
    ] == [True] * len(lists["tokens"])
    assert engine.create_completion(PROMPT, max_tokens=0, echo=True)["choices"][0]["text"] == PROMPT  # type: ignore[index]


def test_prompt_and_text_are_one_list(engine: Engine) -> None:
    """The slices of lm-evaluation-harness: the context before, one generated token behind."""
    ids = engine.tokenize(PROMPT, add_bos=False)
    choice = scored(engine, ids, max_tokens=1)["choices"][0]
    lists = choice["logprobs"]
    assert len(lists["tokens"]) == len(ids) + 1
    assert choice["text"].startswith(PROMPT)
    assert all(value < 0.0 for value in lists["token_logprobs"][1:])
    alone = scored(engine, ids)["choices"][0]["logprobs"]
    assert {name: values[:-1] for name, values in lists.items()} == alone


def test_a_stream_begins_with_the_prompt(engine: Engine) -> None:
    whole = scored(engine, PROMPT, max_tokens=3)["choices"][0]
    chunks = [one["choices"][0] for one in scored(engine, PROMPT, max_tokens=3, stream=True)]
    assert chunks[0]["text"] == PROMPT
    assert "".join(one["text"] for one in chunks) == whole["text"]
    told = [one["logprobs"] for one in chunks if one["logprobs"] is not None]
    for name, values in whole["logprobs"].items():
        assert [value for one in told for value in one[name]] == values


def test_end_tokens_and_bos_are_scored(tiny: Path) -> None:
    """In this model BOS is the end token, which ends every generation that chooses it."""
    with Engine(tiny, n_ctx=128, measure_costs=False) as engine:
        end = engine.eos_token
        assert end is not None
        lists = scored(engine, [5, end, 6], logprobs=1)["choices"][0]["logprobs"]
        assert lists["tokens"][1] == "<|endoftext|>"
        one = engine.complete([5], max_tokens=1, logprobs=engine.vocab_size)
        assert one.logprobs is not None
        assert lists["token_logprobs"][1] == pytest.approx(one.logprobs[0].top[end], abs=1e-4)
        assert len(lists["top_logprobs"][1]) <= 2
        assert math.isfinite(lists["token_logprobs"][2])
        # BOS that the engine adds is not in the text, and the first token of the text has a score.
        assert engine.tokenize("a")[0] == engine.bos_token
        texts = scored(engine, "ab", logprobs=0)["choices"][0]["logprobs"]
        assert texts["tokens"] == ["a", "b"]
        assert texts["token_logprobs"][0] is not None


def test_scoring_can_be_stopped(engine: Engine) -> None:
    scores = PromptScores(engine, engine.tokenize(PROMPT), 1)
    read = scores.read()
    assert next(read) is None
    assert next(read) is not None
    scores.cancel()
    assert list(read) == []


def test_a_client_that_goes_stops_the_scoring(pair: tuple[Path, Path]) -> None:
    async def leave(engine: AsyncEngine) -> int:
        ids = list(range(3, 1900))
        stream = await engine.create_completion(
            ids, max_tokens=1, echo=True, logprobs=0, stream=True
        )
        begun = threading.Event()
        engine.engine.on_end(lambda _: begun.set())
        await asyncio.to_thread(begun.wait, 60)
        await stream.close()  # type: ignore[union-attr]
        return engine.engine.stats.n_generations

    with Engine(*pair, n_ctx=2048, measure_costs=False) as engine:
        before = asyncio.run(leave(AsyncEngine.of(engine)))
        assert before < 1900
        assert engine.complete("a", max_tokens=1).finish_reason == "length"
