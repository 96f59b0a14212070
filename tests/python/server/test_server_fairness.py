"""Waiting requests of several API keys take turns; no key takes the whole queue."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import httpx
import pytest
from tests.python.support.queue_track import Track, run, settle
from tests.python.support.server_support import (
    FakeModel,
    FakeText,
    serving,
    told,
    wait_until,
)

from specbranch_cpp.server.errors import QueueFull, ShuttingDown
from specbranch_cpp.server.settings import ServerSettings

if TYPE_CHECKING:
    import asyncio
    from concurrent.futures import Future

PATH = "/v1/completions"
MANY, ONE = "key-of-many-requests", "key-of-one-request"


def test_clients_take_turns() -> None:
    """Names begin with the letter of their client."""

    async def main() -> None:
        track = Track(20, n_clients=3)
        for name in ("a1", "a2", "a3", "a4", "b1", "b2", "c1"):
            await track.start(name, client=ord(name[0]) - ord("a"))
        await track.end_all()
        assert track.order == ["a1", "a2", "b1", "c1", "a3", "b2", "a4"]

    run(main())


def test_one_request_waits_for_at_most_one_of_each_other_client() -> None:
    async def main() -> None:
        track = Track(60, n_clients=2)
        for i in range(50):
            await track.start(f"a{i}")
        for i in range(3):  # whenever it comes
            await track.end(track.order[-1])
            await track.start(f"b{i}", client=1)
            await track.end(track.order[-1])
            await track.end(track.order[-1])
            assert track.order[-1] == f"b{i}"
        await track.end_all()
        assert len(track.order) == 53

    run(main())


def test_who_leaves_costs_its_client_no_turn() -> None:
    async def main() -> None:
        track = Track(20, n_clients=2)
        tasks: dict[str, asyncio.Task[None]] = {}
        for name in ("a1", "a2", "a3", "b1", "b2", "a4"):
            tasks[name] = await track.start(name, client="ab".index(name[0]))
        tasks["a2"].cancel()
        await track.end("a1")  # a2 has not left yet when the turn comes to it
        assert track.order == ["a1", "a3"]
        tasks["b1"].cancel()
        tasks["b2"].cancel()
        await settle()
        assert track.turns.n_waiting == 1
        await track.start("b3", client=1)  # behind a4, as if b had never waited
        await track.end_all()
        assert track.order == ["a1", "a3", "a4", "b3"]

    run(main())


def test_nobody_overtakes_who_must_be_alone_in_its_turn() -> None:
    async def main() -> None:
        track = Track(20, n_places=2, n_clients=2)
        await track.start("a1")
        await track.start("a2", alone=True)
        await track.start("a3")
        await track.start("b1", client=1)
        assert track.order == ["a1"]
        await track.end("a1")
        assert track.order == ["a1", "a2"]
        assert track.turns.n_running == 1
        await track.end("a2")
        assert track.order == ["a1", "a2", "b1", "a3"]
        # In another client's turn it does not stand in the way.
        await track.start("b2", client=1)
        await track.start("a4", alone=True)
        await track.end("b1")
        assert track.order[-1] == "b2"
        await track.end_all()
        assert track.order[-1] == "a4"

    run(main())


def test_a_client_leaves_room_for_the_others() -> None:
    async def main() -> None:
        track = Track(4, n_clients=3)
        for name in ("a1", "a2", "a3"):
            await track.start(name)
        kept = r"2 requests wait, and the other places are kept for other API keys; try again in 1 "
        with pytest.raises(QueueFull, match=kept):
            await (await track.start("a4"))
        await track.start("b1", client=1)
        with pytest.raises(QueueFull, match="3 requests wait, and the other places are kept"):
            await (await track.start("b2", client=1))
        await track.start("c1", client=2)
        for client in range(3):
            with pytest.raises(QueueFull, match="4 requests wait, which is the limit"):
                await (await track.start("x", client=client))
        await track.end_all()
        assert track.order == ["a1", "a2", "b1", "c1", "a3"]

    run(main())


@pytest.mark.parametrize(
    ("size", "n_clients", "n_most"), [(9, 1, 9), (9, 2, 8), (9, 5, 5), (9, 100, 5), (1, 2, 1)]
)
def test_how_many_requests_of_one_client_wait(size: int, n_clients: int, n_most: int) -> None:
    """At most half of the queue is kept for others, and the first of each always finds room."""

    async def main() -> None:
        track = Track(size, n_clients=n_clients)
        for i in range(size + 2):
            await track.start(f"a{i}")
        assert track.turns.n_waiting == n_most
        for client in range(1, n_clients):
            await track.start(f"b{client}", client=client)
        assert track.turns.n_waiting == min(size, n_most + n_clients - 1)
        await track.end_all()
        assert len(track.order) == 1 + min(size, n_most + n_clients - 1)

    run(main())


def test_close_sends_away_who_waits() -> None:
    async def main() -> None:
        track = Track(9, n_clients=2)
        await track.start("a1")
        waiting = [await track.start(name, client="ab".index(name[0])) for name in ("a2", "b1")]
        track.turns.close()
        for task in waiting:
            with pytest.raises(ShuttingDown):
                await task
        await track.end_all()
        assert track.order == ["a1"]

    run(main())


def test_keys_over_http() -> None:
    """Also with a key that is given twice, which is one key."""
    text = FakeText()
    keys = (MANY, ONE, MANY)
    with (
        serving(FakeModel(), text, queue_size=4, api_keys=keys) as server,
        ThreadPoolExecutor(4) as pool,
    ):
        queue = server.service.queue
        waiting: list[Future[httpx.Response]] = []

        def ask(key: str, prompt: str) -> httpx.Response:
            headers = {"authorization": f"Bearer {key}"}
            return httpx.post(
                f"{server.url}{PATH}", json={"prompt": prompt}, headers=headers, timeout=120
            )

        def wait(key: str, prompt: str) -> None:
            waiting.append(pool.submit(ask, key, prompt))
            wait_until(lambda: queue.n_waiting == len(waiting))

        server.client.headers["authorization"] = f"Bearer {MANY}"
        with server.client.stream("POST", PATH, json={"prompt": "#hang", "stream": True}):
            for prompt in ("first", "second", "third"):
                wait(MANY, prompt)
            refused = told(ask(MANY, "fourth"), 429, "queue_full")
            assert "kept for other API keys" in refused["message"]
            wait(ONE, "single")
        assert [reply.result().status_code for reply in waiting] == [200] * 4
        began = [entry.removeprefix("begin ") for entry in text.log if entry.startswith("begin ")]
        assert began == ["#hang", "first", "single", "second", "third"]
        metrics = server.client.get("/metrics").text
        assert f'specbranch:requests_total{{endpoint="{PATH}",status="200"}} 5.0' in metrics
        assert MANY not in metrics
        assert ONE not in metrics


def test_how_many_users_there_are() -> None:
    for keys, n_users in (((), 1), (("a",), 1), (("a", "b"), 2), (("a", "b", "a"), 2)):
        assert ServerSettings(api_keys=keys).n_users == n_users
