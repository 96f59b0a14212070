"""How large the bundled pair is made, and where it runs: decided from measured steps.

The bundled pair computes too little for speculation to pay. Grown pairs compute the same function;
which of them shows a gain depends on the machine: on the size of its caches, on how fast it reads
memory, and on how much longer it verifies several tokens than it decodes one.
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
"""In the order of trying: the more bytes a weight has, the less each further token of a
verification costs, as reading the weights takes most of the time."""

GOAL_STEP_MS = 15.0
"""A step of the target takes at most this: the demo shall not take long."""

ENOUGH_GAIN = 1.6
"""No further weight type is tried once `auto` is expected to gain this much."""

_ACCEPTANCE = 0.74  # of the bundled draft's first choices at temperature 0.7; see models/README.md
_N_TOKENS = 500  # simulated
_HOP_US = 30.0
_ABORT_US = 1500.0
_TOLERANCE = 1.05  # within which two times are taken to be the same
_MOST_BYTES = 1_500_000_000
_MEMORY_SHARE = 1 / 3
_MEMORY_UNKNOWN = 500_000_000


@dataclass(frozen=True)
class Size:
    """The dimensions of a grown pair: keywords of `plan_model` for each model."""

    target: Mapping[str, int]
    draft: Mapping[str, int]


# The draft has about a twelfth of the target's weights: its step takes a tenth or less. A width of
# 4 times the bundled one keeps every bit of the scores.
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
    """What the steps of a grown pair cost, and what that promises.

    Attributes:
        choice: the pair.
        costs: as the engine measured them while loading, outliers taken out.
        gain: how many times faster than plain decoding `auto` is expected to be.
    """

    choice: Choice
    costs: StepCosts
    gain: float

    @property
    def step_ms(self) -> float:
        """A step of the target for one token."""
        return self.costs.target_ms[0]

    @property
    def tokens_per_second(self) -> float:
        """What `auto` is expected to reach."""
        return 1000.0 * self.gain / self.step_ms


def smooth(curve: Sequence[float]) -> tuple[float, ...]:
    """Step times by length, without those that something else on the machine made longer.

    A longer step never takes less time: where a shorter one was measured to take more, it takes
    what the longer one did.
    """
    least = float("inf")
    smoothed = [least := min(least, ms) for ms in reversed(curve)]
    return tuple(reversed(smoothed))


def judge(choice: Choice, costs: StepCosts) -> Probe:
    """What measured steps promise for this pair, by the simulator."""
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
    """Bytes that both models may take together, where so many are free."""
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
    """Finds the pair that shows most, by measuring few of the smallest.

    Args:
        measure: loads a pair and measures its steps.
        n_bytes: of both models, by index in `SIZES` and weight type.
        budget: of bytes.
        shared: both models on all cores.
        split: each on cores of its own; None: there is one core.
        weight_types: to try, in this order.

    Returns:
        What was measured, the best pair last; empty: not even the smallest fits into the budget.
        The best one may be larger than what was measured: see `largest`.
    """
    probes: list[Probe] = []
    for kind in weight_types:
        if n_bytes(0, kind) > budget:
            continue
        probes.append(measure(Choice(0, kind, shared)))
        if probes[-1].gain >= ENOUGH_GAIN:
            break
    probes.sort(key=lambda probe: probe.gain)
    if probes and split is not None:
        best = probes[-1]
        other = measure(replace(best.choice, placement=split))
        probes.insert(len(probes) - (not better_split(best, other)), other)
    return probes


def better_split(shared: Probe, split: Probe) -> bool:
    """Whether each model should have cores of its own.

    Only if plain decoding loses nothing by it: what speculation is compared with shall be as fast
    as this machine can decode without it.
    """
    return (
        split.step_ms <= _TOLERANCE * shared.step_ms
        and split.tokens_per_second > _TOLERANCE * shared.tokens_per_second
    )


def largest(best: Probe, n_bytes: Callable[[int, str], int], budget: int) -> Choice:
    """The same pair, as large as time and memory allow."""
    choice = best.choice
    for size in range(choice.size + 1, len(SIZES)):
        needed = n_bytes(size, choice.weight_type)
        growth = needed / n_bytes(best.choice.size, choice.weight_type)
        if needed > budget or growth * best.step_ms > GOAL_STEP_MS:
            break
        choice = replace(choice, size=size)
    return choice
