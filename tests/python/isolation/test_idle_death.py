"""An isolated engine that ends while nobody generates is started again by the server."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from tests.python.isolation.test_restart import die
from tests.python.support.isolated import PROMPT, new_engine, process_of
from tests.python.support.server_support import Running, serving, told, wait_until

from specbranch_cpp.server.service import Service

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from specbranch_cpp import Engine, EngineDied

MESSAGES = [{"role": "user", "content": "x"}]


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    with new_engine() as engine:
        yield engine


def health(server: Running) -> tuple[int, str]:
    reply = server.client.get("/health")
    return reply.status_code, reply.json()["status"]


def test_nobody_needs_to_ask(engine: Engine) -> None:
    with serving(engine) as server:
        for _ in range(2):
            child = process_of(engine)
            die(engine)
            wait_until(lambda: not engine.closed)
            assert process_of(engine) != child
            wait_until(lambda: health(server) == (200, "ok"))
        body = {"prompt": PROMPT, "max_tokens": 4}
        assert server.client.post("/v1/completions", json=body).status_code == 200


def test_a_server_that_stops_starts_no_engine() -> None:
    with new_engine() as engine:
        with serving(engine) as server:
            server.service.stop_accepting()
            die(engine)
            assert health(server)[0] == 503
        assert engine.closed


ASKED: dict[str, Callable[[Any], Any]] = {
    "/tokenize": lambda client: client.post("/tokenize", json={"content": "x"}),
    "/detokenize": lambda client: client.post("/detokenize", json={"tokens": [1, 2]}),
    "/props": lambda client: client.get("/props"),
    "/completion": lambda client: client.post("/completion", json={"prompt": [5], "n_predict": 1}),
    "/health": lambda client: client.get("/health"),
}


@pytest.mark.parametrize("path", ASKED)
def test_every_endpoint_sees_that_the_engine_has_ended(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    """As in a server that is not ours, whose loop nobody knows before the first request."""
    monkeypatch.setattr(Service, "watch", lambda _: None)
    ask = ASKED[path]
    with serving(engine) as server:
        # The pieces of single tokens are known when they were asked for once.
        die(engine)
        assert engine.closed
        wait_until(lambda: ask(server.client).status_code == 200 and not engine.closed)
        wait_until(lambda: health(server) == (200, "ok"))


def test_health_does_not_say_ok_of_a_dead_engine(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Service, "watch", lambda _: None)
    with serving(engine) as server:
        service = server.service
        service._restarts = [float("inf")] * 3  # as after three deaths
        die(engine)
        assert health(server) == (503, "engine_broken")
        reply = server.client.post("/tokenize", json={"content": "x"})
        assert "SIGABRT" in told(reply, 503, "engine_closed")["message"]
        service._restarts.clear()
        server.client.post("/tokenize", json={"content": "x"})
        wait_until(lambda: health(server) == (200, "ok"))


def test_health_tells_of_an_engine_that_the_program_has_closed() -> None:
    with new_engine() as engine, serving(engine) as server:
        engine.close()
        assert health(server) == (503, "engine_broken")


def test_a_death_is_told_once(engine: Engine) -> None:
    told_of: list[EngineDied] = []
    engine._on_death(told_of.append)
    die(engine)
    wait_until(lambda: told_of)
    engine.restart()
    die(engine)  # also of the next process
    wait_until(lambda: len(told_of) == 2)
    late: list[EngineDied] = []
    engine._on_death(late.append)
    assert len(late) == 1
    engine.restart()
    engine._on_death(lambda _: None)
    assert (len(told_of), len(late)) == (2, 1)
