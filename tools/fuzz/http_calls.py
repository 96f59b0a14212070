"""Random HTTP requests to the server: all its interfaces, streams, clients that leave, no JSON."""

from __future__ import annotations

import contextlib
import json
import random
from typing import TYPE_CHECKING, Any

import httpx

from fuzz.crowd import BrokenPromiseError
from fuzz.python_calls import KNOWN, TEMPLATE
from fuzz.request_values import (
    GBNF,
    LARK,
    REGEX,
    damaged,
    messages,
    prompt,
    response_format,
    sampling,
    tools,
)
from fuzz.served import serving
from specbranch_cpp import Engine, demo

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["HttpCaller", "HttpRequest", "open_http_caller"]

_DAMAGED, _BROKEN = 0.25, 0.1
_FIELDS = (
    "temperature", "top_k", "prompt", "messages", "stop", "max_tokens", "seed", "logprobs", "n",
    "grammar", "logit_bias", "stream", "tools", "response_format", "unknown", "model", "options",
)  # fmt: skip


class HttpRequest:
    """A request: it follows from the seed and an index.

    Attributes:
        path: the path.
        body: the bytes.
        kind: ``"valid"``, ``"damaged"`` (fields are wrong) or ``"broken"`` (the bytes are wrong).
        streamed: whether the reply is read in pieces.
        leave_after: the number of pieces after which the client leaves. ``None``: it stays.
    """

    def __init__(self, seed: int, index: int) -> None:
        rng = random.Random(f"{seed}/{index}")
        self.path = rng.choices(tuple(_BODIES), _WEIGHTS)[0]
        given = _BODIES[self.path](rng)
        self.streamed = given.get("stream") is True
        what = rng.random()
        self.kind = "valid"
        if what < _DAMAGED:
            self.kind, given = "damaged", damaged(rng, given, _FIELDS)
        self.body = json.dumps(given).encode()
        if _DAMAGED <= what < _DAMAGED + _BROKEN:
            self.kind, self.body = "broken", _broken(rng, self.body)
        self.leave_after = None if rng.random() < 0.8 else rng.randrange(3)

    def __str__(self) -> str:
        return ascii(f"{self.path} {self.body!r} leave_after={self.leave_after}")[1:-1]


class HttpCaller:
    """Sends the requests of a seed."""

    def __init__(self, client: httpx.Client, seed: int) -> None:
        self._client = client
        self._seed = seed

    def describe(self, index: int) -> str:
        return str(HttpRequest(self._seed, index))

    def known_text(self) -> str:
        body = {"prompt": KNOWN, "max_tokens": 12, "temperature": 0}
        reply = self._client.post("/v1/completions", json=body)
        return str(reply.json()["choices"][0]["text"])

    def call(self, index: int) -> str:
        request = HttpRequest(self._seed, index)
        try:
            status, text = self._send(request)
        except httpx.HTTPError as error:
            raise BrokenPromiseError(f"no reply: {type(error).__name__}: {error}") from error
        if status >= 500 or '"internal_error"' in text:
            raise BrokenPromiseError(f"status {status}: {text}")
        return f"{request.path} {request.kind}: {status}"

    def _send(self, request: HttpRequest) -> tuple[int, str]:
        headers = {"Content-Type": "application/json"}
        with self._client.stream(
            "POST", request.path, content=request.body, headers=headers
        ) as reply:
            if not request.streamed:
                reply.read()
                return reply.status_code, reply.text
            pieces = []
            for number, piece in enumerate(reply.iter_text()):
                pieces.append(piece)
                if number == request.leave_after:
                    break
            return reply.status_code, "".join(pieces)


@contextlib.contextmanager
def open_http_caller(seed: int) -> Iterator[HttpCaller]:
    """A caller of a server with the bundled pair, which runs four texts at once."""
    with (
        Engine(
            *demo.pair(), n_ctx=320, n_threads=1, draft_n_threads=1, n_parallel=4, trusted=True,
            measure_costs=False, chat_template=TEMPLATE, seed=seed,
        ) as engine,
        serving(engine) as server,
        httpx.Client(base_url=server.url, timeout=60) as client,
    ):  # fmt: skip
        yield HttpCaller(client, seed)


def _broken(rng: random.Random, body: bytes) -> bytes:
    place = rng.randrange(max(1, len(body)))
    return rng.choice((
        body[:place], body[:place] + rng.randbytes(3) + body[place:], b"", b"null", b"[]", b"{}",
        body.replace(b'"', b"'", 1), b"[" * 5000, body.replace(b":", b": NaN,", 1), body + body,
        body.replace(b"e", b"\xff", 1), body.replace(b"e", b"\\ud800", 1), rng.randbytes(50),
        b'{"a":' * 100 + b"1" + b"}" * 100, body.replace(b"1", b"1e999", 1),
    ))  # fmt: skip


