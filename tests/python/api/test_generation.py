"""Generations over fakes: what they yield, and that nothing waits for a reader."""

from __future__ import annotations

import gc
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tests.python.support.memory import least_growth, resident_kib
from tests.python.support.server_support import wait_until

import specbranch_cpp
from specbranch_cpp import (
    Chunk,
    ContextOverflow,
    DecodeError,
    Engine,
    EngineClosed,
    InvalidArgument,
    SpecBranchError,
    _core,
    policies,
)

if TYPE_CHECKING:
    from tests.python.conftest import MakeFake

MODES = ("autoregressive", "speculative", "pearl", "specbranch", "auto")


def threads() -> set[str]:
    """Those of the system. A thread of an earlier test may end at any time."""
    return {path.name for path in Path("/proc/self/task").iterdir()}


# Longer than any machine needs to cancel it: 400 seconds of passes of 2 ms.
ENDLESS: dict[str, Any] = {"step_us": 2_000, "n_ctx": 200_000}


def test_chunks_and_completion_agree(make_fake: MakeFake) -> None:
    engine = make_fake()
    # `auto` may find that drafts do not pay: that depends on the clock.
    generation = engine.generate("abc", max_tokens=40, mode="speculative")
    *chunks, last = generation
    assert all(chunk.finish_reason is None for chunk in chunks)
    assert last == Chunk("", None, from_draft=False, finish_reason="length")
    done = generation.result()
    assert done.text == "".join(chunk.text for chunk in chunks) != ""
    assert done.tokens == tuple(chunk.token for chunk in chunks)
    assert len(done.tokens) == 40
    assert done.finish_reason == "length"
    assert done.logprobs is None
    assert generation.stats == done.stats
    assert any(chunk.from_draft for chunk in chunks)
    assert list(generation) == []


def test_result_includes_what_was_read_before(make_fake: MakeFake) -> None:
    engine = make_fake()
    whole = engine.generate("abc", max_tokens=20).result()
    generation = engine.generate("abc", max_tokens=20)
    next(generation), next(generation)
    assert generation.stats is None
    assert generation.result().text == whole.text
    assert generation.result() is generation.result()


@pytest.mark.parametrize("temperature", [0.0, 0.7, 1.0])
@pytest.mark.parametrize("seed", [1, 2**64 - 1])
def test_every_mode_gives_the_same_text(make_fake: MakeFake, temperature: float, seed: int) -> None:
    engine = make_fake(end_every=150)
    policy = policies.Fixed(3)
    runs = [
        engine.generate("abc", max_tokens=100, temperature=temperature, seed=seed, mode=mode)
        for mode in MODES
    ]
    runs += [
        engine.generate(
            "abc", max_tokens=100, temperature=temperature, seed=seed, mode=mode, policy=policy
        )
        for mode in MODES
        if mode != "auto"
    ]
    results = [run.result() for run in runs]
    assert {done.tokens for done in results} == {results[0].tokens}
    assert {done.text for done in results} == {results[0].text}
    assert [done.stats.mode for done in results] == [*MODES, *MODES[:-1]]
    for done in results:
        stats = done.stats
        assert stats.seed == seed
        assert stats.n_generated == len(done.tokens)
        assert stats.n_drafted == stats.n_accepted + stats.n_rolled_back + stats.n_unresolved
        assert sum(stats.acceptance_histogram) <= stats.n_target_steps


def test_bytes_become_text_as_soon_as_they_are_characters(make_fake: MakeFake) -> None:
    pieces = (*(bytes([byte]) for byte in "é😀".encode()), b"ab", "é".encode())
    engine = make_fake(pieces=pieces)
    generation = engine.generate([0, 1], max_tokens=200, temperature=1.0, seed=3)
    chunks = list(generation)
    raw = b"".join(pieces[chunk.token] for chunk in chunks if chunk.token is not None)
    assert "".join(chunk.text for chunk in chunks) == raw.decode(errors="replace")
    assert generation.result().text == raw.decode(errors="replace")
    assert any(chunk.text == "" for chunk in chunks)


