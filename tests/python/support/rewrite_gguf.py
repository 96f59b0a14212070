"""Writes variants of a small GGUF file: in parts, with other metadata, with holes for weights."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import numpy as np
from gguf import GGUFReader, GGUFValueType, GGUFWriter

from specbranch_cpp._support.split_files import PartName

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path


def split_gguf(source: Path, n_parts: int) -> list[Path]:
    """Writes the parts beside the file and returns their paths; the file itself stays."""
    reader = GGUFReader(source)
    names = PartName(source.name.removesuffix(".gguf"), 1, n_parts).names
    paths = [source.with_name(name) for name in names]
    share = -(-len(reader.tensors) // n_parts)
    architecture = reader.fields["general.architecture"].contents()
    for i, path in enumerate(paths):
        writer = GGUFWriter(path, architecture)
        if i == 0:
            copy_metadata(reader, writer)
        writer.add_uint16("split.no", i)
        writer.add_uint16("split.count", n_parts)
        writer.add_int32("split.tensors.count", len(reader.tensors))
        for tensor in reader.tensors[i * share : (i + 1) * share]:
            writer.add_tensor(tensor.name, tensor.data, raw_dtype=tensor.tensor_type)
        _write(writer)
    return paths


def with_numbers(source: Path, path: Path, numbers: Mapping[str, int]) -> Path:
    """Writes the same model with more integers in its metadata."""
    reader = GGUFReader(source)
    writer = GGUFWriter(path, "llama")
    copy_metadata(reader, writer)
    for key, value in numbers.items():
        writer.add_uint32(key, value)
    for tensor in reader.tensors:
        writer.add_tensor(tensor.name, tensor.data, raw_dtype=tensor.tensor_type)
    _write(writer)
    return path


def with_text(source: Path, path: Path, key: str, value: str) -> Path:
    """Writes the same model with another text in its metadata."""
    reader = GGUFReader(source)
    writer = GGUFWriter(path, reader.fields["general.architecture"].contents())
    copy_metadata(reader, writer, without=key)
    writer.add_string(key, value)
    for tensor in reader.tensors:
        writer.add_tensor(tensor.name, tensor.data, raw_dtype=tensor.tensor_type)
    _write(writer)
    return path


def with_holes(source: Path, path: Path, shapes: Mapping[str, Sequence[int]]) -> Path:
    """Writes the same metadata, and tensors of F32 that are holes in the file.

    The last dimension of a shape is that of a row.
    """
    writer = GGUFWriter(path, "llama")
    copy_metadata(GGUFReader(source), writer)
    total = 0
    for name, shape in shapes.items():
        n_bytes = 4 * int(np.prod(shape, dtype=np.int64))
        writer.add_tensor_info(name, shape, np.dtype(np.float32), n_bytes)
        total += -(-n_bytes // 32) * 32
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    writer.close()
    os.truncate(path, -(-path.stat().st_size // 32) * 32 + total)
    return path


def copy_metadata(reader: GGUFReader, writer: GGUFWriter, without: str = "") -> None:
    for key, field in reader.fields.items():
        if key.startswith("GGUF.") or key in ("general.architecture", without):
            continue
        is_array = field.types[0] is GGUFValueType.ARRAY
        inner = field.types[-1] if is_array else None
        writer.add_key_value(key, field.contents(), field.types[0], inner)


def _write(writer: GGUFWriter) -> None:
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
