"""What can be set of the server."""

from __future__ import annotations

import ipaddress
import math
from dataclasses import dataclass

from specbranch_cpp.errors import InvalidArgument

__all__ = ["ServerSettings", "is_loopback"]


@dataclass(frozen=True)
class ServerSettings:
    """Options of `create_app` and `run`.

    Attributes:
        host: address to bind; the default is reached from this machine only.
        port: TCP port; 0: any free one.
        api_keys: a request needs one of these as ``Authorization: Bearer KEY``; none: no key.
        alias: the name of the model in replies and in ``/v1/models``; None: the engine's.
        allowed_hosts: names accepted in the ``Host`` header. None: on a loopback address its names
            (``localhost``, ``127.0.0.1``, ``::1``), which keeps web sites from reaching the server
            through a name of their own that points here; on other addresses every name.
        cors_origins: web origins (``https://example.org``) that may call from a browser; ``"*"``:
            all; none: only the server's own page.
        max_body_bytes: size of a request's body at most.
        max_json_depth: nested arrays and objects of a body at most.
        header_timeout_s: seconds for a request's head, from the connection or its first byte.
        body_timeout_s: seconds for a request's body.
        request_timeout_s: seconds for a generation, its time in the queue not counted.
        send_timeout_s: seconds that a client may leave sent data unread before it is dropped.
        queue_size: requests that may wait while one runs; 0: none.
        heartbeat_s: seconds of silence after which a stream gets a comment line. A stream begins
            with its first event or then, so that an early error still has its own status.
        keep_alive_s: seconds that an idle connection stays open.
        max_connections: connections at most; further ones are closed at once.
        grace_s: seconds that running requests get when the server is stopped.
        page: serve the page at ``/``.
        metrics: serve ``/metrics``.
    """

    host: str = "127.0.0.1"
    port: int = 8080
    api_keys: tuple[str, ...] = ()
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

    def __post_init__(self) -> None:
        _at_least("port", self.port, 0)
        if self.port > 65535:
            raise InvalidArgument(f"port is {self.port}; it must be 65535 at most")
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
                    "an API key must be printable ASCII without spaces, and not empty"
                )

    @property
    def host_names(self) -> frozenset[str] | None:
        """Names accepted in the ``Host`` header, in lower case; None: all."""
        if self.allowed_hosts is None and not is_loopback(self.host):
            return None
        own = {"localhost", "127.0.0.1", "::1", self.host}
        return frozenset(name.lower().strip("[]") for name in own.union(self.allowed_hosts or ()))


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach an address."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def _at_least(name: str, value: float, least: int) -> None:
    if not (math.isfinite(value) and value >= least):
        raise InvalidArgument(f"{name} is {value}; it must be {least} or more")
