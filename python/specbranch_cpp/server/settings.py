"""The settings of the server."""

from __future__ import annotations

import ipaddress
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from specbranch_cpp.errors import InvalidArgument
from specbranch_cpp.server.names import ANY, host_setting, origin_setting

if TYPE_CHECKING:
    from specbranch_cpp.engine import Engine

__all__ = ["ServerSettings", "is_loopback"]


@dataclass(frozen=True)
class ServerSettings:
    """Options of `create_app` and `run`.

    Attributes:
        host: address to listen on; only this machine can reach the default address.
        port: TCP port; 0: any free port.
        api_keys: accepted keys; a request must have ``Authorization: Bearer KEY`` or ``x-api-key:
            KEY``. Empty (default): requests need no key. Waiting requests of several keys take
            turns.
        share_answers: whether an answer to one API key may propose tokens in an answer to another
            key, so that its holder can learn from the time what others were told. False (default):
            an engine that serves several keys must have ``lookup_answers=False``.
        alias: the name of the model in replies and in ``/v1/models``. ``None`` (default): the name
            of the engine's model.
        allowed_hosts: names that are accepted in the ``Host`` header. ``None`` (default): on a
            loopback address ``localhost``, ``127.0.0.1`` and ``::1``, so that web sites cannot
            reach the server through a host name that points to this machine; on other addresses
            every name. ``"*"``: every name. A port counts for nothing.
        cors_origins: web origins (``https://example.org``) whose pages may call the server;
            ``"*"``: all origins; ``"null"``: pages of files. Empty (default): only the server's own
            page.
        max_body_bytes: largest size of a request body, in bytes.
        max_json_depth: largest depth of nested arrays and objects in a body.
        header_timeout_s: seconds for the headers of a request, from the connection or first byte.
        body_timeout_s: seconds for the body of a request.
        request_timeout_s: seconds for a generation, without its time in the queue.
        send_timeout_s: seconds after which a client that reads nothing is disconnected.
        queue_size: largest number of waiting requests, of all API keys together; 0: no request may
            wait. A key cannot take the places of this queue that others need: see `RequestQueue`.
        heartbeat_s: seconds without data after which a stream gets a comment line. A stream begins
            with its first event or with its first comment, so that an early error has its own HTTP
            status.
        keep_alive_s: seconds after which an idle connection is closed.
        max_connections: largest number of connections; further connections are closed at once.
        grace_s: seconds for the running request after a stop signal.
        page: whether to serve the page at ``/``.
        metrics: whether to serve ``/metrics``.
        slots: whether to serve ``/slots`` and ``/slots/timelines``: settings, numbers of tokens and
            commands of the texts that run.
    """

    host: str = "127.0.0.1"
    port: int = 8080
    api_keys: tuple[str, ...] = ()
    share_answers: bool = False
    alias: str | None = None
    allowed_hosts: tuple[str, ...] | None = None
    cors_origins: tuple[str, ...] = ()
    max_body_bytes: int = 4 * 1024 * 1024
    max_json_depth: int = 64
    header_timeout_s: float = 20.0
    body_timeout_s: float = 30.0
    request_timeout_s: float = 600.0
    send_timeout_s: float = 60.0
    queue_size: int = 32
    heartbeat_s: float = 10.0
    keep_alive_s: float = 75.0
    max_connections: int = 1024
    grace_s: float = 10.0
    page: bool = True
    metrics: bool = True
    slots: bool = True

    def __post_init__(self) -> None:
        _at_least("port", self.port, 0)
        if self.port > 65535:
            raise InvalidArgument(f"port is {self.port}; it must be at most 65535")
        for name in ("max_body_bytes", "max_json_depth", "max_connections"):
            _at_least(name, getattr(self, name), 1)
        _at_least("queue_size", self.queue_size, 0)
        _at_least("grace_s", self.grace_s, 0)
        for name in (
            "header_timeout_s",
            "body_timeout_s",
            "request_timeout_s",
            "send_timeout_s",
            "heartbeat_s",
            "keep_alive_s",
        ):
            value = getattr(self, name)
            if not (math.isfinite(value) and value > 0):
                raise InvalidArgument(f"{name} is {value}; it must be above 0 and finite")
        for key in self.api_keys:
            if not key or not key.isascii() or not key.isprintable() or " " in key:
                raise InvalidArgument(
                    "an API key is empty or has other characters than printable ASCII; it must be "
                    "printable ASCII without spaces"
                )

        if self.allowed_hosts is not None:
            object.__setattr__(self, "allowed_hosts", tuple(map(host_setting, self.allowed_hosts)))
        object.__setattr__(self, "cors_origins", tuple(map(origin_setting, self.cors_origins)))

    @property
    def n_users(self) -> int:
        """How many users can be told apart: the number of API keys, or 1 without keys."""
        return max(1, len(set(self.api_keys)))

    @property
    def one_user(self) -> bool:
        """Whether at most one API key is accepted, so that answers need not be kept apart."""
        return self.n_users == 1

    def check_answers(self, engine: Engine) -> None:
        """Refuses an engine whose times would tell one user of the answers to another.

        Raises:
            InvalidArgument: earlier answers propose tokens, and there are several API keys.
        """
        if engine.lookup_answers and not (self.one_user or self.share_answers):
            raise InvalidArgument(
                f"lookup_answers is True, and there are {len(set(self.api_keys))} API keys, so the "
                "time of an answer would tell the holder of one key what others were told; create "
                "the engine with lookup_answers=False, or set share_answers"
            )

    @property
    def host_names(self) -> frozenset[str] | None:
        """Names that are accepted in the ``Host`` header, in lower case. ``None``: all names."""
        if self.allowed_hosts is None and not is_loopback(self.host):
            return None
        if ANY in (self.allowed_hosts or ()):
            return None
        own = {"localhost", "127.0.0.1", "::1", self.host}
        return frozenset(name.lower().strip("[]") for name in own.union(self.allowed_hosts or ()))


def is_loopback(host: str) -> bool:
    """Whether the address can be reached from this machine only."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def _at_least(name: str, value: float, least: int) -> None:
    if not (math.isfinite(value) and value >= least):
        raise InvalidArgument(f"{name} is {value}; it must be at least {least}")
