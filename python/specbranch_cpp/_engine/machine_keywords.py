"""The keywords of `Engine` that choose threads, CPUs, GPUs, memory and LoRA adapters."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypedDict

if TYPE_CHECKING:
    from collections.abc import Sequence

    from specbranch_cpp._engine.adapters import LoraFiles

__all__ = ["MachineKeywords", "PlaceKeywords", "refuse_others"]


class PlaceKeywords(TypedDict, total=False):
    """Threads, CPUs and GPUs. ``None`` means, as in `Engine`, that the caller gave no value."""

    n_threads: int | None
    draft_n_threads: int | None
    cpus: Sequence[int] | None
    draft_cpus: Sequence[int] | None
    n_gpu_layers: int | None
    draft_n_gpu_layers: int | None
    devices: Sequence[str] | None
    draft_devices: Sequence[str] | None


class MachineKeywords(PlaceKeywords, total=False):
    """The keywords of `PlaceKeywords`, the size of the context, the LoRA adapters, and the hosts
    whose devices the target uses."""

    n_ctx: int | None
    n_ctx_total: int | None
    cache_ram: int | None
    lora: LoraFiles | None
    rpc_servers: Sequence[str] | None


def refuse_others(function: str, machine: MachineKeywords) -> None:
    """Refuses keywords that a function of this name does not have, as Python does.

    Raises:
        TypeError: there is such a keyword.
    """
    for name in machine:
        if name not in MachineKeywords.__annotations__:
            raise TypeError(f"{function}() got an unexpected keyword argument {name!r}")
