"""Names of hosts and origins: values as people write them, and messages that name the option."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from tests.python.support.server_support import KEY, FakeModel, FakeText, Running, serving, told

from specbranch_cpp.errors import InvalidArgument
from specbranch_cpp.server.settings import ServerSettings

if TYPE_CHECKING:
    from collections.abc import Iterator

PATH = "/v1/completions"
BODY = {"prompt": "so it goes"}
FRIEND = "https://friend.example"
ASKS = {
    "access-control-request-method": "POST",
    "access-control-request-headers": "authorization,content-type,x-stainless-os",
}


@pytest.fixture(scope="module")
def server() -> Iterator[Running]:
    with serving(FakeModel(), FakeText()) as running:
        yield running


def test_a_refused_host_is_told_the_option(server: Running) -> None:
    for host, name in (
        ("host.docker.internal:8080", "host.docker.internal"),
        ("Model.LAN", "model.lan"),
        ("[fe80::1]:80", "fe80::1"),
    ):
        reply = server.client.get("/health", headers={"host": host})
        error = told(reply, 403, "host_not_allowed")
        assert f"--allowed-host {name} " in error["message"] + " "


@pytest.mark.parametrize(
    "value",
    [
        "model.lan", "Model.LAN", "model.lan:8080", "http://model.lan:8080/v1", " model.lan ", "*",
    ],
)  # fmt: skip
def test_a_host_as_people_write_it(value: str) -> None:
    with serving(FakeModel(), FakeText(), allowed_hosts=(value,)) as server:
        for host in (f"model.lan:{server.port}", "MODEL.lan", "localhost"):
            assert server.client.get("/health", headers={"host": host}).status_code == 200
        other = server.client.get("/health", headers={"host": "other.lan"})
        assert other.status_code == (200 if value == "*" else 403)


@pytest.mark.parametrize("value", ["", "a b/c", "*.lan", "a@b", "http://", "model.lan:port"])
def test_what_is_no_host_is_refused(value: str) -> None:
    with pytest.raises(InvalidArgument, match="allowed_hosts has"):
        ServerSettings(allowed_hosts=(value,))


@pytest.mark.parametrize(
    ("value", "origin"),
    [
        ("http://a.test", "http://a.test"),
        ("http://a.test/", "http://a.test"),
        ("HTTP://A.TEST", "http://a.test"),
        ("https://a.test:443", "https://a.test"),
        ("http://a.test:80/", "http://a.test"),
        ("http://a.test:3000", "http://a.test:3000"),
        ("http://[::1]:3000", "http://[::1]:3000"),
        ("http://bücher.test", "http://xn--bcher-kva.test"),
        ("chrome-extension://abcdef", "chrome-extension://abcdef"),
        ("app://obsidian.md", "app://obsidian.md"),
        ("null", "null"),
        ("*", "*"),
    ],
)
def test_an_origin_is_what_browsers_send(value: str, origin: str) -> None:
    assert ServerSettings(cors_origins=(value,)).cors_origins == (origin,)


@pytest.mark.parametrize(
    "value",
    [
        "",
        "a.test",
        "localhost:3000",
        "http://a.test/page",
        "https://*.a.test",
        "file://",
        "x://a:b",
    ],
)
def test_what_is_no_origin_is_refused(value: str) -> None:
    with pytest.raises(InvalidArgument, match="cors_origins has"):
        ServerSettings(cors_origins=(value,))


@pytest.mark.parametrize("value", [FRIEND, FRIEND.upper() + "/", "*", "null"])
def test_pages_of_an_origin(value: str) -> None:
    origin = value if value == "null" else FRIEND
    with serving(FakeModel(), FakeText(), cors_origins=(value,)) as server:
        reply = server.client.post(PATH, json=BODY, headers={"origin": origin})
        assert reply.status_code == 200
        assert reply.headers["access-control-allow-origin"] in (origin, "*")
        preflight = server.client.options(PATH, headers={"origin": origin, **ASKS})
        assert preflight.status_code == 200
        assert (
            preflight.headers["access-control-allow-headers"]
            == ASKS["access-control-request-headers"]
        )
        assert "access-control-allow-private-network" not in preflight.headers
        asks = {"origin": origin, **ASKS, "access-control-request-private-network": "true"}
        private = server.client.options(PATH, headers=asks)
        assert private.status_code == 200
        assert private.headers["access-control-allow-private-network"] == "true"


@pytest.mark.parametrize("origins", [(), ("https://other.example",)])
def test_a_page_that_is_refused_is_told_the_option(origins: tuple[str, ...]) -> None:
    with serving(FakeModel(), FakeText(), cors_origins=origins) as server:
        for origin, value in (
            ("https://evil.example:8443", "https://evil.example:8443"),
            ("chrome-extension://abc", "chrome-extension://abc"),
            ("null", "null"),
        ):
            headers = {"origin": origin}
            for reply in (
                server.client.post(PATH, json=BODY, headers=headers),
                server.client.options(PATH, headers=headers | ASKS),
            ):
                error = told(reply, 403, "origin_not_allowed")
                assert error["message"].endswith(f"--cors-origin {value}")
                assert "access-control-allow-origin" not in reply.headers


def test_a_method_that_does_not_exist_is_named() -> None:
    with serving(FakeModel(), FakeText(), cors_origins=(FRIEND,)) as server:
        asks = {"origin": FRIEND, "access-control-request-method": "DELETE"}
        reply = server.client.options(PATH, headers=asks)
        error = told(reply, 405, "method_not_allowed")
        assert "GET or POST" in error["message"]
        assert reply.headers["access-control-allow-origin"] == FRIEND


@pytest.mark.parametrize("origins", [(), ("https://other.example",)])
def test_a_refusal_has_the_form_of_the_interface(origins: tuple[str, ...]) -> None:
    with serving(FakeModel(), FakeText(), cors_origins=origins) as server:
        ollama = server.client.options("/api/chat", headers={"origin": FRIEND, **ASKS})
        messages = server.client.options("/v1/messages", headers={"origin": FRIEND, **ASKS})
        assert ollama.status_code == messages.status_code == 403
        assert ollama.json()["error"].endswith(f"--cors-origin {FRIEND}")
        assert messages.json()["type"] == "error"
        assert messages.json()["error"]["type"] == "permission_error"


def test_a_method_is_refused_in_the_form_of_the_interface() -> None:
    with serving(FakeModel(), FakeText(), cors_origins=(FRIEND,)) as server:
        asks = {"origin": FRIEND, "access-control-request-method": "DELETE"}
        reply = server.client.options("/api/chat", headers=asks)
        assert reply.status_code == 405
        assert "GET or POST" in reply.json()["error"]
        assert reply.headers["access-control-allow-origin"] == FRIEND


def test_the_servers_own_page_may_call_also_at_the_usual_port(server: Running) -> None:
    for host, origin in (
        (f"127.0.0.1:{server.port}", f"http://127.0.0.1:{server.port}"),
        ("localhost", "http://localhost"),
        ("localhost:80", "http://localhost"),
        ("localhost:443", "https://localhost"),  # a proxy with TLS
        ("localhost", "https://localhost"),
    ):
        headers = {"host": host, "origin": origin}
        assert server.client.post(PATH, json=BODY, headers=headers).status_code == 200, host
    for host, origin in (("localhost:81", "http://localhost"), ("localhost", "http://127.0.0.1")):
        headers = {"host": host, "origin": origin}
        assert server.client.post(PATH, json=BODY, headers=headers).status_code == 403, host


def test_every_error_can_be_read_by_a_page() -> None:
    def post(server: Running, path: str = PATH, **options: Any) -> Any:
        headers = {"origin": FRIEND, "authorization": f"Bearer {KEY}", **options.pop("headers", {})}
        return server.client.post(path, headers=headers, **options)

    with serving(
        FakeModel(), FakeText(), cors_origins=(FRIEND,), api_keys=(KEY,), max_body_bytes=200
    ) as server:
        replies = [
            (400, post(server, json={"prompt": 5})),
            (401, post(server, json=BODY, headers={"authorization": "Bearer no"})),
            (403, post(server, json=BODY, headers={"host": "evil.example"})),
            (404, post(server, "/v1/nothing", json=BODY)),
            (405, post(server, "/v1/models", json=BODY)),
            (413, post(server, json={"prompt": "a" * 500})),
            (415, post(server, data={"prompt": "x"})),
            (500, post(server, json={"prompt": "#fail"})),
        ]
        for status, reply in replies:
            assert reply.status_code == status
            assert reply.json()["error"]["message"]
            assert reply.headers["access-control-allow-origin"] == FRIEND, status
        exposed = replies[0][1].headers["access-control-expose-headers"].lower()
        assert {"x-ignored-fields", "retry-after", "x-should-retry"} <= set(exposed.split(", "))
