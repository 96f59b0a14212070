"""An engine in a process of its own gives what the same engine gives without one."""

from __future__ import annotations

import asyncio
import logging
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from tests.python.support.gate import Gate
from tests.python.support.isolated import LONG, PROMPT, new_engine
from tests.python.support.server_support import wait_until

from specbranch_cpp import AsyncEngine, Engine, InvalidArgument, demo, policies
from specbranch_cpp._isolated.remote_generation import _Received
from specbranch_cpp._isolated.served_text import ServedText, _Questions
from specbranch_cpp.bench import near_ties
from specbranch_cpp.errors import ContextOverflow, EngineClosed
from specbranch_cpp.processors import TokenMask

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MODES = ("autoregressive", "speculative", "pearl", "specbranch", "auto")

NEAR_TIE = 0.1
"""Largest gap of two scores, in nats, that rounding explains; seen: 0.047."""

SETTINGS: dict[str, Any] = {
    "n_ctx": 512, "measure_costs": False, "n_parallel": 2, "n_threads": 1, "draft_n_threads": 1,
}  # fmt: skip


@pytest.fixture(scope="module")
def here() -> Iterator[Engine]:
    with Engine(*demo.pair(), **SETTINGS) as engine:
        yield engine


@pytest.fixture(scope="module")
def there() -> Iterator[Engine]:
    with Engine(*demo.pair(), **SETTINGS, isolate=True) as engine:
        yield engine


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"temperature": 0.8, "top_p": 0.9, "repeat_penalty": 1.1},
        {"temperature": 1.0, "mirostat_mode": 2, "logit_bias": {5: 2.0}},
        {"stop": ["\n\n"], "min_tokens": 4, "logprobs": 3, "prompt_logprobs": 2},
        {"grammar": 'root ::= ("ab" | "cd")+', "temperature": 0.7},
        {"stop_token_ids": [10, 11], "samplers": ["top_k", "temperature"], "top_k": 5},
    ],
)
def test_same_texts(here: Engine, there: Engine, mode: str, options: dict[str, Any]) -> None:
    options = {**options, "mode": mode, "seed": 11, "max_tokens": 40}
    expected = here.complete(PROMPT, **options)
    found = there.complete(PROMPT, **options)
    assert found.tokens == expected.tokens
    assert found.text == expected.text
    assert found.finish_reason == expected.finish_reason
    assert found.logprobs == expected.logprobs
    assert found.prompt_logprobs == expected.prompt_logprobs
    assert found.stats.mode == expected.stats.mode
    assert found.stats.n_generated == expected.stats.n_generated


def test_chunks_arrive_one_by_one(there: Engine) -> None:
    whole = there.complete(PROMPT, max_tokens=20, seed=1)
    with there.generate(PROMPT, max_tokens=20, seed=1) as generation:
        chunks = list(generation)
    assert "".join(chunk.text for chunk in chunks) == whole.text
    assert tuple(chunk.token for chunk in chunks[:-1]) == whole.tokens
    assert chunks[-1].finish_reason == "length"
    assert generation.n_prefilled == generation.n_prompt


def test_facts(here: Engine, there: Engine) -> None:
    for name in (
        "vocab_size", "n_ctx", "n_parallel", "n_feature_layers", "bos_token", "eos_token",
        "fim_tokens", "metadata", "chat_template", "mode", "can_speculate", "has_draft", "lookup",
        "lookup_answers", "lora_adapters", "model_paths", "placement", "exact_rows",
        "verified_branches",
    ):  # fmt: skip
        assert getattr(there, name) == getattr(here, name), name
    assert there.tokenize("αβ <x>") == here.tokenize("αβ <x>")
    assert there.detokenize([5, 6, 7]) == here.detokenize([5, 6, 7])
    for token in (0, 1, 77, here.vocab_size - 1):
        assert there.token_bytes(token) == here.token_bytes(token)
        assert there.is_end_token(token) == here.is_end_token(token)
    assert repr(there) == repr(here)


