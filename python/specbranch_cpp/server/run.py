"""Serves an engine with uvicorn until a signal stops it."""

from __future__ import annotations

import asyncio
import contextlib
import math
import signal
import socket
import threading
from typing import TYPE_CHECKING

import uvicorn

from specbranch_cpp.errors import InvalidArgument
from specbranch_cpp.server.app import create_app
from specbranch_cpp.server.connections import make_protocol
from specbranch_cpp.server.settings import ServerSettings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import FrameType

    from fastapi import FastAPI

    from specbranch_cpp.engine import Engine
    from specbranch_cpp.server.service import Service

__all__ = ["Server", "bind", "run"]

SIGNALS = (signal.SIGINT, signal.SIGTERM)


def run(
    engine: Engine,
    settings: ServerSettings | None = None,
    *,
    ready: Callable[[str], None] | None = None,
) -> bool:
    """Serves until SIGTERM or Ctrl-C, then closes the engine.

    The first signal closes the door: requests that wait are answered with 503, the one that runs
    has ``settings.grace_s``. A second one ends it at once.

    Args:
        engine: whose model is served; closed at the end.
        settings: None: the defaults.
        ready: called with the server's URL when it can be reached.

    Returns:
        Whether it ended in order, without a second signal.

    Raises:
        InvalidArgument: the address cannot be bound.
    """
    settings = settings or ServerSettings()
    with engine:
        app = create_app(engine, settings)
        with contextlib.closing(bind(settings)) as listener:
            server = Server(app, settings, ready=ready)
            server.run(sockets=[listener])
            return not server.force_exit


def bind(settings: ServerSettings) -> socket.socket:
    """A bound socket; its own port where the settings say 0."""
    try:
        family, *_, address = socket.getaddrinfo(
            settings.host.strip("[]"),
            settings.port,
            type=socket.SOCK_STREAM,
            flags=socket.AI_PASSIVE,
        )[0]
        listener = socket.socket(family, socket.SOCK_STREAM)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
        except BaseException:
            listener.close()
            raise
    except OSError as error:
        raise InvalidArgument(
            f"host {settings.host!r}, port {settings.port}: cannot listen there: {error.strerror}"
        ) from None
    return listener


class Server(uvicorn.Server):
    """uvicorn's server, which stops in our order.

    Args:
        app: of `create_app`.
        settings: the same as the app's.
        ready: called with the URL once requests are answered.
    """

    def __init__(
        self, app: FastAPI, settings: ServerSettings, *, ready: Callable[[str], None] | None = None
    ) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                http=make_protocol(settings),
                ws="none",
                lifespan="off",
                log_config=None,
                access_log=False,
                server_header=False,
                proxy_headers=False,
                timeout_keep_alive=math.ceil(settings.keep_alive_s),
                # After the grace, for the answers that say that it is over.
                timeout_graceful_shutdown=math.ceil(settings.grace_s) + 5,
            )
        )
        self._service: Service = app.state.service
        self._settings = settings
        self._ready = ready
        self._loop: asyncio.AbstractEventLoop | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._loop = asyncio.get_running_loop()
        if self._ready is not None and sockets:
            self._ready(_url(self._settings.host, sockets[0].getsockname()[1]))

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        assert self._loop is not None
        self._service.stop_accepting()
        end = self._loop.call_later(self._settings.grace_s, self._service.abort)
        if self.force_exit:
            self._service.abort()
        await super().shutdown(sockets)
        end.cancel()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Unlike uvicorn's, does not raise the signals again: what follows is to run, too."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.signal(number, self.handle_exit) for number in SIGNALS}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:  # noqa: ARG002
        if not self.should_exit:
            self.should_exit = True
            return
        self.force_exit = True
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._service.abort)


def _url(host: str, port: int) -> str:
    name = host.strip("[]")
    return f"http://[{name}]:{port}" if ":" in name else f"http://{name}:{port}"
