"""The places of the texts that run at once: ``/slots`` and the metrics of each slot."""

from __future__ import annotations

import contextlib
import json
import threading
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
from prometheus_client.parser import text_string_to_metric_families
from tests.python.support.server_support import Running, serving, told, wait_until

from specbranch_cpp import AsyncEngine, Engine
from specbranch_cpp.server.slots import Slot, Slots

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

ENDLESS: dict[str, Any] = {"prompt": "secret = 1\n", "ignore_eos": True, "stream": True}
IDLE = {
    "id_task": -1, "speculative": True, "is_processing": False, "n_prompt_tokens": 0,
    "n_prompt_tokens_processed": 0, "params": {},
    "next_token": [{"has_next_token": False, "n_remain": -1, "n_decoded": 0}],
}  # fmt: skip

until = partial(wait_until, seconds=60.0)


@pytest.fixture(scope="module")
def models(pair: tuple[Path, Path]) -> Iterator[Engine]:
    options: dict[str, Any] = {"n_threads": 1, "draft_n_threads": 1, "measure_costs": False}
    with Engine(*pair, n_ctx=16_384, n_parallel=2, **options) as engine:
        yield engine


@pytest.fixture(scope="module")
def server(models: Engine) -> Iterator[Running]:
    with serving(models, request_timeout_s=120) as running:
        yield running


def slots_of(server: Running) -> list[dict[str, Any]]:
    reply = server.client.get("/slots")
    assert reply.status_code == 200
    slots: list[dict[str, Any]] = reply.json()
    return slots


def all_idle(server: Running) -> bool:
    return not any(slot["is_processing"] for slot in slots_of(server))


def metrics_of(server: Running) -> dict[str, float]:
    families = text_string_to_metric_families(server.client.get("/metrics").text)
    return {
        name + labels.get("slot", ""): value
        for family in families
        for name, labels, value, *_ in family.samples
    }


@contextlib.contextmanager
def running(server: Running, **fields: Any) -> Iterator[None]:
    """A stream that has begun; at the end its client disconnects."""
    with server.client.stream("POST", "/v1/completions", json=ENDLESS | fields) as stream:
        lines = stream.iter_lines()
        next(lines)
        yield


def test_free_slots(server: Running, models: Engine) -> None:
    until(lambda: all_idle(server))
    assert slots_of(server) == [{"id": at, "n_ctx": models.n_ctx, **IDLE} for at in (0, 1)]
    assert server.client.get("/slots?fail_on_no_slot=1").status_code == 200
    assert server.client.head("/slots").status_code == 200


def test_slots_of_two_requests(server: Running, models: Engine) -> None:
    until(lambda: all_idle(server))
    first = {"seed": 11, "temperature": 0.5, "top_k": 7, "max_tokens": 16_000, "stop": "never"}
    second = {"seed": 12, "mode": "autoregressive", "max_tokens": -1, "mirostat": 2}
    with running(server, **first):
        one, free = slots_of(server)
        assert free == {"id": 1, "n_ctx": models.n_ctx, **IDLE}
        assert server.client.get("/slots?fail_on_no_slot=1").status_code == 200
        with running(server, **second):
            slots = slots_of(server)
            assert "secret" not in json.dumps(slots)
            assert "never" not in json.dumps(slots)
            assert [slot["id"] for slot in slots] == [0, 1]
            assert [slot["is_processing"] for slot in slots] == [True, True]
            assert [slot["speculative"] for slot in slots] == [True, False]
            assert slots[0]["id_task"] == one["id_task"] < slots[1]["id_task"]
            n_prompt = len(models.tokenize(ENDLESS["prompt"]))
            for slot, asked in zip(slots, (first, second), strict=True):
                assert slot["n_ctx"] == models.n_ctx
                assert slot["n_prompt_tokens"] == slot["n_prompt_tokens_processed"] == n_prompt
                params = slot["params"]
                assert params["seed"] == asked["seed"]
                assert params["n_predict"] == params["max_tokens"] == asked["max_tokens"]
            assert slots[0]["params"]["temperature"] == 0.5
            assert slots[0]["params"]["top_k"] == 7
            assert slots[1]["params"]["mirostat"] == 2
            assert slots[1]["params"]["mode"] == "autoregressive"
            ((limited,), (unlimited,)) = (slot["next_token"] for slot in slots)
            assert limited["has_next_token"]
            assert limited["n_decoded"] > 0
            assert limited["n_remain"] == 16_000 - limited["n_decoded"]
            assert unlimited["n_remain"] == -1
            later = until(
                lambda: [
                    slot["next_token"][0]["n_decoded"]
                    for slot in slots_of(server)
                    if slot["next_token"][0]["n_decoded"] > limited["n_decoded"]
                ]
            )
            assert later
            busy = server.client.get("/slots?fail_on_no_slot=1")
            assert "there are 2" in told(busy, 503, "no_slot_available")["message"]
            found = metrics_of(server)
            assert found["llamacpp:requests_processing"] == 2
            for at in ("0", "1"):
                assert found[f"specbranch:slot_busy{at}"] == 1
                assert found[f"specbranch:slot_prompt_tokens{at}"] == n_prompt
                assert found[f"specbranch:slot_prompt_tokens_read{at}"] == n_prompt
                assert found[f"specbranch:slot_generated_tokens{at}"] > 0
        # The second text has ended; the first one keeps its slot.
        until(lambda: not slots_of(server)[1]["is_processing"])
        assert slots_of(server)[0]["id_task"] == one["id_task"]
    until(lambda: all_idle(server))
    found = metrics_of(server)
    assert found["specbranch:slot_busy0"] == found["specbranch:slot_busy1"] == 0
    assert found["specbranch:slot_generated_tokens0"] == 0


