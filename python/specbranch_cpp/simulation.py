"""What a pair of models would gain on a machine, without either: the engine's own decoder and
planners under a virtual clock.

    from specbranch_cpp import simulation

    pair = simulation.Pair(alpha=0.75, target_us=20_000, draft_us=2_500)
    for result in simulation.compare(pair, "two-gpus"):
        print(result.setting, f"{result.speedup:.2f}")

Step times come from curves (`CURVES`) or measurements, acceptance from a parameter or a recorded
trace. Times are in microseconds, curves relative to a step of one token.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise, product
from pathlib import Path
from typing import TYPE_CHECKING, Any

from specbranch_cpp import _core
from specbranch_cpp._support import checked
from specbranch_cpp.errors import InvalidArgument

if TYPE_CHECKING:
    from collections.abc import Iterable

    from specbranch_cpp.results import Trace

__all__ = [
    "CURVES",
    "MACHINES",
    "MODES",
    "Machine",
    "Pair",
    "Result",
    "Setting",
    "compare",
    "find_machine",
    "load_profile",
    "settings",
    "simulate",
    "sweep",
    "tune",
    "with_profile",
]

MODES = ("autoregressive", "speculative", "pearl", "specbranch", "auto")

_LONGEST_CURVE = 64
_PROMPT = 16  # tokens; its length changes nothing but what comes before the text
_N_SEQ = 32
# Of the misses of a trained pair at temperature 0, the share in which rank 2, 3 .. was right.
_RANK_HITS = (0.29, 0.15, 0.08, 0.05, 0.035, 0.025, 0.02)


def _through(points: Mapping[int, float]) -> tuple[float, ...]:
    """The curve that joins what was measured at some lengths by straight lines."""
    lengths = sorted(points)
    curve: list[float] = []
    for low, high in pairwise(lengths):
        slope = (points[high] - points[low]) / (high - low)
        curve += [points[low] + slope * (n - low) for n in range(low, high)]
    return (*curve, points[lengths[-1]])


CURVES: dict[str, tuple[float, ...]] = {
    # Every batch costs the same: reading the weights is all that counts.
    "ideal": (1.0,) * _LONGEST_CURVE,
    # A token more costs a twentieth: between an ideal device and a real one.
    "flat": tuple(1.0 + 0.05 * n for n in range(_LONGEST_CURVE)),
    # Quantised weights on a GPU, a model and no measurement: a slope, and a step where the kernels
    # for single vectors end.
    "gpu": tuple(
        1.0 + 0.045 * n if n < 8 else 1.85 + 0.015 * (n - 8) for n in range(_LONGEST_CURVE)
    ),
    # A small draft on a GPU is bound by launches: width is nearly free. A model as well.
    "gpu-draft": tuple(1.0 + 0.01 * n for n in range(_LONGEST_CURVE)),
    # Measured: 0.75 B parameters on two cores of a server CPU; lengths between are interpolated.
    "cpu-q4": _through(
        {1: 1.0, 2: 1.41, 3: 1.71, 4: 1.18, 5: 1.68, 6: 1.99, 8: 2.13, 12: 2.98, 16: 3.01}
    ),
    "cpu-q8": _through(
        {1: 1.0, 2: 1.18, 3: 1.28, 4: 1.38, 5: 2.09, 6: 2.46, 8: 2.12, 12: 2.68, 16: 3.45}
    ),
}
"""Cost of a batch of 1, 2, .. tokens relative to one token; past the end at the mean slope."""


@dataclass(frozen=True)
class Machine:
    """Where the two models run.

    Attributes:
        target_curve: name in `CURVES`, or the curve itself, for the target's batches.
        draft_curve: likewise for the draft's.
        target_slowdown: how many times longer a step of the target takes while the draft is at
            work too; 1: two devices that share nothing, 2: perfect time sharing.
        draft_slowdown: likewise of the draft.
        target_latency_us: added to every step of the target, such as a network's round trip.
        draft_latency_us: likewise of the draft.
        hop_us: coordination, from the end of a step to the begin of one that it leads to.
        abort_us: how soon a pass of the draft that no longer matters ends; negative: never early.
    """

    target_curve: str | tuple[float, ...] = "gpu"
    draft_curve: str | tuple[float, ...] = "gpu-draft"
    target_slowdown: float = 1.0
    draft_slowdown: float = 1.0
    target_latency_us: float = 0.0
    draft_latency_us: float = 0.0
    hop_us: float = 10.0
    abort_us: float = -1.0


MACHINES: dict[str, Machine] = {
    "two-gpus": Machine(),
    "one-gpu": Machine(target_slowdown=1.4, draft_slowdown=1.4),
    "gpu+cpu": Machine(draft_curve="cpu-q8", abort_us=1500.0),
    "rpc": Machine(target_latency_us=1000.0),
    "two-cores": Machine("cpu-q8", "cpu-q8", 1.06, 1.6, abort_us=1500.0),
    "shared-cores": Machine("cpu-q8", "cpu-q8", 2.0, 2.0, abort_us=1500.0),
    "ideal": Machine("ideal", "ideal", hop_us=0.0),
}
"""Machines by name. ``one-gpu``: the slow-down is a guess, measure yours. ``rpc``: the target is a
network away (1 ms a step). ``two-cores``: each model on a core of its own, slow-downs as measured
on one such machine. ``shared-cores``: both models on the same cores."""


@dataclass(frozen=True)
class Pair:
    """What counts of two models.

    Attributes:
        alpha: probability that the draft's first candidate is right, 0 to 1; or pairs of a number
            of tokens and their alpha, where it changes along the text.
        target_us: a step of one token of the target alone, in microseconds; or its whole curve
            (batches of 1, 2, .. tokens), in place of the machine's.
        draft_us: likewise for the draft.
        rank_hits: of the misses, the shares in which the second, third, .. candidate was right.
        concentration: of the confidences, which are Beta-distributed around alpha; small: the draft
            is either sure or in doubt, large: always alpha.
        distortion: 1: a confidence is the probability of being right; below 1 the draft is
            under-confident, above over-confident.
        proposals: recorded ones, in place of all of the above but the times; see
            `TraceRound.proposals`.
    """

    alpha: float | tuple[tuple[int, float], ...] = 0.7
    target_us: float | tuple[float, ...] = 20_000.0
    draft_us: float | tuple[float, ...] = 2_500.0
    rank_hits: tuple[float, ...] = _RANK_HITS
    concentration: float = 2.0
    distortion: float = 1.0
    proposals: tuple[tuple[tuple[float, ...], int], ...] = ()

    def with_trace(self, *traces: Trace) -> Pair:
        """This pair with the acceptance that was met in recorded generations.

        Raises:
            InvalidArgument: no draft took part in any of them.
        """
        found = tuple(p for trace in traces for round_ in trace.rounds for p in round_.proposals)
        if not any(confidences for confidences, _ in found):
            raise InvalidArgument("the trace has no proposals: no draft took part")
        return replace(self, proposals=found)


@dataclass(frozen=True)
class Setting:
    """How to decode.

    Attributes:
        mode: as in `Engine.generate`.
        gamma: tokens drafted a round at most.
        epsilon: least confidence at which the draft goes on; None: it does not look at it.
        k_max: branches at most.
    """

    mode: str
    gamma: int = 8
    epsilon: float | None = None
    k_max: int = 1

    def __str__(self) -> str:
        if self.mode in ("autoregressive", "auto"):
            return self.mode
        words = [f"gamma {self.gamma}"]
        if self.epsilon is not None:
            words.append(f"epsilon {self.epsilon:g}")
        if self.mode == "specbranch":
            words.append(f"k {self.k_max}")
        return f"{self.mode} ({', '.join(words)})"


@dataclass(frozen=True)
class Result:
    """What a simulated generation took.

    Attributes:
        setting: how it was decoded.
        speedup: how many times faster than `autoregressive` on the same machine.
        us_per_token: microseconds of decoding per token of the text.
        mean_accepted_length: tokens of the text per step of the target.
        rollback_rate: share of the drafted tokens that were rolled back.
        lanes_per_token: tokens that the draft decoded on all branches, per token of the text.
        target_busy: share of the time in which the target was at work.
        draft_busy: likewise of the draft.
        overlap: share of the time in which both were.
        why: why `auto` decoded as it did; empty where there is nothing to say.
    """

    setting: Setting
    speedup: float
    us_per_token: float
    mean_accepted_length: float
    rollback_rate: float
    lanes_per_token: float
    target_busy: float
    draft_busy: float
    overlap: float
    why: str


def find_machine(machine: Machine | str) -> Machine:
    """The machine of that name."""
    if isinstance(machine, Machine):
        return machine
    if machine not in MACHINES:
        raise InvalidArgument(f"machine is {machine!r}; it must be one of {', '.join(MACHINES)}")
    return MACHINES[machine]


def simulate(
    pair: Pair,
    machine: Machine | str = "two-gpus",
    setting: Setting | str = "auto",
    *,
    n_tokens: int = 1000,
    seed: int = 1,
    warm: bool = True,
) -> Result:
    """Decodes `n_tokens` under the virtual clock.

    Args:
        pair: the models.
        machine: where they run; a name in `MACHINES`.
        setting: how to decode; a mode stands for the first of its `settings`.
        n_tokens: of the text; more of them: less noise.
        seed: of the text and of what the draft gets right.
        warm: `auto` knows the step times as an engine does that measured them while loading.

    Raises:
        InvalidArgument: something is out of its range.
    """
    if isinstance(setting, str):
        setting = settings(setting)[0]
    core_pair = _synthetic(pair, seed)
    core_machine = _machine(pair, find_machine(machine))
    n_tokens = checked.integer("n_tokens", n_tokens, 1, 10**6)
    # What `autoregressive` takes for a token.
    one_token = core_machine.target_us[0] + core_machine.target_latency_us + core_machine.hop_us
    run = _core.simulate(_request(setting, n_tokens), core_pair, core_machine, warm)
    us_per_token = run.time_us / run.n_generated
    return Result(
        setting=setting,
        speedup=one_token / us_per_token,
        us_per_token=us_per_token,
        mean_accepted_length=run.n_generated / run.n_target_steps,
        rollback_rate=run.n_rolled_back / run.n_drafted if run.n_drafted else 0.0,
        lanes_per_token=run.n_draft_lanes / run.n_generated,
        target_busy=run.target_busy_us / run.time_us,
        draft_busy=run.draft_busy_us / run.time_us,
        overlap=run.overlap_us / run.time_us,
        why=run.why,
    )


def settings(mode: str) -> list[Setting]:
    """The settings of a ``mode`` among which `tune` chooses the fastest."""
    if mode == "speculative":
        lengths: tuple[int, ...] = (1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 16)
        return [Setting(mode, g, e) for g, e in product(lengths, (None, 0.2, 0.4))]
    if mode == "pearl":
        return [Setting(mode, g) for g in (1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 16, 20)]
    if mode == "specbranch":  # at epsilon 0 it is PEARL with branches at the end of the chain
        lengths = (2, 3, 4, 5, 6, 8, 10, 12, 16)
        return [
            Setting(mode, g, e, k) for g, e, k in product(lengths, (0.0, 0.2, 0.4, 0.6), (4, 8))
        ]
    if mode == "auto":  # room for its tree; it chooses for itself within
        return [Setting(mode, 16, None, 8)]
    return [Setting(mode)]


def tune(
    pair: Pair,
    machine: Machine | str,
    mode: str,
    *,
    n_tokens: int = 1000,
    seed: int = 1,
) -> Result:
    """The fastest of a mode's settings on this pair and machine.

    It is chosen on one text and told from another, so that luck does not count as speed. The
    arguments, and their errors, are those of `simulate`.
    """
    candidates = settings(mode)
    if len(candidates) > 1:
        tried = (simulate(pair, machine, s, n_tokens=n_tokens, seed=seed + 1) for s in candidates)
        candidates = [max(tried, key=lambda result: result.speedup).setting]
    return simulate(pair, machine, candidates[0], n_tokens=n_tokens, seed=seed)


def compare(
    pair: Pair,
    machine: Machine | str = "two-gpus",
    modes: Sequence[str] = MODES,
    *,
    n_tokens: int = 1000,
    seed: int = 1,
) -> list[Result]:
    """Each of ``modes`` with its best settings, in their order: `tune` for all of them."""
    return [tune(pair, machine, mode, n_tokens=n_tokens, seed=seed) for mode in modes]


def sweep(
    pair: Pair,
    machine: Machine | str,
    ratios: Iterable[float],
    alphas: Iterable[float],
    modes: Sequence[str] = MODES[1:],
    *,
    n_tokens: int = 500,
    seed: int = 1,
) -> dict[tuple[float, float], list[Result]]:
    """`compare` for every c (target step over draft step) and alpha; the target stays as it is.

    Args:
        pair: gives the step of the target and everything but c and alpha.
        machine: as in `simulate`.
        ratios: the c to try, above 0.
        alphas: the alphas to try, 0 to 1.
        modes: as in `compare`.
        n_tokens: length of each simulated text.
        seed: of the texts.

    Returns:
        The results of `compare` by (c, alpha).

    Raises:
        InvalidArgument: a number is out of its range, or nobody knows the machine or a mode.
    """
    first = pair.target_us if isinstance(pair.target_us, (int, float)) else pair.target_us[0]
    found = {}
    for c, alpha in product(ratios, alphas):
        if not checked.real("c", c) > 0:
            raise InvalidArgument(f"c is {c}; it must be above 0")
        cell = replace(pair, alpha=alpha, draft_us=first / c, proposals=())
        found[c, alpha] = compare(cell, machine, modes, n_tokens=n_tokens, seed=seed)
    return found


def load_profile(source: str | os.PathLike[str] | Mapping[str, Any]) -> dict[str, Any]:
    """What an engine measured: step times, slow-downs, and how often its draft was right.

    Args:
        source: the file that `Engine.save_profile` wrote, or what is in it, or its ``costs`` alone.

    Returns:
        ``target_us`` and ``draft_us`` (microseconds of batches of 1, 2, .. tokens),
        ``target_slowdown``, ``draft_slowdown``; and ``alpha``, if anything was decoded with it.

    Raises:
        InvalidArgument: there are no costs in it.
    """
    content: Any = source
    if not isinstance(source, Mapping):
        try:
            content = json.loads(Path(source).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise InvalidArgument(f"profile {str(source)!r} cannot be read: {error}") from None
    costs = content.get("costs", content) if isinstance(content, Mapping) else None
    if not isinstance(costs, Mapping) or not (costs.get("target_us") and costs.get("draft_us")):
        raise InvalidArgument("the profile has no costs: the engine did not measure them")
    found: dict[str, Any] = {
        "target_us": tuple(checked.reals("target_us", costs["target_us"])),
        "draft_us": tuple(checked.reals("draft_us", costs["draft_us"])),
        "target_slowdown": checked.real("target_slowdown", costs.get("target_slowdown", 1.0)),
        "draft_slowdown": checked.real("draft_slowdown", costs.get("draft_slowdown", 1.0)),
    }
    # A table for each class of temperatures: the one that has seen most.
    tables = content.get("acceptance") or [{}]
    table = max(tables, key=lambda each: float(each.get("first_count", 0.0)))
    if table.get("first_count"):
        found["alpha"] = table["first_hits"] / table["first_count"]
    return found


def with_profile(
    pair: Pair, machine: Machine, source: str | os.PathLike[str] | Mapping[str, Any]
) -> tuple[Pair, Machine]:
    """The pair with the step times and the alpha of a profile, the machine with its slow-downs.

    ``source`` is that of `load_profile`, whose errors it raises.
    """
    found = load_profile(source)
    slowdowns = {name: found.pop(name) for name in ("target_slowdown", "draft_slowdown")}
    return replace(pair, **found), replace(machine, **slowdowns)


def _curve(
    name: str, step: float | tuple[float, ...], curve: str | tuple[float, ...]
) -> list[float]:
    """Microseconds of batches of 1, 2, .. tokens."""
    if not isinstance(step, (int, float)):
        return checked.reals(name, step)
    if isinstance(curve, str):
        if curve not in CURVES:
            raise InvalidArgument(f"the curve is {curve!r}; it must be one of {', '.join(CURVES)}")
        curve = CURVES[curve]
    return [checked.real(name, step) * factor for factor in curve]


def _machine(pair: Pair, machine: Machine) -> _core.SimulatedMachine:
    made = _core.SimulatedMachine()
    made.target_us = _curve("target_us", pair.target_us, machine.target_curve)
    made.draft_us = _curve("draft_us", pair.draft_us, machine.draft_curve)
    for name in (
        "target_slowdown",
        "draft_slowdown",
        "target_latency_us",
        "draft_latency_us",
        "hop_us",
        "abort_us",
    ):
        setattr(made, name, checked.real(name, getattr(machine, name)))
    return made


def _synthetic(pair: Pair, seed: int) -> _core.SyntheticPair:
    made = _core.SyntheticPair()
    made.seed = checked.integer("seed", seed, 0, 2**63 - 1)
    made.n_seq = _N_SEQ
    if isinstance(pair.alpha, (int, float)):
        made.alpha = checked.real("alpha", pair.alpha)
    else:
        made.segments = [(n, checked.real("alpha", alpha)) for n, alpha in pair.alpha]
    made.rank_hits = checked.reals("rank_hits", pair.rank_hits)
    made.concentration = checked.real("concentration", pair.concentration)
    made.distortion = checked.real("distortion", pair.distortion)
    made.replay = [(list(confidences), hit) for confidences, hit in pair.proposals]
    return made


def _request(setting: Setting, n_tokens: int) -> _core.Request:
    request = _core.Request()
    request.mode = checked.text("mode", setting.mode)
    request.prompt = [0] * _PROMPT
    request.max_tokens = n_tokens
    request.max_draft = checked.integer("gamma", setting.gamma, 1, _core.MAX_DRAFT)
    request.k_max = checked.integer("k_max", setting.k_max, 1, _core.MAX_BRANCHES)
    if setting.epsilon is None:
        request.use_fixed(setting.gamma)
    else:
        request.use_confidence(checked.real("epsilon", setting.epsilon))
    return request
