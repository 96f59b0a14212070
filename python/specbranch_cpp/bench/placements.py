"""The placements: which CPUs or GPUs each model gets."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from specbranch_cpp._engine.machine_keywords import PlaceKeywords
from specbranch_cpp.bench.machine import Hardware
from specbranch_cpp.errors import InvalidArgument


@dataclass(frozen=True)
class Placement:
    """A placement of both models.

    Attributes:
        name: one of `NAMES`.
        options: options of `Engine`: threads, CPUs and layers on GPUs.
        peer: arguments of ``peers.PeerPair`` for other engines, whose models take turns. ``None``:
            other engines are not measured in this placement.
    """

    name: str
    options: PlaceKeywords = field(default_factory=PlaceKeywords)
    peer: dict[str, Any] | None = None


class ImpossibleError(Exception):
    """The reason why this machine does not have a placement."""


# The engine would use a GPU without being asked.
_ON_CPU: PlaceKeywords = {"n_gpu_layers": 0, "draft_n_gpu_layers": 0}


def _split(machine: Hardware) -> Placement:
    # A core is a group of CPUs that share the core. The draft gets a quarter of the cores, as by
    # default in the engine.
    cores = machine.cores[: machine.n_usable]
    if len(cores) < 2:
        cpus = ", ".join(map(str, machine.cpus))
        raise ImpossibleError(
            f"the machine has one core (CPU {cpus}), but each model needs its own core"
        )
    n_draft = max(1, len(cores) // 4)
    target, draft = ([core[0] for core in part] for part in (cores[:-n_draft], cores[-n_draft:]))
    return Placement(
        "split",
        {
            **_ON_CPU,
            "cpus": target,
            "n_threads": len(target),
            "draft_cpus": draft,
            "draft_n_threads": len(draft),
        },
        {"cpus": tuple(target), "n_threads": len(target)},
    )


def _shared(machine: Hardware) -> Placement:
    n = machine.n_usable
    return Placement(
        "shared",
        {**_ON_CPU, "n_threads": n, "draft_n_threads": n},
        {"cpus": None, "n_threads": n},
    )


def _on_gpu(name: str, target_layers: int, draft_layers: int) -> Callable[[Hardware], Placement]:
    def place(machine: Hardware) -> Placement:
        if not machine.gpus:
            raise ImpossibleError("llama.cpp finds no GPU")
        n_beside = max(1, machine.n_usable - 1)
        options: PlaceKeywords = {
            "n_gpu_layers": target_layers,
            "draft_n_gpu_layers": draft_layers,
            # The threads of a model on a GPU only wait for the GPU.
            "n_threads": 1 if target_layers else n_beside,
            "draft_n_threads": 1 if draft_layers else n_beside,
        }
        peer = {"cpus": None, "n_threads": 1, "n_gpu_layers": -1, "draft_n_gpu_layers": -1}
        return Placement(name, options, peer if name == "gpu" else None)

    return place


_MAKERS: dict[str, Callable[[Hardware], Placement]] = {
    "split": _split,
    "shared": _shared,
    "gpu": _on_gpu("gpu", -1, -1),
    "draft-cpu": _on_gpu("draft-cpu", -1, 0),
    "target-cpu": _on_gpu("target-cpu", 0, -1),
}
NAMES = tuple(_MAKERS)
"""``split``: each model on cores of its own, the draft on a quarter of them; ``shared``: both on
all; ``gpu``: both there; ``draft-cpu``, ``target-cpu``: one of them on the CPU, the other on the
GPU."""


def place(
    names: list[str] | None, machine: Hardware, *, alone: bool = False
) -> tuple[list[Placement], dict[str, str]]:
    """The placements that this machine has, and the reasons why it does not have the others.

    Args:
        names: names out of `NAMES`. ``None`` (default): ``gpu`` if there is a GPU, else ``split``,
            else ``shared``.
        machine: this machine.
        alone: whether no target has a draft, so that the default is ``gpu`` or ``shared``.

    Raises:
        InvalidArgument: a name is unknown, or none of the placements is possible.
    """
    first_only = names is None
    placements: list[Placement] = []
    skipped: dict[str, str] = {}
    usual = ("gpu", "shared") if alone else ("gpu", "split", "shared")
    for name in dict.fromkeys(usual if names is None else names):
        if name not in _MAKERS:
            raise InvalidArgument(f"placement is {name!r}; it must be one of {', '.join(NAMES)}")
        try:
            placements.append(_MAKERS[name](machine))
        except ImpossibleError as error:
            skipped[name] = str(error)
            continue
        if first_only:
            return placements, {}
    if not placements:
        reasons = "; ".join(f"{name}: {reason}" for name, reason in skipped.items())
        raise InvalidArgument(f"this machine has none of the placements: {reasons}")
    return placements, skipped