@pytest.mark.parametrize("mode", MODES)
def test_stop_strings_may_cross_token_borders(make_fake: MakeFake, mode: str) -> None:
    engine = make_fake()
    whole = engine.generate("abc", max_tokens=60).result()
    stop = whole.text[20:24]
    cut = whole.text.index(stop)
    generation = engine.generate("abc", max_tokens=60, mode=mode, stop=["never there", stop])
    chunks = list(generation)
    done = generation.result()
    assert done.text == "".join(chunk.text for chunk in chunks) == whole.text[:cut]
    assert done.finish_reason == "stop"
    assert done.tokens == whole.tokens[: cut + len(stop)]
    assert done.stop == stop
    assert [chunk.stop for chunk in chunks] == [None] * (len(chunks) - 1) + [stop]


def test_held_back_text_comes_at_the_end(make_fake: MakeFake) -> None:
    engine = make_fake()
    whole = engine.generate("abc", max_tokens=12).result()
    generation = engine.generate("abc", max_tokens=12, stop=whole.text[8:] + "!")
    *_, last = generation
    assert last.text == whole.text[8:]
    assert generation.result().text == whole.text
    assert last.stop is generation.result().stop is None


def test_end_token_is_not_in_the_text(make_fake: MakeFake) -> None:
    engine = make_fake(end_every=20)
    done = engine.generate("abc").result()
    assert done.finish_reason == "stop"
    assert done.stop is None
    assert done.stats.n_generated == len(done.tokens) == len(done.text)


def test_the_context_is_a_limit(make_fake: MakeFake) -> None:
    engine = make_fake(n_ctx=64)
    done = engine.generate("abc").result()
    assert done.finish_reason == "length"
    assert 3 + len(done.tokens) in (64, 65)
    assert engine.generate("abc", max_tokens=0).result().tokens == ()
    with pytest.raises(ContextOverflow, match="64"):
        engine.generate([0] * 64)
    assert len(engine.generate([0] * 63, max_tokens=1).result().tokens) == 1


@pytest.mark.parametrize("mode", MODES)
def test_logprobs(make_fake: MakeFake, mode: str) -> None:
    engine = make_fake()
    generation = engine.generate("abc", max_tokens=10, logprobs=3, mode=mode)
    chunks = list(generation)[:-1]
    done = generation.result()
    assert done.logprobs is not None
    assert len(done.logprobs) == 10
    for chunk, entry in zip(chunks, done.logprobs, strict=True):
        assert chunk.token == entry.token
        assert chunk.logprob == entry.logprob <= 0.0
        assert len(entry.top) == 3
        assert list(entry.top.values()) == sorted(entry.top.values(), reverse=True)
        assert entry.top[entry.token] == entry.logprob  # greedy
    plain = engine.generate("abc", max_tokens=1, logprobs=0).result()
    assert plain.logprobs is not None
    assert plain.logprobs[0].top == {}


def test_seeds(make_fake: MakeFake) -> None:
    engine = make_fake()
    # As long as this, two texts are never equal by chance: one pair in 800 was, of 20 tokens.
    first, second = (engine.generate("abc", max_tokens=120, temperature=1.0) for _ in range(2))
    assert first.result().stats.seed != second.result().stats.seed
    again = engine.generate("abc", max_tokens=120, temperature=1.0, seed=first.result().stats.seed)
    assert again.result().text == first.result().text != second.result().text


def test_cancel_keeps_what_is_there(make_fake: MakeFake) -> None:
    engine = make_fake(**ENDLESS)
    whole = engine.generate("abc", max_tokens=100, mode="autoregressive").result()
    generation = engine.generate("abc", mode="autoregressive")
    for _ in range(3):
        next(generation)
    generation.cancel()
    generation.cancel()
    done = generation.result()
    assert done.finish_reason == "cancelled"
    assert len(done.tokens) >= 3
    assert done.tokens[:100] == whole.tokens[: len(done.tokens)]
    assert engine.generate("abc", max_tokens=100).result().text == whole.text


@pytest.mark.parametrize("reads", ["next", "result"])
def test_an_interrupt_outside_of_the_wait_cancels(
    make_fake: MakeFake, monkeypatch: pytest.MonkeyPatch, reads: str
) -> None:
    """Ctrl-C may come where text is decoded, too."""

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    generation = make_fake(**ENDLESS).generate([1, 2], max_tokens=100_000)
    with monkeypatch.context() as patch:
        patch.setattr("specbranch_cpp.generation._step", interrupted)
        with pytest.raises(KeyboardInterrupt):
            next(generation) if reads == "next" else generation.result()
    assert generation.result().finish_reason == "cancelled"


