"""The server's queue."""

from __future__ import annotations

import asyncio

import pytest
from tests.python.support.queue_track import Track, run, settle

from specbranch_cpp.server.errors import QueueFull, ShuttingDown
from specbranch_cpp.server.request_queue import RequestQueue


def test_several_run_and_the_others_follow_in_order() -> None:
    async def main() -> None:
        track = Track(5, n_places=2)
        for name in "abcd":
            await track.start(name)
        assert track.order == ["a", "b"]
        assert (track.turns.n_running, track.turns.n_waiting) == (2, 2)
        await track.end("b")
        assert track.order == ["a", "b", "c"]
        await track.end("a")
        await track.end("c")
        await track.end("d")
        assert track.order == list("abcd")
        assert (track.turns.n_running, track.turns.n_waiting) == (0, 0)

    run(main())


def test_who_must_be_alone_waits_for_all_places_and_is_not_overtaken() -> None:
    async def main() -> None:
        track = Track(5, n_places=3)
        await track.start("a")
        alone = await track.start("b", alone=True)
        await track.start("c")
        assert track.order == ["a"]
        await track.end("a")
        assert track.order == ["a", "b"]
        assert track.turns.n_running == 1
        await track.end("b")
        assert track.order == ["a", "b", "c"]
        # If it leaves, those behind it need not wait for it.
        alone = await track.start("d", alone=True)
        await track.start("e")
        assert track.order[-1] == "c"
        alone.cancel()
        await settle()
        assert track.order[-1] == "e"
        await track.end("c")
        await track.end("e")
        assert (track.turns.n_running, track.turns.n_waiting) == (0, 0)

    run(main())


def test_one_runs_and_the_others_follow_in_order() -> None:
    async def main() -> None:
        track = Track(5)
        for name in "abcd":
            await track.start(name)
        for name in "abcd":
            assert track.order[-1] == name
            assert track.turns.n_running == 1
            await track.end(name)
        assert track.order == list("abcd")
        assert (track.turns.n_running, track.turns.n_waiting) == (0, 0)

    run(main())


def test_a_full_queue_refuses_and_names_a_time() -> None:
    async def main() -> None:
        track = Track(2)
        tasks = [await track.start(name) for name in "abc"]
        refused = await track.start("d")
        with pytest.raises(QueueFull, match="2 requests wait, which is the limit") as caught:
            await refused
        assert caught.value.status == 429
        assert caught.value.headers["Retry-After"] == "1"
        await track.end("a")
        tasks.append(await track.start("e"))  # there is room again
        for name in "bce":
            await track.end(name)
        await asyncio.gather(*tasks)
        assert track.order == list("abce")

    run(main())


def test_without_a_queue_nobody_waits() -> None:
    async def main() -> None:
        track = Track(0)
        await track.start("a")
        with pytest.raises(QueueFull):
            await (await track.start("b"))
        await track.end("a")
        await track.start("c")
        assert track.order == ["a", "c"]

    run(main())


def test_retry_after_follows_the_recent_durations() -> None:
    now = 0.0

    async def main() -> None:
        nonlocal now
        track = Track(1)
        track.turns = RequestQueue(1, clock=lambda: now)
        for duration in (2.0, 5.0):
            await track.start("a")
            now += duration
            await track.end("a")
        assert track.turns.retry_after_s == 4  # 3.5, rounded up
        for _ in range(20):
            await track.start("a")
            now += 10_000
            await track.end("a")
        assert track.turns.retry_after_s == 600

    run(main())


@pytest.mark.parametrize("leaver", ["b", "c"])
def test_who_leaves_the_queue_never_starts(leaver: str) -> None:
    async def main() -> None:
        track = Track(5)
        tasks = {name: await track.start(name) for name in "abcd"}
        tasks[leaver].cancel()
        await settle()
        assert track.turns.n_waiting == 2
        for name in "abcd":
            await track.end(name)
        assert track.order == [name for name in "abcd" if name != leaver]
        assert track.turns.n_running == 0

    run(main())


def test_a_turn_that_comes_to_one_who_leaves_is_passed_on() -> None:
    async def main() -> None:
        track = Track(5)
        tasks = {name: await track.start(name) for name in "abc"}
        track._ends["a"].set()
        await asyncio.sleep(0)  # a has ended, and b has the turn but has not run yet
        assert track.turns.n_waiting == 1
        assert track.order == ["a"]
        tasks["b"].cancel()
        await settle()
        assert track.order[-1] == "c"
        await track.end("c")
        assert track.turns.n_running == 0

    run(main())


def test_an_error_ends_the_turn() -> None:
    async def main() -> None:
        turns = RequestQueue(1)
        with pytest.raises(ZeroDivisionError):
            async with turns.turn():
                raise ZeroDivisionError
        async with turns.turn() as waited:
            assert waited >= 0

    run(main())


def test_close_sends_away_who_waits_but_not_who_runs() -> None:
    async def main() -> None:
        track = Track(5)
        tasks = {name: await track.start(name) for name in "ab"}
        track.turns.close()
        with pytest.raises(ShuttingDown):
            await tasks["b"]
        with pytest.raises(ShuttingDown):
            await (await track.start("c"))
        await track.end("a")
        await tasks["a"]
        assert track.order == ["a"]

    run(main())
