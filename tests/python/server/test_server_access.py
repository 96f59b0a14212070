"""Who may call the server: keys, names, origins; and the page, without a model."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

import pytest
from tests.python.support.server_support import KEY, FakeModel, FakeText, Running, serving, told

from specbranch_cpp.server import app as app_module
from specbranch_cpp.server.settings import ServerSettings

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PATH = "/v1/completions"
BODY = {"prompt": "so it goes"}


@pytest.fixture(scope="module")
def server() -> Iterator[Running]:
    with serving(FakeModel(), FakeText()) as running:
        yield running


def test_keys() -> None:
    with serving(FakeModel(), FakeText(), api_keys=("another", KEY)) as server:
        client = server.client
        for path in ("/v1/models", "/metrics", "/slots", "/nothing"):
            error = told(client.get(path), 401, "invalid_api_key")
            assert "Authorization: Bearer" in error["message"]
        for wrong in (f"Bearer {KEY}x", "Bearer", f"Basic {KEY}", "Bearer \xff", KEY):
            headers = {"authorization": wrong.encode("latin-1")}
            reply = client.post(PATH, json=BODY, headers=headers)  # type: ignore[arg-type]
            told(reply, 401, "invalid_api_key")
            assert reply.headers["www-authenticate"] == "Bearer"
        for right in (KEY, "another"):
            headers = {"authorization": f"bearer {right}"}  # type: ignore[dict-item]
            assert client.post(PATH, json=BODY, headers=headers).status_code == 200  # type: ignore[arg-type]
        assert client.get("/health").status_code == 200


def test_who_is_refused_may_send_the_body_before_the_answer() -> None:
    """Else the connection would be reset, and the client might not see why."""
    with (
        serving(FakeModel(), FakeText(), api_keys=(KEY,)) as server,
        socket.create_connection(("127.0.0.1", server.port)) as connection,
    ):
        connection.sendall(f"POST {PATH} HTTP/1.1\r\nHost: localhost\r\n".encode())
        connection.sendall(b"Content-Length: 5\r\nContent-Type: application/json\r\n\r\n")
        connection.settimeout(0.3)
        with pytest.raises(TimeoutError):
            connection.recv(1)
        connection.settimeout(30)
        connection.sendall(b"12345")
        assert connection.recv(65536).startswith(b"HTTP/1.1 401 ")


def test_other_names_of_this_machine_are_refused(server: Running) -> None:
    def status(host: str) -> int:
        return server.client.get("/health", headers={"host": host}).status_code

    for host in ("localhost", f"LOCALHOST:{server.port}", "127.0.0.1:1", "[::1]:80"):
        assert status(host) == 200, host
    for host in ("evil.example", "localhost.evil.example", "127.0.0.1.evil.example"):
        assert status(host) == 403, host
    for host in ("", "localhost:x", "a@localhost", "localhost/x"):
        assert status(host) == 400, host


def test_names_can_be_added() -> None:
    with serving(FakeModel(), FakeText(), allowed_hosts=("model.lan",)) as server:
        for host, status in (("model.lan", 200), ("localhost", 200), ("other.lan", 403)):
            assert server.client.get("/health", headers={"host": host}).status_code == status


def test_an_open_address_has_every_name() -> None:
    assert ServerSettings(host="0.0.0.0").host_names is None
    named = ServerSettings(host="0.0.0.0", allowed_hosts=("a.lan",)).host_names
    assert named == frozenset({"a.lan", "localhost", "127.0.0.1", "::1", "0.0.0.0"})


def test_pages_of_others_may_not_call(server: Running) -> None:
    own = f"http://127.0.0.1:{server.port}"
    for origin, status in ((own, 200), ("https://evil.example", 403), ("null", 403)):
        reply = server.client.post(PATH, json=BODY, headers={"origin": origin})
        assert reply.status_code == status
        assert "access-control-allow-origin" not in reply.headers


def test_pages_of_named_origins_may_call() -> None:
    friend = "https://friend.example"
    with serving(FakeModel(), FakeText(), cors_origins=(friend,), api_keys=(KEY,)) as server:
        asks = {"origin": friend, "access-control-request-method": "POST"}
        asks["access-control-request-headers"] = "authorization, content-type"
        preflight = server.client.options(PATH, headers=asks)
        assert preflight.status_code == 200
        assert preflight.headers["access-control-allow-origin"] == friend
        headers = {"origin": friend, "authorization": f"Bearer {KEY}"}
        reply = server.client.post(PATH, json=BODY, headers=headers)
        assert reply.status_code == 200
        assert reply.headers["access-control-allow-origin"] == friend
        headers["origin"] = "https://evil.example"
        assert server.client.post(PATH, json=BODY, headers=headers).status_code == 403


def test_the_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "index.html").write_text("<title>here</title>")
    (tmp_path / "app.js").write_text("1;")
    (tmp_path.parent / "secret.js").write_text("2;")
    monkeypatch.setattr(app_module, "PAGE", tmp_path)
    with serving(FakeModel(), FakeText(), api_keys=(KEY,)) as server:
        page, script = server.client.get("/"), server.client.get("/page/app.js")
        assert (page.text, script.text) == ("<title>here</title>", "1;")
        assert page.headers["cache-control"] == "no-store"
        assert "javascript" in script.headers["content-type"]
        for reply in (page, script):
            assert reply.headers["content-security-policy"].startswith("default-src 'self'")
            assert reply.headers["x-content-type-options"] == "nosniff"
            assert reply.headers["referrer-policy"] == "no-referrer"
        for path in ("/page/none.js", "/page/%2e%2e/secret.js", "/page/..%2fsecret.js"):
            told(server.client.get(path), 404, "not_found")


def test_page_metrics_and_slots_can_be_left_out() -> None:
    with serving(FakeModel(), FakeText(), page=False, metrics=False, slots=False) as server:
        for path in ("/", "/page/app.js", "/metrics", "/slots"):
            told(server.client.get(path), 404, "not_found")
