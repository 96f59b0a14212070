"""A stand-in for the server, for tests of the page: it says what it is told to, and can fail."""

from __future__ import annotations

import json
import threading
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any

from specbranch_cpp.server.timelines import parse_seen

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType

PAGE = Path(__file__).resolve().parents[3] / "python/specbranch_cpp/server/page"
POLICY = "default-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
TYPES = {
    ".html": "text/html",
    ".js": "text/javascript",
    ".css": "text/css",
    ".svg": "image/svg+xml",
}
WORDS = ("def", " add", "(a", ", b", "):", "\n", "    ", "return", " a", " +", " b", "\n", "\n")
TEXT = "".join(WORDS) * 4
ROUNDS = ((2, True, 1), (3, False, 2), (0, False, 3), (1, True, 0))
"""Of each round: drafted tokens that are accepted, whether a branch is hit, tokens rolled back."""

Chunk = dict[str, Any]


def piece(text: str) -> dict[str, Any]:
    return {"id": 7, "text": text}


def span(side: str, kind: str, begin_ms: float, end_ms: float, **more: Any) -> dict[str, Any]:
    shape = {"n_tokens": 1, "n_branches": 0, "n_accepted": None, "end": "done"}
    return {"side": side, "kind": kind, "begin_ms": begin_ms, "end_ms": end_ms, **shape, **more}


def speculation(words: list[str], *, plain: bool) -> Iterator[dict[str, Any]]:
    """What a generation of these tokens records, a round at a time."""
    at, n_round, begin_ms = 0, 0, 4.0
    prefill = [span(side, "prefill", 0.1, 4.0, n_tokens=9) for side in ("target", "draft")]
    spans = prefill[:1] if plain else prefill
    while at < len(words):
        n_accepted, hit, n_back = (0, False, 0) if plain else ROUNDS[n_round % len(ROUNDS)]
        committed = words[at : at + n_accepted + 1]
        n_accepted = len(committed) - 1
        end_ms = begin_ms + (1.0 if plain else 1.6)
        spans.append(
            # Its verdict comes with the round, as where rounds end later than verifications.
            span("target", "verify", begin_ms, end_ms, n_tokens=n_accepted + n_back + 1)
        )
        if not plain:
            spans += [
                span("draft", "draft", begin_ms, begin_ms + 0.5, n_branches=1),
                span("draft", "draft", begin_ms + 0.5, begin_ms + 1.1, n_branches=3, n_tokens=3),
                span("draft", "draft", begin_ms + 1.3, end_ms, n_branches=2, end="aborted"),
            ]
        own = "branch" if hit else "target"
        yield {
            "tokens": [
                {**piece(text), "origin": "draft" if i < n_accepted else own}
                for i, text in enumerate(committed)
            ],
            "rounds": [
                {
                    "at_ms": end_ms,
                    "n_accepted": n_accepted,
                    "n_submitted": n_accepted + n_back,
                    "branch_hit": hit,
                    "branch_miss": not (plain or hit),
                    "committed": [piece(text) for text in committed],
                    "rolled_back": [piece(" oops")] * n_back,
                }
            ],
            "spans": spans,
        }
        spans = []
        at += len(committed)
        n_round += 1
        begin_ms = end_ms + 0.2


def texts_reply(
    *texts: dict[str, Any], now_ms: float = 9000.0, n_more: int = 0, n_waiting: int = 0
) -> dict[str, Any]:
    """What ``/slots/timelines`` answers."""
    counts = {"n_slots": 4, "n_more": n_more, "requests_waiting": n_waiting}
    return {"now_ms": now_ms, **counts, "texts": list(texts)}


def server_text(number: int, state: str, **fields: Any) -> dict[str, Any]:
    """A text of ``/slots/timelines``; without ``n_spans``, ``spans`` are all of them."""
    entry = {
        "id": number,
        "slot": None if state == "waiting" else number,
        "state": state,
        "finish_reason": "stop" if state == "ended" else None,
        "mode": "auto",
        "n_prompt_tokens": 9,
        "n_prompt_tokens_processed": 9,
        "n_decoded": 0,
        "is_recorded": True,
        "spans": [],
        **fields,
    }
    return {"n_spans": len(entry["spans"]), **entry}


def _unseen(reply: dict[str, Any], query: str) -> dict[str, Any]:
    """The reply to a client that has seen some of the spans: ``seen=4:14`` are 14 of text 4."""
    n_seen = parse_seen(query.partition("=")[2])

    def unseen(entry: dict[str, Any]) -> list[dict[str, Any]]:
        spans: list[dict[str, Any]] = entry["spans"]
        n_new = max(0, entry["n_spans"] - n_seen.get(entry["id"], 0))
        return spans[max(0, len(spans) - n_new) :]

    return {**reply, "texts": [{**entry, "spans": unseen(entry)} for entry in reply["texts"]]}


@dataclass
class Script:
    """What the server is to do."""

    words: list[str] = field(default_factory=lambda: list(WORDS) * 4)
    words_of_plain: list[str] | None = None  # others without speculation: a fault to be shown
    delay_s: float = 0.0  # before each chunk
    connect_s: float = 0.0  # before it says what model it has
    key: str | None = None
    has_chat_template: bool = True
    n_thoughts: int = 0  # chunks at the beginning with thoughts
    draft: bool = True
    busy: int = 0  # so many requests are refused
    break_after: int | None = None  # chunks until the connection breaks
    fail_after: int | None = None  # chunks until an error is sent
    timelines: dict[str, Any] | None = field(default_factory=texts_reply)  # None: no slots


