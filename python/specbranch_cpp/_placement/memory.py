"""How much memory is free, in main memory and on each GPU, and what a model needs of it."""

from __future__ import annotations

import os
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from specbranch_cpp import _core

if TYPE_CHECKING:
    from collections.abc import Sequence

MAIN = "CPU"
"""The name of main memory."""

_MOST_SPARE = 2**30


@dataclass(frozen=True)
class GpuMemory:
    """The memory of one GPU, in bytes.

    Attributes:
        free: free memory; 0 if the GPU does not tell.
        total: the whole memory.
        is_integrated: whether this is a part of main memory.
    """

    free: int
    total: int
    is_integrated: bool = False

    @property
    def spare(self) -> int:
        """What the automatic choice leaves free: buffers of the driver and of other programs.

        llama.cpp's own choice leaves 1 GiB. A small GPU keeps an eighth of its memory.
        """
        return min(_MOST_SPARE, self.total // 8)


@dataclass(frozen=True)
class Need:
    """The bytes that a model needs, by place.

    Attributes:
        main: main memory that must be free, without weights that are mapped from the file.
        mapped: weights that are mapped from the file. If they do not fit, the system reads them
            from the disk again and again.
        gpus: memory on each GPU that the model uses.
    """

    main: int
    mapped: int
    gpus: dict[str, int]

    @classmethod
    def of(cls, footprint: _core.Footprint, *, mapped: bool) -> Need:
        """Splits a footprint. ``mapped``: whether the weights in main memory are mapped."""
        host = footprint.host
        from_file = host.weights if mapped else 0
        gpus = {share.device: share.total for share in footprint.devices if share.total > 0}
        return cls(host.total - from_file, from_file, gpus)


@dataclass(frozen=True)
class Shortage:
    """A place that is too small.

    Attributes:
        place: name of the GPU, or ``"CPU"`` for main memory.
        needed: bytes that both models need there.
        free: bytes that are free there.
    """

    place: str
    needed: int
    free: int


@dataclass(frozen=True)
class Memories:
    """What is free before the models are loaded, and what has been given to them since.

    Attributes:
        main: free main memory. ``None``: not known.
        gpus: all GPUs by name, in the order of llama.cpp.
        given: needs of the models that have their place.
        unified: whether ggml lets GPUs use main memory if their own is full, as the user asked.
    """

    main: int | None
    gpus: dict[str, GpuMemory]
    given: tuple[Need, ...] = field(default=())
    unified: bool = False

    @classmethod
    def measured(cls) -> Memories:
        """The memory of this machine."""
        gpus = {
            device.name: GpuMemory(
                device.memory_free, device.memory_total, is_integrated=device.is_integrated
            )
            for device in _core.list_devices()
            if device.is_gpu
        }
        unified = "GGML_CUDA_ENABLE_UNIFIED_MEMORY" in os.environ
        return cls(_core.available_memory(), gpus, unified=unified)

    def after(self, need: Need) -> Memories:
        """The same after a model got what it needs."""
        return replace(self, given=(*self.given, need))

    def left(self, gpu: str) -> int:
        """Free bytes on a GPU; negative: too much was given. 0: llama.cpp lists no such GPU."""
        if gpu not in self.gpus:
            return 0
        left = self.gpus[gpu].free - sum(need.gpus.get(gpu, 0) for need in self.given)
        if self.gpus[gpu].is_integrated and self.main is not None:
            left = min(left, self.main - self._in_main())
        return left

    def excess(self, need: Need) -> int:
        """Bytes by which the fullest GPU lacks room for this model, with its spare memory.

        0 or less: the model fits.
        """
        after = self.after(need)
        used = [name for name in need.gpus if name in self.gpus]
        return max((self.gpus[name].spare - after.left(name) for name in used), default=0)

    def shares(self, gpus: Sequence[str]) -> list[float]:
        """How to split a model over GPUs: by free memory, in hundredths.

        Coarse, so that a few megabytes more or less give the same split.
        """
        left = [max(0, self.left(name) - self.gpus[name].spare) if name in self.gpus else 0
                for name in gpus]  # fmt: skip
        total = sum(left)
        return [round(one / total, 2) if total else 0.0 for one in left]

    def shortages(self) -> list[Shortage]:
        """The places where more was given than there is."""
        found = []
        for name in dict.fromkeys(gpu for need in self.given for gpu in need.gpus):
            gpu = self.gpus.get(name)
            needed = sum(need.gpus.get(name, 0) for need in self.given)
            # A GPU that tells nothing is not known to be too small.
            known = gpu is not None and gpu.total > 0 and not self.unified
            if gpu is not None and known and needed > gpu.free:
                found.append(Shortage(name, needed, gpu.free))
        if self.main is not None and self._in_main() > self.main:
            found.append(Shortage(MAIN, self._in_main(), self.main))
        return found

    def nearly_full(self) -> dict[str, int]:
        """The GPUs that have less left than half of their spare memory, and what they have.

        llama.cpp takes memory there while it computes, and ends the process if there is none.
        """
        found = {}
        for name in dict.fromkeys(gpu for need in self.given for gpu in need.gpus):
            gpu = self.gpus.get(name)
            if gpu is not None and gpu.total > 0 and self.left(name) < gpu.spare // 2:
                found[name] = max(0, self.left(name))
        return {} if self.unified else found

    def mapped_too_much(self) -> Shortage | None:
        """Mapped weights for which main memory is too small; they make every token slow."""
        needed = self._in_main() + sum(need.mapped for need in self.given)
        if self.main is None or needed <= self.main:
            return None
        return Shortage(MAIN, needed, self.main)

    def _in_main(self) -> int:
        integrated = [name for name, gpu in self.gpus.items() if gpu.is_integrated]
        return sum(
            need.main + sum(need.gpus.get(name, 0) for name in integrated) for need in self.given
        )
