"""Writes a GGUF model as several files, as llama.cpp's gguf-split does."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gguf import GGUFReader, GGUFValueType, GGUFWriter

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from gguf.gguf_reader import ReaderTensor


def write_parts(
    source: Path, folder: Path, *, stem: str = "model", n_parts: int = 2, bare_first: bool = False
) -> list[Path]:
    """Write the model in `source` as ``STEM-00001-of-0000N.gguf`` and so on; return the paths.

    `bare_first`: the first part has the metadata and no tensors.
    """
    reader = GGUFReader(source)
    n_full = n_parts - bare_first
    share = -(-len(reader.tensors) // n_full)
    groups: list[Sequence[ReaderTensor]] = [[]] if bare_first else []
    groups += [reader.tensors[i * share : (i + 1) * share] for i in range(n_full)]
    paths = []
    for index, tensors in enumerate(groups):
        path = folder / f"{stem}-{index + 1:05d}-of-{n_parts:05d}.gguf"
        writer = GGUFWriter(path, "llama")
        if index == 0:
            _copy_metadata(reader, writer)
        else:  # only the first part says what the model is
            writer.kv_data[0].clear()
        writer.add_uint16("split.no", index)
        writer.add_uint16("split.count", n_parts)
        writer.add_int32("split.tensors.count", len(reader.tensors))
        for tensor in tensors:
            writer.add_tensor(tensor.name, tensor.data, raw_dtype=tensor.tensor_type)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        paths.append(path)
    return paths


def _copy_metadata(reader: GGUFReader, writer: GGUFWriter) -> None:
    for field in reader.fields.values():
        if field.name == "general.architecture" or field.name.startswith("GGUF."):
            continue
        is_list = field.types[0] == GGUFValueType.ARRAY
        kind = field.types[-1] if is_list else None
        writer.add_key_value(field.name, field.contents(), field.types[0], kind)
