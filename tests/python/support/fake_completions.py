"""A server with llama-server's ``/completion`` whose answers a test writes."""

from __future__ import annotations

import contextlib
import json
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["FakeServer", "event", "last_event", "serving"]


def event(**content: Any) -> bytes:
    return b"data: " + json.dumps(content).encode() + b"\n\n"


def last_event(n_tokens: int, **timings: int) -> bytes:
    return event(content="", stop=True, tokens_predicted=n_tokens, timings=timings)


@dataclass
class FakeServer:
    """What it answers, and what it was asked.

    Attributes:
        url: where it listens.
        parts: the chunks of its streams. Empty: one event for each token that was asked for.
        status: the status of its replies.
        asked: the bodies of the requests to ``/completion``.
    """

    url: str
    parts: list[bytes] = field(default_factory=list)
    status: int = 200
    asked: list[dict[str, Any]] = field(default_factory=list)

    def chunks(self, path: str, body: dict[str, Any]) -> list[bytes]:
        if path == "/tokenize":
            return [json.dumps({"tokens": list(body["content"].encode())}).encode()]
        self.asked.append(body)
        n = body["n_predict"]
        return self.parts or [*(event(content="x", stop=False) for _ in range(n)), last_event(n)]


@contextlib.contextmanager
def serving() -> Iterator[FakeServer]:
    """Serves at a free port of this machine."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            chunks = fake.chunks(self.path, body)
            self.send_response(fake.status)
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            for chunk in [*chunks, b""]:
                self.wfile.write(b"%x\r\n%s\r\n" % (len(chunk), chunk))

        def log_message(self, *_: Any) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        fake = FakeServer(f"http://127.0.0.1:{server.server_address[1]}")
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield fake
        finally:
            server.shutdown()
            thread.join()
