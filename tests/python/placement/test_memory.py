"""What is free, and what is left of it."""

from __future__ import annotations

import pytest
from tests.python.support.stand_in_gpus import StandInGpus

from specbranch_cpp import _core
from specbranch_cpp._placement.memory import GpuMemory, Memories, Need, Shortage

GIB = 2**30


def share(device: str, **sizes: int) -> _core.MemoryShare:
    return _core.MemoryShare(device, **sizes)


def test_mapped_weights_need_no_free_memory() -> None:
    host = share("CPU", weights=100, repacked=20, context=3, compute=4, outputs=5, checkpoints=6)
    gpus = [share("CUDA0", weights=50, compute=1), share("CUDA1")]
    footprint = _core.Footprint(host, gpus, 9)
    assert host.total == 138
    assert Need.of(footprint, mapped=True) == Need(38, 100, {"CUDA0": 51})
    assert Need.of(footprint, mapped=False) == Need(138, 0, {"CUDA0": 51})


def test_a_gpu_keeps_room_for_its_driver_and_others() -> None:
    assert GpuMemory(GIB, 80 * GIB).spare == GIB
    assert GpuMemory(GIB, 4 * GIB).spare == GIB // 2
    memories = Memories(None, {"A": GpuMemory(1000, 1600)})
    assert memories.excess(Need(0, 0, {"A": 800})) == 0
    assert memories.excess(Need(0, 0, {"A": 801})) == 1
    assert memories.after(Need(0, 0, {"A": 300})).excess(Need(0, 0, {"A": 801})) == 301
    assert memories.excess(Need(10**9, 0, {})) == 0  # main memory is no GPU


def test_shortages_name_every_place() -> None:
    memories = Memories(100, {"A": GpuMemory(10, 10), "B": GpuMemory(0, 0)})
    assert memories.shortages() == []
    full = memories.after(Need(60, 500, {"A": 6, "B": 10**9})).after(Need(50, 0, {"A": 5}))
    # B does not tell its memory, so it is not known to be too small.
    assert full.shortages() == [Shortage("A", 11, 10), Shortage("CPU", 110, 100)]
    assert Memories(None, {}).after(Need(10**12, 0, {})).shortages() == []


def test_a_gpu_that_a_given_number_nearly_fills_is_named() -> None:
    memories = Memories(None, {"A": GpuMemory(2 * GIB, 8 * GIB), "B": GpuMemory(0, 0)})
    assert memories.nearly_full() == {}
    half = memories.after(Need(0, 0, {"A": GIB, "B": GIB}))
    assert half.nearly_full() == {}
    full = half.after(Need(0, 0, {"A": GIB - 100}))
    assert full.nearly_full() == {"A": 100}
    assert full.shortages() == []
    assert full.after(Need(0, 0, {"A": 200})).nearly_full() == {"A": 0}
    unified = Memories(None, memories.gpus, unified=True).after(Need(0, 0, {"A": 2 * GIB}))
    assert unified.nearly_full() == {}


def test_gpus_that_may_use_main_memory_are_never_short(monkeypatch: pytest.MonkeyPatch) -> None:
    StandInGpus(monkeypatch, {"A": 10})
    assert Memories.measured().after(Need(0, 0, {"A": 11})).shortages()
    monkeypatch.setenv("GGML_CUDA_ENABLE_UNIFIED_MEMORY", "1")
    assert Memories.measured().after(Need(0, 0, {"A": 11})).shortages() == []
    assert Memories.measured().excess(Need(0, 0, {"A": 11})) > 0  # nothing is put there unasked


def test_mapped_weights_are_slow_rather_than_short() -> None:
    memories = Memories(100, {}).after(Need(40, 70, {}))
    assert memories.shortages() == []
    assert memories.mapped_too_much() == Shortage("CPU", 110, 100)
    assert Memories(110, {}).after(Need(40, 70, {})).mapped_too_much() is None
    assert Memories(None, {}).after(Need(40, 70, {})).mapped_too_much() is None


def test_an_integrated_gpu_shares_main_memory() -> None:
    memories = Memories(1000, {"I": GpuMemory(900, 8000, is_integrated=True)})
    given = memories.after(Need(700, 0, {"I": 200}))
    assert given.left("I") == 100  # 900 of main memory are given
    assert given.shortages() == []
    (short,) = memories.after(Need(900, 0, {"I": 200})).shortages()
    assert short == Shortage("CPU", 1100, 1000)


def test_shares_are_coarse_and_leave_full_gpus_out() -> None:
    gpus = {"A": GpuMemory(41 * GIB, 80 * GIB), "B": GpuMemory(21 * GIB, 80 * GIB),
            "C": GpuMemory(GIB // 2, 80 * GIB), "D": GpuMemory(0, 0)}  # fmt: skip
    memories = Memories(None, gpus)
    assert memories.shares(["A", "B", "C", "D", "unknown"]) == [0.67, 0.33, 0.0, 0.0, 0.0]
    assert memories.after(Need(0, 0, {"A": 20 * GIB})).shares(["A", "B"]) == [0.5, 0.5]
    assert memories.shares(["C", "D"]) == [0.0, 0.0]
