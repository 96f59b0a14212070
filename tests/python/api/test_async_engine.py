"""`AsyncEngine`: many generations in one event loop, each stopped by whoever waits for it."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Any

import pytest
from tests.python.support.gate import Gate
from tests.python.support.server_support import wait_until

from specbranch_cpp import AsyncEngine, DecodeError, Engine, EngineClosed, InvalidArgument, policies
from specbranch_cpp.errors import ModelLoadError

if TYPE_CHECKING:
    from collections.abc import Coroutine
    from pathlib import Path

    from tests.python.conftest import MakeFake

PROMPT = "import os\n"
HELLO = [{"role": "user", "content": "hello"}]
ENDLESS = {0: float("-inf")}


def run(main: Coroutine[Any, Any, Any]) -> Any:
    """The result of a coroutine; the loop must stay free all the time."""
    return asyncio.run(asyncio.wait_for(main, 240))


async def until(condition: Any) -> None:
    while not condition():
        await asyncio.sleep(0.001)


def test_chunks_and_result_are_those_of_the_engine(engine: Engine) -> None:
    async def main() -> None:
        other = AsyncEngine.of(engine)
        generation = other.generate(PROMPT, max_tokens=16, seed=1, temperature=0.8)
        chunks = [chunk async for chunk in generation]
        assert chunks[-1].finish_reason == "length"
        assert [chunk async for chunk in generation] == []
        done = await generation.result()
        assert "".join(chunk.text for chunk in chunks) == done.text
        expected = engine.generate(PROMPT, max_tokens=16, seed=1, temperature=0.8).result()
        assert (done.text, done.tokens) == (expected.text, expected.tokens)
        assert generation.stats is not None
        assert generation.stats.n_generated == 16

    run(main())


def test_both_calls_streamed_or_not(engine: Engine) -> None:
    async def main() -> None:
        other = AsyncEngine.of(engine)
        options: dict[str, Any] = {"max_tokens": 12, "seed": 1}
        expected: Any = engine.create_completion(PROMPT, **options)
        answer: Any = await other.create_completion(PROMPT, **options)
        assert answer["choices"] == expected["choices"]
        stream: Any = await other.create_completion(PROMPT, stream=True, **options)
        texts = [chunk["choices"][0]["text"] async for chunk in stream]
        assert "".join(texts) == expected["choices"][0]["text"]

        expected = engine.create_chat_completion(HELLO, **options)
        answer = await other.create_chat_completion(HELLO, **options)
        assert answer["choices"] == expected["choices"]
        stream = await other.create_chat_completion(HELLO, stream=True, **options)
        deltas = [chunk["choices"][0]["delta"] async for chunk in stream]
        text = "".join(delta.get("content") or "" for delta in deltas)
        assert text == expected["choices"][0]["message"]["content"]

        assert str(await other.complete(PROMPT, max_tokens=4)) == str(
            engine.complete(PROMPT, max_tokens=4)
        )
        assert str(await other.chat("hello", max_tokens=4)) == str(
            engine.chat("hello", max_tokens=4)
        )

    run(main())


def test_twenty_at_once_while_the_loop_goes_on(engine: Engine) -> None:
    async def main() -> None:
        other = AsyncEngine.of(engine)
        n_turns = 0
        has_turned = threading.Event()

        def wait_for_turns(_: Any, scores: Any) -> Any:
            """The texts go on only if the loop does."""
            assert has_turned.wait(120)
            return scores

        async def turn() -> None:
            nonlocal n_turns
            while True:
                n_turns += 1
                if n_turns > 20:
                    has_turned.set()
                await asyncio.sleep(0)

        async def one(seed: int) -> tuple[str, str]:
            options: dict[str, Any] = {"max_tokens": 16, "seed": seed, "temperature": 0.8}
            options["logits_processor"] = wait_for_turns
            if seed % 2:
                done = await other.complete(PROMPT, **options)
                return done.text, done.text
            generation = other.generate(PROMPT, **options)
            text = "".join([chunk.text async for chunk in generation])
            return text, (await generation.result()).text

        turning = asyncio.create_task(turn())
        texts = await asyncio.gather(*map(one, range(20)))
        turning.cancel()
        for seed, (read, told) in enumerate(texts):
            done = engine.generate(PROMPT, max_tokens=16, seed=seed, temperature=0.8).result()
            assert read == told == done.text

    run(main())


@pytest.mark.parametrize("kind", ["result", "complete", "chunks", "completion", "chat", "stream"])
def test_cancelling_the_task_cancels_the_generation(engine: Engine, kind: str) -> None:
    async def main() -> None:
        other = AsyncEngine.of(engine)
        gate = Gate()
        options: dict[str, Any] = {
            "max_tokens": None,
            "logits_processor": gate,
            "logit_bias": ENDLESS,
        }

        async def work() -> None:
            if kind == "result":
                await other.generate(PROMPT, **options).result()
            elif kind == "complete":
                await other.complete(PROMPT, **options)
            elif kind == "chunks":
                async for _ in other.generate(PROMPT, **options):
                    pass
            elif kind == "completion":
                await other.create_completion(PROMPT, **options)
            elif kind == "chat":
                await other.create_chat_completion(HELLO, **options)
            else:
                async for _ in await other.create_completion(PROMPT, stream=True, **options):  # type: ignore[union-attr]
                    pass

        before = engine.stats.n_generations
        task = asyncio.create_task(work())
        with gate:
            await until(gate.reached.is_set)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await until(lambda: engine.stats.n_generations == before + 1)
        assert len((await other.complete(PROMPT, max_tokens=4)).tokens) == 4

    run(main())


def test_a_request_is_checked_off_the_event_loop(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads: list[int] = []
    generate = Engine.generate

    def recorded(self: Engine, *args: Any, **options: Any) -> Any:
        threads.append(threading.get_ident())
        return generate(self, *args, **options)

    monkeypatch.setattr(Engine, "generate", recorded)
    assert len(run(AsyncEngine.of(engine).complete(PROMPT, max_tokens=4)).tokens) == 4
    assert len(threads) == 1
    assert threads != [threading.get_ident()]


def test_leaving_a_loop_early_stops_the_work(engine: Engine) -> None:
    async def main() -> None:
        other = AsyncEngine.of(engine)
        before = engine.stats.n_generated
        with Gate() as first, Gate() as second:
            async for _ in other.generate(PROMPT, logits_processor=first, logit_bias=ENDLESS):
                break
            async with other.generate(
                PROMPT, logits_processor=second, logit_bias=ENDLESS
            ) as generation:
                async for _ in generation:
                    break
            assert (await generation.result()).finish_reason == "cancelled"
            assert [chunk async for chunk in generation] == []
            assert len((await other.complete(PROMPT, max_tokens=4)).tokens) == 4
            assert engine.stats.n_generated - before < 2 * Gate.N_MOST

    run(main())


def test_cancel_keeps_what_was_made(engine: Engine) -> None:
    async def main() -> None:
        with Gate() as gate:
            generation = AsyncEngine.of(engine).generate(
                PROMPT, logits_processor=gate, logit_bias=ENDLESS, trace=True
            )
            chunks = [await generation.__anext__()]
            generation.cancel()
            chunks += [chunk async for chunk in generation]
        assert chunks[-1].finish_reason == "cancelled"
        done = await generation.result()
        assert "".join(chunk.text for chunk in chunks) == done.text
        assert len(generation.trace_since().rounds) >= 1

    run(main())


def test_errors_come_where_they_are_waited_for(engine: Engine, make_fake: MakeFake) -> None:
    async def main() -> None:
        other = AsyncEngine.of(engine)
        with pytest.raises(InvalidArgument, match="top_p"):
            other.generate(PROMPT, top_p=3.0)
        with pytest.raises(InvalidArgument, match="mirostat"):
            await other.create_completion(PROMPT, mirostat_mode=3)
        with pytest.raises(InvalidArgument, match="messages"):
            await other.create_chat_completion([], stream=True)
        with pytest.raises(TypeError, match="temprature"):
            await other.create_completion(PROMPT, temprature=1)  # type: ignore[call-arg]
        failing = AsyncEngine.of(make_fake(target_fail_at_step=3))
        generation = failing.generate("abc", max_tokens=9)
        for _ in range(2):  # a second reader must not take the text for complete
            with pytest.raises(DecodeError):
                async for _ in generation:
                    pass
        with pytest.raises(DecodeError):
            await generation.result()

    run(main())


def test_it_loads_off_the_event_loop(pair: tuple[Path, Path]) -> None:
    threads = set()

    async def main() -> None:
        with pytest.raises(TypeError, match="n_context"):
            AsyncEngine(*pair, n_context=3)  # type: ignore[call-arg]
        engine = AsyncEngine(
            *pair,
            n_ctx=256,
            n_threads=1,
            draft_n_threads=1,
            progress_callback=lambda _: threads.add(threading.get_ident()),
        )
        with pytest.raises(EngineClosed, match="not loaded"):
            engine.generate(PROMPT)
        assert "not loaded" in repr(engine)
        async with engine:
            assert (await engine.load()) is engine
            assert str(await engine.complete(PROMPT, max_tokens=2))
        assert engine.engine.closed
        assert threading.get_ident() not in threads

    run(main())
    assert threads


def test_it_is_loaded_once(tiny: Path) -> None:
    async def main() -> None:
        engine = AsyncEngine(tiny, n_ctx=128, n_threads=1)
        loads = [asyncio.create_task(engine.load()) for _ in range(3)]
        await asyncio.sleep(0)
        loads[0].cancel()
        await asyncio.gather(*loads, return_exceptions=True)
        loaded = engine.engine
        assert (await engine.load()).engine is loaded
        await engine.close()
        assert loaded.closed

    made = []
    init = Engine.__init__

    def counted(self: Engine, *args: Any, **options: Any) -> None:
        made.append(self)
        init(self, *args, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Engine, "__init__", counted)
        run(main())
    assert len(made) == 1


@pytest.mark.parametrize("then", ["load", "close"])
def test_a_load_goes_on_after_the_end_of_its_loop(tiny: Path, then: str) -> None:
    begun, released = threading.Event(), threading.Event()

    def wait(_: float) -> None:
        begun.set()
        assert released.wait(120)

    engine = AsyncEngine(tiny, n_ctx=128, n_threads=1, progress_callback=wait)
    loop = asyncio.new_event_loop()
    loop.set_exception_handler(lambda *_: None)  # the task is lost
    task = loop.create_task(engine.load())
    while not begun.is_set():
        loop.run_until_complete(asyncio.sleep(0.01))
    executor = loop._default_executor  # type: ignore[attr-defined]
    loop.close()  # without an end for its tasks
    assert not task.done()

    async def main() -> None:
        going_on = asyncio.create_task(getattr(engine, then)())
        await asyncio.sleep(0)
        released.set()
        await going_on
        if then == "load":
            assert (await engine.complete(PROMPT, max_tokens=2)).tokens
            await engine.close()
        assert engine.engine.closed

    run(main())
    executor.shutdown()


def test_closing_waits_for_a_load(tiny: Path) -> None:
    async def main() -> None:
        engine = AsyncEngine(tiny, n_ctx=128, n_threads=1)
        load = asyncio.create_task(engine.load())
        await asyncio.sleep(0)
        await engine.close()
        assert (await load).engine.closed
        broken = AsyncEngine(tiny.with_name("none.gguf"))
        load = asyncio.create_task(broken.load())
        await asyncio.sleep(0)
        await broken.close()
        with pytest.raises(ModelLoadError):
            await load
        with pytest.raises(ModelLoadError):
            await broken.load()

    run(main())


def test_closing_ends_what_is_running(tiny: Path) -> None:
    async def main() -> None:
        async with AsyncEngine(tiny, n_ctx=512, n_threads=1) as engine:
            options: dict[str, Any] = {"logit_bias": ENDLESS, "temperature": 1.0}
            prompt = [0, *([1] * 300)]
            with Gate() as gate:
                generations = [engine.generate(prompt, **options, logits_processor=gate)]
                # These have not begun.
                generations += [engine.generate(prompt, **options) for _ in range(4)]
                waiting = [asyncio.create_task(one.result()) for one in generations]
                answer = asyncio.create_task(engine.create_completion(PROMPT, max_tokens=None))
                await until(gate.reached.is_set)
                await engine.close()
                assert {(await one).finish_reason for one in waiting} == {"cancelled"}
            try:
                done: Any = await answer
            except EngineClosed:  # a busy machine: its thread had not begun
                pass
            else:
                assert done["choices"][0]["finish_reason"] == "cancelled"
            with pytest.raises(EngineClosed):
                engine.generate(PROMPT)

    run(main())


class Planner:
    """A policy in Python: it is asked by whoever reads, here the pump."""

    def __init__(self) -> None:
        self.n_planned = 0

    def plan(self, state: policies.RoundState) -> policies.Plan:
        del state
        self.n_planned += 1
        return policies.Plan(2)

    def observe(self, outcome: policies.RoundOutcome) -> None:
        pass


def test_a_policy_in_python_is_asked(engine: Engine) -> None:
    planner = Planner()

    async def main() -> Any:
        return await AsyncEngine.of(engine).complete(PROMPT, max_tokens=24, policy=planner)

    done = run(main())
    assert planner.n_planned > 0
    assert done.text == engine.complete(PROMPT, max_tokens=24).text


def test_threads_end_with_their_generations(engine: Engine) -> None:
    async def main() -> None:
        other = AsyncEngine.of(engine)
        await asyncio.gather(*[other.complete(PROMPT, max_tokens=2) for _ in range(10)])

    run(main())
    wait_until(
        lambda: not any(thread.name == "specbranch-pump" for thread in threading.enumerate())
    )


def test_a_loop_that_is_gone_stops_the_work(make_fake: MakeFake) -> None:
    # To its end the text would take longer than any machine needs to cancel it.
    engine = make_fake(step_us=2_000, n_ctx=200_000)

    async def main() -> Any:
        return AsyncEngine.of(engine).generate(PROMPT)

    generation = run(main())
    wait_until(lambda: engine.stats.n_generations == 1)
    done = generation.generation.result()
    assert done.finish_reason == "cancelled"
    assert done.stats.n_generated < engine.n_ctx
