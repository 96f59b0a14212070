"""Writes weights in another type than that of the source, with gguf or with llama.cpp.

llama.cpp writes the types that gguf cannot write. For other types both give the same bytes.
"""

from __future__ import annotations

import ctypes
import functools
import importlib.util
import os
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType, quants

from specbranch_cpp._scaling.shape import ScaleError

if TYPE_CHECKING:
    import numpy.typing as npt

    from specbranch_cpp._scaling.tensor import Bytes

    Floats = npt.NDArray[np.float32]

# These types are for plain numbers or for activations, not for weights.
NOT_WEIGHTS = frozenset(
    GGMLQuantizationType[name] for name in ("I8", "I16", "I32", "I64", "F64", "Q8_1", "Q8_K")
)
_NEED_IMPORTANCE = ("IQ2_XXS", "IQ2_XS", "IQ1_S")
# gguf reads these types but cannot write them. llama.cpp needs no importance matrix for them.
_K_QUANTS = ("Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K")
_I_QUANTS = ("IQ4_NL", "IQ4_XS", "IQ3_XXS", "IQ3_S", "IQ2_S", "IQ1_M")
_BY_LLAMA_CPP = (*_K_QUANTS, *_I_QUANTS)


@functools.cache
def _by_gguf() -> tuple[str, ...]:
    names = []
    for kind in GGMLQuantizationType:
        try:
            quants.quantize(np.zeros((1, 256), np.float32), kind)
        except NotImplementedError:
            continue
        names.append(kind.name)
    return tuple(names)


def writable_types() -> list[str]:
    """The names of the types in which weights can be written, in no particular order."""
    return [*_by_gguf(), *_BY_LLAMA_CPP]


def parse_weight_type(name: str) -> GGMLQuantizationType | None:
    """The type of this name, in upper or lower case. ``None``: the name is ``"same"``.

    Raises:
        ScaleError: the type cannot be written. The message gives the reason.
    """
    name = name.upper()
    if name == "SAME":
        return None
    if name in writable_types():
        return GGMLQuantizationType[name]
    if name in _NEED_IMPORTANCE:
        reason = "llama.cpp needs an importance matrix for this type"
    elif name not in GGMLQuantizationType.__members__:
        reason = "GGUF has no such type"
    elif GGMLQuantizationType[name] in NOT_WEIGHTS:
        reason = "this type is not for weights"
    else:
        reason = "this type needs more than the values of the tensor"
    raise ScaleError(
        f"weights cannot be written as {name}: {reason}; the type must be one of same, "
        f"{', '.join(writable_types())}"
    )


def decode(data: Bytes, kind: GGMLQuantizationType) -> Floats:
    """The values of whole rows, [row][byte] to [row][value].

    Raises:
        ScaleError: gguf cannot read this type.
    """
    try:
        values: Floats = quants.dequantize(data, kind)
    except NotImplementedError as error:
        raise ScaleError(f"{kind.name} weights cannot be read: {error}") from error
    return values


def encode(values: Floats, kind: GGMLQuantizationType) -> Bytes:
    """The bytes of whole rows, [row][value] to [row][byte].

    Raises:
        ScaleError: a value is NaN or infinite.
    """
    if not np.isfinite(values).all():
        raise ScaleError(f"weights that are not finite cannot be written as {kind.name}")
    if kind.name in _by_gguf():
        with np.errstate(over="ignore"):  # values out of the range become infinite
            encoded: Bytes = quants.quantize(values, kind).view(np.uint8)
        return encoded
    return _encode_by_llama_cpp(np.ascontiguousarray(values, np.float32), kind)


def _encode_by_llama_cpp(values: Floats, kind: GGMLQuantizationType) -> Bytes:
    block, block_bytes = GGML_QUANT_SIZES[kind]
    library = _ggml()
    if (library.ggml_blck_size(kind), library.ggml_type_size(kind)) != (block, block_bytes):
        raise ScaleError(f"{kind.name} is another type in this llama.cpp than in this gguf")
    n_rows, n_cols = values.shape
    encoded = np.empty((n_rows, n_cols // block * block_bytes), np.uint8)
    library.ggml_quantize_chunk(
        kind, values.ctypes.data, encoded.ctypes.data, 0, n_rows, n_cols, None
    )
    return encoded


@functools.cache
def _ggml() -> ctypes.CDLL:
    """The library libggml-base of llama-cpp-python.

    The package itself is not imported, because the import would take over llama.cpp's log.
    """
    spec = importlib.util.find_spec("llama_cpp")
    locations = (spec.submodule_search_locations if spec else None) or ()
    folders = [Path(location, "lib") for location in locations]
    if override := os.environ.get("LLAMA_CPP_LIB_PATH"):
        folders = [Path(override)]
    for folder in folders:
        path = folder / "libggml-base.so"
        if not path.is_file():
            continue
        library = ctypes.CDLL(str(path))
        library.ggml_blck_size.argtypes = library.ggml_type_size.argtypes = [ctypes.c_int]
        library.ggml_blck_size.restype = ctypes.c_int64
        library.ggml_type_size.restype = ctypes.c_size_t
        library.ggml_quantize_chunk.restype = ctypes.c_size_t
        library.ggml_quantize_chunk.argtypes = [
            ctypes.c_int,
            ctypes.c_void_p,
            ctypes.c_void_p,
            ctypes.c_int64,
            ctypes.c_int64,
            ctypes.c_int64,
            ctypes.c_void_p,
        ]
        return library
    raise ScaleError(
        f"llama-cpp-python writes the weight types {', '.join(_BY_LLAMA_CPP)}, but it is not "
        "installed; install it with: pip install llama-cpp-python"
    )
