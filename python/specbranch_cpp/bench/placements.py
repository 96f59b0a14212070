"""The placements: which CPUs or GPUs each model gets."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from specbranch_cpp._engine.machine_keywords import PlaceKeywords
from specbranch_cpp._engine.model_options import CPU
from specbranch_cpp.bench.machine import Hardware
from specbranch_cpp.errors import InvalidArgument


@dataclass(frozen=True)
class Placement:
    """A placement of both models.

    Attributes:
        name: one of `NAMES`.
        options: options of `Engine`: threads, CPUs, GPUs and layers on them.
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


# GPUs of a placement, out of all.
_FIRST, _SECOND, _LAST, _EVERY = slice(1), slice(1, 2), slice(-1, None), slice(None)


def _on_gpus(
    name: str, target: slice | None, draft: slice | None, *, least: int = 1
) -> Callable[[Hardware], Placement]:
    """Makes a placement on machines with GPUs.

    Args:
        name: the name of the placement.
        target: GPUs of the target. ``None``: the CPU.
        draft: GPUs of the draft. ``None``: the CPU.
        least: the number of GPUs that the placement needs.
    """

    def place(machine: Hardware) -> Placement:
        gpus = list(machine.gpu_names)
        if len(gpus) < least:
            raise ImpossibleError(
                f"the only GPU is {gpus[0]}" if gpus else "llama.cpp finds no GPU"
            )
        # A model on GPUs has one thread, which waits for them. How many the other one has is left
        # to the engine, which knows the fast cores.
        options: PlaceKeywords = {
            "n_gpu_layers": 0 if target is None else -1,
            "draft_n_gpu_layers": 0 if draft is None else -1,
        }
        if len(gpus) > 1:
            options["devices"] = [CPU] if target is None else gpus[target]
            options["draft_devices"] = [CPU] if draft is None else gpus[draft]
        peer = {"cpus": None, "n_threads": 1, "n_gpu_layers": -1, "draft_n_gpu_layers": -1}
        # Other engines take all GPUs for both models.
        on_all = name == ("gpu" if len(gpus) == 1 else "gpus")
        return Placement(name, options, peer if on_all else None)

    return place


_MAKERS: dict[str, Callable[[Hardware], Placement]] = {
    "split": _split,
    "shared": _shared,
    "gpu": _on_gpus("gpu", _FIRST, _FIRST),
    "two-gpus": _on_gpus("two-gpus", _FIRST, _SECOND, least=2),
    "gpus": _on_gpus("gpus", _EVERY, _LAST, least=2),
    "draft-cpu": _on_gpus("draft-cpu", _FIRST, None),
    "gpus-draft-cpu": _on_gpus("gpus-draft-cpu", _EVERY, None, least=2),
    "target-cpu": _on_gpus("target-cpu", None, _FIRST),
}
NAMES = tuple(_MAKERS)
"""``split``: each model on cores of its own, the draft on a quarter of them; ``shared``: both on
all; ``gpu``: both on the first GPU; ``two-gpus``: the target on the first GPU, the draft on the
second; ``gpus``: the target over all GPUs, the draft on the last; ``draft-cpu``,
``gpus-draft-cpu``: the draft on the CPU, the target on the first GPU or over all; ``target-cpu``:
the target on the CPU, the draft on the first GPU."""
ALL = "all"
"""All placements that this machine has."""


def _usual(machine: Hardware, *, alone: bool) -> tuple[str, ...]:
    """The default: the first possible one of these."""
    on_gpus = "gpus" if len(machine.gpu_names) > 1 else "gpu"
    return (on_gpus, "shared") if alone else (on_gpus, "split", "shared")


def place(
    names: list[str] | None, machine: Hardware, *, alone: bool = False
) -> tuple[list[Placement], dict[str, str]]:
    """The placements that this machine has, and the reasons why it does not have the others.

    Args:
        names: names out of `NAMES`, or `ALL`. ``None`` (default): ``gpu`` if there is a GPU,
            ``gpus`` if there are several, else ``split``, else ``shared``.
        machine: this machine.
        alone: whether no target has a draft, so that the default is not ``split``.

    Raises:
        InvalidArgument: a name is unknown, or none of the placements is possible.
    """
    first_only = names is None
    placements: list[Placement] = []
    skipped: dict[str, str] = {}
    if names is None:
        names = list(_usual(machine, alone=alone))
    for name in dict.fromkeys(NAMES if names == [ALL] else names):
        if name not in _MAKERS:
            allowed = ", ".join((ALL, *NAMES))
            raise InvalidArgument(f"placement is {name!r}; it must be one of {allowed}")
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
