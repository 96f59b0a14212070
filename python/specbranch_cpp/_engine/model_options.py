"""From the keyword arguments of `Engine` to the options of one model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from specbranch_cpp import _core
from specbranch_cpp._support import checked
from specbranch_cpp.errors import InvalidArgument

if TYPE_CHECKING:
    from collections.abc import Mapping

# ggml's names and numbers of the types that a KV cache can have.
CACHE_TYPES = {
    "f32": 0,
    "f16": 1,
    "q4_0": 2,
    "q4_1": 3,
    "q5_0": 6,
    "q5_1": 7,
    "q8_0": 8,
    "iq4_nl": 20,
    "bf16": 30,
}

_INTEGERS = ("n_gpu_layers", "main_gpu", "split_mode", "n_ctx", "n_batch", "n_ubatch")
_FLAGS = ("flash_attn", "offload_kqv", "use_mmap", "use_mlock", "check_tensors", "use_extra_bufts")
_MAX_CPU = 1023


def model_options(path: Any, values: Mapping[str, Any], prefix: str = "") -> _core.ModelOptions:
    """Checks and copies the values; None leaves llama.cpp's or the engine's own choice."""
    options = _core.ModelOptions(checked.path(f"{prefix}model", path))
    for name in _INTEGERS:
        setattr(options, name, checked.integer(prefix + name, values[name]))
    for name in _FLAGS:
        setattr(options, name, checked.flag(prefix + name, values[name]))
    for name in ("n_threads", "n_threads_batch"):
        if values[name] is not None:
            setattr(options, name, checked.integer(prefix + name, values[name], 1, 512))
    for name in ("type_k", "type_v"):
        if values[name] is not None:
            setattr(options, name, _cache_type(prefix + name, values[name]))
    if values["devices"] is not None:
        options.devices = checked.texts(f"{prefix}devices", values["devices"])
    if values["tensor_split"] is not None:
        options.tensor_split = checked.reals(f"{prefix}tensor_split", values["tensor_split"])
    if values["cpus"] is not None:
        cpus = checked.integers(f"{prefix}cpus", values["cpus"], 0, _MAX_CPU)
        if not cpus:
            raise InvalidArgument(f"{prefix}cpus is empty; name at least one CPU, or give None")
        options.cpus = cpus
    return options


def _cache_type(name: str, value: Any) -> int:
    if not isinstance(value, str):
        return checked.integer(name, value)
    if value.lower() not in CACHE_TYPES:
        raise InvalidArgument(f"{name} is {value!r}; it must be one of {', '.join(CACHE_TYPES)}")
    return CACHE_TYPES[value.lower()]
