"""Requests that are malformed in many ways, and what has to come back."""

from __future__ import annotations

import json
import random
import socket
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

N_WAYS = 100
SEED = 7

GOOD: dict[str, dict[str, Any]] = {
    "/v1/completions": {
        "prompt": "def f(x):\n", "max_tokens": 4, "temperature": 0.5, "top_p": 0.9, "top_k": 20,
        "min_p": 0.1, "seed": 3, "stop": ["\n\n"], "logprobs": 1, "stream": False, "echo": False,
        "presence_penalty": 0.1, "frequency_penalty": 0.1, "repeat_penalty": 1.1, "max_branches": 2,
        "logit_bias": {"5": 1.0}, "mode": "auto", "max_draft": 4, "trace": False,
    },
    "/v1/chat/completions": {
        "messages": [{"role": "user", "content": "def f(x):\n"}], "max_completion_tokens": 4,
        "temperature": 0.5, "top_p": 0.9, "seed": 3, "stop": "\n", "logprobs": True,
        "top_logprobs": 2, "stream": False, "response_format": {"type": "text"}, "mode": "auto",
    },
}  # fmt: skip
# None of these is right for any field.
WRONG: tuple[Any, ...] = (
    -7, 1.5e300, "\x00", [], [[]], {"a": {}}, True, [None], {"": None}, "9" * 400, 10**300, [-1],
)  # fmt: skip

Request = bytes


def http(
    path: str, body: bytes, *, method: str = "POST", headers: dict[str, str] | None = None
) -> Request:
    fields = {
        "Host": "localhost",
        "Content-Type": "application/json",
        "Content-Length": str(len(body)),
        "Connection": "close",
    } | (headers or {})
    head = "".join(f"{name}: {value}\r\n" for name, value in fields.items() if value != "-")
    return f"{method} {path} HTTP/1.1\r\n{head}\r\n".encode("latin-1") + body


def truncated(rng: random.Random, path: str, body: bytes) -> Request:
    return http(path, body[: rng.randrange(len(body))])


def wrong_kind(rng: random.Random, path: str, body: bytes) -> Request:
    value = json.loads(body)
    name = rng.choice(sorted(value))
    wrong = [w for w in WRONG if not (isinstance(value[name], bool) and isinstance(w, bool))]
    if name in ("prompt", "stop"):
        wrong = [w for w in wrong if not isinstance(w, str) and w not in ([], True)]
    if name == "logit_bias":
        wrong = [w for w in wrong if w != {}]
    if name in ("presence_penalty", "frequency_penalty", "temperature"):
        wrong = [w for w in wrong if isinstance(w, str | list | dict | bool)]
    if name == "repeat_penalty":
        wrong = [w for w in wrong if not isinstance(w, float) and w != 10**300]
    return http(path, json.dumps(value | {name: rng.choice(wrong)}).encode())


def not_finite(rng: random.Random, path: str, body: bytes) -> Request:
    number = rng.choice([b"NaN", b"Infinity", b"-Infinity", b"1e999", b"-1e999", b"0x10", b"1."])
    return http(path, body.replace(b'"temperature": 0.5', b'"temperature": ' + number))


def deep(rng: random.Random, path: str, body: bytes) -> Request:
    depth = rng.choice([65, 500, 100_000])
    opening, closing = rng.choice([(b"[", b"]"), (b'{"a":', b"}")])
    return http(path, body[:-1] + b', "x": ' + opening * depth + b"1" + closing * depth + b"}")


def broken_text(rng: random.Random, path: str, body: bytes) -> Request:
    bad = rng.choice(
        [b"\xff", b"\xc0\xaf", b"\xed\xa0\x80", b"\\ud800", b"\\udc00\\ud800", b"\\u12"]
    )
    return http(path, body.replace(b"def f", bad))


def control_characters(rng: random.Random, path: str, body: bytes) -> Request:
    return http(path, body.replace(b"def f", bytes([rng.randrange(32)])))


