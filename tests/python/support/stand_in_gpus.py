"""GPUs that do not exist, for machines without one.

llama.cpp's own sizes of a model on the CPU are dealt to the stand-ins as llama.cpp deals layers:
the output first, then the blocks from the last to the first, over several GPUs by `tensor_split`.
"""

from __future__ import annotations

from bisect import bisect_right
from copy import copy
from itertools import accumulate
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from specbranch_cpp import _core

if TYPE_CHECKING:
    import pytest

_REAL = {"target": _core.target_footprint, "draft": _core.draft_footprint}
_OUTPUT_SHARE = 0.1  # of the weights, which the output has


class StandInGpus:
    """Replaces what `_core` says of devices and memory.

    Args:
        monkeypatch: takes everything back after the test.
        free: free bytes of each GPU by name.
        main: free bytes of main memory. ``None``: not known.
        total: bytes of each GPU. ``None``: as many as are free.
        integrated: whether the GPUs are a part of main memory.

    Attributes:
        n_measured: number of footprints so far.
    """

    def __init__(
        self,
        monkeypatch: pytest.MonkeyPatch,
        free: dict[str, int],
        *,
        main: int | None = 2**40,
        total: dict[str, int] | None = None,
        integrated: bool = False,
    ) -> None:
        self.n_measured = 0
        self._names = list(free)
        self._on_cpu: dict[Any, _core.Footprint] = {}
        sizes = total or free
        devices = [
            SimpleNamespace(
                name=name,
                description="a stand-in",
                is_gpu=True,
                is_integrated=integrated,
                memory_free=free[name],
                memory_total=sizes[name],
            )
            for name in free
        ]
        cpu = SimpleNamespace(name="CPU", description="a CPU", is_gpu=False, is_integrated=False,
                              memory_free=0, memory_total=0)  # fmt: skip
        monkeypatch.setattr(_core, "list_devices", lambda: [*devices, cpu])
        monkeypatch.setattr(_core, "available_memory", lambda: main)
        for role in _REAL:
            monkeypatch.setattr(_core, f"{role}_footprint", self._measuring(role))

    def _measuring(self, role: str) -> Any:
        def measure(options: _core.ModelOptions, **sizes: Any) -> _core.Footprint:
            self.n_measured += 1
            key = (role, options.path, options.n_ctx, options.type_k, options.type_v,
                   options.use_extra_bufts, options.use_mmap, options.swa_full,
                   *sizes.items())  # fmt: skip
            if key not in self._on_cpu:
                on_cpu = copy(options)
                on_cpu.n_gpu_layers, on_cpu.devices, on_cpu.tensor_split = 0, [], []
                self._on_cpu[key] = _REAL[role](on_cpu, **sizes)
            return self._dealt(self._on_cpu[key], options)

        return measure

    def _dealt(self, whole: _core.Footprint, options: _core.ModelOptions) -> _core.Footprint:
        asked, n = options.n_gpu_layers, whole.n_layers
        names = [name for name in self._names if not options.devices or name in options.devices]
        if asked == 0 or not names:
            return whole
        moved = n if asked < 0 else min(asked, n)
        shares = list(options.tensor_split) or [1.0] * len(names)
        ends = [end / sum(shares) for end in accumulate(shares)]
        host = whole.host
        weights = host.weights + host.repacked
        of_block = round(weights * (1 - _OUTPUT_SHARE) / (n - 1))
        cache = host.context // (n - 1)
        gpus = {name: {"weights": 0, "context": 0, "compute": 0} for name in names}
        for i in range(moved):
            gpu = gpus[names[min(bisect_right(ends, i / moved), len(names) - 1)]]
            is_output = i == moved - 1
            gpu["weights"] += round(weights * _OUTPUT_SHARE) if is_output else of_block
            gpu["context"] += 0 if is_output else cache
            gpu["compute"] = host.compute
        dealt = {kind: sum(gpu[kind] for gpu in gpus.values()) for kind in ("weights", "context")}
        rest = _core.MemoryShare(
            "CPU",
            weights=max(0, weights - dealt["weights"]),
            context=host.context - dealt["context"],
            compute=host.compute,
            outputs=host.outputs,
        )
        shares_of = [_core.MemoryShare(name, **bytes_) for name, bytes_ in gpus.items()]
        return _core.Footprint(rest, shares_of, n)
