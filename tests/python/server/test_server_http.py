"""Routes, keys, names, origins and limits of the server, without a model."""

from __future__ import annotations

import json
import socket
import threading
import time
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from tests.python.support.server_support import FakeModel, FakeText, Running, serving, told

from specbranch_cpp.errors import InvalidArgument
from specbranch_cpp.server.settings import ServerSettings

if TYPE_CHECKING:
    from collections.abc import Iterator

PATH = "/v1/completions"
BODY = {"prompt": "so it goes"}


@pytest.fixture(scope="module")
def server() -> Iterator[Running]:
    with serving(FakeModel(), FakeText(), max_body_bytes=2000) as running:
        yield running


def test_models(server: Running) -> None:
    listed = server.client.get("/v1/models").json()
    assert listed["object"] == "list"
    (entry,) = listed["data"]
    assert entry["id"] == "fake"
    assert entry["meta"] == {
        "n_ctx": 64,
        "n_vocab": 32,
        "architecture": "none",
        "draft": "fake-draft",
        "mode": "auto",
        "lookup": True,
        "placement": None,
        "has_chat_template": False,
        "tool_format": None,
        "reasoning": None,
    }
    assert server.client.get("/v1/models/fake").json() == entry
    assert told(server.client.get("/v1/models/no/such"), 404, "model_not_found")["param"] == "model"


@pytest.mark.parametrize("path", ["/", "/health", "/metrics", "/v1/models", "/v1/models/fake"])
def test_head_is_get_without_a_body(server: Running, path: str) -> None:
    reply = server.client.head(path)
    assert (reply.status_code, reply.content) == (200, b"")
    assert reply.headers["content-type"] == server.client.get(path).headers["content-type"]
    allowed = server.client.post(path, json={}).headers["allow"]
    assert sorted(allowed.split(", ")) == ["GET", "HEAD"]


def test_the_alias_may_have_slashes() -> None:
    with serving(FakeModel(), FakeText(), alias="org/name") as server:
        assert server.client.get("/v1/models/org/name").json()["id"] == "org/name"
        assert server.client.post(PATH, json=BODY).json()["given"]["model"] == "org/name"


def test_every_name_of_a_model_is_accepted(server: Running) -> None:
    reply = server.client.post(PATH, json=BODY | {"model": "gpt-9"})
    assert reply.json()["given"]["model"] == "fake"


def test_what_is_given_reaches_the_engine_and_nothing_else(server: Running) -> None:
    fields = {
        "max_tokens": 5, "temperature": 0, "top_p": 0.5, "stop": ["x"], "seed": 2**64 - 1,
        "logit_bias": {"7": -100}, "mode": "pearl", "max_branches": 2, "trace": True,
        "grammar": "root",
    }  # fmt: skip
    ignored = {"user": "me", "n": 1, "best_of": 1, "frequency_penalty": None, "typo": 1, "x y": 2}
    reply = server.client.post(PATH, json=BODY | fields | ignored | {"seed": 2**64 - 1})
    assert reply.json()["given"] == BODY | fields | {"model": "fake", "logit_bias": {"7": -100.0}}
    assert reply.headers["x-ignored-fields"] == "typo"
    assert "x-ignored-fields" not in server.client.post(PATH, json=BODY).headers
    assert "seed" not in server.client.post(PATH, json=BODY | {"seed": -1}).json()["given"]


