"""A host is lost in the middle: the text ends with the documented error, and nothing hangs."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from typing import TYPE_CHECKING, Any

import pytest
from tests.python.support.isolated import LONG, PROMPT, is_gone, process_of
from tests.python.support.rpc import RelayProcess, Worker
from tests.python.support.server_support import serving, wait_until

from specbranch_cpp import Engine, EngineDied, ModelLoadError, _core, demo
from specbranch_cpp._rpc import liveness

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.skipif(
    not _core.has_rpc(), reason="llama.cpp was built without its RPC backend"
)

OPTIONS: dict[str, Any] = {"n_ctx": 8192, "measure_costs": False, "n_parallel": 2}


def new_engine(address: str) -> Engine:
    return Engine(*demo.pair(), rpc_servers=[address], **OPTIONS)


def expect_death(engine: Engine, *generations: Any) -> None:
    """All texts, and every later call, have the error; the process has gone."""
    child = process_of(engine)
    for generation in generations:
        with pytest.raises(EngineDied):
            generation.result()
    assert is_gone(child)
    assert engine.closed
    for use in (lambda: engine.complete(PROMPT, max_tokens=4), lambda: engine.tokenize("x")):
        with pytest.raises(EngineDied):
            use()


def running(engine: Engine) -> list[Any]:
    """A text of which a part has come, and one beside it."""
    found = [engine.generate(PROMPT, **LONG) for _ in range(2)]
    next(found[0])
    return found


def test_a_worker_that_is_killed() -> None:
    with Worker() as worker:
        engine = new_engine(worker.address)
        expected = engine.complete(PROMPT, max_tokens=20).tokens
        generations = running(engine)
        worker.stop()
        expect_death(engine, *generations)
        with pytest.raises(ModelLoadError, match="cannot be reached"):
            engine.restart()
        assert engine.closed
    with Worker(int(worker.address.rpartition(":")[2])):
        engine.restart()
        assert engine.complete(PROMPT, max_tokens=20).tokens == expected
        engine.close()


def test_a_worker_that_is_killed_while_nothing_runs() -> None:
    with Worker() as worker:
        engine = new_engine(worker.address)
        worker.stop()
        with pytest.raises(EngineDied):
            engine.generate(PROMPT, max_tokens=4).result()
        expect_death(engine)
        engine.close()


def test_one_of_two_workers_is_killed() -> None:
    with Worker() as first, Worker() as second:
        addresses = [first.address, second.address]
        engine = Engine(*demo.pair(), rpc_servers=addresses, **OPTIONS)
        generations = running(engine)
        second.stop()
        expect_death(engine, *generations)
        with new_engine(first.address) as other:  # it is free again
            assert len(other.complete(PROMPT, max_tokens=4).tokens) == 4


def test_a_worker_that_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(liveness.VARIABLE, "2")
    with Worker() as worker:
        engine = new_engine(worker.address)
        generations = running(engine)
        os.kill(worker.process.pid, signal.SIGSTOP)
        with pytest.raises(EngineDied, match="have not answered for 2 s"):
            generations[0].result()
        expect_death(engine, *generations)
        with pytest.raises(ModelLoadError, match="does not answer"):
            engine.restart()
        os.kill(worker.process.pid, signal.SIGCONT)
        worker.wait()
        engine.restart()
        assert len(engine.complete(PROMPT, max_tokens=4).tokens) == 4
        engine.close()


def test_a_network_that_swallows_everything(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(liveness.VARIABLE, "2")
    with Worker() as worker, RelayProcess(worker.address) as relay:
        engine = new_engine(relay.address)
        generations = running(engine)
        os.kill(relay.process.pid, signal.SIGUSR1)
        expect_death(engine, *generations)
        with pytest.raises(ModelLoadError, match="does not answer"):
            engine.restart()
        engine.close()


def test_a_worker_that_hangs_while_loading(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(liveness.VARIABLE, "2")
    with Worker() as worker:

        def stop(share: float) -> None:
            if share > 0.1:
                os.kill(worker.process.pid, signal.SIGSTOP)

        with pytest.raises(ModelLoadError, match="have not answered for 2 s"):
            Engine(*demo.pair(), rpc_servers=[worker.address], progress_callback=stop, **OPTIONS)
        os.kill(worker.process.pid, signal.SIGCONT)


def test_an_idle_engine_does_not_die_of_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """A user's function may take its time, and nobody may ask anything for hours."""
    monkeypatch.setenv(liveness.VARIABLE, "1")

    def slow(input_ids: Any, scores: Any) -> Any:
        if len(input_ids) == 20:
            time.sleep(2.5)
        return scores

    with Worker() as worker, new_engine(worker.address) as engine:
        text = engine.generate(PROMPT, max_tokens=20, logits_processor=slow)
        assert len(text.result().tokens) == 20
        time.sleep(2.5)
        assert len(engine.complete(PROMPT, max_tokens=4).tokens) == 4


