"""Clients that do not read what they asked for."""

from __future__ import annotations

import json
import socket
import time
from typing import Any

import pytest
from tests.python.support.server_support import FakeModel, FakeText, Running, serving, wait_until

BIG = "x" * 3_000_000


def deaf(server: Running, *, stream: bool) -> socket.socket:
    """A client that has asked for a long reply, with room for a little of it."""
    (listener,) = (one for own in server.server.servers for one in own.sockets)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
    client.connect(("127.0.0.1", server.port))
    body = json.dumps({"prompt": BIG, "stream": stream})
    head = (
        f"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n"
        "Content-Type: application/json\r\n\r\n"
    )
    client.sendall((head + body).encode())
    return client


def connections(server: Running) -> int:
    return len(server.server.server_state.connections)


@pytest.mark.parametrize("stream", [False, True])
def test_they_are_dropped(stream: bool) -> None:
    settings: Any = {"send_timeout_s": 0.2, "keep_alive_s": 0.2}
    text = FakeText()
    with serving(FakeModel(), text, **settings) as server, deaf(server, stream=stream):
        wait_until(lambda: text.log)
        wait_until(lambda: connections(server) == 0)


@pytest.mark.parametrize("stream", [False, True])
def test_who_reads_slowly_is_not(stream: bool) -> None:
    with (
        serving(FakeModel(), FakeText(), send_timeout_s=3.0) as server,
        deaf(server, stream=stream) as client,
    ):
        read = bytearray()
        n_letters = 0
        begin = time.monotonic()
        while n_letters < len(BIG):
            part = client.recv(100_000)
            assert part, f"closed after {len(read)} bytes"
            read += part
            n_letters += part.count(b"x")
            if time.monotonic() - begin < 4.5:
                time.sleep(0.05)
        assert time.monotonic() - begin > 4.0
        while stream and b"[DONE]" not in read[-200:]:
            part = client.recv(100_000)
            assert part, "closed before the end of the stream"
            read += part