def test_cancel_within_a_pass_and_while_queued(make_fake: MakeFake) -> None:
    engine = make_fake(step_us=1_000_000_000)  # a pass that goes on would reach the test's limit
    running, queued = engine.generate("abc"), engine.generate("abc")
    time.sleep(0.02)
    queued.cancel()
    assert queued.result().finish_reason == "cancelled"
    running.cancel()
    assert running.result().finish_reason == "cancelled"


@pytest.mark.parametrize("how", ["del", "with", "break"])
def test_letting_go_stops_the_work(make_fake: MakeFake, how: str) -> None:
    engine = make_fake(**ENDLESS)
    if how == "del":
        generation = engine.generate("abc")
        del generation
    elif how == "with":
        with engine.generate("abc") as generation:
            next(generation)
        assert generation.result().finish_reason == "cancelled"
    else:
        for _ in engine.generate("abc"):
            break
    # It would not have its turn within the test's limit.
    assert len(engine.generate("abc", max_tokens=1).result().tokens) == 1
    assert engine.stats.n_generated < ENDLESS["n_ctx"]


@pytest.mark.parametrize("how", ["close", "collect"])
def test_an_engine_leaves_no_thread(how: str) -> None:
    before = threads()
    options = _core._FakeOptions()
    options.step_us = ENDLESS["step_us"]
    options.n_ctx = ENDLESS["n_ctx"]
    engine = Engine._from_core(_core._fake_engine(options, options, [b"a"] * options.n_vocab))
    generation = engine.generate([0])
    next(generation)
    own = threads() - before
    assert len(own) == 2  # one for each model
    if how == "close":
        engine.close()
    del engine, generation
    wait_until(lambda: not own & threads())


def test_a_generation_keeps_its_engine(make_fake: MakeFake) -> None:
    core = make_fake()._core
    done = Engine._from_core(core).generate("abc", max_tokens=30).result()
    assert len(done.tokens) == 30


def test_close_from_another_thread(make_fake: MakeFake) -> None:
    engine = make_fake(**ENDLESS)
    running, queued = engine.generate("abc"), engine.generate("abc")
    timer = threading.Timer(0.05, engine.close)
    timer.start()
    done = running.result()
    assert done.finish_reason == "cancelled"
    assert queued.result().finish_reason == "cancelled"
    timer.join()
    assert engine.closed
    engine.close()


def test_use_after_close(make_fake: MakeFake) -> None:
    engine = make_fake()
    engine.generate("abc", max_tokens=5).result()
    with engine:
        pass
    for call in (
        lambda: engine.generate([0]),
        lambda: engine.tokenize("abc"),
        lambda: engine.detokenize([0]),
    ):
        with pytest.raises(EngineClosed, match="closed"):
            call()
    assert engine.stats.n_generated == 5
    assert engine.vocab_size == 32
    assert "closed" in repr(engine)


def test_interleaved_readers(make_fake: MakeFake) -> None:
    engine = make_fake()
    alone = [engine.generate(text, max_tokens=50).result().text for text in ("abc", "xyz")]
    first, second = engine.generate("abc", max_tokens=50), engine.generate("xyz", max_tokens=50)
    pairs = list(zip(second, first, strict=True))
    assert ["".join(chunk.text for chunk in side) for side in zip(*pairs, strict=True)] == [
        alone[1],
        alone[0],
    ]


def test_many_threads_get_the_texts_of_one(make_fake: MakeFake) -> None:
    engine = make_fake()
    prompts = [text * 3 for text in ("ab", "cd", "ef", "gh", "ij", "kl", "mn", "op")]

    def texts(prompt: str) -> list[str]:
        return [
            engine.generate(prompt, max_tokens=40, temperature=1.0, seed=n, mode=mode).result().text
            for n in range(5)
            for mode in MODES
        ]

    one_by_one = [texts(prompt) for prompt in prompts]
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(texts, prompts)) == one_by_one


def test_two_readers_share_the_chunks(make_fake: MakeFake) -> None:
    engine = make_fake(step_us=500)
    generation = engine.generate("abc", max_tokens=100, mode="autoregressive")
    with ThreadPoolExecutor(4) as pool:
        shares = list(pool.map(lambda _: list(generation), range(4)))
    assert sum(len(share) for share in shares) == 101
    tokens = sorted(c.token for share in shares for c in share if c.token is not None)
    assert tokens == sorted(generation.result().tokens)


