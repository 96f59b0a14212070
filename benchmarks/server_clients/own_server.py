"""Our server; a backend of the program `specbranch_cpp.bench.peers._child`."""

from __future__ import annotations

import json
import queue
import threading
from typing import Any

from specbranch_cpp import Engine, __version__, _core
from specbranch_cpp.errors import SpecBranchError
from specbranch_cpp.server import ServerSettings, run

_QUEUE_SIZE = 256  # as many requests may wait as there may be clients
_START_S = 60.0
_REQUEST_S = 3600.0


class Backend:
    """Reads each prompt anew, and no earlier answer proposes tokens: the prompts come many times.

    Args:
        pair: the fields of a `PeerPair`.
        options: further options of `Engine`.
    """

    def __init__(self, pair: dict[str, Any], options: dict[str, Any]) -> None:
        engine = Engine(
            pair["target"],
            pair["draft"],
            n_ctx=pair["n_ctx"],
            prefix_reuse="off",
            lookup_answers=False,
            **options,
        )
        settings = ServerSettings(port=0, queue_size=_QUEUE_SIZE, request_timeout_s=_REQUEST_S)
        news: queue.SimpleQueue[str | Exception] = queue.SimpleQueue()

        def serve() -> None:
            try:
                run(engine, settings, ready=news.put)
            except SpecBranchError as error:
                news.put(error)

        threading.Thread(target=serve, daemon=True).start()
        first = news.get(timeout=_START_S)
        if isinstance(first, Exception):
            raise first
        self._url = first

    def describe(self) -> dict[str, Any]:
        return {
            "url": self._url,
            "version": f"specbranch_cpp {__version__}",
            "system_info": _core.library_info().system,
        }


def open_backend(pair: dict[str, Any], draft_length: int, options: str) -> Backend:  # noqa: ARG001
    """``options``: further options of `Engine`, in JSON."""
    return Backend(pair, json.loads(options))
