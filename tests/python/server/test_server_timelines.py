"""``/slots/timelines``: a row for each text, with what both models did for it."""

from __future__ import annotations

import contextlib
import json
import threading
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
from tests.python.support.server_support import KEY, Running, serving, told, wait_until

from specbranch_cpp import Engine
from specbranch_cpp.server import timelines

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

ENDLESS: dict[str, Any] = {
    "prompt": "secret = 1\n", "ignore_eos": True, "stream": True, "max_tokens": 8000,
}  # fmt: skip
OPTIONS: dict[str, Any] = {"n_threads": 1, "draft_n_threads": 1, "measure_costs": False}

until = partial(wait_until, seconds=60.0)


@pytest.fixture(scope="module")
def models(pair: tuple[Path, Path]) -> Iterator[Engine]:
    with Engine(*pair, n_ctx=8192, n_parallel=2, **OPTIONS) as engine:
        yield engine


@pytest.fixture(autouse=True)
def _patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is forgotten because the machine is slow."""
    for name in ("WATCHED_S", "LINGER_S", "_KEPT_S"):
        monkeypatch.setattr(timelines, name, 600.0)


@pytest.fixture
def server(models: Engine) -> Iterator[Running]:
    """One that nobody has looked at."""
    models._shared.texts.watchers.clear()  # those of servers before
    with serving(models, request_timeout_s=120) as running:
        until(lambda: not any(slot["is_processing"] for slot in _get(running, "/slots")))
        yield running


def _get(server: Running, path: str) -> Any:
    reply = server.client.get(path)
    assert reply.status_code == 200, reply.text
    return reply.json()


def look(server: Running, seen: str = "") -> dict[str, Any]:
    found: dict[str, Any] = _get(server, f"/slots/timelines?seen={seen}")
    return found


def rows_of(server: Running) -> dict[int, dict[str, Any]]:
    return {row["id"]: row for row in look(server)["texts"]}


@contextlib.contextmanager
def running(server: Running, **fields: Any) -> Iterator[None]:
    """A stream that has begun; at the end its client disconnects."""
    with server.client.stream("POST", "/v1/completions", json=ENDLESS | fields) as stream:
        lines = stream.iter_lines()  # its end would end the stream
        next(lines)
        yield


def sides(row: dict[str, Any]) -> set[str]:
    return {span["side"] for span in row["spans"]}


def test_nothing_runs(server: Running) -> None:
    found = look(server)
    assert found.pop("now_ms") > 0
    assert found == {"n_slots": 2, "n_more": 0, "requests_waiting": 0, "texts": []}


def test_requests_that_wait_are_counted(server: Running) -> None:
    look(server)
    with ThreadPoolExecutor(1) as pool:
        with running(server), running(server):
            body = {"prompt": "y", "max_tokens": 2}
            reply = pool.submit(server.client.post, "/v1/completions", json=body)
            until(lambda: look(server)["requests_waiting"] == 1)
            assert len(rows_of(server)) == 2
        assert reply.result().status_code == 200
    assert look(server)["requests_waiting"] == 0


def test_several_texts_have_a_row_each(server: Running, models: Engine) -> None:
    look(server)
    with running(server, mode="speculative"), running(server, mode="autoregressive"):
        waiting = models.generate("y", max_tokens=3)
        found = until(
            lambda: (
                rows
                if len(rows := list(rows_of(server).values())) == 3
                and all(row["n_decoded"] > 20 for row in rows[:2])
                and sides(rows[0]) == {"target", "draft"}
                else None
            )
        )
        assert [row["state"] for row in found] == ["running", "running", "waiting"]
        assert sorted(row["slot"] for row in found[:2]) == [0, 1]
        assert found[2]["slot"] is None
        assert found[2]["spans"] == []
        assert [row["mode"] for row in found[:2]] == ["speculative", "autoregressive"]
        assert sides(found[1]) == {"target"}
        for row in found[:2]:
            assert row["is_recorded"]
            assert row["finish_reason"] is None
            assert row["n_prompt_tokens"] == row["n_prompt_tokens_processed"] > 0
            assert {span["kind"] for span in row["spans"]} <= {"prefill", "verify", "draft"}
        assert "secret" not in json.dumps(found)
    assert len(waiting.result().tokens) == 3


def test_rows_have_one_clock(server: Running) -> None:
    """Texts that decode together are verified in the same batches."""
    begin_ms = look(server)["now_ms"]
    with running(server, mode="autoregressive"), running(server, mode="autoregressive"):
        until(lambda: all(row["n_decoded"] > 50 for row in rows_of(server).values()))
        found = look(server)
    first, second = (
        {
            (round(span["begin_ms"], 2), round(span["end_ms"], 2))
            for span in row["spans"]
            if span["kind"] == "verify"
        }
        for row in found["texts"]
    )
    for begin, end in first | second:
        assert begin_ms - 1 <= begin <= end <= found["now_ms"] + 1
    assert len(first & second) > 10


def test_a_client_is_told_what_is_new(server: Running, models: Engine) -> None:
    look(server)
    generation = models.generate("x", max_tokens=60, logit_bias={0: float("-inf")})
    for _ in range(5):
        next(generation)
    (one,) = until(lambda: [row for row in look(server)["texts"] if row["spans"]])
    assert one["n_spans"] == len(one["spans"])
    generation.result()
    (rest,) = look(server, f"{one['id']}:{one['n_spans']}")["texts"]
    (whole,) = look(server)["texts"]
    assert rest["n_spans"] == whole["n_spans"] == len(whole["spans"])
    assert one["spans"] + rest["spans"] == whole["spans"]
    (nothing,) = look(server, f"{one['id']}:{whole['n_spans']}")["texts"]
    assert nothing["spans"] == []


def test_old_commands_are_forgotten(
    server: Running, models: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    look(server)
    models.complete("x", max_tokens=20)
    (whole,) = look(server)["texts"]
    assert whole["spans"]
    monkeypatch.setattr(timelines, "_KEPT_S", 0.0)
    (row,) = look(server)["texts"]
    assert (row["n_spans"], row["spans"]) == (whole["n_spans"], [])


def test_a_text_that_has_ended_stays_for_a_moment(
    server: Running, models: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    look(server)
    done = models.complete("x", max_tokens=20, trace=True)
    (row,) = look(server)["texts"]
    assert (row["state"], row["finish_reason"]) == ("ended", done.finish_reason)
    assert row["n_decoded"] == len(done.tokens)
    assert done.trace is not None
    assert row["n_spans"] == len(row["spans"]) == len(done.trace.spans)
    monkeypatch.setattr(timelines, "LINGER_S", 0.0)
    assert look(server)["texts"] == []


def test_how_texts_end(server: Running, models: Engine) -> None:
    def fail(*_: Any) -> Any:
        raise ZeroDivisionError

    look(server)
    failing = models.generate("x", logits_processor=fail)
    with pytest.raises(ZeroDivisionError):
        failing.result()
    dropped = models.generate("x", logit_bias={0: float("-inf")})
    next(dropped)
    assert {row["finish_reason"] for row in rows_of(server).values()} == {"failed", None}
    del dropped
    with running(server):
        pass
    until(
        lambda: (
            [row["finish_reason"] for row in rows_of(server).values()]
            == ["failed", "dropped", "cancelled"]
        )
    )


def test_the_number_of_rows_is_limited(server: Running, models: Engine) -> None:
    look(server)
    n = timelines.MOST_LIVE + 10
    texts = [models.generate("x", max_tokens=4) for _ in range(n)]
    found = look(server)
    assert len(found["texts"]) + found["n_more"] == n
    assert found["n_more"] == 10
    for text in texts:
        text.result()
    found = look(server)
    assert len(found["texts"]) == timelines.MOST_ENDED
    assert found["n_more"] == 0
    assert {row["state"] for row in found["texts"]} == {"ended"}


def test_many_look_while_texts_come_and_go(server: Running, models: Engine) -> None:
    """No command is lost, and none comes twice."""
    look(server)
    over = threading.Event()

    def look_on() -> None:
        while not over.is_set():
            look(server)

    with ThreadPoolExecutor(3) as pool:
        lookers = [pool.submit(look_on) for _ in range(3)]
        texts = [models.generate("x", max_tokens=12, seed=i, trace=True) for i in range(24)]
        traces = [text.result().trace for text in texts]
        over.set()
        for looker in lookers:
            looker.result()
    found = look(server)["texts"]
    assert len(found) == timelines.MOST_ENDED
    for row, trace in zip(found, traces[-len(found) :], strict=True):
        assert trace is not None
        assert row["n_spans"] == len(row["spans"]) == len(trace.spans)


def test_texts_are_recorded_only_while_somebody_looks(
    server: Running, models: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    early = models.generate("x", logit_bias={0: float("-inf")})
    next(early)
    (row,) = look(server)["texts"]
    assert (row["state"], row["is_recorded"], row["spans"]) == ("running", False, [])
    early.cancel()
    early.result()
    late = models.generate("x", max_tokens=8)
    reply = server.client.post("/v1/completions", json={"prompt": "x", "max_tokens": 8})
    assert "speculation" not in reply.json()
    assert late.result().trace is None  # it did not ask for one
    found = list(rows_of(server).values())
    assert [row["is_recorded"] for row in found] == [False, True, True]
    monkeypatch.setattr(timelines, "WATCHED_S", 0.0)
    models.complete("x", max_tokens=8)
    monkeypatch.undo()
    assert look(server)["texts"] == []


@pytest.mark.parametrize("seen", ["x", "3", "3:", ":4", "3:-1", "-3:1", "3:1;4:2", "²:1"])
def test_what_was_seen_is_checked(server: Running, seen: str) -> None:
    error = told(server.client.get("/slots/timelines", params={"seen": seen}), 400, None)
    assert error["param"] == "seen"
    assert seen in error["message"]


def test_what_was_seen_is_limited(server: Running) -> None:
    seen = ",".join(f"{number}:1" for number in range(65))
    error = told(server.client.get("/slots/timelines", params={"seen": seen}), 400, None)
    assert "at most 64 pairs" in error["message"]


def test_who_may_look(models: Engine) -> None:
    with serving(models, slots=False) as server:
        told(server.client.get("/slots/timelines"), 404, "not_found")
    with serving(models, api_keys=(KEY,)) as server:
        told(server.client.get("/slots/timelines"), 401, "invalid_api_key")
        headers = {"Authorization": f"Bearer {KEY}"}
        assert server.client.get("/slots/timelines", headers=headers).status_code == 200


def test_texts_of_an_engine_in_another_process(pair: tuple[Path, Path]) -> None:
    with (
        Engine(*pair, n_ctx=8192, n_parallel=2, isolate=True, **OPTIONS) as engine,
        serving(engine, request_timeout_s=120) as server,
    ):
        begin_ms = look(server)["now_ms"]
        with running(server, mode="speculative"), running(server, mode="autoregressive"):
            until(lambda: all(row["n_decoded"] > 20 for row in rows_of(server).values()))
            found = look(server)
            first, second = found["texts"]
            assert (sides(first), sides(second)) == ({"target", "draft"}, {"target"})
            for span in first["spans"] + second["spans"]:
                assert begin_ms - 1 <= span["begin_ms"] <= span["end_ms"] <= found["now_ms"] + 1
        until(lambda: {row["finish_reason"] for row in rows_of(server).values()} == {"cancelled"})
        done = engine.complete("x", max_tokens=20, trace=True)
        last = list(rows_of(server).values())[-1]
        assert done.trace is not None
        assert last["n_spans"] == len(last["spans"]) == len(done.trace.spans)
