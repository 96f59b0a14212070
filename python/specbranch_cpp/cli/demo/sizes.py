"""Chooses the size and the placement of the bundled pair from measured step costs.

The bundled pair computes too little for speculation to pay. Grown pairs compute the same function.
Their gain depends on the machine: on the size of its caches, on its memory bandwidth, and on the
time of a verification of several tokens compared with the time of one token.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from specbranch_cpp import simulation
from specbranch_cpp.simulation import Machine, Pair

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from specbranch_cpp.bench.placements import Placement
    from specbranch_cpp.results import StepCosts

WEIGHT_TYPES = ("F32", "F16", "Q8_0")
"""The weight types in the order of the measurements.

With more bytes per weight, each further token of a verification costs less, because reading the
weights takes most of the time.
"""

GOAL_STEP_MS = 15.0
"""Longest target step, so that the demo does not take too long."""

ENOUGH_GAIN = 1.6
"""Expected speed-up of `auto` at which the search stops."""

# Acceptance rate of the bundled draft's first choices at temperature 0.7; see models/README.md.
_ACCEPTANCE = 0.74
_N_TOKENS = 500  # number of simulated tokens
_HOP_US = 30.0
_ABORT_US = 1500.0
_TOLERANCE = 1.05  # factor between two times that count as equal
# Factor of the gain by which a weight type with fewer bytes must be better. Two measurements, of a
# second each, differ by more than the gains of two types often do.
_BETTER_TYPE = 1.1
_MOST_BYTES = 1_500_000_000
_MEMORY_SHARE = 1 / 3
_MEMORY_UNKNOWN = 500_000_000


@dataclass(frozen=True)
class Size:
    """The dimensions of a grown pair: keywords of `plan_model` for each model."""

    target: Mapping[str, int]
    draft: Mapping[str, int]


# The draft has about a twelfth of the target's weights, so its step takes a tenth of the time or
# less. A width of 4 times the bundled width keeps every bit of the logits.
SIZES = (
    Size({"n_embd": 1024, "n_ff": 768}, {}),
    Size({"n_embd": 1024, "n_head": 8, "n_head_kv": 4, "n_ff": 1536}, {"n_ff": 1536}),
    Size({"n_embd": 1024, "n_layer": 16, "n_head": 8, "n_head_kv": 4, "n_ff": 1536},
         {"n_embd": 768}),
    Size({"n_embd": 1024, "n_layer": 16, "n_head": 16, "n_head_kv": 8, "n_ff": 3072},
         {"n_embd": 768, "n_ff": 1536}),
)  # fmt: skip


@dataclass(frozen=True)
class Choice:
    """A grown pair: index in `SIZES`, weight type, and where both models run."""

    size: int
    weight_type: str
    placement: Placement


@dataclass(frozen=True)
class Probe:
    """The step costs of a grown pair, and the expected gain.

    Attributes:
        choice: the pair.
        costs: the step costs that the engine measured while loading, without outliers.
        gain: expected speed-up of `auto` over plain decoding.
    """

    choice: Choice
    costs: StepCosts
    gain: float

    @property
    def step_ms(self) -> float:
        """The time of a target step with one token."""
        return self.costs.target_ms[0]

    @property
    def tokens_per_second(self) -> float:
        """The expected speed of `auto`."""
        return 1000.0 * self.gain / self.step_ms


def smooth(curve: Sequence[float]) -> tuple[float, ...]:
    """The step times by length, without times that other work on the machine made longer.

    A longer step never takes less time. If a shorter step has a longer measured time, it gets the
    time of the longer step.
    """
    least = float("inf")
    smoothed = [least := min(least, ms) for ms in reversed(curve)]
    return tuple(reversed(smoothed))


def judge(choice: Choice, costs: StepCosts) -> Probe:
    """Predicts the gain of this pair from measured step costs, with the simulator."""
    costs = replace(costs, target_ms=smooth(costs.target_ms), draft_ms=smooth(costs.draft_ms))
    pair = Pair(
        alpha=_ACCEPTANCE,
        target_us=tuple(1000.0 * ms for ms in costs.target_ms),
        draft_us=tuple(1000.0 * ms for ms in costs.draft_ms),
    )
    machine = Machine(
        target_slowdown=costs.target_slowdown,
        draft_slowdown=costs.draft_slowdown,
        hop_us=_HOP_US,
        abort_us=_ABORT_US,
    )
    result = simulation.simulate(pair, machine, "auto", n_tokens=_N_TOKENS)
    return Probe(choice, costs, result.speedup)


def memory_budget(available: int | None) -> int:
    """The bytes that both models together may take, for this number of free bytes."""
    if available is None:
        return _MEMORY_UNKNOWN
    return min(_MOST_BYTES, int(_MEMORY_SHARE * available))


def search(
    measure: Callable[[Choice], Probe],
    n_bytes: Callable[[int, str], int],
    budget: int,
    *,
    shared: Placement,
    split: Placement | None,
    weight_types: Sequence[str] = WEIGHT_TYPES,
) -> list[Probe]:
    """Finds the pair with the largest gain from a few measurements of the smallest size.

    Of gains that are nearly equal, that of the weight type with more bytes counts as the larger.

    Args:
        measure: a function that loads a pair and measures its steps.
        n_bytes: the bytes of both models, by index in `SIZES` and weight type.
        budget: the largest number of bytes.
        shared: the placement with both models on all cores.
        split: the placement with separate cores for each model. ``None``: do not try it.
        weight_types: the weight types to measure, in this order.

    Returns:
        The measurements, the best pair last. An empty list: the budget is too small for all sizes.
        The best pair may be larger than the measured pairs: see `largest`.
    """
    probes: list[Probe] = []
    for kind in weight_types:
        if n_bytes(0, kind) > budget:
            continue
        probes.append(measure(Choice(0, kind, shared)))
        if probes[-1].gain >= ENOUGH_GAIN:
            break
    if probes:
        best = probes[0]
        for probe in probes[1:]:
            best = probe if probe.gain > _BETTER_TYPE * best.gain else best
        probes = [*(probe for probe in probes if probe is not best), best]
    if probes and split is not None:
        best = probes[-1]
        other = measure(replace(best.choice, placement=split))
        probes.insert(len(probes) - (not better_split(best, other)), other)
    return probes


def better_split(shared: Probe, split: Probe) -> bool:
    """Whether each model should have its own cores.

    The models should share the cores if plain decoding would become slower otherwise: the baseline
    must be as fast as plain decoding can be on this machine.
    """
    return (
        split.step_ms <= _TOLERANCE * shared.step_ms
        and split.tokens_per_second > _TOLERANCE * shared.tokens_per_second
    )


def largest(best: Probe, n_bytes: Callable[[int, str], int], budget: int) -> Choice:
    """The same pair at the largest size that time and memory allow."""
    choice = best.choice
    for size in range(choice.size + 1, len(SIZES)):
        needed = n_bytes(size, choice.weight_type)
        growth = needed / n_bytes(best.choice.size, choice.weight_type)
        if needed > budget or growth * best.step_ms > GOAL_STEP_MS:
            break
        choice = replace(choice, size=size)
    return choice