def test_bad_arguments_are_the_same_errors(here: Engine, there: Engine) -> None:
    for options in (
        {"temperature": -1.0}, {"mode": "fast"}, {"grammar": "root ::= ("}, {"top_p": float("nan")},
        {"lora": "none"}, {"max_draft": 99}, {"logit_bias": {10**6: 1.0}}, {"samplers": ["best"]},
    ):  # fmt: skip
        messages = []
        for engine in (here, there):
            with pytest.raises(InvalidArgument) as error:
                engine.complete(PROMPT, max_tokens=4, **options)
            messages.append(str(error.value))
        assert messages[0] == messages[1]
    with pytest.raises(ContextOverflow):
        there.complete("x " * 5000)
    with pytest.raises(InvalidArgument, match="10000000"):
        there.complete([10**7])
    assert there.complete(PROMPT, max_tokens=3).tokens == here.complete(PROMPT, max_tokens=3).tokens


class Plans:
    """Plans two tokens in every round."""

    n_feature_layers = 1

    def __init__(self) -> None:
        self.rounds: list[policies.RoundState] = []
        self.outcomes: list[policies.RoundOutcome] = []

    def plan(self, state: policies.RoundState) -> policies.Plan:
        self.rounds.append(state)
        return policies.Plan(draft_length=min(2, state.max_draft))

    def observe(self, outcome: policies.RoundOutcome) -> None:
        self.outcomes.append(outcome)


def test_a_policy_of_the_caller_runs_here(here: Engine, there: Engine) -> None:
    policy = Plans()
    # Long, because on a busy machine the first questions may come too late.
    options: dict[str, Any] = {"mode": "speculative", "max_tokens": 300}
    found = there.complete(PROMPT, policy=policy, **options)
    assert found.tokens == here.complete(PROMPT, **options).tokens
    assert policy.rounds
    assert policy.outcomes
    features = policy.rounds[-1].features
    assert isinstance(features, np.ndarray)
    assert features.shape[0] == 2
    assert np.isfinite(features).all()
    assert not features.flags.writeable
    assert max(outcome.n_submitted for outcome in policy.outcomes if outcome.plan) == 2


def test_a_policy_that_nobody_reads_for_does_not_stop_the_text(there: Engine) -> None:
    policy = Plans()
    before = there.stats.n_generations
    unread = there.generate(PROMPT, mode="speculative", max_tokens=30, policy=policy)
    others = [there.generate(PROMPT, max_tokens=5) for _ in range(2)]
    for other in others:
        assert len(other.result().tokens) == 5
    # The others may have run beside it, and ended before it waited so long.
    wait_until(lambda: there.stats.n_generations == before + 3)
    assert len(unread.result().tokens) == 30
    assert unread.result().stats.policy_skipped > 0


def test_a_policy_that_fails_raises_its_own_error() -> None:
    class Fails(Plans):
        def plan(self, state: policies.RoundState) -> policies.Plan:
            raise ZeroDivisionError(state.position)

    with new_engine(n_ctx=8192) as engine:
        with pytest.raises(ZeroDivisionError):
            engine.complete(PROMPT, mode="speculative", policy=Fails(), **LONG)
        assert len(engine.complete(PROMPT, max_tokens=5).tokens) == 5


def test_a_policy_that_fails_too_late_ends_the_text() -> None:
    calls: list[str] = []
    text = ServedText.__new__(ServedText)
    text._questions = _Questions()
    text.core = SimpleNamespace(  # type: ignore[assignment]
        refuse=lambda: calls.append("refuse"), cancel=lambda: calls.append("cancel")
    )
    number = text._questions.ask()
    text.refuse(number)
    text.refuse(number)
    assert calls == ["refuse", "cancel"]


def test_a_policy_may_close_the_engine() -> None:
    class Closing(Plans):
        def plan(self, state: policies.RoundState) -> policies.Plan:
            engine.close()
            return super().plan(state)

    engine = new_engine(n_ctx=8192)
    generation = engine.generate(PROMPT, mode="speculative", policy=Closing(), **LONG)
    assert generation.result().finish_reason == "cancelled"
    with pytest.raises(EngineClosed):
        engine.complete(PROMPT)


