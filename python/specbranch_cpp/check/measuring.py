"""Loads a pair, measures it, and judges it."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

from specbranch_cpp._support.words import several
from specbranch_cpp.check import predicted_speedup, settings
from specbranch_cpp.check.acceptance import read_acceptance
from specbranch_cpp.check.placing import compare
from specbranch_cpp.check.report import Measurement, ModeFigures, Report, StepFigures, Verdict
from specbranch_cpp.check.sampling import Sample, Sampler
from specbranch_cpp.check.threads import alone, beside, to_advise
from specbranch_cpp.check.verdict import GAIN, Figures, judge
from specbranch_cpp.engine import Engine

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from specbranch_cpp._engine.machine_keywords import MachineKeywords
    from specbranch_cpp.results import StepCosts, Trace
    from specbranch_cpp.simulation import Machine, Pair

# The expected speed over `auto` from which another mode is measured and may be recommended.
_BETTER = 1.08
_STEADY = 1.25  # factor by which step times may drift without a note
_VERIFY = (2, 4, 8)


@dataclass(frozen=True)
class Place:
    """Where the pair runs: threads of both models, device and size of the draft."""

    n_threads: int
    draft_n_threads: int
    draft_on_gpu: bool
    draft_parameters: int


@dataclass(frozen=True)
class Assessment:
    """The result. Without a measurement, ``reason`` says why.

    ``expected_ms`` is the time of a target step before the timed texts, ``traces`` are the texts
    with the proposals of the draft.
    """

    verdict: Verdict
    reason: str
    measurement: Measurement | None = None
    recommended: ModeFigures | None = None
    expected_ms: float = 0.0
    traces: Sequence[Trace] = ()


def measure(
    report: Report, target: Path, draft: Path, machine: MachineKeywords, sample: Sample
) -> None:
    """Adds the measurement and the verdict to the report of `examine`."""

    def loading(share: float) -> None:
        sample.progress("loading", share)

    planned = beside(target, draft, machine, report.n_gpu_layers, report.draft_n_gpu_layers)
    n_threads, draft_n_threads, _ = planned
    assert report.draft is not None
    place = Place(
        n_threads,
        draft_n_threads,
        bool(report.gpus and report.draft_n_gpu_layers),
        report.draft.n_parameters,
    )
    with Engine(
        target,
        draft,
        max_draft=sample.max_draft,
        max_branches=sample.max_branches,
        lookup=False,  # the question is what the draft brings
        progress_callback=loading,
        **machine,
    ) as engine:
        if not engine.has_draft:
            reason = "the target is a recurrent or hybrid model that cannot take tokens back"
            report.object_to(reason)
            report.verdict, report.reason = Verdict.UNUSABLE, reason
            return
        found = assess(engine, sample, place)
    report.verdict, report.reason = found.verdict, found.reason
    report.measurement = found.measurement
    if found.measurement is None or found.recommended is None:
        return
    step_ms, rate = found.expected_ms, found.measurement.tokens_per_second
    if _drift(step_ms, rate) > _STEADY:
        report.notes.append(
            f"a target step took {step_ms:.1f} ms before the timed texts and {1000.0 / rate:.1f} "
            "ms in them; the expected speed-ups are those of the later times, and other work on "
            "this machine makes them less certain"
        )
    n_alone = alone(target, machine, report.n_gpu_layers)
    if n_alone > n_threads:
        report.notes.append(
            f"all modes ran with {several(n_threads, 'thread')}, but without a draft the target "
            f"may use {n_alone}; `specbranch bench run --placements split,shared` compares both"
        )
    if report.verdict.useless:
        report.advice = settings.without_draft(target, machine)
    else:
        mode = found.recommended
        if report.verdict is Verdict.UNCLEAR:  # `auto` is then the safest choice
            mode = found.measurement.modes[-1]
        on_gpus = bool(report.n_gpu_layers or report.draft_n_gpu_layers)
        options = to_advise(machine, planned, on_gpus=on_gpus)
        report.advice = settings.with_draft(target, draft, mode, options)
    if sample.placements:
        compare(report, (target, draft), machine, found.traces, sample)


def assess(engine: Engine, sample: Sample, place: Place) -> Assessment:
    """Decodes texts with a loaded pair, simulates the pair, measures it, and judges it."""
    begin = time.monotonic()
    sampler = Sampler(engine, sample.prompts, sample.seconds, sample.temperature, sample.progress)
    costs = engine.costs
    if costs is None:
        return Assessment(
            Verdict.NOT_MEASURED, "the engine could not measure the step costs of the models"
        )
    hop_us = sampler.hop_us()
    n_tokens = sampler.n_tokens(costs.target_ms[0])
    traces = sampler.probe(n_tokens)
    acceptance = read_acceptance(traces)
    if acceptance is None:
        return Assessment(
            Verdict.NOT_MEASURED,
            "the draft was asked at no position: the texts end at once, or the prompts do not fit "
            "into the context",
        )

    def models(costs: StepCosts) -> tuple[Pair, Machine]:
        return predicted_speedup.models(
            costs,
            hop_us,
            draft_on_gpu=place.draft_on_gpu,
            verified_branches=engine.verified_branches,
        )

    costs = engine.costs or costs  # the steps since then have refined the costs
    pair, machine = models(costs)
    expect = partial(
        predicted_speedup.expect, max_draft=sample.max_draft, max_branches=sample.max_branches
    )
    modes = expect(pair, machine, traces)
    chosen = _worth_timing(modes)
    timing = sampler.time(chosen, n_tokens)
    predicted = costs
    costs = engine.costs or costs  # the timed texts have refined the costs again
    pair, machine = models(costs)
    drift = _drift(predicted.target_ms[0], timing.tokens_per_second)
    if drift > _STEADY:  # figures and verdict are about the same step times
        modes = expect(pair, machine, traces, measured=chosen)
    filled_in = {mode.mode: timing.fill_in(mode) for mode in modes}
    recommended = _recommended([filled_in[mode.mode] for mode in chosen])
    figures = Figures(
        steps=_step_figures(costs, hop_us, place),
        acceptance=acceptance,
        expected=recommended.expected,
        measured=recommended.measured,
        tokens_per_step=recommended.tokens_per_step,
        needs=None,
        draft_parameters=place.draft_parameters,
        drift=drift,
    )
    if judge(figures)[0] is not Verdict.HELPS:
        figures = replace(figures, needs=predicted_speedup.needs(pair, machine, traces))
    measurement = Measurement(
        steps=figures.steps,
        acceptance=acceptance,
        modes=tuple(filled_in.values()),
        needs=figures.needs,
        tokens_per_second=timing.tokens_per_second,
        n_prompts=timing.n_texts,
        n_tokens=n_tokens,
        temperature=sample.temperature,
        same_tokens=timing.n_same,
        seconds=time.monotonic() - begin,
    )
    return Assessment(
        *judge(figures), measurement, recommended, predicted.target_ms[0], tuple(traces)
    )


def _worth_timing(modes: Sequence[ModeFigures]) -> list[ModeFigures]:
    """The modes to measure: `autoregressive`, `auto`, and the best mode if this is another mode."""
    plain, *drafting = modes
    auto = drafting[-1]
    best = max(drafting, key=lambda mode: mode.expected.mean)
    better = best.expected.mean > max(1.0, _BETTER * auto.expected.mean)
    return [plain, auto, best] if better else [plain, auto]


def _recommended(timed: Sequence[ModeFigures]) -> ModeFigures:
    """The mode to recommend: `auto`, unless another mode was faster than `auto` and no draft.

    The certainty is judged later.

    Args:
        timed: the measured modes: `autoregressive`, `auto`, then others.
    """
    _, auto, *others = timed
    for other in others:
        if other.measured is None or auto.measured is None:
            continue
        if other.measured.mean > max(GAIN, auto.measured.mean):
            return other
    return auto


def _drift(target_ms: float, tokens_per_second: float) -> float:
    """See `Figures.drift`."""
    if not tokens_per_second:
        return 1.0
    later_ms = 1000.0 / tokens_per_second
    return max(later_ms, target_ms) / min(later_ms, target_ms)


def _step_figures(costs: StepCosts, hop_us: float, place: Place) -> StepFigures:
    first, draft_first = costs.target_ms[0], costs.draft_ms[0]
    return StepFigures(
        target_ms=first,
        draft_ms=draft_first,
        ratio=first / draft_first,
        verify={n: costs.target_ms[n - 1] / first for n in _VERIFY if n <= len(costs.target_ms)},
        target_slowdown=costs.target_slowdown,
        draft_slowdown=costs.draft_slowdown,
        hop_us=hop_us,
        n_threads=place.n_threads,
        draft_n_threads=place.draft_n_threads,
    )
