"""Changes single settings in the bytes of a GGUF file, as a damaged or hostile file has them."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

import numpy as np
from gguf import GGUFReader, GGUFWriter
from tests.python.support.rewrite_gguf import copy_metadata

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import numpy.typing as npt


def with_setting(source: Path, path: Path, key: str, value: int) -> Path:
    """Writes the same file with another value of a setting that is a 32-bit integer."""
    data = bytearray(source.read_bytes())
    name = key.encode()
    place = data.index(struct.pack("<Q", len(name)) + name) + 8 + len(name)
    assert struct.unpack_from("<I", data, place)[0] in (4, 5), "it is no 32-bit integer"
    struct.pack_into("<I", data, place + 4, value)
    path.write_bytes(data)
    return path


def with_tensors(source: Path, path: Path, tensors: Mapping[str, npt.NDArray[np.generic]]) -> Path:
    """Writes the same model with other values, and so other types, of some tensors."""
    reader = GGUFReader(source)
    writer = GGUFWriter(path, "llama")
    copy_metadata(reader, writer)
    for tensor in reader.tensors:
        if tensor.name in tensors:
            writer.add_tensor(tensor.name, tensors[tensor.name])
        else:
            writer.add_tensor(tensor.name, tensor.data, raw_dtype=tensor.tensor_type)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path
