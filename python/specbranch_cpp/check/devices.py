"""The memory that a pair needs on each device."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from specbranch_cpp.check.report import DeviceMemory

if TYPE_CHECKING:
    from collections.abc import Sequence

    from specbranch_cpp import _core
    from specbranch_cpp.check.report import ModelReport

CPU = "CPU"


@dataclass(frozen=True)
class Share:
    """The bytes of one model on GPUs and in main memory."""

    gpu: int
    cpu: int


def split(model: ModelReport, n_gpu_layers: int, n_gpus: int) -> Share:
    """The bytes on the GPUs for this number of layers; -1: all layers.

    The output matrix counts as one more layer, as in llama.cpp. All layers are taken as equally
    large, so the figure can be wrong by the size of about one layer.
    """
    n_all = model.n_layers + 1
    n_moved = n_all if n_gpu_layers < 0 else min(n_gpu_layers, n_all)
    if n_gpus == 0 or n_moved == 0:
        return Share(0, model.total)
    weights = model.weights * n_moved // n_all
    cache = model.cache * min(n_moved, model.n_layers) // max(1, model.n_layers)
    gpu = weights + cache + model.buffers
    return Share(gpu, model.total - gpu)


def memory_by_device(
    target: ModelReport,
    draft: ModelReport | None,
    n_gpu_layers: int,
    draft_n_gpu_layers: int,
    devices: Sequence[_core.DeviceInfo],
    cpu_free: int | None,
) -> list[DeviceMemory]:
    """The memory of the CPU first, then that of all GPUs together, if a model uses GPUs.

    llama.cpp spreads layers over GPUs by free memory, so the sum of the free memory must be enough.
    """
    gpus = [device for device in devices if not device.is_cpu]
    of_target = split(target, n_gpu_layers, len(gpus))
    of_draft = None if draft is None else split(draft, draft_n_gpu_layers, len(gpus))
    found = [DeviceMemory(CPU, of_target.cpu, None if of_draft is None else of_draft.cpu, cpu_free)]
    on_gpu = (of_target.gpu or None, of_draft.gpu or None if of_draft is not None else None)
    if any(on_gpu):
        names = " + ".join(gpu.name for gpu in gpus)
        found.append(DeviceMemory(names, *on_gpu, sum(gpu.memory_free for gpu in gpus)))
    return found
