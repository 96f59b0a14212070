"""A server in threads of this process."""

from __future__ import annotations

import contextlib
import threading
from typing import TYPE_CHECKING

from specbranch_cpp.server.app import create_app
from specbranch_cpp.server.run import Server, bind
from specbranch_cpp.server.settings import ServerSettings

if TYPE_CHECKING:
    from collections.abc import Iterator

    from specbranch_cpp import Engine

__all__ = ["serving"]


@contextlib.contextmanager
def serving(engine: Engine) -> Iterator[str]:
    """Serves an engine at a free port of the loopback address. Yields the address."""
    settings = ServerSettings(port=0, grace_s=1.0)
    urls: list[str] = []
    ready = threading.Event()

    def is_ready(url: str) -> None:
        urls.append(url)
        ready.set()

    server = Server(create_app(engine, settings), settings, ready=is_ready)
    listener = bind(settings)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    try:
        if not ready.wait(30):
            raise TimeoutError("the server did not begin within 30 seconds")
        yield urls[0]
    finally:
        server.should_exit = True
        thread.join(30)
        listener.close()
