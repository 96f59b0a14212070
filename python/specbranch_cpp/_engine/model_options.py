"""Turns a `Model` into the options of the core."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any

from specbranch_cpp import _core
from specbranch_cpp._support import checked
from specbranch_cpp.errors import InvalidArgument
from specbranch_cpp.options import Model

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence

# ggml's names and numbers of the types for a KV cache.
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

CPU = "CPU"
"""ggml's name of the processor as a device; ggml does not tell capital letters from small ones."""
_OWN = {"path", "n_threads", "n_threads_batch", "cpus", "n_gpu_layers", "swa_full"}
_INHERITED = [field.name for field in fields(Model) if field.name not in _OWN]
_MAX_CPU = 1023
_MAX_THREADS = 512


@dataclass(frozen=True)
class ModelArgument:
    """A model as an argument of `Engine`.

    Attributes:
        model: the caller's options.
        role: the name of the argument, ``"target"`` or ``"draft"``.
        prefix: the prefix of field names in messages, such as ``"draft_"`` or ``"target."``.
        inherited: the names of the fields that have the target's values.
    """

    model: Model
    role: str
    prefix: str
    inherited: frozenset[str] = frozenset()

    def inheriting(self, target: Model) -> ModelArgument:
        """This draft, with the target's values for fields that are ``None``."""
        unsaid = [name for name in _INHERITED if getattr(self.model, name) is None]
        values = {name: getattr(target, name) for name in unsaid}
        if self.model.n_gpu_layers is None and target.n_gpu_layers == 0:
            values["n_gpu_layers"] = 0  # the user wants no GPU
        return replace(self, model=replace(self.model, **values), inherited=frozenset(unsaid))

    def with_devices(self, devices: Sequence[str]) -> ModelArgument:
        """The same on these devices, unless the caller has named devices for this model."""
        if self.model.devices is not None and "devices" not in self.inherited:
            return self
        return replace(self, model=replace(self.model, devices=devices))

    def core_options(self) -> _core.ModelOptions:
        """Checks the types of the fields and copies them. The core checks the ranges.

        ``None`` means the default of the core.

        Raises:
            InvalidArgument: a field has the wrong type.
        """
        model, prefix = self.model, self.prefix
        options = _core.ModelOptions(checked.path(self.role, model.path))
        if model.n_ctx is not None:
            options.n_ctx = checked.integer(f"{prefix}n_ctx", model.n_ctx)
        options.within_training = "n_ctx" in self.inherited  # a target's context may be too long
        if model.n_ctx_total is not None:
            options.n_ctx_total = checked.integer(f"{prefix}n_ctx_total", model.n_ctx_total, 0)
        if model.cache_ram is not None:
            options.cache_ram = checked.integer(f"{prefix}cache_ram", model.cache_ram, -1)
        if model.n_batch is not None:
            options.n_batch = checked.integer(f"{prefix}n_batch", model.n_batch)
        if model.n_ubatch is not None:
            options.n_ubatch = checked.integer(f"{prefix}n_ubatch", model.n_ubatch)
        if model.flash_attn is not None:
            options.flash_attn = checked.flag(f"{prefix}flash_attn", model.flash_attn)
        if model.type_k is not None:
            options.type_k = _cache_type(f"{prefix}type_k", model.type_k)
        if model.type_v is not None:
            options.type_v = _cache_type(f"{prefix}type_v", model.type_v)
        if model.offload_kqv is not None:
            options.offload_kqv = checked.flag(f"{prefix}offload_kqv", model.offload_kqv)
        if model.swa_full is not None:
            options.swa_full = checked.flag(f"{prefix}swa_full", model.swa_full)
        self._place(options)
        self._use_cpus(options)
        self._load(options)
        return options

    def _place(self, options: _core.ModelOptions) -> None:
        """Where the weights go."""
        model, prefix = self.model, self.prefix
        if model.n_gpu_layers is not None:
            options.n_gpu_layers = checked.integer(f"{prefix}n_gpu_layers", model.n_gpu_layers)
        if model.main_gpu is not None:
            options.main_gpu = checked.integer(f"{prefix}main_gpu", model.main_gpu)
        if model.devices is not None:
            options.devices = checked.texts(f"{prefix}devices", model.devices)
            if options.devices and all(name.upper() == CPU for name in options.devices):
                options.n_gpu_layers = 0  # no device takes a layer
        if model.split_mode is not None:
            options.split_mode = checked.integer(f"{prefix}split_mode", model.split_mode)
        if model.tensor_split is not None:
            options.tensor_split = checked.reals(f"{prefix}tensor_split", model.tensor_split)

    def _use_cpus(self, options: _core.ModelOptions) -> None:
        model, prefix = self.model, self.prefix
        if model.n_threads is not None:
            options.n_threads = checked.integer(
                f"{prefix}n_threads", model.n_threads, 1, _MAX_THREADS
            )
        if model.n_threads_batch is not None:
            options.n_threads_batch = checked.integer(
                f"{prefix}n_threads_batch", model.n_threads_batch, 1, _MAX_THREADS
            )
        if model.cpus is not None:
            options.cpus = checked.integers(f"{prefix}cpus", model.cpus, 0, _MAX_CPU)
            if not options.cpus:
                raise InvalidArgument(
                    f"{prefix}cpus is empty; it must have at least one CPU, or be None"
                )

    def _load(self, options: _core.ModelOptions) -> None:
        """How the file is read."""
        model, prefix = self.model, self.prefix
        if model.use_mmap is not None:
            options.use_mmap = checked.flag(f"{prefix}use_mmap", model.use_mmap)
        if model.use_mlock is not None:
            options.use_mlock = checked.flag(f"{prefix}use_mlock", model.use_mlock)
        if model.check_tensors is not None:
            options.check_tensors = checked.flag(f"{prefix}check_tensors", model.check_tensors)
        if model.use_extra_bufts is not None:
            options.use_extra_bufts = checked.flag(
                f"{prefix}use_extra_bufts", model.use_extra_bufts
            )


def path_of(given: str | os.PathLike[str] | Model) -> str | os.PathLike[str]:
    """The path of a model that was given as a path or as a `Model`."""
    return given.path if isinstance(given, Model) else given


def _cache_type(name: str, value: Any) -> int:
    if not isinstance(value, str):
        return checked.integer(name, value)
    if value.lower() not in CACHE_TYPES:
        raise InvalidArgument(f"{name} is {value!r}; it must be one of {', '.join(CACHE_TYPES)}")
    return CACHE_TYPES[value.lower()]
