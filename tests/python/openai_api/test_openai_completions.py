"""`create_completion`: the text of `generate`, in OpenAI's shape, streamed or not."""

from __future__ import annotations

import gc
from typing import Any, cast

import pytest
from tests.python.conftest import MakeFake
from tests.python.support.gate import Gate

from specbranch_cpp import ContextOverflow, DecodeError, Engine, EngineClosed, InvalidArgument

PROMPT = "import os\n"
OPTIONS: dict[str, Any] = {"max_tokens": 24, "seed": 5}
DEFAULTS: dict[str, Any] = {"temperature": 0.8, "top_p": 0.95, "min_p": 0.05, "top_k": 40}
ENDLESS: dict[str, Any] = {"max_tokens": None, "stream": True, "logit_bias": {0: float("-inf")}}


def whole(engine: Engine, prompt: Any = PROMPT, **options: Any) -> Any:
    return engine.create_completion(prompt, **{**OPTIONS, **options})


def pieces(engine: Engine, prompt: Any = PROMPT, **options: Any) -> list[Any]:
    return [*cast("Any", whole(engine, prompt, stream=True, **options))]


def text_of(chunks: list[Any]) -> str:
    return "".join(chunk["choices"][0]["text"] for chunk in chunks if chunk["choices"])


@pytest.mark.parametrize("mode", ["autoregressive", "speculative", "pearl", "specbranch", "auto"])
def test_it_is_the_text_of_generate(engine: Engine, mode: str) -> None:
    done = engine.generate(PROMPT, **OPTIONS, **DEFAULTS, mode="autoregressive").result()
    answer = whole(engine, mode=mode)
    assert answer["choices"] == [
        {
            "text": done.text,
            "index": 0,
            "logprobs": None,
            "finish_reason": done.finish_reason,
            "stop_reason": None,
        }
    ]
    assert answer["mode"] == mode
    assert text_of(pieces(engine, mode=mode)) == done.text


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"stop": ["\n"]},
        {"stop": "import"},
        {"echo": True},
        {"echo": True, "stop": ["\n"]},
        {"grammar": 'root ::= "é" "日本" [a-c]{3}'},
        {"max_tokens": 1, "logit_bias": {0: 100.0}},
    ],
)
def test_streamed_and_not_are_the_same(engine: Engine, options: dict[str, Any]) -> None:
    answer, chunks = whole(engine, **options), pieces(engine, **options)
    assert text_of(chunks) == answer["choices"][0]["text"]
    reasons = [chunk["choices"][0]["finish_reason"] for chunk in chunks]
    assert reasons == [None] * (len(chunks) - 1) + [answer["choices"][0]["finish_reason"]]
    assert {chunk["id"] for chunk in chunks} == {chunks[0]["id"]} != {answer["id"]}
    assert chunks[-1]["choices"][0]["text"] == ""
    assert all(chunk["choices"][0]["text"] for chunk in chunks[:-1])


def test_the_fields_are_openais(engine: Engine) -> None:
    answer = whole(engine, model="mine")
    assert answer["id"].startswith("cmpl-")
    assert answer["object"] == "text_completion"
    assert answer["model"] == "mine"
    usage = answer["usage"]
    assert usage["prompt_tokens"] == len(engine.tokenize(PROMPT))
    assert usage["completion_tokens"] == 24
    assert usage["total_tokens"] == usage["prompt_tokens"] + 24
    assert whole(engine)["model"] == engine.metadata["general.name"]


def test_timings_have_llama_servers_names(engine: Engine) -> None:
    generation = engine.create_completion(PROMPT, mode="specbranch", stream=True, **OPTIONS)
    last = [*cast("Any", generation)][-1]
    stats = cast("Any", generation).generation.stats
    assert last["seed"] == 5
    assert last["timings"] == {
        "cache_n": stats.n_reused,
        "prompt_n": stats.n_prompt - stats.n_reused,
        "prompt_ms": stats.prefill_ms,
        "prompt_per_second": pytest.approx(
            1000 * (stats.n_prompt - stats.n_reused) / stats.prefill_ms
        ),
        "predicted_n": 24,
        "predicted_ms": stats.decode_ms,
        "predicted_per_second": stats.tokens_per_second,
        "draft_n": stats.n_drafted,
        "draft_n_accepted": stats.n_accepted,
    }
    assert stats.n_drafted > 0


def test_a_seed_that_was_drawn_gives_the_text_again(engine: Engine) -> None:
    first = whole(engine, seed=None)
    assert whole(engine, seed=first["seed"])["choices"] == first["choices"]
    assert whole(engine, seed=-1)["seed"] != whole(engine, seed=-1)["seed"]


