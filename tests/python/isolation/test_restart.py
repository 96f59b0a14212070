"""An isolated engine whose process has ended is loaded again, also by the server."""

from __future__ import annotations

import os
import signal
import threading
from types import SimpleNamespace
from typing import Any

import pytest
from tests.python.support.isolated import LONG, PROMPT, is_gone, new_engine, process_of
from tests.python.support.server_support import serving, wait_until

from specbranch_cpp import Engine, EngineDied, InvalidArgument, ModelLoadError, demo
from specbranch_cpp.errors import EngineClosed


def die(engine: Engine) -> None:
    child = process_of(engine)
    os.kill(child, signal.SIGABRT)
    assert is_gone(child)


def test_an_engine_goes_on_after_restart() -> None:
    with new_engine(n_ctx=8192) as engine:
        ends: list[Any] = []
        engine.on_end(ends.append)
        expected = engine.complete(PROMPT, max_tokens=12).tokens
        running = engine.generate(PROMPT, **LONG)
        next(running)
        die(engine)
        with pytest.raises(EngineDied):
            running.result()
        engine.restart()
        assert not engine.closed
        assert engine.complete(PROMPT, max_tokens=12).tokens == expected
        assert len(ends) == 2
        assert engine.stats.n_generations == 1
        with pytest.raises(EngineDied):  # it stays so
            running.result()
        child = process_of(engine)
        engine.restart()  # nothing to do
        assert process_of(engine) == child
    with pytest.raises(EngineClosed):
        engine.restart()


def test_two_threads_start_one_process() -> None:
    with new_engine() as engine:
        die(engine)
        threads = [threading.Thread(target=engine.restart) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(120)
        assert not any(thread.is_alive() for thread in threads)
        assert len(engine.complete(PROMPT, max_tokens=4).tokens) == 4


def test_an_engine_is_closed_before_the_last_lines_have_come() -> None:
    """A process that the engine's has left behind may keep standard error open."""
    with new_engine() as engine:
        process: Any = engine._core._process  # type: ignore[attr-defined]
        lines, come = process._lines_thread, threading.Event()
        process._lines_thread = SimpleNamespace(ident=1, join=lambda _: come.wait(240))
        try:
            os.kill(process_of(engine), signal.SIGABRT)
            wait_until(lambda: engine.closed)
            engine.restart()
            assert len(engine.complete(PROMPT, max_tokens=4).tokens) == 4
        finally:
            come.set()
            lines.join(240)


def test_a_model_that_is_gone_can_come_back(tmp_path: Any) -> None:
    path = tmp_path / "model.gguf"
    path.write_bytes(demo.pair()[0].read_bytes())
    engine = Engine(path, n_ctx=128, isolate=True, measure_costs=False)
    die(engine)
    path.rename(tmp_path / "away.gguf")
    with pytest.raises(ModelLoadError, match=r"model\.gguf"):
        engine.restart()
    assert engine.closed
    (tmp_path / "away.gguf").rename(path)
    engine.restart()
    assert len(engine.complete(PROMPT, max_tokens=4).tokens) == 4
    engine.close()


def test_other_engines_cannot_be_restarted() -> None:
    with (
        Engine(demo.pair()[0], n_ctx=128, measure_costs=False) as engine,
        pytest.raises(InvalidArgument, match="isolate=True"),
    ):
        engine.restart()


def test_the_server_starts_its_engine_again(monkeypatch: pytest.MonkeyPatch) -> None:
    body = {"prompt": PROMPT, "max_tokens": 8, "temperature": 0}
    with new_engine() as engine, serving(engine) as server:
        restart, may_restart = engine.restart, threading.Event()

        def held() -> None:
            assert may_restart.wait(240)
            restart()

        monkeypatch.setattr(engine, "restart", held)
        expected = server.client.post("/v1/completions", json=body).json()["choices"]
        for _ in range(3):
            may_restart.clear()
            die(engine)
            reply = server.client.post("/v1/completions", json=body)
            assert reply.status_code == 503
            assert "SIGABRT" in reply.json()["error"]["message"]
            health = server.client.get("/health")
            assert (health.status_code, health.json()["status"]) == (503, "loading")
            may_restart.set()
            wait_until(lambda: server.client.get("/health").status_code == 200)
            assert server.client.post("/v1/completions", json=body).json()["choices"] == expected
        # Something is wrong with this model, or with this machine.
        die(engine)
        assert server.client.post("/v1/completions", json=body).status_code == 503
        assert server.client.get("/health").json()["status"] == "engine_broken"
        reply = server.client.post("/v1/completions", json=body)
        assert (reply.status_code, reply.json()["error"]["code"]) == (503, "engine_broken")
        assert server.client.get("/metrics").status_code == 200
        assert server.client.get("/v1/models").status_code == 200
