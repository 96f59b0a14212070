"""Small models of any architecture with random weights.

llama.cpp itself says which tensors it wants: `llama_model_init_from_user` takes the metadata and
asks for every tensor by its name and shape. They are written to a GGUF file, which is then loaded
like any other. llama.cpp aborts at bad metadata, so this is a program of its own:

    python -m tests.python.matrix.random_model ARCHITECTURE OUTPUT [--other]

`--other` writes the same model with slightly different weights: a draft that is often right.
"""

from __future__ import annotations

import argparse
import ctypes
import math
import re
import sys
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from gguf import GGUFValueType, GGUFWriter
from tests.python.matrix.table import ARCHITECTURES
from tests.python.support.tiny_gguf import MERGES, N_VOCAB, _add_tokenizer

if TYPE_CHECKING:
    import numpy.typing as npt
    from tests.python.matrix.architecture import Architecture

SHARPNESS = 3.0
"""About the standard deviation of the scores, before caps and scales."""

OTHER = 0.08
"""How much the weights of the other model differ, as a share of their spread."""


def write_random_model(path: Path, architecture: Architecture, *, other: bool = False) -> None:
    """Writes the model; raises `RuntimeError` if llama.cpp refuses the metadata."""
    metadata = path.with_suffix(".metadata")
    writer = _writer(metadata, architecture)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
    shapes = _wanted_tensors(metadata)
    metadata.unlink()

    writer = _writer(path, architecture)
    kept = {name: one for name, one in shapes.items() if not _is_left_out(name, architecture)}
    for name, shape in kept.items():
        range_of = _range_of(name, shape, architecture, tied="output.weight" not in kept)
        writer.add_tensor(name, _values(name, shape, range_of, other=other))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _writer(path: Path, architecture: Architecture) -> GGUFWriter:
    writer = GGUFWriter(path, architecture.name)
    _add_tokenizer(writer, N_VOCAB, {}, (), add_bos=False, eos=0)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_merges([f"{first} {second}" for first, second in MERGES])
    writer.add_uint32(f"{architecture.name}.vocab_size", N_VOCAB)
    for key, value in architecture.settings().items():
        is_global = key.startswith("xielu.")
        _add(writer, key if is_global else f"{architecture.name}.{key}", value)
    return writer


def _add(writer: GGUFWriter, key: str, value: Any) -> None:
    if isinstance(value, bool):
        writer.add_bool(key, value)
    elif isinstance(value, int):
        writer.add_uint32(key, value)
    elif isinstance(value, float):
        writer.add_float32(key, value)
    elif isinstance(value, str):
        writer.add_string(key, value)
    elif isinstance(value, tuple):
        writer.add_key_value(key, list(value), GGUFValueType.ARRAY, GGUFValueType.UINT64)
    else:
        writer.add_array(key, value)


def _wanted_tensors(metadata: Path) -> dict[str, tuple[int, ...]]:
    """Names and shapes, slowest dimension first, of the tensors of a model with these metadata."""
    import llama_cpp as api

    ggml = ctypes.CDLL(str(Path(api.__file__).parent / "lib" / "libggml-base.so"))
    ggml.gguf_init_from_file.restype = ctypes.c_void_p
    ggml.gguf_init_from_file.argtypes = [ctypes.c_char_p, _InitParams]
    ggml.gguf_free.argtypes = [ctypes.c_void_p]
    ggml.ggml_get_name.restype = ctypes.c_char_p
    ggml.ggml_get_name.argtypes = [ctypes.c_void_p]
    ggml.ggml_n_dims.argtypes = [ctypes.c_void_p]
    ggml.ggml_get_no_alloc.argtypes = [ctypes.c_void_p]
    found: dict[str, tuple[int, ...]] = {}

    def note(tensor: int, _: Any) -> None:
        sizes = _Tensor.from_address(tensor).ne[: ggml.ggml_n_dims(tensor)]
        found[ggml.ggml_get_name(tensor).decode()] = tuple(reversed(sizes))

    callback = api.llama_model_set_tensor_data_t(note)
    gguf = ggml.gguf_init_from_file(str(metadata).encode(), _InitParams(True, None))
    params = api.llama_model_default_params()
    params.n_gpu_layers = 0
    model = api.llama_model_init_from_user(gguf, callback, None, params)
    if not model:
        raise RuntimeError("llama.cpp refuses the metadata")
    api.llama_model_free(model)
    ggml.gguf_free(gguf)
    return found


