"""Messages between the process of the caller and that of an isolated engine.

A model file may be able to take over the process that loads it. So what comes from there is only
data: JSON, and bytes beside it. What the process of the caller sends is pickled.
"""

from __future__ import annotations

import json
import pickle
import struct
from dataclasses import fields, is_dataclass
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import socket
    from typing import BinaryIO

__all__ = ["DamagedFrame", "read_data", "read_order", "write_data", "write_order"]

_SIZES = struct.Struct("<II")
_LARGEST = 2**30
"""The largest number of bytes of a message, so that no process can make the other take more."""
_SMALL = 256  # up to so many bytes are cheaper as a text than beside it
_N_HEAD = 3
"""The first parts of an order, among them the number and the name of a call, are no objects of the
caller."""


class DamagedFrame(Exception):  # noqa: N818
    """A message that cannot be read."""


def write_data(connection: socket.socket, message: list[Any]) -> None:
    """Sends a message of the engine's process: values, objects of the core, and results.

    Raises:
        OSError: the other process is gone.
        ValueError: the message is too large.
    """
    beside = bytearray()
    text = json.dumps([_packed(value, beside) for value in message]).encode("ascii")
    _check_size(len(text) + len(beside))
    connection.sendall(_SIZES.pack(len(text), len(beside)) + text + beside)


def read_data(stream: BinaryIO) -> list[Any] | None:
    """Waits for a message of the engine's process. ``None``: there are no more.

    Objects of the core, and dataclasses, come as objects with the same attributes. An array is
    read-only if it was so there.

    Raises:
        DamagedFrame: it is not a message.
    """
    sizes = stream.read(_SIZES.size)
    if len(sizes) < _SIZES.size:
        return None
    n_text, n_beside = _SIZES.unpack(sizes)
    if n_text + n_beside > _LARGEST:
        raise DamagedFrame(f"a message of {n_text + n_beside} bytes")
    text = stream.read(n_text)
    beside = stream.read(n_beside)
    if len(text) < n_text or len(beside) < n_beside:
        return None
    try:
        values = json.loads(text)
        return [_unpacked(value, beside) for value in values]
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        raise DamagedFrame(f"{type(error).__name__}: {error}") from None


def write_order(connection: socket.socket, order: tuple[Any, ...]) -> None:
    """Sends a message of the caller's process.

    Raises:
        OSError: the other process is gone.
        ValueError: the message is too large.
    """
    head = pickle.dumps(order[:_N_HEAD], protocol=5)
    data = pickle.dumps(order[_N_HEAD:], protocol=5)
    _check_size(len(data))
    connection.sendall(_SIZES.pack(len(head), len(data)) + head + data)


def read_order(stream: BinaryIO) -> tuple[Any, ...] | None:
    """Waits for a message of the caller's process. ``None``: there are no more.

    A call whose arguments cannot be read becomes a call of ``unreadable``, with the reason.
    """
    sizes = stream.read(_SIZES.size)
    if len(sizes) < _SIZES.size:
        return None
    n_head, n_data = _SIZES.unpack(sizes)
    head, data = stream.read(n_head), stream.read(n_data)
    if len(head) < n_head or len(data) < n_data:
        return None
    begin: tuple[Any, ...] = pickle.loads(head)
    try:
        rest: tuple[Any, ...] = pickle.loads(data)
    except Exception as error:
        if begin[0] != "call":
            raise
        return (*begin[:2], "unreadable", f"{type(error).__name__}: {error}")
    return begin + rest


def _check_size(n_bytes: int) -> None:
    if n_bytes > _LARGEST:
        raise ValueError(
            f"{n_bytes} bytes for another process; they must be at most {_LARGEST} (a trace with "
            "features is large)"
        )


def _packed(value: Any, beside: bytearray) -> Any:
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, bytes):
        if len(value) <= _SMALL:
            return {"bytes": value.decode("latin-1")}
        beside += value
        return {"bytes": [len(beside) - len(value), len(value)]}
    if isinstance(value, list):
        return [_packed(each, beside) for each in value]
    if isinstance(value, tuple):
        return {"tuple": [_packed(each, beside) for each in value]}
    if isinstance(value, dict):
        return {"dict": [[_packed(key, beside), _packed(of, beside)] for key, of in value.items()]}
    if type(value).__module__ == "numpy":
        data = _packed(value.tobytes(), beside)
        return {"array": [value.dtype.str, list(value.shape), data, bool(value.flags.writeable)]}
    return {"object": {name: _packed(getattr(value, name), beside) for name in _attributes(value)}}


def _attributes(value: object) -> list[str]:
    """The names of what an object of the core, or a dataclass, consists of."""
    if is_dataclass(value):
        return [field.name for field in fields(value)]
    kind = type(value)
    return [name for name in dir(kind) if isinstance(getattr(kind, name), property)]


def _unpacked(value: Any, beside: bytes) -> Any:
    if isinstance(value, list):
        return [_unpacked(each, beside) for each in value]
    if not isinstance(value, dict):
        return value
    ((kind, content),) = value.items()
    if kind == "bytes":
        if isinstance(content, str):
            return content.encode("latin-1")
        begin, n_bytes = content
        return beside[begin : begin + n_bytes]
    if kind == "tuple":
        return tuple(_unpacked(each, beside) for each in content)
    if kind == "dict":
        return {_unpacked(key, beside): _unpacked(of, beside) for key, of in content}
    if kind == "array":
        import numpy as np

        dtype, shape, data, is_writeable = content
        if dtype not in ("<f4", "<i4"):
            raise DamagedFrame(f"an array of {dtype!r}")
        array = np.frombuffer(_unpacked(data, beside), np.dtype(dtype)).reshape(shape)
        return array.copy() if is_writeable else array
    if kind == "object":
        return SimpleNamespace(**{name: _unpacked(of, beside) for name, of in content.items()})
    raise DamagedFrame(f"a value of kind {kind!r}")