def wrong_type(rng: random.Random, path: str, body: bytes) -> Request:
    kind = rng.choice(["text/plain", "-", "application/xml", "application/json5", "\xe9", ""])
    return http(path, body, headers={"Content-Type": kind})


def wrong_method(rng: random.Random, path: str, body: bytes) -> Request:
    method = rng.choice(["GET", "PUT", "DELETE", "PATCH", "OPTIONS", "FROB"])
    return http(path, body if method in ("PUT", "PATCH") else b"", method=method)


def no_object(rng: random.Random, path: str, _: bytes) -> Request:
    return http(
        path, rng.choice([b"", b"null", b"[]", b"1", b'"x"', b"{}", b"  ", b"{},", b"\x00"])
    )


def compressed(rng: random.Random, path: str, body: bytes) -> Request:
    return http(path, body, headers={"Content-Encoding": rng.choice(["gzip", "br", "x"])})


def garbled_chunks(rng: random.Random, path: str, body: bytes) -> Request:
    chunked = {"Transfer-Encoding": "chunked", "Content-Length": "-"}
    bad = rng.choice([b"zz\r\n", b"-1\r\n", b"5\r\nabcdefgh\r\n", b"fffffffffffffffffffff\r\n"])
    return http(path, b"2\r\n{ \r\n" + bad + body, headers=chunked)


def nonsense_head(rng: random.Random, path: str, body: bytes) -> Request:
    start = f"POST {path} HTTP/1.1\r\n".encode()
    return rng.choice(
        [
            start + b"Host: localhost\r\nHost: other\r\n\r\n",
            start + b"\r\n\r\n",
            start + b"Host: localhost\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n12345",
            start + b"Host: localhost\r\nContent-Length: -5\r\n\r\n",
            start + b"Host: localhost\r\nbad header\r\n\r\n",
            start + b"Host: localhost\r\nX: \x00\r\n\r\n",
            start + b"Host: localhost\r\nX: " + b"y" * 100_000 + b"\r\n\r\n",
            f"POST {path} HTTP/9.9\r\nHost: localhost\r\n\r\n".encode(),
            b"POST\r\n\r\n",
            rng.randbytes(200) + b"\r\n\r\n",
            b"POST /%ff%00/\xff HTTP/1.1\r\nHost: localhost\r\n\r\n" + body,
        ]
    )


WAYS: tuple[Callable[[random.Random, str, bytes], Request], ...] = (
    truncated, wrong_kind, not_finite, deep, broken_text, control_characters, wrong_type,
    wrong_method, no_object, compressed, garbled_chunks, nonsense_head,
)  # fmt: skip


def malformed_requests() -> list[Request]:
    """As many different ones as there are to be; wrong kinds of fields are the most."""
    rng = random.Random(SEED)
    requests: dict[Request, None] = {}
    while len(requests) < N_WAYS:
        path = rng.choice(sorted(GOOD))
        way = rng.choice((*WAYS, *[wrong_kind] * len(WAYS)))
        requests[way(rng, path, json.dumps(GOOD[path]).encode())] = None
    return list(requests)


def refused(port: int, request: Request, timeout_s: float = 30.0) -> bool:
    """Whether an error came back, in OpenAI's shape; not if the connection just ended.

    Where it is no HTTP, the server may end it, and where something lacks, wait for it.
    """
    received = b""
    with socket.create_connection(("127.0.0.1", port), timeout=timeout_s) as connection:
        try:
            connection.sendall(request)
            while data := connection.recv(65536):
                received += data
        except (ConnectionError, TimeoutError):
            pass
    if not received:
        return False
    head, _, body = received.partition(b"\r\n\r\n")
    status = int(head.split(b" ")[1])
    assert 400 <= status < 500, (request[:300], received)
    error = json.loads(body)["error"]
    assert set(error) == {"message", "type", "param", "code"}
    # Some mistakes only the engine finds, whose turn may be far.
    assert error["type"] == ("rate_limit_error" if status == 429 else "invalid_request_error")
    return True
