"""Large bodies hold up neither the event loop nor small requests."""

from __future__ import annotations

import asyncio
import threading
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from tests.python.support.queue_track import run, settle
from tests.python.support.server_support import KEY, FakeModel, FakeText, Running, serving, told
from tests.python.support.tiny_bert import write_tiny_bert

from specbranch_cpp.server import requests
from specbranch_cpp.server.embeddings.model import EmbeddingModel
from specbranch_cpp.server.errors import QueueFull, ShuttingDown
from specbranch_cpp.server.side_work import LARGE, SideWork

if TYPE_CHECKING:
    from collections.abc import Iterator

LONG = "x" * LARGE
ROUTES = {
    "/v1/completions": {"prompt": "a", "user": LONG},
    "/v1/chat/completions": {"messages": [{"role": "user", "content": "a"}], "user": LONG},
    "/v1/responses": {"input": "a", "user": LONG},
    "/v1/messages": {
        "max_tokens": 1,
        "messages": [{"role": "user", "content": "a"}],
        "metadata": {"user_id": LONG},
    },
    "/v1/messages/count_tokens": {"messages": [{"role": "user", "content": LONG}]},
    "/completion": {"prompt": LONG},
    "/infill": {"input_prefix": LONG, "input_suffix": ""},
    "/tokenize": {"content": LONG},
    "/detokenize": {"tokens": [1] * LARGE},
    "/apply-template": {"messages": [{"role": "user", "content": LONG}]},
    "/api/chat": {"model": LONG, "messages": [{"role": "user", "content": "a"}]},
    "/api/generate": {"model": LONG, "prompt": "a"},
    "/lora-adapters": [{"id": 0, "scale": 1.0}] * 4000,
    "/v1/embeddings": {"input": LONG},
    "/embedding": {"content": LONG},
    "/embeddings": {"content": LONG},
    "/api/embed": {"input": LONG},
    "/api/embeddings": {"prompt": LONG},
}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    path = tmp_path_factory.mktemp("bert") / "tiny.gguf"
    write_tiny_bert(path)
    with (
        EmbeddingModel(path, n_threads=1) as model,
        serving(FakeModel(), FakeText(), model, api_keys=(KEY,)) as running,
    ):
        running.client.headers["Authorization"] = f"Bearer {KEY}"
        yield running


@pytest.fixture
def readers(monkeypatch: pytest.MonkeyPatch) -> list[threading.Thread]:
    """The threads that read bodies."""
    seen: list[threading.Thread] = []
    read = requests._json

    def seen_read(*arguments: Any) -> Any:
        seen.append(threading.current_thread())
        return read(*arguments)

    monkeypatch.setattr(requests, "_json", seen_read)
    return seen


@pytest.mark.parametrize("path", ROUTES)
def test_large_bodies_are_read_outside_the_event_loop(
    server: Running, readers: list[threading.Thread], path: str
) -> None:
    server.client.post(path, json=ROUTES[path])
    assert readers
    server.client.post("/tokenize", json={"content": 1})
    assert readers[-1] not in readers[:-1]


def test_every_route_with_a_body_is_in_the_table(server: Running) -> None:
    app: Any = server.server.config.app
    posts = {
        route.path
        for route in app.routes
        if "POST" in (getattr(route, "methods", None) or ()) and "{" not in route.path
    }
    assert posts - {"/api/show"} == set(ROUTES)


def test_small_requests_do_not_wait_for_large_ones() -> None:
    async def main() -> None:
        work = Work(queue_size=4)
        large = [work.start("a" * (LARGE + 1)) for _ in range(3)]
        assert await asyncio.to_thread(work.two_run.wait, 60)
        assert await work.read("b" * LARGE) == "b"
        assert await work.side.compute(asked("c"), lambda: "c") == "c"
        await settle()
        assert work.n_begun == 2
        work.go_on.set()
        assert await asyncio.gather(*large) == ["a"] * 3

    run(main())


def test_too_many_large_bodies_are_refused() -> None:
    async def main() -> None:
        work = Work(queue_size=1)
        large = [work.start("a" * (LARGE + 1)) for _ in range(3)]
        assert await asyncio.to_thread(work.two_run.wait, 60)
        with pytest.raises(QueueFull):
            await work.read("b" * (LARGE + 1))
        with pytest.raises(QueueFull):
            await work.side.compute(asked("b" * (LARGE + 1)), lambda: "b")
        work.side.close()
        work.go_on.set()
        results = await asyncio.gather(*large, return_exceptions=True)
        assert results[:2] == ["a"] * 2
        assert isinstance(results[2], ShuttingDown)

    run(main())


def test_the_metadata_of_a_response_ends_at_the_first_wrong_value(server: Running) -> None:
    body = {"input": "a", "metadata": {"a": "b", **{str(i): i for i in range(100_000)}}}
    error = told(server.client.post("/v1/responses", json=body), 400, "invalid_value")
    assert error["message"] == "metadata: the value of '0' is 0; it must be a text"


def asked(body: str) -> Any:
    async def read() -> bytes:
        return body.encode()

    return SimpleNamespace(body=read, scope={})


class Work:
    """Side work whose reads of large bodies last until `go_on`."""

    def __init__(self, queue_size: int) -> None:
        self.side = SideWork(queue_size, n_clients=1)
        self.two_run = threading.Event()
        self.go_on = threading.Event()
        self.n_begun = 0

    def start(self, body: str) -> asyncio.Task[str]:
        return asyncio.ensure_future(self.read(body))

    async def read(self, body: str) -> str:
        return await self.side.read(asked(body), self._read)

    def _read(self, body: bytes) -> str:
        if len(body) > LARGE:
            self.n_begun += 1
            if self.n_begun == 2:
                self.two_run.set()
            assert self.go_on.wait(60)
        return body[:1].decode()
