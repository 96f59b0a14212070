"""The number of threads that the engine gives each model."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from specbranch_cpp import _core

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from specbranch_cpp._engine.machine_keywords import MachineKeywords


def beside(
    target: Path, draft: Path, machine: MachineKeywords, layers: int = 0, draft_layers: int = 0
) -> tuple[int, int, list[int]]:
    """The numbers of threads of target and draft with these options of `Engine`, and the CPUs of
    the draft (empty: any).

    ``layers`` and ``draft_layers`` are the numbers of layers on GPUs; -1: all layers.
    """
    of_target = _options(target, machine.get("n_threads"), machine.get("cpus"), layers)
    of_draft = _options(
        draft, machine.get("draft_n_threads"), machine.get("draft_cpus"), draft_layers
    )
    _core.plan_threads(of_target, of_draft, other_hosts=bool(machine.get("rpc_servers")))
    return of_target.n_threads, of_draft.n_threads, list(of_draft.cpus)


def to_advise(
    machine: MachineKeywords, measured: tuple[int, int, list[int]], *, on_gpus: bool
) -> MachineKeywords:
    """The options of the caller with the threads of the measurement, which `beside` tells.

    Beside layers on GPUs without them: the engine finds the threads with the layers, of which
    another number may fit the next time.
    """
    if on_gpus:
        return machine
    n_threads, draft_n_threads, draft_cpus = measured
    return {
        **machine,
        "n_threads": n_threads,
        "draft_n_threads": draft_n_threads,
        "draft_cpus": draft_cpus or None,
    }


def alone(target: Path, machine: MachineKeywords, layers: int = 0) -> int:
    """The number of threads of the target without a draft, with ``layers`` as in `beside`."""
    planned = _options(target, machine.get("n_threads"), machine.get("cpus"), layers)
    _core.plan_threads(planned, other_hosts=bool(machine.get("rpc_servers")))
    return planned.n_threads


def _options(
    path: Path, n_threads: int | None, cpus: Sequence[int] | None, n_gpu_layers: int
) -> _core.ModelOptions:
    made = _core.ModelOptions(os.fsencode(path))
    made.n_gpu_layers = n_gpu_layers
    if n_threads is not None:
        made.n_threads = n_threads
    if cpus is not None:
        made.cpus = cpus
    return made