def test_each_choice_has_a_slot(server: Running) -> None:
    """Also those of one request. The third one waits."""
    until(lambda: all_idle(server))
    with running(server, n=3, seed=5, max_tokens=16_000):
        until(lambda: slots_of(server)[1]["is_processing"])
        assert {slot["params"]["seed"] for slot in slots_of(server)} == {5, 6}
        assert metrics_of(server)["llamacpp:requests_processing"] == 1
    until(lambda: all_idle(server))


def test_texts_that_fail_or_are_dropped_leave_their_slots(models: Engine) -> None:
    """As those of programs that use the engine beside the server."""

    def fail(*_: Any) -> Any:
        raise ZeroDivisionError

    with serving(models) as server:
        until(lambda: all_idle(server))
        failing = models.generate("x", logits_processor=fail)
        with pytest.raises(ZeroDivisionError):
            failing.result()
        assert all_idle(server)
        dropped = models.generate("x", logit_bias={0: float("-inf")})
        next(dropped)
        assert not all_idle(server)
        del dropped
        assert all_idle(server)
        waiting = [models.generate("x", max_tokens=3) for _ in range(5)]
        assert [slot["is_processing"] for slot in slots_of(server)] == [True, True]
        assert [one.n_read for one in waiting] == [0] * 5
        for one in waiting:
            assert len(one.result().tokens) == one.n_read == 3
        assert all_idle(server)


def test_the_server_answers_while_an_engine_says_nothing(
    server: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An engine in another process is asked for its slots, and may be busy."""
    asked, answered = threading.Event(), threading.Event()

    def wait(_: Slots) -> list[Slot]:
        asked.set()
        assert answered.wait(30)
        return []

    monkeypatch.setattr(Slots, "now", wait)
    with ThreadPoolExecutor(3) as pool:
        paths = ("/slots", "/slots/timelines", "/metrics")
        replies = [pool.submit(server.client.get, path) for path in paths]
        assert asked.wait(30)
        try:
            assert server.client.get("/health", timeout=25).status_code == 200
        finally:
            answered.set()
        assert [reply.result().status_code for reply in replies] == [200] * 3


def test_an_async_engine_is_seen_too(models: Engine) -> None:
    import asyncio

    async def main(server: Running) -> None:
        generation = AsyncEngine.of(models).generate("x", logit_bias={0: float("-inf")})
        await generation.__anext__()
        assert not await asyncio.to_thread(all_idle, server)
        await generation.close()
        assert await asyncio.to_thread(all_idle, server)

    with serving(models) as server:
        asyncio.run(asyncio.wait_for(main(server), 60))
