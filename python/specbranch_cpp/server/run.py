"""Serves an engine with uvicorn until a signal stops the server."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import math
import signal
import socket
import threading
from typing import TYPE_CHECKING, Any

import uvicorn

from specbranch_cpp.errors import InvalidArgument
from specbranch_cpp.server.app import create_app
from specbranch_cpp.server.connections import make_protocol
from specbranch_cpp.server.settings import ServerSettings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from types import FrameType

    from fastapi import FastAPI

    from specbranch_cpp.engine import Engine
    from specbranch_cpp.server.embeddings.model import EmbeddingModel
    from specbranch_cpp.server.service import Service

__all__ = ["Server", "bind", "run"]

SIGNALS = (signal.SIGINT, signal.SIGTERM)
_ABSENT = (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)  # an address that this machine does not have
_MOST_TRIES = 8


def run(
    engine: Engine,
    settings: ServerSettings | None = None,
    *,
    embedding_model: EmbeddingModel | None = None,
    ready: Callable[[str], None] | None = None,
    listeners: Sequence[socket.socket] | None = None,
) -> bool:
    """Serves until SIGTERM or Ctrl-C, then closes the engine and the embedding model.

    After the first signal, waiting requests get 503, and the running request has
    ``settings.grace_s`` to end. A second signal stops the server at once.

    Args:
        engine: the engine to serve; it is closed at the end.
        settings: the settings. ``None`` (default): the default settings.
        embedding_model: a model for ``/v1/embeddings``; it is closed at the end. ``None``
            (default): requests for embeddings are refused.
        ready: a function that is called with the server's URL when the server accepts requests.
        listeners: bound sockets, which are closed at the end. ``None`` (default): sockets for the
            host and the port of the settings.

    Returns:
        True if the server stopped without a second signal.

    Raises:
        InvalidArgument: the server cannot listen on the address.
    """
    settings = settings or ServerSettings()
    with contextlib.ExitStack() as stack:
        stack.enter_context(engine)
        stack.enter_context(embedding_model or contextlib.nullcontext())
        sockets = [stack.enter_context(each) for each in listeners or ()]
        app = create_app(engine, settings, embedding_model=embedding_model)
        if listeners is None:
            sockets = [stack.enter_context(each) for each in bind(settings)]
        _listen(sockets, settings)
        server = Server(app, settings, ready=ready)
        server.run(sockets=sockets)
        return not server.force_exit


def bind(settings: ServerSettings) -> list[socket.socket]:
    """Bound sockets: one for each address of the host, all with the same port.

    A name such as ``localhost`` has several addresses, and clients choose among them. Addresses
    that this machine does not have are left out. If the port in the settings is 0, the system
    chooses the port.

    Raises:
        InvalidArgument: the host is not known, or the port is taken at one of its addresses.
    """
    for tries_left in reversed(range(_MOST_TRIES)):
        try:
            return _bind_all(settings.host.strip("[]"), settings.port)
        except OSError as error:
            # The port that the system chose for one address may be taken at another one.
            if settings.port == 0 and tries_left and error.errno == errno.EADDRINUSE:
                continue
            raise _refused(settings, error) from None
    raise AssertionError


def _listen(sockets: Iterable[socket.socket], settings: ServerSettings) -> None:
    """Another program may listen on the port since it was bound."""
    try:
        for each in sockets:
            each.listen()
    except OSError as error:
        raise _refused(settings, error) from None


def _refused(settings: ServerSettings, error: OSError) -> InvalidArgument:
    return InvalidArgument(
        f"cannot listen on host {settings.host!r}, port {settings.port}: {error.strerror}"
    )


def _bind_all(host: str, port: int) -> list[socket.socket]:
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    bound: list[socket.socket] = []
    absent: OSError | None = None
    try:
        places = dict.fromkeys((family, address) for family, *_, address in found)
        for family, address in places:
            name, _, *rest = address
            try:
                bound.append(_bind_one(family, (name, port, *rest), alone=len(places) == 1))
            except OSError as error:
                if error.errno not in _ABSENT:
                    raise
                absent = error
            else:
                port = bound[0].getsockname()[1]
        if absent is not None and not bound:
            raise absent
    except BaseException:
        for each in bound:
            each.close()
        raise
    return bound


def _bind_one(family: int, address: tuple[Any, ...], *, alone: bool) -> socket.socket:
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6 and not alone:  # "::" would take the port of "0.0.0.0", too
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listener.bind(address)
    except BaseException:
        listener.close()
        raise
    return listener


class Server(uvicorn.Server):
    """uvicorn's server with our order of steps at a stop.

    Args:
        app: the application from `create_app`.
        settings: the settings of the application.
        ready: a function that is called with the URL when the server accepts requests.
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
                # Time after the grace for the last answers.
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
        self._service.watch()
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
        """Unlike uvicorn, does not raise the signals again, because the code after it must run."""
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
