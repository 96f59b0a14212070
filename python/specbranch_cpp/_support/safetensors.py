"""Reads a safetensors file of float32 tensors."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from specbranch_cpp._support.files import open_file
from specbranch_cpp.errors import InvalidArgument

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

_MAX_FILE = 1 << 30


@dataclass(frozen=True, eq=False)
class Tensors:
    """The content of a file."""

    metadata: dict[str, str]
    arrays: dict[str, npt.NDArray[np.float32]]


def read(path: str) -> Tensors:
    """Reads a file of at most 1 GiB.

    Raises:
        InvalidArgument: the file cannot be read, it is damaged, or it has a tensor of another type.
    """
    from safetensors import SafetensorError, safe_open  # slow to import, and rarely needed

    try:
        with open_file(path) as file:
            size = os.fstat(file.fileno()).st_size
        if size > _MAX_FILE:
            raise _damaged(path, f"it has {size} bytes; it must have at most {_MAX_FILE} bytes")
        with safe_open(path, framework="numpy") as weights:
            for name in weights.keys():  # noqa: SIM118 (the file is no mapping)
                if (kind := weights.get_slice(name).get_dtype()) != "F32":
                    raise _damaged(path, f"tensor {name!r} has type {kind!r}; it must be 'F32'")
            arrays = {name: weights.get_tensor(name) for name in weights.keys()}  # noqa: SIM118
            return Tensors(dict(weights.metadata() or {}), arrays)
    except OSError as error:
        raise InvalidArgument(f"{path!r} cannot be read: {error.strerror or error}") from error
    except SafetensorError as error:
        raise _damaged(path, str(error)) from error


def _damaged(path: str, reason: str) -> InvalidArgument:
    return InvalidArgument(f"{path!r} is not a usable safetensors file: {reason}")
