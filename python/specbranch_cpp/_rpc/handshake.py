"""Asks an RPC server for its version and devices before llama.cpp connects.

llama.cpp ends the process at a wrong answer, and waits without end if there is none.
"""

from __future__ import annotations

import socket
import struct
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from specbranch_cpp.errors import ModelLoadError

if TYPE_CHECKING:
    from specbranch_cpp._rpc.addresses import Address

__all__ = ["LIMIT_S", "PROTOCOL", "RpcServer", "ServedDevice", "ask_server"]

LIMIT_S = 5.0
"""The time in which a server must have answered everything."""
PROTOCOL = (7, 0)
"""Major and minor number of the protocol of the llama.cpp that the package is pinned to."""

# As in llama.cpp's ggml-rpc.cpp. A request has the command, the size of the rest, and the rest. An
# answer has its size and the rest.
_GET_DEVICE_MEMORY, _HELLO, _DEVICE_COUNT = 11, 14, 15
_REQUEST = struct.Struct("<BQ")
_SIZE = struct.Struct("<Q")
_CAPABILITIES = bytes(24)  # none: TCP
_HELLO_ANSWER = struct.Struct("<4B24s")
_COUNT = struct.Struct("<I")
_MEMORY = struct.Struct("<QQ")
_MAX_DEVICES = 256


@dataclass(frozen=True)
class ServedDevice:
    """The memory of a device of a server, in bytes; of a CPU llama.cpp says that all is free."""

    free: int
    total: int


@dataclass(frozen=True)
class RpcServer:
    """A server that answers.

    Attributes:
        address: as the caller wrote it.
        endpoint: the same with the IPv4 address of the host, for llama.cpp.
        version: of the protocol: major, minor and patch number.
        devices: what it serves.
    """

    address: Address
    endpoint: str
    version: tuple[int, int, int]
    devices: tuple[ServedDevice, ...]


def ask_server(address: Address, limit_s: float = LIMIT_S) -> RpcServer:
    """Connects to a server, asks for its version and its devices, and leaves.

    Raises:
        ModelLoadError: it cannot be reached, does not answer in time, or has another protocol.
    """
    try:
        resolved = address.resolved()
    except OSError as error:
        raise ModelLoadError(f"the RPC server {address} is not known: {error.strerror}") from None
    connection = _Connection(address, limit_s)
    with connection.to(resolved):
        hello = connection.call(_HELLO, _CAPABILITIES, _HELLO_ANSWER.size)
        major, minor, patch, _, _ = _HELLO_ANSWER.unpack(hello)
        if major != PROTOCOL[0] or minor > PROTOCOL[1]:
            raise ModelLoadError(
                f"the RPC server {address} has version {major}.{minor}.{patch} of the protocol; "
                f"this llama.cpp has {PROTOCOL[0]}.{PROTOCOL[1]}: install the same version of "
                "llama.cpp on both hosts"
            )
        (n_devices,) = _COUNT.unpack(connection.call(_DEVICE_COUNT, b"", _COUNT.size))
        if not 1 <= n_devices <= _MAX_DEVICES:
            raise ModelLoadError(f"the RPC server {address} has {n_devices} devices")
        memories = [
            _MEMORY.unpack(connection.call(_GET_DEVICE_MEMORY, _COUNT.pack(n), _MEMORY.size))
            for n in range(n_devices)
        ]
    devices = tuple(ServedDevice(free, total) for free, total in memories)
    return RpcServer(address, str(resolved), (major, minor, patch), devices)


class _Connection:
    """A connection whose calls must all be answered before a time limit."""

    def __init__(self, address: Address, limit_s: float) -> None:
        self._address = address
        self._limit_s = limit_s
        self._end = time.monotonic() + limit_s
        self._socket = socket.socket()

    def to(self, resolved: Address) -> socket.socket:
        """Connects. The result closes the connection."""
        self._socket.settimeout(self._limit_s)
        try:
            self._socket.connect((resolved.host, resolved.port))
        except OSError as error:
            self._socket.close()
            reason = error.strerror or f"no answer within {self._limit_s:g} s"
            raise ModelLoadError(
                f"the RPC server {self._address} cannot be reached: {reason}; start one there with "
                "`specbranch rpc-serve`"
            ) from None
        return self._socket

    def call(self, command: int, content: bytes, n_bytes: int) -> bytes:
        """Sends a command, and waits for an answer of this size."""
        try:
            self._socket.settimeout(self._left())
            self._socket.sendall(_REQUEST.pack(command, len(content)) + content)
            (size,) = _SIZE.unpack(self._read(_SIZE.size))
            if size != n_bytes:
                raise ModelLoadError(self._foreign(f"an answer of {size} bytes"))
            return self._read(n_bytes)
        except TimeoutError:
            raise ModelLoadError(
                f"the RPC server {self._address} does not answer within {self._limit_s:g} s; it "
                "serves one program at a time, so another one may be using it"
            ) from None
        except OSError as error:
            if isinstance(error, ModelLoadError):
                raise
            raise ModelLoadError(self._foreign(error.strerror or str(error))) from None

    def _read(self, n_bytes: int) -> bytes:
        data = b""
        while len(data) < n_bytes:
            self._socket.settimeout(self._left())
            part = self._socket.recv(n_bytes - len(data))
            if not part:
                raise ModelLoadError(self._foreign("it closed the connection"))
            data += part
        return data

    def _left(self) -> float:
        left = self._end - time.monotonic()
        if left <= 0:
            raise TimeoutError
        return left

    def _foreign(self, what: str) -> str:
        return (
            f"what listens at {self._address} is no RPC server of this version of llama.cpp: {what}"
        )
