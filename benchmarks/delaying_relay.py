"""A relay of TCP connections that makes a network of this machine slow, or lets it fail.

    python benchmarks/delaying_relay.py HOST PORT [--delay-ms 1] [--listen 127.0.0.1]

It prints the port at which it listens, and passes every connection on to HOST:PORT. Bytes wait for
the delay in each direction, so a round trip takes twice the delay longer; the rate is not limited.
After SIGUSR1 it passes nothing on, and closes nothing. Where the kernel has netem,
`tc qdisc add dev ... root netem delay 1ms` does the same.
"""

from __future__ import annotations

import argparse
import contextlib
import select
import signal
import socket
import time
from collections import deque
from dataclasses import dataclass, field

_PART = 1 << 18


@dataclass
class Direction:
    """One direction of a connection, and the bytes on their way, each with the time to pass on."""

    source: socket.socket
    sink: socket.socket
    waiting: deque[tuple[float, bytes]] = field(default_factory=deque)
    is_open: bool = True

    def read(self, delay_s: float) -> None:
        data = b""
        with contextlib.suppress(OSError):
            data = self.source.recv(_PART)
        self.is_open = bool(data)
        self.waiting.append((time.monotonic() + delay_s, data))

    def write(self) -> None:
        """Passes on what has waited long enough; nothing: the end of the connection."""
        while self.waiting and self.waiting[0][0] <= time.monotonic():
            _, data = self.waiting.popleft()
            with contextlib.suppress(OSError):
                if data:
                    self.sink.sendall(data)
                else:
                    self.sink.shutdown(socket.SHUT_WR)


class Relay:
    """All connections, on one thread."""

    def __init__(self, to: tuple[str, int], delay_s: float) -> None:
        self._to = to
        self._delay_s = delay_s
        self._directions: list[Direction] = []
        self.is_silent = False

    def serve(self, listener: socket.socket) -> None:
        """Passes bytes on; it does not return."""
        while True:
            sources = {each.source: each for each in self._directions if each.is_open}
            ready, _, _ = select.select([listener, *sources], [], [], self._pause_s())
            for each in ready:
                if each is listener:
                    self._accept(listener)
                else:
                    sources[each].read(self._delay_s)
            for direction in self._directions:
                if self.is_silent:
                    direction.waiting.clear()
                direction.write()
            self._directions = [one for one in self._directions if one.is_open or one.waiting]

    def _pause_s(self) -> float | None:
        """Seconds until something must be passed on; ``None``: nothing is on its way."""
        due = [each.waiting[0][0] for each in self._directions if each.waiting]
        return max(0.0, min(due) - time.monotonic()) if due else None

    def _accept(self, listener: socket.socket) -> None:
        near, _ = listener.accept()
        try:
            far = socket.create_connection(self._to)
        except OSError:
            near.close()
            return
        for each in (near, far):
            each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._directions += [Direction(near, far), Direction(far, near)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("host")
    parser.add_argument("port", type=int)
    parser.add_argument("--delay-ms", type=float, default=0.0, help="in each direction")
    parser.add_argument("--listen", default="127.0.0.1")
    arguments = parser.parse_args()
    relay = Relay((arguments.host, arguments.port), arguments.delay_ms / 1000)

    def fall_silent(*_: object) -> None:
        relay.is_silent = True

    signal.signal(signal.SIGUSR1, fall_silent)
    with socket.create_server((arguments.listen, 0)) as listener:
        print(listener.getsockname()[1], flush=True)
        relay.serve(listener)


if __name__ == "__main__":
    main()
