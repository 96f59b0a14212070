"""Streams, time limits, clients that leave and the end of the server, without a model."""

from __future__ import annotations

import asyncio
import json
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import httpx
import openai
import pytest
from tests.python.support.openai_clients import openai_client
from tests.python.support.server_support import (
    FakeModel,
    FakeText,
    Running,
    events,
    sent,
    serving,
    wait_until,
)

from specbranch_cpp.errors import (
    ContextOverflow,
    DecodeError,
    EngineClosed,
    InvalidArgument,
    SpecBranchError,
)
from specbranch_cpp.server.errors import GenerationTimeout
from specbranch_cpp.server.service import QueuedCall
from specbranch_cpp.server.streams import EventStream, Job

if TYPE_CHECKING:
    from collections.abc import Coroutine

PATH = "/v1/completions"


def ask(server: Running, prompt: str, **fields: Any) -> httpx.Response:
    return server.client.post(PATH, json={"prompt": prompt, **fields})


def test_a_stream_is_one_event_a_chunk_and_done() -> None:
    with serving(FakeModel(), FakeText()) as server:
        reply = ask(server, "so it goes", stream=True)
    assert reply.headers["content-type"].startswith("text/event-stream")
    assert reply.headers["cache-control"] == "no-store"
    *chunks, done = events(reply.text)
    assert [json.loads(chunk)["choices"][0]["text"] for chunk in chunks] == ["so", "it", "goes"]
    assert done == "[DONE]"


def test_silence_gets_comments() -> None:
    text = FakeText()
    body = {"prompt": "#held", "stream": True}
    with (
        serving(FakeModel(), text, heartbeat_s=0.05) as server,
        server.client.stream("POST", PATH, json=body) as reply,
    ):
        lines = reply.iter_lines()
        before = [next(lines) for _ in range(4)]  # as long as the text says nothing
        text.released.set()
        after = list(lines)
    assert before == [": ", ""] * 2
    assert len(events("\n".join(after) + "\n")) == 2


def test_comments_come_between_the_words_too() -> None:
    with serving(FakeModel(), FakeText(), heartbeat_s=0.05) as server:
        body = {"prompt": "#hang", "stream": True}
        with server.client.stream("POST", PATH, json=body) as reply:
            lines = reply.iter_lines()
            for line in lines:
                if "#hang" in line:
                    break
            assert [next(lines) for _ in range(3)] == ["", ": ", ""]


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize(
    ("error", "status", "kind", "param", "code"),
    [
        (
            InvalidArgument("[f] top_k is -5; it must be -1 or more"),
            400, "invalid_request_error", "top_k", "invalid_value",
        ),
        (
            ContextOverflow("the prompt has 70 tokens; the context 64"),
            400, "invalid_request_error", None, "context_length_exceeded",
        ),
        (RuntimeError("a secret of the inside"), 500, "server_error", None, "internal_error"),
    ],
)  # fmt: skip
def test_an_early_error_has_its_status(
    stream: bool, error: Exception, status: int, kind: str, param: str | None, code: str
) -> None:
    with serving(FakeModel(), FakeText(error=error)) as server:
        reply = ask(server, "#fail", stream=stream)
        assert reply.status_code == status
        told = reply.json()["error"]
        assert (told["type"], told["param"], told["code"]) == (kind, param, code)
        assert "secret" not in told["message"]
        assert not told["message"].startswith("[f]")
        is_overflow = told["message"].startswith("This model's maximum context length is ")
        assert is_overflow == (code == "context_length_exceeded")
        assert ask(server, "on").status_code == 200


def test_a_bug_has_the_form_of_the_interface() -> None:
    with serving(FakeModel(), FakeText()) as server:
        message = "an unexpected error occurred; the server's log has the details"
        asked = {"messages": [{"role": "user", "content": "#fail"}], "stream": False}
        reply = server.client.post("/api/chat", json=asked)
        assert (reply.status_code, reply.json()) == (500, {"error": message})
        reply = server.client.post("/v1/messages", json=asked | {"max_tokens": 3})
        assert reply.status_code == 500
        error = {"type": "api_error", "message": message}
        assert reply.json() == {"type": "error", "error": error}


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("error", [SpecBranchError("no thread"), RuntimeError("no thread")])
def test_the_log_has_the_details_of_a_bug(
    caplog: pytest.LogCaptureFixture, error: Exception, stream: bool
) -> None:
    with serving(FakeModel(), FakeText(error=error)) as server:
        reply = ask(server, "#fail", stream=stream)
    assert (reply.status_code, reply.json()["error"]["code"]) == (500, "internal_error")
    (record,) = (one for one in caplog.records if one.levelname == "ERROR")
    assert record.exc_info is not None
    assert record.exc_info[1] is error
    assert record.getMessage().startswith(f"POST {PATH} failed")