def test_usage_comes_last_in_a_stream_that_is_asked_for_it(engine: Engine) -> None:
    *chunks, last = pieces(engine, stream_options={"include_usage": True})
    assert [chunk["usage"] for chunk in chunks] == [None] * len(chunks)
    assert last["choices"] == []
    assert last["usage"]["completion_tokens"] == 24
    assert last["timings"] == chunks[-1]["timings"]


def test_speculation_is_told_piece_by_piece(engine: Engine) -> None:
    chunks = pieces(engine, mode="specbranch", trace=True)
    told = [chunk["speculation"] for chunk in chunks]
    done = engine.generate(PROMPT, **OPTIONS, **DEFAULTS).result()
    tokens = [token for one in told for token in one["tokens"]]
    assert [token["id"] for token in tokens] == [*done.tokens]
    assert "".join(token["text"] for token in tokens) == done.text
    assert {token["origin"] for token in tokens} <= {"target", "draft", "branch"}
    assert "draft" in {token["origin"] for token in tokens}
    committed = [t["id"] for one in told for r in one["rounds"] for t in r["committed"]]
    assert committed[: len(tokens)] == [*done.tokens]
    stats = told[-1]["stats"]
    assert [one for one in told[:-1] if "stats" in one] == []
    assert stats["n_generated"] == len(tokens)
    assert stats["rollback_rate"] == pytest.approx(
        stats["n_rolled_back"] / max(stats["n_drafted"], 1)
    )
    n_verified = sum(s["kind"] == "verify" for one in told for s in one["spans"])
    assert n_verified >= stats["n_target_steps"]
    at_once = whole(engine, mode="specbranch", trace=True)["speculation"]
    assert [token["id"] for token in at_once["tokens"]] == [*done.tokens]
    assert at_once["stats"]["n_generated"] == len(tokens)


def test_token_ids_are_a_prompt_too(engine: Engine) -> None:
    ids = engine.tokenize(PROMPT)
    answer = whole(engine, ids, echo=True)
    assert answer["choices"][0]["text"] == PROMPT + whole(engine)["choices"][0]["text"]


def test_an_empty_prompt_is_the_bos_token(engine: Engine) -> None:
    assert whole(engine, "")["usage"]["prompt_tokens"] == 1
    assert whole(engine, "")["choices"] == whole(engine, [engine.bos_token])["choices"]


def test_cancelling_a_stream_ends_it_early(engine: Engine) -> None:
    with Gate() as first, Gate() as second:
        stream: Any = whole(engine, logits_processor=first, **ENDLESS)
        next(stream)
        stream.cancel()
        assert [*stream][-1]["choices"][0]["finish_reason"] == "cancelled"
        with whole(engine, logits_processor=second, **ENDLESS) as stream:
            next(stream)
        assert [*stream] == []
        assert stream.generation.result().finish_reason == "cancelled"


def test_dropping_a_stream_stops_the_work(engine: Engine) -> None:
    before = engine.stats.n_generated
    with Gate() as gate:
        stream: Any = whole(engine, logits_processor=gate, **ENDLESS)
        next(stream)
        del stream
        gc.collect()
        assert whole(engine)["usage"]["completion_tokens"] == 24  # its turn came
    assert engine.stats.n_generated - before < 24 + Gate.N_MOST


def test_errors_come_when_called_not_when_read(engine: Engine) -> None:
    with pytest.raises(ContextOverflow):
        whole(engine, [1] * engine.n_ctx, stream=True)
    with pytest.raises(InvalidArgument, match="mode"):
        whole(engine, mode="fast", stream=True)
    assert whole(engine)["usage"]["completion_tokens"] == 24


@pytest.mark.parametrize("stream", [False, True])
def test_a_failed_pass_is_told_and_the_engine_goes_on(make_fake: MakeFake, stream: bool) -> None:
    engine = make_fake(target_fail_at_step=3)
    with pytest.raises(DecodeError):
        [*cast("Any", engine.create_completion("abc", max_tokens=20, stream=stream))]
    answer: Any = engine.create_completion("abc", max_tokens=4)
    assert answer["usage"]["completion_tokens"] == 4
    engine.close()
    with pytest.raises(EngineClosed):
        engine.create_completion("abc")


def test_the_short_form(engine: Engine) -> None:
    done = engine.complete(PROMPT, max_tokens=8)
    assert str(done) == done.text == engine.generate(PROMPT, max_tokens=8).result().text


def test_fakes_have_neither_name_nor_template(make_fake: MakeFake) -> None:
    answer: Any = make_fake().create_completion("abc", max_tokens=4)
    assert answer["model"] == "fake"
    assert len(answer["choices"][0]["text"]) == 4
