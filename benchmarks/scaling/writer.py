"""The new file: metadata, then the weights, chunk by chunk."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import numpy as np
from gguf import GGUFValueType, GGUFWriter
from tqdm import tqdm  # type: ignore[import-untyped]

from .source import ARCHITECTURE

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from .shape import Shape
    from .source import Source
    from .tensor import PlannedTensor


def write_metadata(source: Source, new: Shape, plan: Sequence[PlannedTensor], path: Path) -> int:
    """Write everything before the weights; return the alignment of the tensors."""
    old_width, new_width = source.shape.n_embd, new.n_embd
    # Written even where the source left them to their defaults, which depend on the shape.
    changed: dict[str, tuple[int | float, GGUFValueType]] = {
        "embedding_length": (new.n_embd, GGUFValueType.UINT32),
        "block_count": (new.n_layer, GGUFValueType.UINT32),
        "feed_forward_length": (new.n_ff, GGUFValueType.UINT32),
        "attention.head_count": (new.n_head, GGUFValueType.UINT32),
        "attention.head_count_kv": (new.n_head_kv, GGUFValueType.UINT32),
        "attention.key_length": (source.key_size, GGUFValueType.UINT32),
        "attention.value_length": (source.value_size, GGUFValueType.UINT32),
        "rope.dimension_count": (source.n_rot, GGUFValueType.UINT32),
        "attention.layer_norm_rms_epsilon": (
            source.norm_epsilon * (old_width / new_width),
            GGUFValueType.FLOAT32,
        ),
    }
    changed = {f"{ARCHITECTURE}.{key}": value for key, value in changed.items()}
    # The writer sets the architecture itself; the size label would be wrong.
    dropped = {"general.architecture", "general.size_label", *changed}

    writer = GGUFWriter(path, ARCHITECTURE)
    writer.data_alignment = source.reader.alignment
    for key, field in source.reader.fields.items():
        if key.startswith("GGUF.") or key in dropped:
            continue
        value = field.contents()
        is_array = field.types[0] is GGUFValueType.ARRAY
        if is_array and not value:
            continue  # the writer cannot write an empty array
        writer.add_key_value(key, value, field.types[0], field.types[-1] if is_array else None)
    for key, (number, kind) in changed.items():
        writer.add_key_value(key, number, kind)
    for tensor in plan:
        writer.add_tensor_info(
            tensor.name, tensor.shape, np.dtype(np.float32), tensor.n_bytes, raw_dtype=tensor.type
        )
    try:
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_ti_data_to_file()
    finally:
        writer.close()
    return source.reader.alignment


def write_weights(
    plan: Sequence[PlannedTensor], path: Path, alignment: int, seed: int, *, title: str | None
) -> None:
    """Append the weights; `title` names the progress bar, None shows none."""
    n_bytes = sum(tensor.n_bytes for tensor in plan)
    with (
        path.open("r+b") as file,
        tqdm(desc=title, total=n_bytes, unit="B", unit_scale=True, disable=title is None) as bar,
    ):
        file.seek(0, os.SEEK_END)
        file.write(bytes(-file.tell() % alignment))
        for tensor in plan:
            for chunk in tensor.chunks(seed):
                file.write(chunk.data)
                bar.update(chunk.nbytes)
            file.write(bytes(-file.tell() % alignment))
