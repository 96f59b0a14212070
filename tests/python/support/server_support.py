"""A server in a thread, and a stand-in for the engine, for tests."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import socket
import threading
import time
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import httpx

from fuzz import served
from specbranch_cpp.generation import Shared

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

    from specbranch_cpp.server.run import Server

KEY = "a-key-for-tests"


@dataclass
class Running:
    """A server that can be reached."""

    url: str
    port: int
    server: Server
    client: httpx.Client

    @property
    def service(self) -> Any:
        return self.server._service


@contextlib.contextmanager
def serving(
    engine: Any, text_engine: Any = None, embedding_model: Any = None, **settings: Any
) -> Iterator[Running]:
    """Serves in a thread, at a free port of the loopback address."""
    parts = {"text_engine": text_engine, "embedding_model": embedding_model}
    with (
        served.serving(engine, parts, **settings) as it,
        httpx.Client(base_url=it.url, timeout=60) as client,
    ):
        yield Running(it.url, it.port, it.server, client)


@contextlib.contextmanager
def sent(
    server: Running, prompt: str, path: str = "/v1/completions", **fields: Any
) -> Iterator[socket.socket]:
    """A request whose answer nobody reads; the connection is closed at the end of the block."""
    body = json.dumps({"prompt": prompt, **fields}).encode()
    head = (
        f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", server.port)) as connection:
        connection.sendall(head.encode() + body)
        yield connection


def wait_until(condition: Callable[[], Any], seconds: float = 120.0) -> Any:
    """Looks again and again; returns the first true value, and fails if there is none.

    The limit is for what never happens. A busy machine must not reach it.
    """
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end
        time.sleep(0.005)
    return found


class FakeModel:
    """What the server reads of an engine besides its texts."""

    metadata: dict[str, str] = {"general.name": "fake", "general.architecture": "none"}  # noqa: RUF012
    model_paths = ("/models/fake-target.gguf", "/models/fake-draft.gguf")
    n_ctx = 64
    n_parallel = 1
    vocab_size = 32
    can_speculate = True
    has_draft = True
    lookup = True
    lookup_answers = False
    mode = "auto"
    placement = None
    lora_adapters = ()
    chat_template: str | None = None
    closed = False
    _shared = Shared()
    _seeds = random.Random(5)

    def on_end(self, listener: Any) -> None: ...

    def _on_death(self, listener: Any) -> None: ...


@dataclass
class FakeText:
    """Says the words of the prompt, one a step; the prompt ``#NAME`` does something special.

    ``#hang``: says one word, then nothing. ``#silent``: says nothing. ``#fail``: raises
    ``error`` at once. ``#break``: raises it after a word. ``#held``: says nothing until the test
    sets ``released``.
    """

    step_s: float = 0.0
    error: Exception = field(default_factory=lambda: RuntimeError("a secret of the inside"))
    log: list[str] = field(default_factory=list)
    n_running: int = 0
    released: threading.Event = field(default_factory=threading.Event)

    async def create_completion(self, **arguments: Any) -> Any:
        words = self._words(arguments["prompt"])
        if arguments.get("stream"):
            return _FakeStream(words)
        said = [word async for word in words]
        return said[-1] | {"choices": [{"text": "".join(map(_text, said))}], "given": arguments}

    async def create_chat_completion(self, **arguments: Any) -> Any:
        return await self.create_completion(**arguments, prompt=arguments["messages"][0]["content"])

    async def _words(self, prompt: str) -> AsyncIterator[dict[str, Any]]:
        assert self.n_running == 0, "two at once"
        self.n_running += 1
        self.log.append(f"begin {prompt}")
        try:
            if prompt == "#fail":
                raise self.error
            if prompt == "#silent":
                await asyncio.sleep(60)
            while prompt == "#held" and not self.released.is_set():
                await asyncio.sleep(0.005)
            for word in prompt.split():
                await asyncio.sleep(self.step_s)
                yield {"choices": [{"text": word}]}
                if prompt == "#hang":
                    await asyncio.sleep(60)
                if prompt == "#break":
                    raise self.error
        except (asyncio.CancelledError, GeneratorExit):
            self.log.append(f"cancel {prompt}")
            raise
        finally:
            self.n_running -= 1
        self.log.append(f"end {prompt}")


class _FakeStream(contextlib.aclosing[Any]):
    """The words, and what the server asks of a running generation."""

    generation = SimpleNamespace(n_prompt=3)


def _text(chunk: dict[str, Any]) -> str:
    return str(chunk["choices"][0]["text"])


def events(body: str) -> list[str]:
    """The data of server-sent events; comments are left out."""
    parts = body.split("\n\n")
    assert parts.pop() == ""
    data = [part for part in parts if not part.startswith(": ")]
    assert all(part.startswith("data: ") and "\n" not in part for part in data)
    return [part.removeprefix("data: ") for part in data]


def told(reply: httpx.Response, status: int, code: str | None) -> dict[str, Any]:
    """The error of a reply, which has OpenAI's shape."""
    assert reply.status_code == status, reply.text
    content = reply.json()
    assert set(content) == {"error"}
    error: dict[str, Any] = content["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert error["message"]
    assert error["code"] == code
    return error
