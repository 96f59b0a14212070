"""RPC servers for tests: stand-ins that speak the begin of the protocol, and real workers."""

from __future__ import annotations

import contextlib
import queue
import socket
import struct
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.python.conftest import ROOT

from specbranch_cpp._llama.child import child_environment
from specbranch_cpp._rpc.addresses import parse_addresses
from specbranch_cpp._rpc.handshake import PROTOCOL, ask_server
from specbranch_cpp.errors import ModelLoadError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_GET_DEVICE_MEMORY = 11
_ANSWERED = {0, 1, 2, 3, 7, 8, 9, _GET_DEVICE_MEMORY, 13, 14, 15}
MEMORY = (3 << 30, 4 << 30)


@dataclass
class StandIn:
    """What a stand-in answers.

    Attributes:
        version: of the protocol.
        n_devices: number of devices.
        n_bytes: how many bytes of its first answer it sends.
        size: what it says is the size of its first answer.
    """

    version: tuple[int, int, int] = (*PROTOCOL, 0)
    n_devices: int = 2
    n_bytes: int = 1000
    size: int = 28

    def answer(self, connection: socket.socket) -> None:
        """Answers until the other end leaves, or the first answer was cut."""
        with connection, connection.makefile("rb") as stream:
            while head := stream.read(9):
                command, n_bytes = struct.unpack("<BQ", head)
                stream.read(n_bytes)
                if command == 14:
                    hello = struct.pack("<QBBBB24x", self.size, *self.version, 0)
                    connection.sendall(hello[: self.n_bytes])
                    if self.n_bytes < len(hello):
                        return
                elif command == 15:
                    connection.sendall(struct.pack("<QI", 4, self.n_devices))
                else:
                    connection.sendall(struct.pack("<QQQ", 16, *MEMORY))


@contextlib.contextmanager
def standing_in(server: StandIn | None) -> Iterator[str]:
    """The address of a stand-in; ``None``: it listens and accepts, but says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            with contextlib.suppress(OSError):
                while True:
                    connection, _ = listener.accept()
                    if server is not None:
                        server.answer(connection)
                    else:
                        silent.append(connection)

        silent: list[socket.socket] = []
        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"127.0.0.1:{listener.getsockname()[1]}"
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()
        for connection in silent:
            connection.close()


@contextlib.contextmanager
def with_less_memory(worker: str, n_bytes: int) -> Iterator[str]:
    """The address of a relay to a worker, whose devices then seem to have only this memory."""
    host, _, port = worker.rpartition(":")
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            with contextlib.suppress(OSError):
                while True:
                    near, _ = listener.accept()
                    far = socket.create_connection((host, int(port)))
                    asked: queue.SimpleQueue[int] = queue.SimpleQueue()
                    pairs = ((near, far, True), (far, near, False))
                    for source, sink, is_request in pairs:
                        arguments = (source, sink, asked, is_request)
                        threading.Thread(target=relay, args=arguments, daemon=True).start()

        def relay(
            source: socket.socket,
            sink: socket.socket,
            asked: queue.SimpleQueue[int],
            is_request: bool,
        ) -> None:
            with contextlib.suppress(OSError), source, sink, source.makefile("rb") as stream:
                n_head = 9 if is_request else 8
                while len(head := stream.read(n_head)) == n_head:
                    if is_request and head[0] in _ANSWERED:
                        asked.put(head[0])
                    content = stream.read(struct.unpack("<Q", head[-8:])[0])
                    if not is_request and asked.get() == _GET_DEVICE_MEMORY:
                        content = struct.pack("<QQ", n_bytes, n_bytes)
                    sink.sendall(head + content)
                sink.shutdown(socket.SHUT_RDWR)

        threading.Thread(target=serve, daemon=True).start()
        yield f"127.0.0.1:{listener.getsockname()[1]}"


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


class Worker:
    """A process with ``specbranch rpc-serve``, which `stop` or the end of the block ends.

    Args:
        port: where it listens. ``None`` (default): a free one.
        host: the address.
        prefix: words before the command, such as those of another network namespace.
    """

    def __init__(
        self, port: int | None = None, host: str = "127.0.0.1", prefix: Sequence[str] = ()
    ) -> None:
        self.address = f"{host}:{port or free_port()}"
        command = [sys.executable, "-m", "specbranch_cpp", "rpc-serve", "--threads", "1"]
        command += ["--host", host, "--port", self.address.rpartition(":")[2]]
        self.process = subprocess.Popen(
            [*prefix, *command],
            env=child_environment(SPECBRANCH_CPU_PROBE="0"),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        self.wait()

    def wait(self) -> None:
        """Waits until it answers."""
        (address,) = parse_addresses("worker", [self.address])
        end = time.monotonic() + 60
        while self.process.poll() is None and time.monotonic() < end:
            with contextlib.suppress(ModelLoadError):
                ask_server(address)
                return
            time.sleep(0.05)
        self.stop()
        raise AssertionError(f"the worker did not start: exit code {self.process.returncode}")

    def stop(self) -> None:
        """Kills it, as a power cut would."""
        self.process.kill()
        self.process.wait()

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


class RelayProcess:
    """A relay in a process of its own (`benchmarks/delaying_relay.py`)."""

    def __init__(self, to: str, delay_ms: float = 0.0) -> None:
        host, _, port = to.rpartition(":")
        program = ROOT / "benchmarks/delaying_relay.py"
        command = [sys.executable, str(program), host, port, "--delay-ms", str(delay_ms)]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        self.address = f"127.0.0.1:{self.process.stdout.readline().strip()}"

    def __enter__(self) -> RelayProcess:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.communicate()
