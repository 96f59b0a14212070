"""Predicts the gain of a pair of models on a machine, without the models and without the machine:
the engine's own decoder and planners run under a virtual clock.

    from specbranch_cpp import simulation

    pair = simulation.Pair(alpha=0.75, target_us=20_000, draft_us=2_500)
    for result in simulation.compare(pair, "two-gpus"):
        print(result.setting, f"{result.speedup:.2f}")

Step times come from curves (`CURVES`) or from measurements. The acceptance rate comes from a
parameter or from a recorded trace. Times are in microseconds; curves are relative to a step of one
token.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import product
from typing import TYPE_CHECKING, Any

from specbranch_cpp import _core
from specbranch_cpp._pair import saved_profile
from specbranch_cpp._support import checked, core_simulation, simulated_clients
from specbranch_cpp._support.simulated_clients import Client, ClientsResult
from specbranch_cpp._support.simulated_machines import CURVES, MACHINES, Machine, find_machine
from specbranch_cpp.errors import InvalidArgument

if TYPE_CHECKING:
    from specbranch_cpp.results import Trace

__all__ = [
    "CURVES",
    "MACHINES",
    "MODES",
    "Client",
    "ClientsResult",
    "Machine",
    "Pair",
    "Result",
    "Setting",
    "compare",
    "find_machine",
    "load_profile",
    "settings",
    "simulate",
    "simulate_clients",
    "simulate_texts",
    "sweep",
    "tune",
    "with_profile",
]

_MAX_SEED = 2**63 - 1
MODES = ("autoregressive", "speculative", "pearl", "specbranch", "auto")

# The shares at which rank 2, 3 .. was right, of the positions where the first candidate was wrong.
# A trained pair was measured at temperature 0.
_RANK_HITS = (0.29, 0.15, 0.08, 0.05, 0.035, 0.025, 0.02)


@dataclass(frozen=True)
class Pair:
    """The properties of two models that the simulator uses.

    Attributes:
        alpha: the acceptance rate: the probability that the draft's first candidate is right, 0 to
            1. Or pairs (number of tokens, alpha), if the rate changes along the text.
        target_us: the time of a target step of one token, in microseconds, while the draft is idle.
            Or a whole curve (batches of 1, 2, .. tokens) that replaces the curve of the machine.
        draft_us: the same for the draft.
        rank_hits: the shares at which the second, third, .. candidate is right if the first
            candidate is wrong.
        concentration: concentration of the Beta distribution of the confidences around alpha. With
            a small value, confidences are near 0 or 1; with a large value, they are near alpha.
        distortion: 1: a confidence is the probability of being right; below 1: the draft is
            under-confident; above 1: over-confident.
        copy_rate: the share of the text that repeats an earlier part of it, 0 to 1. Above 0, texts
            draft, too.
        copy_length: tokens of such a part.
        text: the tokens of a recorded text, in place of an invented one: texts draft as they would
            have. After its end comes an invented text.
        prompt: the tokens of its prompt.
        proposals: recorded proposals, which replace all values above except the times; see
            `TraceRound.proposals`.
        verified_branches: branches that one verification of the target may have beside its path, in
            ``auto``, 0 to 8. The default is an engine's; `Engine.verified_branches` is 0 where a
            target cannot have them.
    """

    alpha: float | tuple[tuple[int, float], ...] = 0.7
    target_us: float | tuple[float, ...] = 20_000.0
    draft_us: float | tuple[float, ...] = 2_500.0
    rank_hits: tuple[float, ...] = _RANK_HITS
    concentration: float = 2.0
    distortion: float = 1.0
    copy_rate: float = 0.0
    copy_length: int = 48
    text: tuple[int, ...] = ()
    prompt: tuple[int, ...] = ()
    proposals: tuple[tuple[tuple[float, ...], int], ...] = ()
    verified_branches: int = 4

    def with_trace(self, *traces: Trace) -> Pair:
        """This pair with the proposals of recorded generations.

        Raises:
            InvalidArgument: none of the generations used a draft.
        """
        found = tuple(p for trace in traces for round_ in trace.rounds for p in round_.proposals)
        if not any(confidences for confidences, _ in found):
            raise InvalidArgument(
                "the trace has no proposals, because the generation used no draft"
            )
        return replace(self, proposals=found)


@dataclass(frozen=True)
class Setting:
    """A mode and its settings.

    Attributes:
        mode: the mode, as in `Engine.generate`.
        gamma: the largest number of tokens to draft in a round.
        epsilon: the smallest confidence at which the draft continues. ``None``: the draft ignores
            the confidence.
        max_branches: the largest number of branches.
    """

    mode: str
    gamma: int = 8
    epsilon: float | None = None
    max_branches: int = 1

    def __str__(self) -> str:
        if self.mode in ("autoregressive", "auto"):
            return self.mode
        words = [f"gamma {self.gamma}"]
        if self.epsilon is not None:
            words.append(f"epsilon {self.epsilon:g}")
        if self.mode == "specbranch":
            words.append(f"k {self.max_branches}")
        return f"{self.mode} ({', '.join(words)})"


@dataclass(frozen=True)
class Result:
    """The result of a simulated generation.

    Attributes:
        setting: the mode and its settings.
        speedup: the speed divided by the speed of `autoregressive` on the same machine.
        us_per_token: microseconds of decoding per token of the text.
        mean_accepted_length: tokens of the text per step of the target.
        rollback_rate: share of the drafted tokens that were rolled back.
        drafted_per_token: tokens that the draft decoded on all branches, per token of the text.
        target_busy: share of the time in which the target computed, 0 to 1.
        draft_busy: share of the time in which the draft computed.
        overlap: share of the time in which both computed.
        mode_reason: the reason for the decision of `auto`; empty if there is none.
    """

    setting: Setting
    speedup: float
    us_per_token: float
    mean_accepted_length: float
    rollback_rate: float
    drafted_per_token: float
    target_busy: float
    draft_busy: float
    overlap: float
    mode_reason: str


def simulate(
    pair: Pair,
    machine: Machine | str = "two-gpus",
    setting: Setting | str = "auto",
    *,
    n_tokens: int = 1000,
    seed: int = 1,
    warm: bool = True,
    draft: bool = True,
) -> Result:
    """Decodes `n_tokens` under the virtual clock.

    Args:
        pair: the models.
        machine: the machine, or its name in `MACHINES`.
        setting: the mode and its settings; the name of a mode means the first of its `settings`.
        n_tokens: number of tokens of the text; more tokens give less noise.
        seed: seed of the simulated text and of the simulated draft.
        warm: whether `auto` knows the step costs from the start, as an engine that measured them
            while loading.
        draft: whether there is a draft model.

    Raises:
        InvalidArgument: a value is out of its range.
    """
    [result] = simulate_texts(
        (pair,), machine, setting, n_tokens=n_tokens, seed=seed, warm=warm, draft=draft
    )
    return result


def simulate_texts(
    pairs: Sequence[Pair],
    machine: Machine | str = "two-gpus",
    setting: Setting | str = "auto",
    *,
    n_tokens: int = 1000,
    seed: int = 1,
    warm: bool = True,
    draft: bool = True,
) -> list[Result]:
    """Decodes one text after another under the virtual clock, as one engine does.

    What `auto` learns of the pair from one text, it knows in the next.

    Args:
        pairs: the models, for each text. They may differ in what the draft proposes. Only the
            step times of the first are known from the start.
        n_tokens: number of tokens of each text.
        seed: seed of the first text; those of the others follow.

    All other arguments and errors are those of `simulate`.

    Raises:
        InvalidArgument: there is no pair, or a value is out of its range.
    """
    setting = _chosen(setting)
    machine = find_machine(machine)
    texts = [pair for _, pair in checked.items("pairs", pairs)]
    seed = checked.integer("seed", seed, 0, _MAX_SEED)
    core_pairs = [
        core_simulation.pair(pair, machine, (seed + i) % (_MAX_SEED + 1))
        for i, pair in enumerate(texts)
    ]
    machines = [_machine(pair, machine) for pair in texts]
    n_tokens = checked.integer("n_tokens", n_tokens, 1, 10**6)
    requests = [core_simulation.request(setting, pair.prompt, n_tokens) for pair in texts]
    lookups = [pair.copy_rate > 0 or len(pair.text) > 0 for pair in texts]
    _check_draft(setting, draft=draft)
    flags = (checked.flag("warm", warm), draft)
    runs = _core.simulate_texts(requests, core_pairs, machines, lookups, *flags)
    return [_result(setting, run, one) for run, one in zip(runs, machines, strict=True)]


def _result(
    setting: Setting, run: _core.SimulationResult, machine: _core.SimulatedMachine
) -> Result:
    one_token = machine.target_us[0] + machine.target_latency_us + machine.hop_us
    us_per_token = run.time_us / run.n_generated
    return Result(
        setting=setting,
        speedup=one_token / us_per_token,  # a token of `autoregressive`
        us_per_token=us_per_token,
        mean_accepted_length=run.n_generated / run.n_target_steps,
        rollback_rate=run.n_rolled_back / run.n_drafted if run.n_drafted else 0.0,
        drafted_per_token=run.n_draft_lanes / run.n_generated,
        target_busy=run.target_busy_us / run.time_us,
        draft_busy=run.draft_busy_us / run.time_us,
        overlap=run.overlap_us / run.time_us,
        mode_reason=run.mode_reason,
    )


def simulate_clients(
    pair: Pair,
    clients: Sequence[Client],
    machine: Machine | str = "two-gpus",
    setting: Setting | str = "auto",
    *,
    n_parallel: int = 4,
    seed: int = 1,
    warm: bool = True,
    draft: bool = True,
) -> ClientsResult:
    """Decodes the texts of several clients under the virtual clock, ``n_parallel`` at once.

    A token of a prompt takes a 64th of a step of its model, in chunks of 128 tokens. All other
    arguments and errors are those of `simulate`.
    """
    setting = _chosen(setting)
    machine = find_machine(machine)
    core_machine = _machine(pair, machine)
    core_machine.target_prefill_us = core_machine.target_us[0] / 64
    core_machine.draft_prefill_us = core_machine.draft_us[0] / 64
    lookup = pair.copy_rate > 0 or len(pair.text) > 0
    request = core_simulation.request(setting, (), 1)
    core_pair = core_simulation.pair(pair, machine, seed)
    _check_draft(setting, draft=draft)
    return simulated_clients.run(
        request, core_pair, core_machine, clients,
        n_parallel=n_parallel, warm=checked.flag("warm", warm), draft=draft, lookup=lookup,
    )  # fmt: skip


def _chosen(setting: Setting | str) -> Setting:
    if isinstance(setting, str):
        return settings(setting)[0]
    if not isinstance(setting, Setting):
        raise InvalidArgument(f"setting is {setting!r:.60}; it must be a Setting or a mode")
    return setting


def _check_draft(setting: Setting, *, draft: bool) -> None:
    if not checked.flag("draft", draft) and setting.mode in ("pearl", "specbranch"):
        raise InvalidArgument(f"mode {setting.mode!r} needs a draft model, but draft is False")


def settings(mode: str) -> list[Setting]:
    """The settings of a ``mode`` among which `tune` chooses the fastest.

    Raises:
        InvalidArgument: the mode is unknown.
    """
    if mode not in MODES:
        raise InvalidArgument(f"mode is {mode!r}; it must be one of {', '.join(MODES)}")
    if mode == "speculative":
        lengths: tuple[int, ...] = (1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 16)
        return [Setting(mode, g, e) for g, e in product(lengths, (None, 0.2, 0.4))]
    if mode == "pearl":
        return [Setting(mode, g) for g in (1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 16, 20)]
    if mode == "specbranch":  # with epsilon 0 this is PEARL with branches at the end of the chain
        lengths = (2, 3, 4, 5, 6, 8, 10, 12, 16)
        return [
            Setting(mode, g, e, k) for g, e, k in product(lengths, (0.0, 0.2, 0.4, 0.6), (4, 8))
        ]
    if mode == "auto":  # an engine's limits of its tree; `auto` chooses its own length within them
        return [Setting(mode, 16, None, 4)]
    return [Setting(mode)]


def tune(
    pair: Pair,
    machine: Machine | str,
    mode: str,
    *,
    n_tokens: int = 1000,
    seed: int = 1,
) -> Result:
    """The fastest setting of a mode for this pair and machine.

    The setting is chosen on one text and measured on another text, so that luck does not count as
    speed. Arguments and errors are those of `simulate`.
    """
    candidates = settings(mode)
    if len(candidates) > 1:
        other = (checked.integer("seed", seed, 0, _MAX_SEED) + 1) % (_MAX_SEED + 1)
        tried = (simulate(pair, machine, s, n_tokens=n_tokens, seed=other) for s in candidates)
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
    """The result of `tune` for each of ``modes``, in the same order."""
    return [
        tune(pair, machine, mode, n_tokens=n_tokens, seed=seed)
        for _, mode in checked.items("modes", modes)
    ]


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
    """Calls `compare` for every step ratio c (target step / draft step) and every alpha.

    The target does not change.

    Args:
        pair: a pair with the target's step and all properties except c and alpha.
        machine: as in `simulate`.
        ratios: the values of c, above 0.
        alphas: the values of alpha, 0 to 1.
        modes: as in `compare`.
        n_tokens: number of tokens of each text.
        seed: seed of the texts.

    Returns:
        The results of `compare` by (c, alpha).

    Raises:
        InvalidArgument: a number is out of its range, or the machine or a mode is unknown.
    """
    first = core_simulation.curve("target_us", pair.target_us, (1.0,), CURVES)[0]
    found = {}
    for (_, c), (_, alpha) in product(
        checked.items("ratios", ratios), checked.items("alphas", alphas)
    ):
        if not checked.real("c", c) > 0:
            raise InvalidArgument(f"c is {c}; it must be above 0")
        cell = replace(pair, alpha=alpha, draft_us=first / c, proposals=())
        found[c, alpha] = compare(cell, machine, modes, n_tokens=n_tokens, seed=seed)
    return found


def load_profile(source: str | os.PathLike[str] | Mapping[str, Any]) -> dict[str, Any]:
    """The measurements of an engine: step times, slow-downs and acceptance rate.

    Args:
        source: a file of `Engine.save_profile`, or its content, or the ``costs`` of that content.

    Returns:
        ``target_us`` and ``draft_us`` (microseconds of batches of 1, 2, .. tokens),
        ``target_slowdown``, ``draft_slowdown``, and ``alpha`` if the draft was used.

    Raises:
        InvalidArgument: the source cannot be read, or it has no costs.
    """
    content: Any = source if isinstance(source, Mapping) else saved_profile.read(source)
    costs = content.get("costs", content) if isinstance(content, Mapping) else None
    if not isinstance(costs, Mapping) or not (costs.get("target_us") and costs.get("draft_us")):
        raise InvalidArgument(
            "the profile has no step costs, because the engine did not measure them"
        )
    found: dict[str, Any] = {
        **{name: _steps(name, costs[name]) for name in ("target_us", "draft_us")},
        **{
            name: checked.at_least(name, costs.get(name, 1.0), 1.0)
            for name in ("target_slowdown", "draft_slowdown")
        },
    }
    most, hits = saved_profile.first_choices(content)
    if most > 0:
        found["alpha"] = min(1.0, hits / most)
    return found


def _steps(name: str, steps: Any) -> tuple[float, ...]:
    return tuple(checked.at_least(f"{name}[{i}]", us, 0.0) for i, us in checked.items(name, steps))


def with_profile(
    pair: Pair, machine: Machine, source: str | os.PathLike[str] | Mapping[str, Any]
) -> tuple[Pair, Machine]:
    """The pair with the step times and the alpha of a profile, the machine with its slow-downs.

    ``source`` and the errors are those of `load_profile`.
    """
    found = load_profile(source)
    slowdowns = {name: found.pop(name) for name in ("target_slowdown", "draft_slowdown")}
    return replace(pair, **found), replace(machine, **slowdowns)


def _machine(pair: Pair, machine: Machine) -> _core.SimulatedMachine:
    made = _core.SimulatedMachine()
    curve = partial(core_simulation.curve, known=CURVES)
    made.target_us = core_simulation.curve(
        "target_us", pair.target_us, machine.target_curve, CURVES
    )
    made.draft_us = curve("draft_us", pair.draft_us, machine.draft_curve)
    for name in (
        "target_slowdown",
        "draft_slowdown",
        "target_latency_us",
        "draft_latency_us",
        "hop_us",
        "rebuild_us",
        "abort_us",
    ):
        setattr(made, name, checked.real(name, getattr(machine, name)))
    return made
