"""A stand-in for the Hugging Face Hub: repositories in memory, over HTTP."""

from __future__ import annotations

import hashlib
import json
import re
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

if TYPE_CHECKING:
    from types import TracebackType

    from typing_extensions import Self

COMMIT = "c" * 40


@dataclass
class HubStandIn:
    """The server.

    Attributes:
        files: contents by repository and name.
        cuts: names of files, and how often a download of the file ends in the middle.
        failing: names of files whose download is an error of the server.
        gated: repositories that need an access right.
        requests: the method and path of every request.
    """

    files: dict[str, dict[str, bytes]] = field(default_factory=dict)
    cuts: dict[str, int] = field(default_factory=dict)
    failing: set[str] = field(default_factory=set)
    gated: set[str] = field(default_factory=set)
    requests: list[tuple[str, str]] = field(default_factory=list)

    def __enter__(self) -> Self:
        handler = type("Handler", (_Handler,), {"stand_in": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def downloads(self) -> list[str]:
        """The paths of the files that were asked for with GET, in order."""
        return [path for method, path in self.requests if method == "GET" and "/resolve/" in path]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    stand_in: HubStandIn

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def log_message(self, *_arguments: Any) -> None:
        """Prints nothing."""

    def _answer(self) -> None:
        path = unquote(urlsplit(self.path).path)
        self.stand_in.requests.append((self.command, path))
        file = re.fullmatch(r"/([^/]+/[^/]+)/resolve/[^/]+/(.+)", path)
        listing = re.fullmatch(r"/api/models/([^/]+/[^/]+)/(tree|revision)/[^/]+", path)
        repo = (file or listing or [None, None])[1]
        if repo not in self.stand_in.files:
            self._refuse(404, "RepoNotFound")
        elif repo in self.stand_in.gated and file:
            self._refuse(403, "GatedRepo")
        elif listing and listing[2] == "tree":
            self._list(self.stand_in.files[repo])
        elif listing:
            names = [{"rfilename": name} for name in self.stand_in.files[repo]]
            self._send_json({"id": repo, "sha": COMMIT, "siblings": names})
        elif file:
            self._send(self.stand_in.files[repo], file[2])

    def _list(self, files: dict[str, bytes]) -> None:
        found = [
            {"type": "file", "path": name, "size": len(data), "oid": hashlib.sha1(data).hexdigest()}
            for name, data in files.items()
        ]
        self._send_json(found)

    def _send_json(self, content: Any) -> None:
        body = json.dumps(content).encode()
        self._head(200, len(body), {"Content-Type": "application/json"})
        if self.command == "GET":
            self.wfile.write(body)

    def _send(self, files: dict[str, bytes], name: str) -> None:
        if name not in files:
            self._refuse(404, "EntryNotFound")
            return
        if name in self.stand_in.failing and self.command == "GET":
            self._refuse(500, "ServerBroken")
            return
        data = files[name]
        begin, status = 0, 200
        fields = {"ETag": f'"{hashlib.sha256(data).hexdigest()}"', "Accept-Ranges": "bytes"}
        asked = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        if asked and int(asked[1]) > 0:
            begin, status = int(asked[1]), 206
            fields["Content-Range"] = f"bytes {begin}-{len(data) - 1}/{len(data)}"
        self._head(status, len(data) - begin, fields)
        if self.command == "HEAD":
            return
        if self.stand_in.cuts.get(name, 0) > 0:
            self.stand_in.cuts[name] -= 1
            self.wfile.write(data[begin : len(data) // 2])  # nothing after the first time
            self.close_connection = True
            return
        self.wfile.write(data[begin:])

    def _refuse(self, status: int, code: str) -> None:
        self._head(status, 0, {"X-Error-Code": code, "X-Error-Message": code})

    def _head(self, status: int, n_bytes: int, fields: dict[str, str]) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(n_bytes))
        self.send_header("X-Repo-Commit", COMMIT)
        for name, value in fields.items():
            self.send_header(name, value)
        self.end_headers()
