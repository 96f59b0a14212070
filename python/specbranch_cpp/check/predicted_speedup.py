"""Predicts the speed-ups of a pair from measured step times and recorded proposals."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import TYPE_CHECKING

from specbranch_cpp import simulation
from specbranch_cpp.check.report import Interval, ModeFigures, Needs
from specbranch_cpp.simulation import Machine, Pair, Setting

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from specbranch_cpp.results import StepCosts, Trace

PLAIN = "autoregressive"
N_TOKENS = 1000
_DRAWS = 20  # number of bootstrap samples for the interval
_SHARE = 0.05  # share of the samples to leave out at both ends
ENOUGH = 1.05  # smallest useful gain
_ABORT_US = 1500.0  # time until an aborted pass on the CPU ends; on a GPU passes cannot be aborted
_STEPS = 7  # number of steps of a bisection
_MOST_RATIO = 1000.0  # step ratio c of a draft that costs almost nothing


def models(
    costs: StepCosts, hop_us: float, *, draft_on_gpu: bool, verified_branches: int
) -> tuple[Pair, Machine]:
    """The measured models and machine, without an acceptance rate."""
    pair = Pair(
        target_us=tuple(1000.0 * ms for ms in costs.target_ms),
        draft_us=tuple(1000.0 * ms for ms in costs.draft_ms),
        verified_branches=verified_branches,
    )
    machine = Machine(
        target_slowdown=costs.target_slowdown,
        draft_slowdown=costs.draft_slowdown,
        hop_us=hop_us,
        abort_us=-1.0 if draft_on_gpu else _ABORT_US,
    )
    return pair, machine


def candidates(mode: str, max_draft: int, max_branches: int) -> list[Setting]:
    """The settings of a mode that an engine with these limits allows."""
    if mode == "auto":
        return [Setting(mode, max_draft, None, max_branches)]
    found = (
        replace(one, max_branches=min(one.max_branches, max_branches))
        for one in simulation.settings(mode)
    )
    return [one for one in dict.fromkeys(found) if one.gamma <= max_draft or mode == PLAIN]


def expect(
    pair: Pair,
    machine: Machine,
    traces: Sequence[Trace],
    *,
    max_draft: int,
    max_branches: int,
    seed: int = 1,
    measured: Sequence[ModeFigures] = (),
) -> list[ModeFigures]:
    """The figures of every mode at its best settings, in the order of `simulation.MODES`.

    Args:
        pair: the step times.
        machine: the slow-downs.
        traces: one trace for each text, of generations with a draft; see
            `simulation.Pair.with_trace`.
        max_draft: the largest number of tokens to draft ahead.
        max_branches: the largest number of branches.
        seed: seed of the resampling.
        measured: modes whose settings stay, because they were measured with them.
    """
    kept = {mode.mode: mode.settings for mode in measured}
    return [
        _best(
            pair,
            machine,
            traces,
            mode,
            [one for one in settings if str(one) == kept.get(mode, str(one))],
            seed,
        )
        for mode in simulation.MODES
        # The limits may not allow its shortest window.
        if (settings := candidates(mode, max_draft, max_branches))
    ]


def expect_auto(
    pair: Pair,
    machine: Machine,
    traces: Sequence[Trace],
    *,
    max_draft: int,
    max_branches: int,
    seed: int = 1,
) -> ModeFigures:
    """The figures of `auto`; the arguments are those of `expect`."""
    settings = candidates("auto", max_draft, max_branches)
    return _best(pair, machine, traces, "auto", settings, seed)


def _best(
    pair: Pair,
    machine: Machine,
    traces: Sequence[Trace],
    mode: str,
    settings: Sequence[Setting],
    seed: int,
) -> ModeFigures:
    """The figures of a mode at the best of these settings."""
    known = pair.with_trace(*traces)
    results = [
        simulation.simulate(known, machine, one, n_tokens=N_TOKENS, seed=seed + 1)
        for one in settings
    ]
    best = max(results, key=lambda result: result.speedup).setting
    result = simulation.simulate(known, machine, best, n_tokens=N_TOKENS, seed=seed)
    low, high = None, None
    drafts = mode != PLAIN
    draws = list(_drawn(traces, seed)) if drafts else []
    if draws:
        speeds = sorted(
            simulation.simulate(
                pair.with_trace(*drawn), machine, best, n_tokens=N_TOKENS, seed=seed
            ).speedup
            for drawn in draws
        )
        cut = round(_SHARE * len(speeds))
        low, high = speeds[cut], speeds[-1 - cut]
    return ModeFigures(
        mode=mode,
        settings=str(best),
        gamma=best.gamma if drafts else None,
        epsilon=best.epsilon if drafts else None,
        max_branches=best.max_branches,
        expected=Interval(result.speedup, low, high),
        tokens_per_step=result.mean_accepted_length,
        mode_reason=result.mode_reason,
    )


def _drawn(traces: Sequence[Trace], seed: int) -> Iterable[Sequence[Trace]]:
    """Bootstrap samples of the texts: each has the same number, drawn with repetition."""
    drafted = [
        trace for trace in traces if any(q for one in trace.rounds for q, _ in one.proposals)
    ]
    if len(drafted) < 2:
        return
    generator = random.Random(seed)
    for _ in range(_DRAWS):
        yield generator.choices(drafted, k=len(drafted))


def needs(pair: Pair, machine: Machine, traces: Sequence[Trace]) -> Needs:
    """Finds the change of a single quantity that makes `auto` gain `ENOUGH`.

    A better draft makes the same proposals, but is right at some of the positions where this draft
    was wrong, drawn at random. A faster draft takes the same share of the time for every width.

    Args:
        pair: the step times.
        machine: the slow-downs.
        traces: the traces with the proposals of the draft.
    """
    known = pair.with_trace(*traces)
    first_us = _curve(pair.target_us)[0]
    draft_us = _curve(pair.draft_us)
    ratio = first_us / draft_us[0]
    places = [i for i, (confidences, _) in enumerate(known.proposals) if confidences]
    wrong = [i for i in places if known.proposals[i][1] != 0]
    random.Random(1).shuffle(wrong)
    alpha = 1.0 - len(wrong) / len(places)
    if _gains(known, machine):
        return Needs(alpha, ratio, cheap_verify=True, nothing=True)

    def with_alpha(value: float) -> Pair:
        right = set(wrong[: round((value - alpha) * len(places))])
        return replace(
            known,
            proposals=tuple(
                (confidences, 0 if i in right else rank)
                for i, (confidences, rank) in enumerate(known.proposals)
            ),
        )

    def with_ratio(value: float) -> Pair:
        return replace(known, draft_us=tuple(us * ratio / value for us in draft_us))

    needed_alpha = None
    if _gains(with_alpha(1.0), machine):
        low, high = alpha, 1.0
        for _ in range(_STEPS):
            middle = (low + high) / 2
            low, high = (low, middle) if _gains(with_alpha(middle), machine) else (middle, high)
        needed_alpha = high
    needed_ratio = None
    most = max(_MOST_RATIO, ratio)
    if _gains(with_ratio(most), machine):
        low, high = ratio, most
        for _ in range(_STEPS + 3):
            middle = (low * high) ** 0.5
            low, high = (low, middle) if _gains(with_ratio(middle), machine) else (middle, high)
        needed_ratio = high
    flat = replace(known, target_us=(first_us,) * len(_curve(pair.target_us)))
    return Needs(needed_alpha, needed_ratio, _gains(flat, machine))


def _gains(pair: Pair, machine: Machine) -> bool:
    return simulation.simulate(pair, machine, "auto", n_tokens=N_TOKENS).speedup >= ENOUGH


def _curve(step: float | tuple[float, ...]) -> tuple[float, ...]:
    return step if isinstance(step, tuple) else (step,)