def _common(rng: random.Random) -> dict[str, Any]:
    given = sampling(rng) | {"max_tokens": rng.choice((0, 1, 2, 4, 8, 16))}
    if rng.random() < 0.3:
        given["stop"] = rng.choice(("\n", ["\n\n", "return"], ["e"]))
    if rng.random() < 0.2:
        rules = (("grammar", GBNF), ("guided_regex", REGEX), ("grammar", LARK))
        name, values = rng.choice(rules)
        given[name] = rng.choice(values)
    for name, values in _OPTIONS.items():
        if rng.random() < 0.08:
            given[name] = rng.choice(values)
    given["max_tokens"] = max(given["max_tokens"], given.get("min_tokens", 0))
    given["stream"] = rng.random() < 0.4
    return given


_OPTIONS: dict[str, tuple[Any, ...]] = {
    "mode": ("auto", "autoregressive", "speculative", "pearl", "specbranch"),
    "stop_token_ids": ([5], [1, 2, 3]),
    "min_tokens": (0, 3),
    "ignore_eos": (True,),
    "max_branches": (1, 4),
    "n": (1, 2, 3),
    "logit_bias": ({"5": 3.0}, [[7, -1.0], ["x", False]]),
    "samplers": (["top_k", "temperature"], "kpt"),
    "prediction": ("def f", {"type": "content", "content": "def f"}),
    "stream_options": ({"include_usage": True},),
    "lookup": (True, False),
    "model": ("any",),
    "cache_prompt": (True,),
}


def _completion(rng: random.Random) -> dict[str, Any]:
    given = _common(rng) | {"prompt": prompt(rng)}
    way = rng.random()
    if way < 0.1:
        given["prompt"] = [prompt(rng), prompt(rng)]
    elif way < 0.2:
        given["prompt"] = [rng.randrange(400) for _ in range(9)]
    if rng.random() < 0.2:
        given["logprobs"] = rng.choice((0, 2, 20))
    if rng.random() < 0.1:
        given["echo"] = True
    return given


def _chat(rng: random.Random) -> dict[str, Any]:
    given = _common(rng) | {"messages": messages(rng)}
    if rng.random() < 0.2:
        given |= {"logprobs": True, "top_logprobs": rng.choice((0, 2, 20))}
    what = rng.random()
    has_rule = bool({"grammar", "guided_regex"} & set(given))
    if not has_rule and what < 0.25:
        given |= tools(rng)
    elif not has_rule and what < 0.5:
        given["response_format"] = response_format(rng)
    return given


def _llama_server(rng: random.Random) -> dict[str, Any]:
    given = _common(rng)
    given.pop("n", None)
    return given | {"prompt": prompt(rng), "n_predict": given.pop("max_tokens")}


def _ollama(rng: random.Random) -> dict[str, Any]:
    options = sampling(rng) | {"num_predict": rng.choice((1, 8, 20))}
    given: dict[str, Any] = {"model": "x", "options": options, "stream": rng.random() < 0.5}
    if rng.random() < 0.2:
        given["format"] = "json"
    return given


def _responses(rng: random.Random) -> dict[str, Any]:
    said = [
        one for one in messages(rng) if isinstance(one["content"], str) and one["role"] != "tool"
    ]
    said = [{"role": one["role"], "content": one["content"]} for one in said]
    inputs: Any = said or prompt(rng)
    limit = rng.choice((16, 20))
    return {"input": inputs, "max_output_tokens": limit, "stream": rng.random() < 0.5}


_BODIES: dict[str, Any] = {
    "/v1/completions": _completion,
    "/v1/chat/completions": _chat,
    "/completion": _llama_server,
    "/infill": lambda rng: {"input_prefix": prompt(rng), "input_suffix": prompt(rng),
                            "n_predict": 8},
    "/api/chat": lambda rng: (
        _ollama(rng) | {"messages": [{"role": "user", "content": prompt(rng)}]}
    ),
    "/api/generate": lambda rng: _ollama(rng) | {"prompt": prompt(rng), "raw": rng.random() < 0.3},
    "/v1/responses": _responses,
    "/tokenize": lambda rng: {"content": prompt(rng), "with_pieces": rng.random() < 0.5},
    "/detokenize": lambda rng: {"tokens": [rng.randrange(300) for _ in range(9)]},
}  # fmt: skip
_WEIGHTS = (6, 8, 4, 1, 2, 2, 3, 1, 1)