def test_samplers_have_llama_servers_names(server: Running) -> None:
    fields = {
        "repeat_last_n": -1, "typical_p": 0.9, "top_n_sigma": -1.0, "min_keep": 2,
        "dynatemp_range": 0.5, "dynatemp_exponent": 1.5, "xtc_probability": 0.5,
        "xtc_threshold": 0.2, "dry_multiplier": 0.8, "dry_base": 1.5, "dry_allowed_length": 3,
        "dry_penalty_last_n": 128, "dry_sequence_breakers": ["\n"], "mirostat_tau": 4.0,
        "mirostat_eta": 0.2, "adaptive_target": 0.3, "adaptive_decay": 0.5,
        "samplers": ["top_k", "temperature"],
    }  # fmt: skip
    reply = server.client.post(PATH, json=BODY | fields | {"mirostat": 2})
    given = reply.json()["given"]
    assert given == BODY | fields | {"model": "fake", "mirostat_mode": 2}
    assert "x-ignored-fields" not in reply.headers
    letters = server.client.post(PATH, json=BODY | {"samplers": "kt", "mirostat_mode": 1})
    assert letters.json()["given"]["samplers"] == ["top_k", "temperature"]
    assert letters.json()["given"]["mirostat_mode"] == 1
    off = {"tfs_z": 1, "top_a": 0, "smoothing_factor": 0, "epsilon_cutoff": 0, "eta_cutoff": 0}
    assert server.client.post(PATH, json=BODY | off).json()["given"] == BODY | {"model": "fake"}


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"n": 0}, "n"),
        ({"n": 2, "trace": True}, "n"),
        ({"n": 129}, "n"),
        ({"best_of": 0}, "best_of"),
        ({"best_of": 129}, "best_of"),
        ({"best_of": "3"}, "best_of"),
        ({"best_of": True}, "best_of"),
        ({"best_of": 2, "n": 3}, "best_of"),
        ({"best_of": 3, "stream": True}, "best_of"),
        ({"best_of": 3, "trace": True}, "best_of"),
        ({"best_of": 3, "echo": True, "suffix": "x"}, "best_of"),
        ({"modalities": ["text", "audio"]}, "modalities"),
        ({"tfs_z": 0.5}, "tfs_z"),
        ({"top_a": 0.2}, "top_a"),
        ({"mirostat": 3}, "mirostat"),
        ({"mirostat": 1, "mirostat_mode": 2}, "mirostat_mode"),
        ({"typical_p": 1.5}, "typical_p"),
        ({"samplers": "kq"}, "samplers"),
        ({"samplers": [3]}, "samplers[0]"),
        ({"dry_sequence_breakers": "x"}, "dry_sequence_breakers"),
        ({"repeat_last_n": -2}, "repeat_last_n"),
        ({"prompt": ["a", 3]}, "prompt[1]"),
        ({"temperature": -1}, "temperature"),
        ({"temperature": "1"}, "temperature"),
        ({"temperature": True}, "temperature"),
        ({"stop": ["x", 3]}, "stop[1]"),
        ({"logit_bias": {"": 1}}, "logit_bias"),
        ({"logit_bias": [1, 2]}, "logit_bias"),
        ({"logit_bias": {"1": "x"}}, "logit_bias"),
        ({"stream": 1}, "stream"),
        ({"stream_options": {"include_usage": 1}}, "stream_options.include_usage"),
        ({"prompt": [1, -1]}, "prompt[1]"),
    ],
)
def test_a_wrong_field_is_named(server: Running, fields: dict[str, Any], param: str) -> None:
    reply = server.client.post(PATH, json=BODY | fields)
    assert reply.status_code == 400
    error = reply.json()["error"]
    assert (error["type"], error["param"]) == ("invalid_request_error", param)
    assert param in error["message"]


def test_refusals(server: Running) -> None:
    client = server.client
    told(client.get("/nothing"), 404, "not_found")
    told(client.get("/docs"), 404, "not_found")
    assert told(client.get(PATH), 405, "method_not_allowed")
    assert client.get(PATH).headers["allow"] == "POST"
    told(client.post(PATH, data={"prompt": "x"}), 415, "unsupported_media_type")
    zipped = {"content-type": "application/json", "content-encoding": "gzip"}
    told(client.post(PATH, content=b"{}", headers=zipped), 415, "unsupported_media_type")
    told(client.post(PATH, json=[BODY]), 400, "invalid_json")
    told(client.post(PATH, json={}), 400, "missing_required_parameter")
    assert client.post(PATH, json=BODY).status_code == 200


def test_a_body_may_have_its_size_and_no_more(server: Running) -> None:
    head = {"content-type": "application/json"}

    def post(size: int, chunked: bool) -> httpx.Response:
        body = b'{"prompt": "x"' + b" " * (size - 15) + b"}"
        assert len(body) == size
        parts = (body[i : i + 500] for i in range(0, size, 500))
        return server.client.post(PATH, content=parts if chunked else body, headers=head)

    for chunked in (False, True):
        assert post(2000, chunked).status_code == 200
        for size in (2001, 7000):
            told(post(size, chunked), 413, "body_too_large")
    # Much too big: nobody waits for it.
    announced = b"Content-Type: application/json\r\nContent-Length: 100000000000000\r\n\r\n"
    start = b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\n"
    assert exchange(server, start + announced).startswith(b"HTTP/1.1 413 ")


def test_a_body_may_be_nested_so_deep() -> None:
    with serving(FakeModel(), FakeText(), max_json_depth=5) as server:

        def post(depth: int) -> httpx.Response:
            value: Any = 1
            for _ in range(depth - 1):
                value = [value]
            return server.client.post(PATH, json=BODY | {"deep": value})

        assert post(5).status_code == 200
        assert "5 levels" in told(post(6), 400, "invalid_json")["message"]