@pytest.mark.parametrize("mode", MODES)
def test_functions_of_the_caller_run_here(here: Engine, there: Engine, mode: str) -> None:
    class Even(TokenMask):
        def mask(self, input_ids: Any) -> Any:
            return np.arange(here.vocab_size) % 2 == len(input_ids) % 2

    def flatten(_: Any, scores: Any) -> Any:
        return scores * 0.5

    def ends(input_ids: Any, _: Any) -> bool:
        return len(input_ids) > 60

    options: dict[str, Any] = {
        "mode": mode, "seed": 5, "temperature": 0.9, "max_tokens": 80,
        "logits_processor": [Even(), flatten], "stopping_criteria": ends,
    }  # fmt: skip
    expected, found = here.complete(PROMPT, **options), there.complete(PROMPT, **options)
    assert found.tokens == expected.tokens
    assert found.stats.n_processor_calls > 0


def test_traces_come_while_it_runs_and_at_the_end(there: Engine) -> None:
    generation = there.generate(
        PROMPT, max_tokens=20, mode="speculative", trace=True, n_feature_layers=1
    )
    next(generation)
    seen = generation.trace_since()
    trace = generation.result().trace
    assert trace is not None
    assert seen.rounds
    assert len(seen.rounds) <= len(trace.rounds)
    assert len(generation.trace_since(n_rounds=1).rounds) == len(trace.rounds) - 1
    features = trace.rounds[-1].features
    assert features is not None
    assert not features.flags.writeable
    assert trace.spans


def test_chat_with_a_schema() -> None:
    template = "{% for m in messages %}{{ m.content }}{% endfor %}"
    messages: list[Any] = [{"role": "user", "content": PROMPT}]
    texts = []
    for isolate in (False, True):
        with Engine(demo.pair()[0], n_ctx=256, chat_template=template, isolate=isolate) as engine:
            reply: Any = engine.create_chat_completion(
                messages, max_tokens=30, seed=3, response_format={"type": "json_object"}
            )
            texts.append(reply["choices"][0]["message"]["content"])
    assert texts[0] == texts[1]


def test_several_at_once(here: Engine, there: Engine) -> None:
    prompts = [PROMPT, "class A:\n", "import os\n", "x = [1, 2"]
    expected = here.generate_many(prompts, max_tokens=20, seed=4, temperature=0.8)
    found = there.generate_many(prompts, max_tokens=20, seed=4, temperature=0.8)
    for i, (one, other) in enumerate(zip(found, expected, strict=True)):
        # A text may differ at a near-tie, by who runs beside it and whose cells it reuses.
        difference = near_ties.first_difference(other.tokens, one.tokens)
        if difference is not None:
            prompt = here.tokenize(prompts[i])
            gap = near_ties.gap(here, prompt, other.tokens, difference, temperature=0.8, seed=4 + i)
            assert gap is not None
            assert gap <= NEAR_TIE


def test_async_engine() -> None:
    async def run() -> tuple[int, ...]:
        async with AsyncEngine(demo.pair()[0], n_ctx=256, isolate=True) as engine:
            generation = engine.generate(PROMPT, max_tokens=10)
            return (await generation.result()).tokens

    assert len(asyncio.run(run())) == 10


def test_cancel_and_drop(there: Engine) -> None:
    with Gate() as gate:
        generation = there.generate(PROMPT, max_tokens=400, logits_processor=gate)
        next(generation)
        generation.cancel()
    done = generation.result()
    assert done.finish_reason == "cancelled"
    assert len(done.tokens) < 400
    dropped = there.generate(PROMPT, max_tokens=400)
    next(dropped)
    del dropped
    assert len(there.complete(PROMPT, max_tokens=5).tokens) == 5


def test_statistics_and_listeners() -> None:
    seen: list[Any] = []
    with Engine(*demo.pair(), **SETTINGS, isolate=True) as engine:
        engine.on_end(seen.append)
        first = engine.complete(PROMPT, max_tokens=7)
        second = engine.complete(PROMPT, max_tokens=5)
        assert seen == [first.stats, second.stats]
        assert engine.stats.n_generations == 2
        assert engine.stats.n_generated == 12


