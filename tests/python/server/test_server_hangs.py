"""A forward pass that takes longer than a request may."""

from __future__ import annotations

import asyncio
import json
import threading
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from tests.python.support.server_support import (
    FakeModel,
    FakeText,
    events,
    serving,
    told,
    wait_until,
)

from specbranch_cpp.openai_api.completions import CompletionCall

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.python.conftest import MakeFake
    from tests.python.support.server_support import Running

PATH = "/v1/completions"


class StuckText(FakeText):
    """The stream of the prompt ``#stuck`` says a word, and ends when the test says so."""

    async def create_completion(self, **arguments: Any) -> Any:
        if arguments["prompt"] == "#stuck":
            return StuckStream(self.released)
        return await super().create_completion(**arguments)


class StuckStream:
    """Leaving it takes as long as the pass."""

    generation = SimpleNamespace(n_prompt=3)

    def __init__(self, released: threading.Event) -> None:
        self._released = released
        self._words = iter([{"choices": [{"text": "word"}]}])

    async def __aenter__(self) -> StuckStream:
        return self

    async def __aexit__(self, *_: object) -> None:
        while not self._released.is_set():
            await asyncio.sleep(0.005)

    def __aiter__(self) -> StuckStream:
        return self

    async def __anext__(self) -> dict[str, Any]:
        for word in self._words:
            return word
        await asyncio.sleep(600)
        raise StopAsyncIteration


def n_running(server: Running) -> int:
    health: dict[str, int] = server.client.get("/health").json()
    return health["requests_processing"]


def test_a_stream_hears_of_its_limit_before_the_pass_ends() -> None:
    text = StuckText()
    limits: dict[str, Any] = {"request_timeout_s": 3.0, "heartbeat_s": 600.0}
    with serving(FakeModel(), text, **limits) as server, ThreadPoolExecutor(1) as pool:
        try:
            body = {"prompt": "#stuck", "stream": True}
            word, error = events(server.client.post(PATH, json=body).text)
            assert json.loads(word)["choices"][0]["text"] == "word"
            assert json.loads(error)["error"]["code"] == "timeout"
            # The engine computes for it, so the next request waits.
            assert n_running(server) == 1
            waiting = pool.submit(server.client.post, PATH, json={"prompt": "on"})
            wait_until(lambda: server.service.queue.n_waiting == 1)
        finally:
            text.released.set()
        assert waiting.result().status_code == 200
        assert "begin on" in text.log
        wait_until(lambda: n_running(server) == 0)


def test_a_client_that_leaves_frees_the_place_when_the_pass_ends() -> None:
    text = StuckText()
    with serving(FakeModel(), text) as server:
        try:
            body = {"prompt": "#stuck", "stream": True}
            with server.client.stream("POST", PATH, json=body) as reply:
                next(reply.iter_lines())
            wait_until(lambda: not server.server.server_state.connections)
            assert server.service.queue.n_running == 1
        finally:
            text.released.set()
        wait_until(lambda: n_running(server) == 0)


def test_a_stop_is_told_before_the_pass_ends() -> None:
    text = StuckText()
    with serving(FakeModel(), text, grace_s=0.2) as server:
        try:
            body = {"prompt": "#stuck", "stream": True}
            with server.client.stream("POST", PATH, json=body) as reply:
                lines = reply.iter_lines()
                next(lines)
                server.server.should_exit = True
                rest = "".join(lines)
            assert "shutting_down" in rest
        finally:
            text.released.set()


@pytest.mark.parametrize("where", ["__init__", "answer"])
@pytest.mark.parametrize("n", [1, 2])
def test_a_whole_reply_keeps_its_place_until_the_pass_ends(
    make_fake: MakeFake, monkeypatch: pytest.MonkeyPatch, where: str, n: int
) -> None:
    """Or until a call is made: the checks of its grammar may take long, too."""
    engine = make_fake()
    released = threading.Event()
    begin_or_read: Callable[..., Any] = getattr(CompletionCall, where)

    def stuck(*args: Any) -> Any:
        assert released.wait(120)
        return begin_or_read(*args)

    with serving(engine, request_timeout_s=0.2) as server:
        body = {"prompt": "abc", "max_tokens": 1, "n": n}
        try:
            with monkeypatch.context() as patch:
                patch.setattr(CompletionCall, where, stuck)
                reply = server.client.post(PATH, json=body)
                told(reply, 504, "timeout")
                assert n_running(server) == 1
        finally:
            released.set()
        wait_until(lambda: n_running(server) == 0)
        wait_until(lambda: engine.stats.n_generations == 1)


class StuckEmbeddings:
    """An embedding model that computes until the test says so."""

    id, created, architecture = "stuck", 1, "none"
    n_ctx, n_dimensions, pooling = 8, 1, "mean"

    def __init__(self) -> None:
        self.released = threading.Event()

    def embed(self, *_: Any, **__: Any) -> Any:
        assert self.released.wait(120)
        raise AssertionError("nobody waits for this")


def test_embeddings_hear_of_their_limit_too() -> None:
    model = StuckEmbeddings()
    with serving(FakeModel(), FakeText(), model, request_timeout_s=0.2) as server:
        try:
            reply = server.client.post("/v1/embeddings", json={"input": "x"})
            told(reply, 504, "timeout")
            assert n_running(server) == 1
        finally:
            model.released.set()
        wait_until(lambda: n_running(server) == 0)
