"""Requests to a server with llama-server's interface, and when their answers came."""

from __future__ import annotations

import http.client
import json
import time
import urllib.parse
from typing import Any

from specbranch_cpp.bench.crowd import Answer
from specbranch_cpp.errors import SpecBranchError

__all__ = ["ReplyError", "complete", "tokenize"]

TIMEOUT_S = 900.0  # without a byte
_READ = 1 << 16


class ReplyError(SpecBranchError):
    """A server refused, or its answer is not what was asked for."""


def tokenize(url: str, text: str) -> list[int]:
    """The tokens of a prompt, with BOS if the model asks for it.

    Raises:
        ReplyError: the server refused.
        OSError: the server cannot be reached.
    """
    body = {"content": text, "add_special": True, "parse_special": True}
    _, reads = _post(url, "/tokenize", body)
    tokens: list[int] = json.loads(b"".join(data for _, data in reads))["tokens"]
    return tokens


def complete(url: str, prompt: list[int], n_tokens: int, fields: dict[str, Any]) -> Answer:
    """Streams a text of this length.

    The time of a piece of text is that of the read that completes it. A token without text of its
    own (a part of a character) comes with the next one.

    Args:
        url: the server's.
        prompt: token ids.
        n_tokens: tokens of the text.
        fields: further fields of the request.

    Raises:
        ReplyError: the server refused, the stream ended early, or the text has another length.
        OSError: the server cannot be reached, or is silent for 15 minutes.
    """
    body = {
        "prompt": prompt,
        "n_predict": n_tokens,
        "temperature": 0.0,
        "ignore_eos": True,
        "cache_prompt": False,
        "stream": True,
        **fields,
    }
    begin, reads = _post(url, "/completion", body)
    times, last = [begin], None
    for at, event in _events(reads):
        if "error" in event:
            raise ReplyError(f"{url} broke off: {json.dumps(event['error'])[:500]}")
        if event.get("content"):
            times.append(at)
        if event.get("stop"):
            last = event
    if last is None:
        raise ReplyError(f"{url}: the stream ended before its last event")
    if last["tokens_predicted"] != n_tokens or len(times) < 2:
        raise ReplyError(
            f"{url}: the text has {last['tokens_predicted']} tokens in {len(times) - 1} pieces; "
            f"{n_tokens} tokens were asked for"
        )
    timings = last["timings"]
    return Answer(times, n_tokens, timings.get("draft_n", 0), timings.get("draft_n_accepted", 0))


def _post(url: str, path: str, body: dict[str, Any]) -> tuple[float, list[tuple[float, bytes]]]:
    """When the request was sent, and what was read when. What was read is looked at later."""
    payload = json.dumps(body).encode()
    connection = http.client.HTTPConnection(urllib.parse.urlsplit(url).netloc, timeout=TIMEOUT_S)
    reads = []
    begin = time.monotonic()
    try:
        connection.request("POST", path, payload, {"Content-Type": "application/json"})
        response = connection.getresponse()
        while data := response.read1(_READ):
            reads.append((time.monotonic(), data))
    except http.client.HTTPException as error:
        raise ReplyError(f"{url}{path}: the reply is no HTTP: {error!r}") from error
    finally:
        connection.close()
    if response.status != http.HTTPStatus.OK:
        words = b"".join(data for _, data in reads)[:500].decode(errors="replace")
        raise ReplyError(f"{url}{path} replied {response.status}: {words}")
    return begin, reads


def _events(reads: list[tuple[float, bytes]]) -> list[tuple[float, dict[str, Any]]]:
    """The server-sent events, each with the time of the read that completed it."""
    found = []
    rest = b""
    for at, data in reads:
        *whole, rest = (rest + data).split(b"\n\n")
        for event in whole:
            kind, _, value = event.partition(b":")
            if kind in (b"data", b"error"):
                content = json.loads(value)
                found.append((at, {"error": content} if kind == b"error" else content))
    return found
