"""Scores of prompts: ``prompt_logprobs``, and ``echo`` with ``logprobs`` as harnesses ask for."""

from __future__ import annotations

import asyncio
import math
import threading
from typing import TYPE_CHECKING, Any

import pytest

from specbranch_cpp import AsyncEngine, Engine, InvalidArgument

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


@pytest.mark.parametrize("mode", ["autoregressive", "speculative", "auto"])
def test_a_prompt_is_scored_by_its_chunks(engine: Engine, mode: str) -> None:
    """One pass for each chunk, and the text does not change."""
    ids = engine.tokenize("def add(a, b):\n    return a + b\n\n" * 20, add_bos=False)
    plain = engine.complete(ids, max_tokens=8, mode=mode)
    before = engine.stats.n_generations
    done = engine.complete(ids, max_tokens=8, mode=mode, prompt_logprobs=1)
    assert engine.stats.n_generations == before + 1
    assert (done.text, plain.prompt_logprobs) == (plain.text, None)
    assert done.stats.n_reused == 0
    first, *scores = done.prompt_logprobs or ()
    assert first is None
    assert [one.token for one in scores if one is not None] == ids[1:]
    for one in scores:
        assert one is not None
        assert len(one.top) == 1
        assert max(one.top.values()) >= one.logprob
    alone = engine.complete(ids, max_tokens=0, mode=mode, prompt_logprobs=1)
    assert alone.tokens == ()
    assert alone.finish_reason == "length"
    assert alone.prompt_logprobs == done.prompt_logprobs


def test_the_scores_are_those_of_single_tokens(engine: Engine) -> None:
    """Of any text: each token is forced, with a bias that comes after the log-probabilities."""
    ids = engine.tokenize(PROMPT + "x = 1 %% unusual\n", add_bos=False)
    scores = engine.complete(ids, max_tokens=0, prompt_logprobs=3).prompt_logprobs or ()
    for index in range(1, len(ids)):
        one = engine.complete(
            ids[:index],
            max_tokens=1,
            logprobs=3,
            logit_bias={ids[index]: 1e9},
            mode="autoregressive",
        )
        assert one.logprobs is not None
        score = scores[index]
        assert score is not None
        assert score.token == ids[index]
        assert score.logprob == pytest.approx(one.logprobs[0].logprob, abs=0.02)
        assert list(score.top.values()) == pytest.approx(
            list(one.logprobs[0].top.values()), abs=0.02
        )


def test_scores_can_be_read_while_the_text_is_generated(engine: Engine) -> None:
    ids = engine.tokenize(PROMPT, add_bos=False)
    whole = engine.complete(ids, max_tokens=8, prompt_logprobs=0)
    generation = engine.generate(ids, max_tokens=8, prompt_logprobs=0)
    assert generation.prompt_logprobs() == whole.prompt_logprobs
    assert "".join(chunk.text for chunk in generation) == whole.text
    assert generation.prompt_logprobs() == generation.result().prompt_logprobs
    with pytest.raises(InvalidArgument, match="prompt_logprobs"):
        engine.generate(ids, max_tokens=1).prompt_logprobs()
    for wrong in (-1, engine.vocab_size + 1, True, "1"):
        with pytest.raises(InvalidArgument, match="prompt_logprobs"):
            engine.generate(ids, prompt_logprobs=wrong)  # type: ignore[arg-type]


def test_scoring_can_be_stopped(pair: tuple[Path, Path]) -> None:
    with Engine(*pair, n_ctx=4096, measure_costs=False) as engine:
        generation = engine.generate(list(range(3, 4000)), max_tokens=0, prompt_logprobs=0)
        generation.cancel()
        assert generation.result().finish_reason == "cancelled"
        assert len(generation.prompt_logprobs()) < 3997
        assert engine.complete("a", max_tokens=1).finish_reason == "length"


def test_a_client_that_goes_stops_the_scoring(pair: tuple[Path, Path]) -> None:
    async def leave(engine: AsyncEngine) -> str:
        ended = threading.Event()
        engine.engine.on_end(lambda _: ended.set())
        ids = list(range(3, 4000))
        stream: Any = await engine.create_completion(
            ids, max_tokens=1, echo=True, logprobs=0, stream=True
        )
        await stream.close()
        return str(stream.generation.result().finish_reason)

    with Engine(*pair, n_ctx=4096, measure_costs=False) as engine:
        assert asyncio.run(leave(AsyncEngine.of(engine))) == "cancelled"
        assert engine.complete("a", max_tokens=1).finish_reason == "length"
