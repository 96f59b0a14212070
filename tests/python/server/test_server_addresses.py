"""A name of this machine with several addresses."""

from __future__ import annotations

import errno
import socket
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from tests.python.support.server_support import FakeModel, FakeText, serving

from specbranch_cpp import InvalidArgument
from specbranch_cpp.server.run import bind
from specbranch_cpp.server.settings import ServerSettings

if TYPE_CHECKING:
    from collections.abc import Sequence

V4, V6 = socket.AF_INET, socket.AF_INET6
BOTH = [(V6, "::1"), (V4, "127.0.0.1"), (V4, "127.0.0.1")]


def resolve(monkeypatch: pytest.MonkeyPatch, addresses: Sequence[tuple[int, str]]) -> None:
    """Every name has these addresses, in this order."""

    def found(_: Any, port: int, **__: Any) -> list[Any]:
        return [
            (family, socket.SOCK_STREAM, 6, "", (name, port, *((0, 0) if family == V6 else ())))
            for family, name in addresses
        ]

    monkeypatch.setattr(socket, "getaddrinfo", found)


@pytest.fixture
def needs_ipv6() -> None:
    try:
        with socket.socket(V6, socket.SOCK_STREAM) as trial:
            trial.bind(("::1", 0))
    except OSError:
        pytest.skip("this machine has no IPv6")


@pytest.mark.usefixtures("needs_ipv6")
def test_the_server_listens_at_all_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        resolve(patch, BOTH)
        listeners = bind(ServerSettings(host="localhost", port=0))
    monkeypatch.setattr("fuzz.served.bind", lambda _: listeners)
    with serving(FakeModel(), FakeText(), host="localhost") as server:
        assert server.url == f"http://localhost:{server.port}"
        for host in ("127.0.0.1", "[::1]"):
            reply = httpx.get(f"http://{host}:{server.port}/health", timeout=60)
            assert reply.status_code == 200


@pytest.mark.usefixtures("needs_ipv6")
def test_a_port_that_is_taken_at_one_address_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    (taken,) = bind(ServerSettings(port=0))
    with taken:
        taken.listen()
        port = taken.getsockname()[1]
        resolve(monkeypatch, BOTH)
        with pytest.raises(InvalidArgument, match=f"port {port}"):
            bind(ServerSettings(host="localhost", port=port))
    for listener in bind(ServerSettings(host="localhost", port=port)):  # the other one is free
        listener.close()


def test_any_port_is_free_at_all_addresses(monkeypatch: pytest.MonkeyPatch) -> None:
    """The port that the system chooses for one address may be taken at the next one."""
    resolve(monkeypatch, [(V4, "127.0.0.1"), (V4, "127.0.0.2")])
    real = socket.socket.bind
    ports: list[int] = []

    class Picky(socket.socket):
        def bind(self, address: Any) -> None:
            if address[0] == "127.0.0.2":
                ports.append(address[1])
                if len(ports) < 3:
                    raise OSError(errno.EADDRINUSE, "taken")
                return
            real(self, address)

    monkeypatch.setattr(socket, "socket", Picky)
    listeners = bind(ServerSettings(host="localhost", port=0))
    assert len(listeners) == 2
    assert listeners[0].getsockname()[1] == ports[-1]
    assert len(ports) == 3
    for listener in listeners:
        listener.close()


def test_an_address_that_is_not_there_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a container, whose list of hosts has IPv6 while its kernel has none."""
    absent = (V4, "192.0.2.1")  # of no machine
    resolve(monkeypatch, [absent, (V4, "127.0.0.1")])
    (listener,) = bind(ServerSettings(host="localhost", port=0))
    with listener:
        assert listener.getsockname()[0] == "127.0.0.1"
    resolve(monkeypatch, [absent])
    with pytest.raises(InvalidArgument, match="cannot listen on host 'localhost'"):
        bind(ServerSettings(host="localhost", port=0))


@pytest.mark.usefixtures("needs_ipv6")
@pytest.mark.parametrize(
    "addresses", [[(V4, "0.0.0.0"), (V6, "::")], [(V6, "::"), (V4, "0.0.0.0")]]
)
def test_all_addresses_of_both_kinds(
    monkeypatch: pytest.MonkeyPatch, addresses: list[tuple[int, str]]
) -> None:
    resolve(monkeypatch, addresses)
    listeners = bind(ServerSettings(host="all", port=0))
    assert len({listener.getsockname()[1] for listener in listeners}) == 1
    assert [listener.family for listener in listeners] == [family for family, _ in addresses]
    for listener in listeners:
        listener.close()
