"""A server in threads of this process."""

from __future__ import annotations

import contextlib
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from specbranch_cpp.server.app import create_app
from specbranch_cpp.server.run import Server, bind
from specbranch_cpp.server.settings import ServerSettings

if TYPE_CHECKING:
    from collections.abc import Iterator

    from specbranch_cpp import Engine

__all__ = ["Served", "serving"]

_PATIENCE_S = 30.0


@dataclass(frozen=True)
class Served:
    """A server that can be reached."""

    url: str
    port: int
    server: Server


@contextlib.contextmanager
def serving(
    engine: Engine, parts: dict[str, Any] | None = None, **settings: Any
) -> Iterator[Served]:
    """Serves an engine in a thread, at a free port of the loopback address.

    Args:
        engine: the engine.
        parts: further arguments of `create_app`. ``None`` (default): none.
        **settings: fields of `ServerSettings`.

    Raises:
        TimeoutError: the server did not begin, or did not end.
    """
    chosen = ServerSettings(**{"port": 0, "grace_s": 1.0, **settings})
    urls: list[str] = []
    ready = threading.Event()

    def is_ready(url: str) -> None:
        urls.append(url)
        ready.set()

    server = Server(create_app(engine, chosen, **(parts or {})), chosen, ready=is_ready)
    listeners = bind(chosen)
    thread = threading.Thread(target=server.run, kwargs={"sockets": listeners})
    thread.start()
    try:
        if not ready.wait(_PATIENCE_S):
            raise TimeoutError(f"the server did not begin within {_PATIENCE_S:g} seconds")
        yield Served(urls[0], listeners[0].getsockname()[1], server)
    finally:
        server.should_exit = True
        thread.join(_PATIENCE_S)
        for each in listeners:
            each.close()
    if thread.is_alive():
        raise TimeoutError(f"the server did not end within {_PATIENCE_S:g} seconds")