def test_the_server_starts_its_engine_again() -> None:
    body = {"prompt": PROMPT, "max_tokens": 8, "temperature": 0}
    with Worker() as worker:
        port = int(worker.address.rpartition(":")[2])
        with new_engine(worker.address) as engine, serving(engine) as server:
            expected = server.client.post("/v1/completions", json=body).json()["choices"]
            worker.stop()
            with Worker(port):
                reply = server.client.post("/v1/completions", json=body)
                assert reply.status_code == 503
                wait_until(lambda: server.client.get("/health").status_code == 200)
                reply = server.client.post("/v1/completions", json=body)
                assert reply.json()["choices"] == expected


@contextlib.contextmanager
def other_host() -> Iterator[tuple[str, str]]:
    """A network namespace, and the address of this host's link to it."""
    name = f"sb{os.getpid()}"
    here, there = f"{name}a", f"{name}b"

    def ip(*words: str) -> None:
        subprocess.run(["ip", *words], check=True, capture_output=True)

    try:
        ip("netns", "add", name)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("network namespaces need root and the command ip")
    try:
        ip("link", "add", here, "type", "veth", "peer", "name", there, "netns", name)
        ip("addr", "add", "10.213.77.1/30", "dev", here)
        ip("link", "set", here, "up")
        ip("-n", name, "addr", "add", "10.213.77.2/30", "dev", there)
        ip("-n", name, "link", "set", there, "up")
        yield name, "10.213.77.2"
    finally:
        subprocess.run(["ip", "link", "del", here], check=False, capture_output=True)
        ip("netns", "del", name)


@contextlib.contextmanager
def lost(name: str) -> Iterator[None]:
    """What the other host sends is lost."""
    route = ["ip", "-n", name, "route"]
    subprocess.run([*route, "add", "blackhole", "10.213.77.1/32"], check=True)
    yield
    subprocess.run([*route, "del", "blackhole", "10.213.77.1/32"], check=True)


def test_a_host_whose_packets_are_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(liveness.VARIABLE, "6")
    with (
        other_host() as (name, address),
        Worker(50052, address, ["ip", "netns", "exec", name]) as worker,
    ):
        engine = new_engine(worker.address)
        expected = engine.complete(PROMPT, max_tokens=20).tokens
        generations = running(engine)
        with lost(name):
            with pytest.raises(EngineDied) as error:
                generations[0].result()
            assert worker.address in str(error.value)
            expect_death(engine, *generations)
            with pytest.raises(ModelLoadError, match=r"cannot be reached|does not answer"):
                engine.restart()
        wait_until(lambda: comes_back(engine))  # the worker, too, must notice it
        assert engine.complete(PROMPT, max_tokens=20).tokens == expected
        engine.close()


def test_a_host_that_is_lost_while_nothing_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """The system notices it, so that the next text need not wait for the time limit of a call."""
    monkeypatch.setenv(liveness.VARIABLE, "30")
    with (
        other_host() as (name, address),
        Worker(50052, address, ["ip", "netns", "exec", name]) as worker,
    ):
        engine = new_engine(worker.address)
        with lost(name):
            time.sleep(10)
        # The worker's packets come again, but the connection is no more.
        with pytest.raises(EngineDied, match="Remote RPC server"):
            engine.complete(PROMPT, max_tokens=4)
        engine.close()


def comes_back(engine: Engine) -> bool:
    with contextlib.suppress(ModelLoadError):
        engine.restart()
    return not engine.closed