def test_close_saves_the_profile_and_texts_stay_readable(tmp_path: Path) -> None:
    profile = tmp_path / "pair.json"
    engine = Engine(*demo.pair(), n_ctx=8192, profile=profile, isolate=True)
    # So long that it runs still, however late this thread goes on.
    running = engine.generate(PROMPT, logit_bias={0: float("-inf")})
    waiting = engine.generate(PROMPT, max_tokens=400)
    next(running)
    engine.close()
    assert engine.closed
    assert running.result().finish_reason == "cancelled"
    assert waiting.result().finish_reason == "cancelled"
    assert profile.exists()
    assert engine.stats.n_generations == 2
    with pytest.raises(EngineClosed):
        engine.generate(PROMPT)
    with pytest.raises(EngineClosed):
        engine.tokenize("x")
    with pytest.raises(EngineClosed):
        engine.is_end_token(0)
    engine.close()
    with Engine(*demo.pair(), n_ctx=512, profile=profile, isolate=True) as again:
        assert again.costs is not None
        assert again.stats.measure_costs_ms == 0


def test_the_log_and_the_progress_come_here(caplog: pytest.LogCaptureFixture) -> None:
    shares: list[float] = []
    with (
        caplog.at_level(logging.INFO, "specbranch_cpp"),
        Engine(demo.pair()[0], n_ctx=256, isolate=True, progress_callback=shares.append),
    ):
        pass
    assert shares == sorted(shares)
    assert shares[-1] == 1.0
    assert any("llama" in record.message for record in caplog.records)


def test_what_a_progress_function_raises_stops_the_loading() -> None:
    def stop(_: float) -> None:
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        Engine(demo.pair()[0], n_ctx=256, isolate=True, progress_callback=stop)


def test_loading_errors_are_the_same(tmp_path: Path) -> None:
    (tmp_path / "no.gguf").write_bytes(b"not a model")
    for arguments in (
        {"target": tmp_path / "missing.gguf"},
        {"target": tmp_path / "no.gguf"},
        {"target": demo.pair()[0], "n_ctx": -5},
        {"target": demo.pair()[0], "n_parallel": 99},
        {"target": demo.pair()[0], "mode": "pearl"},
        {"target": demo.pair()[0], "prefix_reuse": "some"},
        {"target": demo.pair()[0], "type_k": "f99"},
    ):
        raised = []
        for isolate in (False, True):
            with pytest.raises(Exception) as error:  # noqa: PT011, the two are compared
                Engine(**arguments, isolate=isolate)
            raised.append((type(error.value), str(error.value)))
        assert raised[0] == raised[1]


def test_a_signal_handler_may_close_while_it_closes(tiny: Path) -> None:
    engine = Engine(tiny, n_ctx=128, n_threads=1, isolate=True)
    core: Any = engine._core
    call = core._process.call
    n_calls = 0

    def interrupted(name: str, *arguments: Any, **options: Any) -> Any:
        nonlocal n_calls
        n_calls += name == "close"
        engine.close()  # as a handler would, in this thread
        return call(name, *arguments, **options)

    core._process.call = interrupted
    engine.close()
    assert (engine.closed, n_calls) == (True, 1)


def test_a_signal_handler_may_call_while_its_thread_calls(tiny: Path) -> None:
    with Engine(tiny, n_ctx=128, n_threads=1, isolate=True) as engine:
        core: Any = engine._core
        process = core._process
        check, seen = process.check, []

        def interrupted() -> None:
            process.check = check
            seen.append(engine.tokenize("ab"))

        process.check = interrupted  # called while the lock is held
        assert [engine.tokenize("ab")] == seen


def test_an_answer_does_not_delete_the_next_question() -> None:
    received = _Received(None, lambda _: None)
    names = ("mode", "position", "acceptance", "target_us", "draft_us", "path", "nodes", "limits",
             "features", "outcomes")  # fmt: skip
    for number in (1, 2):
        received.put("question", number, SimpleNamespace(**dict.fromkeys(names)))
        assert received.question is not None
        if number == 1:
            answered = received.question
    answered.is_over = True
    assert received.question is not None
    assert received.question.number == 2
    received.question.is_over = True
    assert received.question is None