def test_waiting_releases_the_gil(make_fake: MakeFake) -> None:
    engine = make_fake(step_us=20_000_000)
    generation = engine.generate("abc", max_tokens=1, mode="autoregressive")
    reader = threading.Thread(target=generation.result)
    reader.start()
    for _ in range(200):
        time.sleep(0.001)  # needs the GIL again, which the reader would keep to the pass's end
    assert reader.is_alive()
    generation.cancel()
    reader.join()


def test_a_failed_pass_ends_one_generation(make_fake: MakeFake) -> None:
    engine = make_fake(target_fail_at_step=4)
    generation = engine.generate("abc", max_tokens=50, mode="autoregressive")
    with pytest.raises(DecodeError, match="step 4 fails") as caught:
        list(generation)
    assert isinstance(caught.value, RuntimeError)
    with pytest.raises(DecodeError, match="step 4 fails"):  # a second reader learns of it, too
        next(generation)
    with pytest.raises(DecodeError, match="step 4 fails"):
        generation.result()
    assert "failed" in repr(generation)
    assert len(engine.generate("abc", max_tokens=50).result().tokens) == 50


def test_an_escaped_exception_is_final(make_fake: MakeFake) -> None:
    engine = make_fake(target_fail_at_step=4, fail_fatally=True)
    with pytest.raises(DecodeError, match="escaped") as first:
        engine.generate("abc", max_tokens=50).result()
    with pytest.raises(DecodeError, match="escaped") as second:
        engine.generate("abc", max_tokens=50)
    assert str(first.value) == str(second.value)
    engine.close()


def test_a_text_prompt_never_becomes_a_list(
    make_fake: MakeFake, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = make_fake()
    ids = engine.generate(engine.tokenize("abcab"), max_tokens=8).result()

    def crosses(*_: object, **__: object) -> None:
        raise AssertionError("tokens cross the border of the languages")

    monkeypatch.setattr(_core.Engine, "tokenize", crosses)
    monkeypatch.setattr(_core.Request, "prompt", property(crosses, crosses))
    generation = engine.generate("abcab", max_tokens=8)
    assert generation.n_prompt == 5
    assert generation.result().tokens == ids.tokens


def test_the_core_keeps_the_last_output_only(make_fake: MakeFake) -> None:
    whole = make_fake().generate("abc", max_tokens=4, mode="autoregressive").result()
    core = make_fake().generate("abc", max_tokens=4, mode="autoregressive")._core
    for i, token in enumerate(whole.tokens):
        output = core.get(i)
        assert isinstance(output, _core.Token)
        assert output.token == token
        again = core.get(i)  # as after an interrupt
        assert isinstance(again, _core.Token)
        assert again.token == token
    late = core.get(0)  # only after a signal handler has read on
    assert isinstance(late, _core.Token)
    assert late.token == whole.tokens[-1]
    with pytest.raises(IndexError):
        core.get(5)


def test_modes_need_a_draft(make_fake: MakeFake) -> None:
    engine = make_fake(draft=False)
    assert engine.generate("abc", max_tokens=2).result().stats.mode == "autoregressive"
    with pytest.raises(InvalidArgument, match="draft"):
        engine.generate("abc", mode="specbranch")


def test_errors_are_two_things_at_once() -> None:
    kinds = {
        "InvalidArgument": ValueError,
        "ModelLoadError": OSError,
        "IncompatibleModels": ValueError,
        "ContextOverflow": ValueError,
        "DecodeError": RuntimeError,
        "EngineClosed": RuntimeError,
    }
    for name, builtin in kinds.items():
        kind = getattr(specbranch_cpp, name)
        assert issubclass(kind, SpecBranchError)
        assert issubclass(kind, builtin)
        assert str(kind("what happened")) == "what happened"


def test_memory_is_flat(make_fake: MakeFake) -> None:
    engine = make_fake()

    def run(n: int) -> None:
        for seed in range(n):
            engine.generate("abc", max_tokens=8, temperature=1.0, seed=seed, logprobs=2).result()

    run(150)
    resident = []
    for _ in range(4):
        gc.collect()
        resident.append(resident_kib())
        run(250)
    assert least_growth(resident) < 256