def test_what_a_client_did_wrong_is_no_error_of_the_log(caplog: pytest.LogCaptureFixture) -> None:
    with serving(FakeModel(), FakeText(error=InvalidArgument("top_k is -5"))) as server:
        assert ask(server, "#fail").status_code == 400
    assert not [one for one in caplog.records if one.levelname == "ERROR"]


def test_a_late_error_is_an_event() -> None:
    with serving(FakeModel(), FakeText(error=InvalidArgument("max_branches is 9"))) as server:
        reply = ask(server, "#break", stream=True)
        assert reply.status_code == 200
        word, error = events(reply.text)
        assert json.loads(word)["choices"][0]["text"] == "#break"
        assert json.loads(error)["error"]["message"] == "max_branches is 9"
        assert ask(server, "on").status_code == 200


@pytest.mark.parametrize("error", [DecodeError("NaN in the scores"), EngineClosed("closed")])
def test_an_engine_that_is_broken_is_said_to_be(error: Exception) -> None:
    class Broken(FakeModel):
        def generate(self, *_: Any, **__: Any) -> Any:
            raise error

    with serving(Broken(), FakeText(error=error)) as server:
        assert ask(server, "#fail").status_code in (500, 503)
        health = server.client.get("/health")
        assert health.status_code == 503
        assert health.json()["status"] == "engine_broken"
        assert health.json()["error"]["message"] == str(error)
        reply = ask(server, "on")
        assert (reply.status_code, reply.json()["error"]["code"]) == (503, "engine_broken")


def test_a_failed_generation_is_not_a_broken_engine() -> None:
    class Fine(FakeModel):
        def generate(self, *_: Any, **__: Any) -> Any:
            return FakeGeneration()

    class FakeGeneration:
        def result(self) -> None: ...

    with serving(Fine(), FakeText(error=DecodeError("the pass failed"))) as server:
        assert ask(server, "#fail").json()["error"]["code"] == "decode_error"
        assert server.client.get("/health").status_code == 200
        assert ask(server, "on").status_code == 200


def test_the_time_limit_is_an_error() -> None:
    text = FakeText()
    with serving(FakeModel(), text, request_timeout_s=3.0, heartbeat_s=0.05) as server:
        reply = ask(server, "#hang")
        assert reply.status_code == 504
        assert reply.json()["error"]["code"] == "timeout"
        *_, last = events(ask(server, "#hang", stream=True).text)
        assert (
            json.loads(last)["error"]["message"]
            == "the generation exceeded the limit of 3 seconds and was stopped"
        )
        assert text.log.count("cancel #hang") == 2
        assert ask(server, "on").status_code == 200


def test_clients_do_not_send_again_what_took_too_long() -> None:
    text = FakeText()
    with (
        serving(FakeModel(), text, request_timeout_s=0.2) as server,
        openai_client(server, max_retries=2) as client,
        pytest.raises(openai.InternalServerError, match="exceeded the limit"),
    ):
        client.completions.create(model="any", prompt="#silent")
    assert text.log == ["begin #silent", "cancel #silent"]


@pytest.mark.parametrize("stream", [True, False])
def test_the_work_ends_when_the_client_leaves(stream: bool) -> None:
    text = FakeText()
    with serving(FakeModel(), text) as server:
        with sent(server, "#hang", stream=stream):
            wait_until(lambda: "begin #hang" in text.log)
        wait_until(lambda: "cancel #hang" in text.log)
        assert ask(server, "on").status_code == 200


@pytest.mark.parametrize("stream", [True, False])
def test_the_work_ends_though_the_client_has_begun_another_request(stream: bool) -> None:
    """Its bytes stay unread until the answer, and with them the end of the connection."""
    text = FakeText()
    with serving(FakeModel(), text) as server:
        with sent(server, "#hang", stream=stream) as connection:
            wait_until(lambda: "begin #hang" in text.log)
            connection.sendall(b"GET /health HTTP/1.1\r\n")
            connections: Any = server.server.server_state.connections
            wait_until(lambda: any(one.conn.trailing_data[0] for one in connections))
        wait_until(lambda: "cancel #hang" in text.log)
        assert ask(server, "on").status_code == 200


@pytest.mark.parametrize("stream", [True, False])
def test_who_leaves_while_waiting_never_starts(stream: bool) -> None:
    text = FakeText()
    with serving(FakeModel(), text, heartbeat_s=0.05) as server:
        with sent(server, "#hang", stream=True):
            wait_until(lambda: "begin #hang" in text.log)
            with sent(server, "never", stream=stream):
                wait_until(lambda: server.service.queue.n_waiting == 1)
            wait_until(lambda: server.service.queue.n_waiting == 0)
        assert ask(server, "on").status_code == 200
    assert "begin never" not in text.log


# More than the buffers of a connection hold.
LONG = " ".join(["word" * 100] * 20_000)


