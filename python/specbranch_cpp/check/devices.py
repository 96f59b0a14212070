"""The memory that a pair needs on each device."""

from __future__ import annotations

from typing import TYPE_CHECKING

from specbranch_cpp._placement.memory import MAIN
from specbranch_cpp.check.report import DeviceMemory

if TYPE_CHECKING:
    from specbranch_cpp._placement.planning import Layout, Placed


def memory_by_device(plan: Layout) -> list[DeviceMemory]:
    """The memory of the CPU first, then that of each GPU that a model uses.

    Weights that are mapped from the file count as memory of the CPU.
    """
    models = (plan.target, plan.draft)
    on_gpus = (each.need.gpus for each in models if each is not None)
    places = [MAIN, *dict.fromkeys(name for gpus in on_gpus for name in gpus)]
    return [
        DeviceMemory(
            place, _bytes(plan.target, place), _bytes(plan.draft, place), _free(plan, place)
        )
        for place in places
    ]


def _bytes(placed: Placed | None, place: str) -> int | None:
    if placed is None:
        return None
    if place == MAIN:
        return placed.footprint.host.total
    return placed.need.gpus.get(place)


def _free(plan: Layout, place: str) -> int | None:
    if place == MAIN:
        return plan.memories.main
    gpu = plan.memories.gpus.get(place)
    return gpu.free if gpu is not None and gpu.total > 0 else None
