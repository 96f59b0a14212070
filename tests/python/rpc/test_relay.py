"""The relay that stands for a network (`benchmarks/delaying_relay.py`)."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import socket
import threading
import time
from typing import TYPE_CHECKING

import pytest
from tests.python.support.rpc import RelayProcess
from tests.python.support.server_support import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextlib.contextmanager
def echo() -> Iterator[str]:
    """The address of a server that sends back what it gets, until the end of a connection."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve(connection: socket.socket) -> None:
            with contextlib.suppress(OSError), connection:
                while data := connection.recv(1 << 16):
                    connection.sendall(data)

        def accept() -> None:
            with contextlib.suppress(OSError):
                while True:
                    connection, _ = listener.accept()
                    threading.Thread(target=serve, args=(connection,), daemon=True).start()

        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        yield f"127.0.0.1:{listener.getsockname()[1]}"
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()


def connect(address: str) -> socket.socket:
    host, _, port = address.rpartition(":")
    return socket.create_connection((host, int(port)), timeout=60)


def send_all(near: socket.socket, data: bytes) -> None:
    near.sendall(data)
    near.shutdown(socket.SHUT_WR)


@pytest.mark.parametrize("delay_ms", [0.0, 20.0])
def test_bytes_come_whole_and_late(delay_ms: float) -> None:
    data = random.Random(1).randbytes(3_000_000)
    with echo() as server, RelayProcess(server, delay_ms) as relay:
        with connect(relay.address) as near:
            begin = time.monotonic()
            threading.Thread(target=send_all, args=(near, data)).start()
            with near.makefile("rb") as stream:
                first = stream.read(1)
                taken_s = time.monotonic() - begin
                assert first + stream.read() == data  # the end comes through, too
        assert taken_s >= 2 * delay_ms / 1000
        with connect(relay.address) as other:
            other.sendall(b"again")
            assert other.recv(5) == b"again"


def test_silence() -> None:
    with echo() as server, RelayProcess(server) as relay, connect(relay.address) as near:
        near.sendall(b"a")
        assert near.recv(1) == b"a"
        os.kill(relay.process.pid, signal.SIGUSR1)
        near.settimeout(0.3)

        def is_silent() -> bool:
            near.sendall(b"b")
            try:
                near.recv(1000)
            except TimeoutError:
                return True
            return False

        # The relay may hear of the signal late, and may have been only slow before.
        wait_until(lambda: is_silent() and is_silent())


def test_nobody_is_there() -> None:
    with echo() as server:
        relay = RelayProcess(server)
    with relay, connect(relay.address) as near:
        near.settimeout(60)
        assert near.recv(1) == b""
