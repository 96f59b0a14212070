"""Reads a safetensors file of float32 tensors.

The format has three parts: the length of the header (8 bytes, little-endian), the header, and the
data. The header is JSON: type, shape and place of each tensor, and a map of strings under
``__metadata__``.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

from specbranch_cpp.errors import InvalidArgument

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

_MAX_HEADER = 1 << 20
_MAX_FILE = 1 << 30


@dataclass(frozen=True)
class Tensors:
    """The content of a file."""

    metadata: dict[str, str]
    arrays: dict[str, npt.NDArray[np.float32]]


def read(path: str) -> Tensors:
    """Reads a file of at most 1 GiB.

    Raises:
        InvalidArgument: the file cannot be read, or it is damaged.
    """
    try:
        size = Path(path).stat().st_size
        if size > _MAX_FILE:
            raise _damaged(path, f"it has {size} bytes; it must have at most {_MAX_FILE} bytes")
        data = Path(path).read_bytes()
    except OSError as error:
        raise InvalidArgument(f"{path!r} cannot be read: {error.strerror or error}") from error
    if len(data) < 8:
        raise _damaged(path, f"it has {len(data)} bytes; it must have at least 8 bytes")
    n_header = int.from_bytes(data[:8], "little")
    if n_header > min(_MAX_HEADER, len(data) - 8):
        raise _damaged(
            path, f"its header has {n_header} bytes, but the file has only {len(data)} bytes"
        )
    try:
        header = json.loads(data[8 : 8 + n_header])
    except (ValueError, RecursionError) as error:
        raise _damaged(path, "its header is not JSON") from error
    if not isinstance(header, dict):
        raise _damaged(path, "its header is not a map")
    metadata = header.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(v, str) for v in metadata.values()):
        raise _damaged(path, "its metadata is not a map of strings")
    body = memoryview(data)[8 + n_header :]
    arrays = {name: _tensor(path, name, entry, body) for name, entry in header.items()}
    return Tensors(metadata, arrays)


def _tensor(path: str, name: str, entry: Any, body: memoryview) -> npt.NDArray[np.float32]:
    import numpy as np

    try:
        kind, shape, (begin, end) = entry["dtype"], entry["shape"], entry["data_offsets"]
    except (TypeError, KeyError, ValueError) as error:
        raise _damaged(path, f"the entry of tensor {name!r} is incomplete") from error
    if kind != "F32":
        raise _damaged(path, f"tensor {name!r} has type {kind!r}; it must be 'F32'")
    sizes = [begin, end, *shape] if isinstance(shape, list) else [None]
    if not all(type(size) is int and size >= 0 for size in sizes):
        raise _damaged(path, f"tensor {name!r} has an invalid shape or place")
    if not begin <= end <= len(body) or end - begin != 4 * prod(shape):
        raise _damaged(
            path,
            f"tensor {name!r} of shape {shape} is at bytes {begin} .. {end}, but the data have "
            f"{len(body)} bytes",
        )
    array: npt.NDArray[np.float32] = np.frombuffer(body[begin:end], dtype="<f4").reshape(shape)
    return array


def _damaged(path: str, reason: str) -> InvalidArgument:
    return InvalidArgument(f"{path!r} is not a usable safetensors file: {reason}")