class _InitParams(ctypes.Structure):
    """gguf_init_params."""

    _fields_ = (("no_alloc", ctypes.c_bool), ("ctx", ctypes.c_void_p))


class _Tensor(ctypes.Structure):
    """The first fields of ggml_tensor."""

    _fields_ = (
        ("type", ctypes.c_int),
        ("buffer", ctypes.c_void_p),
        ("ne", ctypes.c_int64 * 4),
    )


def _is_left_out(name: str, architecture: Architecture) -> bool:
    """Scales of weight types that nothing here has, and what the architecture can do without."""
    return name.endswith(("input_scale", ".scale")) or any(
        re.search(pattern, name) for pattern in architecture.left_out
    )


def _values(
    name: str, shape: tuple[int, ...], range_of: tuple[float, float], *, other: bool
) -> npt.NDArray[np.float32]:
    """Random numbers, the same for the same name, in a range that keeps texts lively."""
    mean, spread = range_of
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    values = rng.standard_normal(shape)
    if other:
        values = values + OTHER * rng.standard_normal(shape)
    if name.endswith("ssm_a") or "ssm_a." in name:
        # A state decays: the logarithm of its factor is negative.
        values = -np.exp(0.3 * values)
    else:
        values = mean + spread * values
    return np.asarray(values, np.float32)


def _range_of(
    name: str, shape: tuple[int, ...], architecture: Architecture, *, tied: bool
) -> tuple[float, float]:
    """Mean and standard deviation. `tied`: the embedding is the output matrix."""
    if name == ("token_embd.weight" if tied else "output.weight"):
        return 0.0, SHARPNESS / math.sqrt(shape[-1])
    if tied and name == "output_norm.weight":
        return 0.0, 1.0  # otherwise the most likely next token would be the last one again
    for pattern, mean, spread in (*architecture.ranges, *_RANGES):
        if re.search(pattern, name):
            return mean, spread
    if len(shape) > 1:
        return 0.0, 1.0 / math.sqrt(shape[-1])
    return 0.0, 0.3


_RANGES: tuple[tuple[str, float, float], ...] = (
    (r"rope_(freqs|factors)", 1.0, 0.0),
    (r"norm[^.]*\.weight$|_norm$|\.ln_\w+\.weight$|layer_norm", 1.0, 0.1),
    (r"\.bias$|exp_probs_b", 0.0, 0.1),
    (r"scale", 1.0, 0.1),
    (r"token_embd\.weight", 0.0, 1.0),
    (r"(position|token_type)\w*_embd", 0.0, 0.3),
    (r"ssm_d$|ssm_d\.", 1.0, 0.1),
    (r"ssm_conv1d|shortconv\.conv", 0.0, 0.5),
    (r"time_mix_decay\.weight$", -1.0, 0.3),
    (r"time_mix_lerp|channel_mix_lerp", 0.5, 0.2),
)
"""Patterns of names, in this order: the mean and the standard deviation."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("architecture", choices=[one.label for one in ARCHITECTURES])
    parser.add_argument("output", type=Path)
    parser.add_argument("--other", action="store_true")
    args = parser.parse_args()
    architecture = next(one for one in ARCHITECTURES if one.label == args.architecture)
    try:
        write_random_model(args.output, architecture, other=args.other)
    except RuntimeError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
