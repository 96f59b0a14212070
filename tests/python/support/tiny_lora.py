"""LoRA adapters with random matrices for small models, as llama.cpp's converter writes them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from gguf import GGMLQuantizationType, GGUFReader, GGUFWriter
from gguf.quants import quantize

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

PROJECTIONS = (
    "attn_q.weight",
    "attn_k.weight",
    "attn_v.weight",
    "attn_output.weight",
    "ffn_gate.weight",
    "ffn_up.weight",
    "ffn_down.weight",
)


def matrices_of(model: Path) -> list[str]:
    """The names of all matrices that an adapter may change."""
    shapes = {tensor.name: tensor.shape for tensor in GGUFReader(model).tensors}
    names = [
        name
        for name, shape in shapes.items()
        if name.endswith(".weight") and 2 <= len(shape) <= 3 and shape[1] > 1
    ]
    # llama.cpp cannot adapt the first one if it is the output, too, and ignores the other one.
    unfit = {"per_layer_token_embd.weight"}
    if "output.weight" not in shapes:
        unfit.add("token_embd.weight")
    return [name for name in names if name not in unfit]


def write_lora(
    path: Path,
    model: Path,
    *,
    rank: int = 4,
    weight_type: str = "F16",
    strength: float = 1.0,
    alpha: float | None = None,
    only: Sequence[str] = PROJECTIONS,
    seed: int = 0,
    texts: Mapping[str, str | None] | None = None,
    values: Mapping[str, Any] | None = None,
    shapes: Mapping[str, Sequence[int]] | None = None,
    renamed: Mapping[str, str] | None = None,
    poison: float | None = None,
) -> Path:
    """Write an adapter for a model file and return its path.

    Args:
        path: the new file.
        model: the GGUF file whose matrices the adapter changes.
        rank: number of rows of A and of columns of B.
        weight_type: type of A and B.
        strength: how much larger than its input the added part is, about; the matrices of
            `write_tiny_gguf` have 1.
        alpha: ``adapter.lora.alpha``; ``None``: ``rank``, so that the scale is used as it is.
        only: names of the changed matrices, or the parts of them behind the number of a block.
        seed: of the random values.
        texts: metadata that replaces the usual; ``None`` leaves a key out.
        values: further metadata; an ``int`` is a uint32, a list an array, a tuple (type, value).
        shapes: other shapes of single tensors, rows first.
        renamed: other names of single tensors; an empty name leaves the tensor out.
        poison: a value that the last element of every B has.
    """
    reader = GGUFReader(model)
    architecture = reader.fields["general.architecture"].contents()
    known: dict[str, str | None] = {
        "general.architecture": architecture,
        "general.type": "adapter",
        "adapter.type": "lora",
    }
    known |= texts or {}
    writer = GGUFWriter(path, str(known.pop("general.architecture")))
    for key, text in known.items():
        if text is not None:
            writer.add_string(key, text)
    if "adapter.lora.alpha" not in (values or {}):
        writer.add_float32("adapter.lora.alpha", float(rank if alpha is None else alpha))
    for key, value in (values or {}).items():
        if isinstance(value, list):
            writer.add_array(key, value)
        elif isinstance(value, str):
            writer.add_string(key, value)
        elif isinstance(value, float):
            writer.add_float32(key, value)
        else:
            writer.add_uint32(key, value)
    kind = GGMLQuantizationType[weight_type]
    rng = np.random.default_rng(seed)
    for tensor in reader.tensors:
        ends = tuple(f".{name}" for name in only)
        if tensor.name not in only and not tensor.name.endswith(ends):
            continue
        n_in, n_out, *depth = (int(size) for size in tensor.shape)
        a_shape, b_shape = [*depth[::-1], rank, n_in], [*depth[::-1], n_out, rank]
        if tensor.name == "token_embd.weight":
            a_shape, b_shape = [n_out, rank], [n_in, rank]
        for end, shape, deviation in (
            ("lora_a", a_shape, 1.0 / np.sqrt(n_in)),
            ("lora_b", b_shape, strength / np.sqrt(rank)),
        ):
            name = f"{tensor.name}.{end}"
            given = list((shapes or {}).get(name, shape))
            matrix = (deviation * rng.standard_normal(given)).astype(np.float32)
            if poison is not None and end == "lora_b":
                matrix.flat[-1] = poison
            name = (renamed or {}).get(name, name)
            if name:
                with np.errstate(invalid="ignore"):  # a poisoned block has no integers
                    data: npt.NDArray[np.generic] = quantize(matrix, kind)
                writer.add_tensor(name, data, raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path
