"""Ends connections and calls that hang. llama.cpp has no time limits."""

from __future__ import annotations

import contextlib
import os
import socket
import stat
import sys
import threading
import time
from typing import TYPE_CHECKING

from specbranch_cpp import _core
from specbranch_cpp._support.silence import SilenceWatch
from specbranch_cpp.errors import InvalidArgument

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator

__all__ = ["TIMEOUT_S", "VARIABLE", "guard_connections", "timeout_s", "watch_calls"]

TIMEOUT_S = 120.0
"""Seconds after which a call of llama.cpp that makes no progress counts as hanging. A pass over a
whole batch of a large model on a slow worker takes less."""
VARIABLE = "SPECBRANCH_RPC_TIMEOUT"
"""A variable of the environment with another number."""

_LONGEST_S = 86_400.0
_SHARE = 6  # a host whose system says nothing for this part of the time is gone: 20 seconds
_PAUSE_S = 0.5
_FOLDERS = ("/proc/self/fd", "/dev/fd")


def timeout_s() -> float:
    """`TIMEOUT_S`, or what the environment says.

    Raises:
        InvalidArgument: the environment says no number of seconds from 1 to a day.
    """
    given = os.environ.get(VARIABLE)
    if not given:
        return TIMEOUT_S
    with contextlib.suppress(ValueError):
        if 1.0 <= float(given) <= _LONGEST_S:
            return float(given)
    raise InvalidArgument(
        f"{VARIABLE} is {given!r:.50} in the environment; it must be a number of seconds from 1 to "
        f"{_LONGEST_S:,.0f}"
    )


def guard_connections(
    *, remote: Collection[tuple[str, int]] = (), local_port: int | None = None
) -> None:
    """From now on, the system ends connections of this process whose other host is gone.

    It asks hosts from which nothing comes for a sign of life. A thread looks for new connections as
    long as the process lives, since llama.cpp makes them by itself.

    Args:
        remote: addresses and ports of the other ends.
        local_port: of the end here. ``None`` (default): any. Such a connection also ends if the
            other end does not take what was sent for this time, so that a server is free again. The
            other end of ``remote`` may do so: it takes nothing while it computes.

    Raises:
        InvalidArgument: see `timeout_s`.
    """

    def is_ours(connection: socket.socket) -> bool:
        peer = connection.getpeername()
        return peer in remote or connection.getsockname()[1] == local_port

    silence_s = max(1, round(timeout_s() / _SHARE))

    def run() -> None:
        guarded: set[int] = set()
        while True:
            guarded = _guard(is_ours, guarded, silence_s, takes_all=local_port is not None)
            time.sleep(_PAUSE_S)

    threading.Thread(target=run, name="specbranch-hosts", daemon=True).start()


def watch_calls(servers: str) -> None:
    """From now on, a call of llama.cpp that hangs ends the process.

    Args:
        servers: names of the servers, for the message.

    Raises:
        InvalidArgument: see `timeout_s`.
    """
    limit_s = timeout_s()

    def is_silent(step_s: float) -> bool:
        quiet_s = _core.quiet_s()
        return quiet_s is not None and quiet_s >= step_s

    def end() -> None:
        message = f"the RPC servers ({servers}) have not answered for {limit_s:g} s"
        print(f"specbranch: {message}", file=sys.stderr, flush=True)
        os._exit(1)

    SilenceWatch(limit_s, is_silent, end).start()


def _guard(
    is_ours: Callable[[socket.socket], bool],
    guarded: set[int],
    silence_s: int,
    *,
    takes_all: bool,
) -> set[int]:
    """Sets the options of new connections. Returns the numbers of all that have them."""
    found = set()
    for number, connection in _connections():
        with connection, contextlib.suppress(OSError):
            if number not in guarded and is_ours(connection):
                _end_at_silence(connection, silence_s, takes_all=takes_all)
                found.add(number)
            elif number in guarded:
                found.add(number)
    return found


def _end_at_silence(connection: socket.socket, silence_s: int, *, takes_all: bool) -> None:
    """Asks the other host every few seconds whether it is there, also while nothing is sent."""
    pause_s = max(1, silence_s // 4)
    options = {"TCP_KEEPIDLE": pause_s, "TCP_KEEPINTVL": pause_s, "TCP_KEEPCNT": 3}
    if takes_all:
        options["TCP_USER_TIMEOUT"] = 1000 * silence_s
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in options.items():
        if hasattr(socket, name):  # not every system has all of them
            connection.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)


def _connections() -> Iterator[tuple[int, socket.socket]]:
    """Numbers of this process's IPv4 connections, and second handles of them."""
    folder = next((each for each in _FOLDERS if os.path.isdir(each)), None)  # noqa: PTH112
    for name in [] if folder is None else os.listdir(folder):  # noqa: PTH208
        with contextlib.suppress(OSError):
            number = int(name)
            status = os.fstat(number)
            if stat.S_ISSOCK(status.st_mode):
                connection = socket.socket(fileno=os.dup(number))
                if connection.family == socket.AF_INET and connection.type == socket.SOCK_STREAM:
                    yield status.st_ino, connection
                else:
                    connection.close()
