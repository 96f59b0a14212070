"""What is asked of a server before llama.cpp connects, against stand-ins for servers."""

from __future__ import annotations

import socket
import time

import pytest
from tests.python.support.rpc import MEMORY, StandIn, standing_in

from specbranch_cpp import ModelLoadError
from specbranch_cpp._rpc.addresses import Address, parse_addresses
from specbranch_cpp._rpc.handshake import PROTOCOL, RpcServer, ServedDevice, ask_server


def ask(text: str, limit_s: float = 5.0) -> RpcServer:
    (address,) = parse_addresses("servers", [text])
    return ask_server(address, limit_s)


def test_a_server_that_answers() -> None:
    with standing_in(StandIn(version=(*PROTOCOL, 3))) as address:
        found = ask(address)
    assert found.version == (*PROTOCOL, 3)
    assert found.endpoint == address
    assert found.devices == (ServedDevice(*MEMORY),) * 2


def test_the_endpoint_has_no_name() -> None:
    with standing_in(StandIn()) as address:
        port = address.partition(":")[2]
        found = ask(f"localhost:{port}")
    assert (found.endpoint, str(found.address)) == (address, f"localhost:{port}")


@pytest.mark.parametrize(
    ("server", "words"),
    [
        (StandIn((PROTOCOL[0] + 1, 0, 0)), r"version 8\.0\.0 of the protocol; this llama.cpp has"),
        (StandIn((PROTOCOL[0] - 1, 0, 0)), "install the same version"),
        (StandIn((PROTOCOL[0], PROTOCOL[1] + 1, 0)), r"version 7\.1\.0"),
        (StandIn(n_devices=0), "has 0 devices"),
        (StandIn(n_devices=10**6), "has 1000000 devices"),
        (StandIn(n_bytes=0), "no RPC server of this version of llama.cpp: it closed"),
        (StandIn(n_bytes=20), "no RPC server of this version of llama.cpp: it closed"),
        (StandIn(size=3), "an answer of 3 bytes"),
        (StandIn(size=2**60), "no RPC server of this version"),
    ],
)
def test_a_server_that_cannot_be_used(server: StandIn, words: str) -> None:
    with standing_in(server) as address, pytest.raises(ModelLoadError, match=words) as error:
        ask(address)
    assert address in str(error.value)


def test_nobody_listens() -> None:
    with socket.socket() as mute:  # nobody else gets its port
        mute.bind(("127.0.0.1", 0))
        port = mute.getsockname()[1]
        words = rf"127\.0\.0\.1:{port} cannot be reached: Connection"
        with pytest.raises(ModelLoadError, match=words):
            ask(f"127.0.0.1:{port}")


@pytest.mark.parametrize("name", ["a..b", f"{'a' * 64}.example"])
def test_a_name_that_no_host_can_have(name: str) -> None:
    with pytest.raises(ModelLoadError, match="is not known: no host has such a name"):
        ask(f"{name}:50052")


def test_a_name_that_nobody_knows() -> None:
    with pytest.raises(ModelLoadError, match=r"no-such-host\.invalid:1 is not known"):
        ask("no-such-host.invalid:1")


def test_a_server_that_says_nothing() -> None:
    """So it is with a server that serves another program."""
    begin = time.monotonic()
    with standing_in(None) as address, pytest.raises(ModelLoadError, match="another one may be"):
        ask(address, limit_s=0.3)
    assert time.monotonic() - begin < 60  # it came to an end


def test_a_server_that_dribbles() -> None:
    """The limit is for all answers together."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(0.1)
        port = listener.getsockname()[1]
        import threading

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                for _ in range(200):
                    try:
                        connection.sendall(b"\x1c")
                    except OSError:
                        return
                    time.sleep(0.1)

        listener.settimeout(10)
        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        with pytest.raises(ModelLoadError):
            ask_server(Address("127.0.0.1", port), limit_s=0.3)
        thread.join()
