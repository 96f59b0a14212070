"""The machines of simulations: how step times grow with the batch, and what both models share."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

from specbranch_cpp.errors import InvalidArgument

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["CURVES", "MACHINES", "Machine", "find_machine"]

_LONGEST_CURVE = 64


def _through(points: Mapping[int, float]) -> tuple[float, ...]:
    """A curve with straight lines between the measured lengths."""
    lengths = sorted(points)
    curve: list[float] = []
    for low, high in pairwise(lengths):
        slope = (points[high] - points[low]) / (high - low)
        curve += [points[low] + slope * (n - low) for n in range(low, high)]
    return (*curve, points[lengths[-1]])


CURVES: dict[str, tuple[float, ...]] = {
    # Every batch has the same cost: only the time to read the weights counts.
    "ideal": (1.0,) * _LONGEST_CURVE,
    # Each further token costs a twentieth of a step: between an ideal and a real device.
    "flat": tuple(1.0 + 0.05 * n for n in range(_LONGEST_CURVE)),
    # Quantized weights on a GPU. This is a model, not a measurement: a slope, and a jump where the
    # kernels for few vectors end.
    "gpu": tuple(
        1.0 + 0.045 * n if n < 8 else 1.85 + 0.015 * (n - 8) for n in range(_LONGEST_CURVE)
    ),
    # A small draft on a GPU is limited by kernel launches, so width is almost free. This is also a
    # model.
    "gpu-draft": tuple(1.0 + 0.01 * n for n in range(_LONGEST_CURVE)),
    # Measured with 0.75 B parameters on two cores of a server CPU. Other lengths are interpolated.
    "cpu-q4": _through(
        {1: 1.0, 2: 1.41, 3: 1.71, 4: 1.18, 5: 1.68, 6: 1.99, 8: 2.13, 12: 2.98, 16: 3.01}
    ),
    "cpu-q8": _through(
        {1: 1.0, 2: 1.18, 3: 1.28, 4: 1.38, 5: 2.09, 6: 2.46, 8: 2.12, 12: 2.68, 16: 3.45}
    ),
}
"""Cost of a batch of 1, 2, .. tokens relative to one token. Longer batches continue with the mean
slope."""


@dataclass(frozen=True)
class Machine:
    """The machine that runs the two models.

    Attributes:
        target_curve: a name in `CURVES`, or a curve, for the target's batches.
        draft_curve: the same for the draft's batches.
        target_slowdown: the time of a target step while the draft runs, divided by its time alone;
            1: the devices share nothing, 2: perfect time sharing.
        draft_slowdown: the same ratio for a draft step.
        target_latency_us: time to add to every target step, such as a network round trip.
        draft_latency_us: time to add to every draft step.
        hop_us: coordination time from the end of a step to the start of the step that it causes.
        rebuild_us: additional time of a verification that has not as many tokens as the one before
            it: llama.cpp builds the graph anew, and sends it to a device of another host.
        abort_us: time until an aborted draft pass ends; negative: draft passes are never aborted.
        branches: whether a verification may have branches beside its path.
    """

    target_curve: str | tuple[float, ...] = "gpu"
    draft_curve: str | tuple[float, ...] = "gpu-draft"
    target_slowdown: float = 1.0
    draft_slowdown: float = 1.0
    target_latency_us: float = 0.0
    draft_latency_us: float = 0.0
    hop_us: float = 10.0
    rebuild_us: float = 0.0
    abort_us: float = -1.0
    branches: bool = True


MACHINES: dict[str, Machine] = {
    "two-gpus": Machine(),
    "one-gpu": Machine(target_slowdown=1.4, draft_slowdown=1.4),
    "gpu+cpu": Machine(draft_curve="cpu-q8", abort_us=1500.0),
    "rpc": Machine(target_latency_us=1150.0, rebuild_us=1200.0, branches=False),
    "two-cores": Machine("cpu-q8", "cpu-q8", 1.06, 1.6, abort_us=1500.0),
    "shared-cores": Machine("cpu-q8", "cpu-q8", 2.0, 2.0, abort_us=1500.0),
    "ideal": Machine("ideal", "ideal", hop_us=0.0),
}
"""Machines by name. ``one-gpu``: the slow-down is a guess; measure yours. ``rpc``: the target is on
another host, 1 ms away. With llama.cpp's RPC backend a step takes one round trip (counted) and
0.15 ms for its messages, and 1.2 ms more if its number of tokens changes, because the graph is sent
again (both measured, with a small target). It verifies paths only. For another network set
``target_latency_us``.
``two-cores``: each model has its own core; the slow-downs were measured on such a machine.
``shared-cores``: both models use the same cores."""


def find_machine(machine: Machine | str) -> Machine:
    """The machine with this name. A `Machine` is returned unchanged.

    Raises:
        InvalidArgument: the name is unknown.
    """
    if isinstance(machine, Machine):
        return machine
    found = next((one for name, one in MACHINES.items() if name == machine), None)
    if found is None:
        raise InvalidArgument(f"machine is {machine!r}; it must be one of {', '.join(MACHINES)}")
    return found