def test_a_slow_reader_keeps_nobody_waiting() -> None:
    text = FakeText()
    with (
        serving(FakeModel(), text, max_body_bytes=10**8) as server,
        sent(server, LONG, stream=True),
    ):
        wait_until(lambda: f"begin {LONG}" in text.log)
        assert ask(server, "on").status_code == 200
        assert f"end {LONG}" in text.log
        assert server.server.server_state.tasks  # its own request is not over


def test_a_client_that_never_reads_is_dropped() -> None:
    text = FakeText()
    with (
        serving(FakeModel(), text, max_body_bytes=10**8, send_timeout_s=0.2) as server,
        sent(server, LONG, stream=True),
    ):
        wait_until(lambda: f"begin {LONG}" in text.log)
        wait_until(lambda: not server.server.server_state.tasks)


def test_the_queue_has_a_limit() -> None:
    text = FakeText()
    with (
        serving(FakeModel(), text, queue_size=2) as server,
        ThreadPoolExecutor(2) as pool,
    ):
        with sent(server, "#hang", stream=True):
            wait_until(lambda: "begin #hang" in text.log)
            waiting = [pool.submit(ask, server, name) for name in ("first", "second")]
            wait_until(lambda: server.service.queue.n_waiting == 2)
            health = server.client.get("/health").json()
            assert (health["requests_processing"], health["requests_waiting"]) == (1, 2)
            refused = ask(server, "third")
        assert refused.status_code == 429
        assert refused.json()["error"]["type"] == "rate_limit_error"
        assert int(refused.headers["retry-after"]) >= 1
        assert [reply.result().status_code for reply in waiting] == [200, 200]
    assert "begin third" not in text.log


def test_stopping_lets_the_running_one_finish() -> None:
    text = FakeText()
    with serving(FakeModel(), text, grace_s=120) as server, ThreadPoolExecutor(2) as pool:
        running = pool.submit(ask, server, "#held", stream=True)
        wait_until(lambda: bool(text.log))
        waiting = pool.submit(ask, server, "never")
        wait_until(lambda: server.service.queue.n_waiting == 1)
        server.server.should_exit = True
        refused = waiting.result()
        assert (refused.status_code, refused.json()["error"]["code"]) == (503, "shutting_down")
        text.released.set()
        assert events(running.result().text)[-1] == "[DONE]"
    assert "begin never" not in text.log


@pytest.mark.parametrize("stream", [True, False])
def test_stopping_ends_what_takes_too_long(stream: bool) -> None:
    text = FakeText()
    with serving(FakeModel(), text, grace_s=0.2) as server, ThreadPoolExecutor(1) as pool:
        running = pool.submit(ask, server, "#hang", stream=stream)
        wait_until(lambda: bool(text.log))
        server.server.should_exit = True
        reply = running.result()
        told = json.loads(events(reply.text)[-1]) if stream else reply.json()
        assert told["error"]["code"] == "shutting_down"
        assert reply.status_code == (200 if stream else 503)
    assert "cancel #hang" in text.log


class _FailingService:
    """A call that fails when the test says so."""

    def __init__(self) -> None:
        self.may_fail = asyncio.Event()
        self.has_failed = asyncio.Event()

    async def run(self, *_: Any) -> None:
        await self.may_fail.wait()
        self.has_failed.set()
        raise GenerationTimeout(3.0)


async def _nothing() -> dict[str, Any]:
    await asyncio.Event().wait()
    raise AssertionError


def test_a_call_that_fails_while_a_wait_for_it_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    service: Any = _FailingService()

    async def too_late(wait: Coroutine[Any, Any, Any], _: float | None) -> None:
        wait.close()
        service.may_fail.set()
        await service.has_failed.wait()
        await asyncio.sleep(0)
        raise asyncio.TimeoutError

    async def check() -> None:
        call: Any = None
        async with Job(service, call, {"type": "http"}, _nothing) as job:
            await asyncio.sleep(0)
            with monkeypatch.context() as patch:
                patch.setattr(asyncio, "wait_for", too_late)
                with pytest.raises(GenerationTimeout):
                    await job.take(0.01)

    asyncio.run(check())


def test_a_call_that_fails_while_the_status_is_sent() -> None:
    service: Any = _FailingService()
    sent: list[bytes] = []

    async def send(message: Any) -> None:
        if message["type"] == "http.response.start":
            service.may_fail.set()
            await service.has_failed.wait()
            await asyncio.sleep(0)
        sent.append(message.get("body", b""))

    call = QueuedCall("/v1/completions", chat=False, arguments={})
    stream = EventStream(service, call, heartbeat_s=0.01, send_timeout_s=5.0)
    asyncio.run(stream({"type": "http"}, _nothing, send))
    *_, last = events(b"".join(sent).decode())
    assert json.loads(last)["error"]["code"] == "timeout"