def exchange(server: Running, *parts: bytes, pause_s: float = 0.0) -> bytes:
    """Everything that comes back on a connection until the server closes it."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=120) as connection:
        for part in parts:
            connection.sendall(part)
            time.sleep(pause_s)
        received = b""
        while data := connection.recv(65536):
            received += data
    return received


def status(server: Running, method: str, target: str, host: str = "localhost", **body: Any) -> int:
    """The status of a request with this target and this ``Host`` header."""
    data = json.dumps(body).encode() if body else b""
    head = (
        f"{method} {target} HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(data)}\r\nConnection: close\r\n\r\n"
    )
    return int(exchange(server, head.encode() + data).split()[1])


def test_targets_in_absolute_form(server: Running) -> None:
    """RFC 9112, 3.2.2: the host of the target counts, not the header."""
    base = f"http://127.0.0.1:{server.port}"
    assert status(server, "GET", f"{base}/v1/models") == 200
    assert status(server, "GET", "HTTPS://LocalHost/v1/%6Dodels?x=/y", "evil.example") == 200
    assert status(server, "POST", f"{base}{PATH}", **BODY) == 200
    assert status(server, "GET", f"{base}/v1/nothing") == 404
    assert status(server, "GET", "ftp://localhost/v1/models") == 404
    for path in ("/health", ""):
        assert status(server, "GET", f"http://localhost{path}") == 200
        assert status(server, "GET", f"http://evil.example{path}") == 403
        assert status(server, "GET", f"http://me@localhost{path}") == 400
        assert status(server, "GET", f"http://{path}") == 400


def test_who_sends_too_slowly_is_cut_off() -> None:
    # A busy machine sends a part of a request late, too: each limit alone, and not to be missed.
    with serving(FakeModel(), FakeText(), header_timeout_s=0.3) as server:
        assert exchange(server).startswith(b"HTTP/1.1 408 ")
    with serving(FakeModel(), FakeText(), header_timeout_s=3.0) as server:
        late_head = exchange(server, b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\n")
        assert b"the client sent no complete request within 3 seconds" in late_head
        assert server.client.post(PATH, json=BODY).status_code == 200
    with serving(FakeModel(), FakeText(), header_timeout_s=120, body_timeout_s=0.3) as server:
        late_body = exchange(
            server,
            b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n"
            b"Content-Type: application/json\r\n\r\n{",
        )
        assert late_body.startswith(b"HTTP/1.1 408 ")
        assert b"the body was not complete within 0.3 seconds" in late_body
        assert server.client.get("/health").status_code == 200


def test_a_head_that_is_slow_after_another_request_is_cut_off_too() -> None:
    with serving(FakeModel(), FakeText(), header_timeout_s=3.0) as server:
        both = exchange(
            server, b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n", b"GET /", pause_s=0.05
        )
        assert both.startswith(b"HTTP/1.1 200 ")
        assert b"HTTP/1.1 408 " in both


def test_there_are_only_so_many_connections() -> None:
    with serving(FakeModel(), FakeText(), max_connections=3) as server:
        server.client.get("/health")  # one, kept open
        held = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(2)]
        try:
            with pytest.raises(httpx.TransportError):
                httpx.get(f"{server.url}/health", timeout=120)
        finally:
            for connection in held:
                connection.close()
        assert server.client.get("/health").status_code == 200


def test_who_offers_http_2_gets_http_1(server: Running, caplog: pytest.LogCaptureFixture) -> None:
    """Java's client does so at every first request, so it is nothing to be warned of."""
    head = (
        "POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        "Content-Length: 15\r\nConnection: Upgrade, HTTP2-Settings, close\r\nUpgrade: h2c\r\n"
        "HTTP2-Settings: AAEAAEAAAAIAAAABAAMAAABkAAQBAAAAAAUAAEAA\r\n\r\n"
    )
    assert exchange(server, head.encode(), b'{"prompt": "x"}').startswith(b"HTTP/1.1 200 ")
    assert "WARNING" not in caplog.text


def test_what_is_no_http_is_told_so(server: Running) -> None:
    reply = exchange(server, b"\x00\x01 nonsense\r\n\r\n")
    assert reply.startswith(b"HTTP/1.1 400 ")
    assert b'"code": "invalid_http"' in reply


@pytest.mark.parametrize(
    "wrong",
    [
        {"port": 70000}, {"queue_size": -1}, {"max_body_bytes": 0}, {"request_timeout_s": 0},
        {"heartbeat_s": float("nan")}, {"api_keys": ("",)}, {"api_keys": ("two words",)},
    ],
)  # fmt: skip
def test_settings_are_checked(wrong: dict[str, Any]) -> None:
    with pytest.raises(InvalidArgument):
        ServerSettings(**wrong)


def test_requests_are_counted_once_each(server: Running) -> None:
    def count() -> float:
        name = 'specbranch:requests_total{endpoint="other",status="404"} '
        lines = server.client.get("/metrics").text.splitlines()
        return sum(float(line.removeprefix(name)) for line in lines if line.startswith(name))

    before = count()
    threads = [
        threading.Thread(target=httpx.get, args=(f"{server.url}/no/{i}",), kwargs={"timeout": 120})
        for i in range(5)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert count() == before + 5


@pytest.mark.parametrize("path", ["/api/version", "/lora-adapters", "/v1/models"])
def test_requests_are_counted_by_their_endpoint(server: Running, path: str) -> None:
    server.client.get(path)
    text = server.client.get("/metrics").text
    assert f'specbranch:requests_total{{endpoint="{path}",status="200"}} ' in text
