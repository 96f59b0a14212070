"""The metadata of a scaled model."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from gguf import GGMLQuantizationType, GGUFValueType, GGUFWriter, LlamaFileType

from specbranch_cpp._scaling.placement import models_of_blocks
from specbranch_cpp._scaling.shape import ScaleError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from specbranch_cpp._scaling.shape import Shape
    from specbranch_cpp._scaling.source import Source
    from specbranch_cpp._scaling.tensor import PlannedTensor

    Value = int | float | list[int]
    Changed = Mapping[str, tuple[Value, GGUFValueType]]

# The frequencies of these types depend on the head size in ways that no base can correct.
_UNSTRETCHABLE = ("yarn", "longrope")


def changed_metadata(source: Source, new: Shape) -> Changed:
    """The metadata that differ in the new shape, by key.

    A value is written even if the source has the default, because defaults depend on the shape.
    """
    old = source.shape
    changed: dict[str, tuple[Value, GGUFValueType]] = {
        "embedding_length": (new.n_embd, GGUFValueType.UINT32),
        "block_count": (new.n_layer, GGUFValueType.UINT32),
        "feed_forward_length": (new.n_ff, GGUFValueType.UINT32),
        "attention.head_count": (new.n_head, GGUFValueType.UINT32),
        "attention.head_count_kv": _heads_kv(source, new),
        "attention.key_length": (new.head_size, GGUFValueType.UINT32),
        "attention.value_length": (new.head_size, GGUFValueType.UINT32),
        "rope.dimension_count": (new.head_size, GGUFValueType.UINT32),
        "attention.layer_norm_rms_epsilon": (
            source.norm_epsilon * (old.n_embd / new.n_embd),
            GGUFValueType.FLOAT32,
        ),
    }
    if new.head_size != old.head_size:
        changed |= _rotation(source, new.head_size / old.head_size)
    return {f"{source.architecture}.{key}": value for key, value in changed.items()}


def _heads_kv(source: Source, new: Shape) -> tuple[Value, GGUFValueType]:
    """The number of key-value heads, or the number in each block where some have no attention."""
    if all(source.has_attention):
        return new.n_head_kv, GGUFValueType.UINT32
    models = models_of_blocks(source.shape.n_layer, new.n_layer)
    heads_kv = [new.n_head_kv * source.has_attention[model] for model, _ in models]
    return heads_kv, GGUFValueType.ARRAY


def _rotation(source: Source, growth: float) -> Changed:
    """The metadata that keep the rotation and the weight of the old pairs when heads grow.

    Pair i turns by base ** (-2 i / head size) per position: base ** growth keeps the angles of the
    old pairs. llama.cpp divides the scores of attention by the root of the head size, whatever
    `attention.scale` says (it is not read for this architecture), and multiplies both the rotated
    query and the rotated key by `rope.scaling.attn_factor`.
    """
    if source.rope_scaling in _UNSTRETCHABLE:
        raise ScaleError(f"heads cannot grow in a model with {source.rope_scaling} scaling")
    base = source.rope_base**growth
    if base > float(np.finfo(np.float32).max):
        raise ScaleError(f"heads cannot grow by {growth:g}: the base of the rotation gets {base:g}")
    return {
        "rope.freq_base": (base, GGUFValueType.FLOAT32),
        "rope.scaling.attn_factor": (
            source.attention_factor * growth**0.25,
            GGUFValueType.FLOAT32,
        ),
    }


def file_type(kind: GGMLQuantizationType) -> int | None:
    """The number for `general.file_type` of a file in which all matrices have this type."""
    for name in (f"ALL_{kind.name}", f"MOSTLY_{kind.name}", f"MOSTLY_{kind.name}_S"):
        if name in LlamaFileType.__members__:
            return int(LlamaFileType[name])
    return None


def write_metadata(
    source: Source,
    new: Shape,
    weight_type: GGMLQuantizationType | None,
    plan: Sequence[PlannedTensor],
    path: Path,
) -> None:
    """Writes everything before the weights, up to their first byte.

    A weight_type of ``None``: the type of the source.
    """
    changed = dict(changed_metadata(source, new))
    # The writer sets the architecture itself; the size label would be wrong.
    dropped = {"general.architecture", "general.size_label", *changed}
    if weight_type is not None:
        dropped.add("general.file_type")
        if (type_number := file_type(weight_type)) is not None:
            changed["general.file_type"] = (type_number, GGUFValueType.UINT32)

    writer = GGUFWriter(path, source.architecture)
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
        part = GGUFValueType.UINT32 if kind is GGUFValueType.ARRAY else None
        writer.add_key_value(key, number, kind, part)
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
    with path.open("ab") as file:
        file.write(bytes(-file.tell() % source.reader.alignment))