class StandIn:
    """Serves the page and a stand-in for the interface on a port of its own."""

    def __init__(self) -> None:
        self.script = Script()
        self.requests: list[dict[str, Any]] = []
        self.looks: list[str] = []  # the queries of those who asked for timelines
        self.hung_up = threading.Event()  # a client left a stream before its end
        outer = self

        class Handler(_Handler):
            server_side = outer

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._http.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._http.server_address[1]}/"
        self._thread = threading.Thread(target=self._http.serve_forever, daemon=True)

    def __enter__(self) -> StandIn:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._http.shutdown()
        self._http.server_close()

    def chunks(self, body: dict[str, Any], *, chat: bool) -> Iterator[Chunk]:
        plain = body["mode"] == "autoregressive"
        words = self.script.words
        if plain and self.script.words_of_plain is not None:
            words = self.script.words_of_plain
        n_thoughts = self.script.n_thoughts
        for record in speculation(words, plain=plain):
            text = "".join(token["text"] for token in record["tokens"])
            yield _chunk(text, chat, record, is_thought=n_thoughts > 0)
            n_thoughts -= 1
        n, ms = len(words), len(words) * (1.0 if plain else 0.5)
        stats = {
            "n_generated": n,
            "n_target_steps": n if plain else n // 2,
            "n_drafted": 0 if plain else n,
            "n_rolled_back": 0 if plain else n // 4,
            "decode_ms": ms,
            "target_busy_ms": 0.9 * ms,
            "draft_busy_ms": 0.0 if plain else 0.7 * ms,
            "overlap_ms": 0.0 if plain else 0.6 * ms,
            "mode_reason": "",
        }
        last = _chunk("", chat, {"tokens": [], "rounds": [], "spans": [], "stats": stats})
        last["choices"][0]["finish_reason"] = "stop"
        yield last
        yield {"choices": [], "usage": {"prompt_tokens": 9, "completion_tokens": n}}


def _chunk(text: str, chat: bool, record: dict[str, Any], *, is_thought: bool = False) -> Chunk:
    name = "reasoning_content" if is_thought else "content"
    said = {"delta": {name: text}} if chat else {"text": text}
    return {"choices": [{"index": 0, "finish_reason": None, **said}], "speculation": record}


class _Handler(BaseHTTPRequestHandler):
    server_side: StandIn

    def do_GET(self) -> None:
        path = self.path.split("?")[0]
        script = self.server_side.script
        if path == "/v1/models":
            time.sleep(self.server_side.script.connect_s)
            if self._refused():
                return
            meta = {
                "n_ctx": 4096,
                "draft": script.draft,
                "mode": "auto" if script.draft else "autoregressive",
                "has_chat_template": script.has_chat_template,
            }
            self._send_json({"data": [{"id": "stand-in", "meta": meta}]})
        elif path == "/health":
            self._send_json({"status": "ok", "requests_processing": 1, "requests_waiting": 3})
        elif path == "/slots/timelines":
            query = self.path.partition("?")[2]
            self.server_side.looks.append(query)
            if script.timelines is None:
                self._send_json(_error("this path does not exist"), 404)
            else:
                self._send_json(_unseen(script.timelines, query))
        else:
            self._send_file("index.html" if path == "/" else path.removeprefix("/page/"))

    def do_POST(self) -> None:
        side = self.server_side
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self._refused():
            return
        side.requests.append(body)
        if side.script.busy:
            side.script.busy -= 1
            self._send_json(_error("all places in the queue are taken"), 429, {"Retry-After": "1"})
            return
        try:
            self._stream(side.chunks(body, chat="messages" in body))
        except (BrokenPipeError, ConnectionResetError):
            side.hung_up.set()

    def _stream(self, chunks: Iterator[Chunk]) -> None:
        script = self.server_side.script
        self._head(200, "text/event-stream", {})
        for i, chunk in enumerate(chunks):
            if i == script.break_after:
                return
            if i == script.fail_after:
                self._event(json.dumps(_error("the forward pass failed")))
                return
            time.sleep(script.delay_s)
            self._event(json.dumps(chunk))
        self._event("[DONE]")

    def _event(self, data: str) -> None:
        self.wfile.write(f"data: {data}\n\n".encode())
        self.wfile.flush()

    def _refused(self) -> bool:
        key = self.server_side.script.key
        if key is None or self.headers["Authorization"] == f"Bearer {key}":
            return False
        self._send_json(_error("the key is missing or wrong"), 401)
        return True

    def _send_json(
        self, body: object, status: int = 200, headers: dict[str, str] | None = None
    ) -> None:
        self._head(status, "application/json", headers or {})
        self.wfile.write(json.dumps(body).encode())

    def _send_file(self, name: str) -> None:
        path = PAGE / name
        if path.parent != PAGE or not path.is_file():
            self._send_json(_error("no such file"), 404)
            return
        self._head(200, TYPES[path.suffix], {})
        self.wfile.write(path.read_bytes())

    def _head(self, status: int, content_type: str, headers: dict[str, str]) -> None:
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Security-Policy", POLICY)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Tests need no log."""


def _error(message: str) -> dict[str, Any]:
    return {"error": {"message": message, "type": "stand_in", "param": None, "code": None}}
