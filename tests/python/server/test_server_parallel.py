"""A server whose engine runs several generations at once."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from tests.python.support.server_support import Running, events, serving

from specbranch_cpp import Engine

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(scope="module")
def server(pair: tuple[Path, Path]) -> Iterator[Running]:
    with (
        Engine(*pair, n_ctx=8192, n_threads=1, draft_n_threads=1, n_parallel=2) as engine,
        serving(engine, request_timeout_s=120) as running,
    ):
        yield running


def test_a_short_request_does_not_wait_for_a_long_one(server: Running) -> None:
    # So long that it runs still, however late the other request is answered.
    endless = {"prompt": "x = 1\n", "max_tokens": 8000, "ignore_eos": True, "stream": True}
    with server.client.stream("POST", "/v1/completions", json=endless) as stream:
        lines = stream.iter_lines()
        next(lines)
        health = server.client.get("/health").json()
        assert health["requests_processing"] == 1
        reply = server.client.post("/v1/completions", json={"prompt": "y", "max_tokens": 2})
        assert reply.status_code == 200
        assert server.client.get("/health").json()["requests_processing"] == 1


def test_more_requests_than_places(server: Running) -> None:
    asked: list[dict[str, Any]] = [
        {"prompt": f"def f{i}(", "max_tokens": 24, "seed": i, "stream": i % 2 == 0}
        for i in range(9)
    ]

    def post(body: dict[str, Any]) -> httpx.Response:
        return httpx.post(f"{server.url}/v1/completions", json=body, timeout=120)

    with ThreadPoolExecutor(len(asked)) as pool:
        replies = list(pool.map(post, asked))
    for body, reply in zip(asked, replies, strict=True):
        assert reply.status_code == 200
        if body["stream"]:
            assert events(reply.text)[-1] == "[DONE]"
        else:
            assert reply.json()["usage"]["completion_tokens"] == 24
    health = server.client.get("/health").json()
    assert (health["requests_processing"], health["requests_waiting"]) == (0, 0)


def test_a_client_that_goes_leaves_its_place(server: Running) -> None:
    body = {"prompt": "z = ", "max_tokens": 8000, "ignore_eos": True, "stream": True}
    running = threading.Barrier(3)
    left = threading.Barrier(3)

    def leave() -> None:
        with httpx.stream("POST", f"{server.url}/v1/completions", json=body, timeout=120) as stream:
            lines = stream.iter_lines()  # its end would end the stream
            next(lines)
            running.wait(120)
            left.wait(120)

    leavers = [threading.Thread(target=leave) for _ in range(2)]
    for leaver in leavers:
        leaver.start()
    running.wait(120)
    assert server.client.get("/health").json()["requests_processing"] == 2
    left.wait(120)
    for leaver in leavers:
        leaver.join(120)
        assert not leaver.is_alive()
    reply = server.client.post("/v1/completions", json={"prompt": "y", "max_tokens": 2})
    assert reply.status_code == 200


def test_slots_are_told(server: Running) -> None:
    assert server.client.get("/props").json()["total_slots"] == 2
