"""Loads a pair, measures it, and says what it is worth."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from specbranch_cpp import Engine
from specbranch_cpp.advice import expectation, settings
from specbranch_cpp.advice.acceptance import read_acceptance
from specbranch_cpp.advice.files import gpu_layers
from specbranch_cpp.advice.judgement import Figures, judge
from specbranch_cpp.advice.report import Measurement, ModeFigures, Report, StepFigures, Verdict
from specbranch_cpp.advice.sampling import Sampler
from specbranch_cpp.advice.threads import alone, beside

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from specbranch_cpp.results import StepCosts

_BETTER = 1.08  # expected of a mode over `auto`, from which on it is timed and may be recommended
_ABORT_US = 1500.0  # until a pass on the CPU that no longer matters ends; on a GPU it never does
_STEADY = 1.25  # times that a step may take longer or shorter later on
_VERIFY = (2, 4, 8)


def measure(
    report: Report,
    target: Path,
    draft: Path,
    options: Mapping[str, Any],
    *,
    max_draft: int,
    k_max: int,
    prompts: Sequence[str],
    seconds: float,
    temperature: float,
    progress: Callable[[str, float], object],
) -> None:
    """Fills in what `examine` says of a pair that can be loaded; arguments as there."""

    def loading(share: float) -> None:
        progress("loading", share)

    with Engine(
        target, draft, max_draft=max_draft, k_max=k_max, progress_callback=loading, **options
    ) as engine:
        begin = time.monotonic()
        sampler = Sampler(engine, prompts, seconds, temperature, progress)
        costs = engine.costs
        if costs is None:
            report.reason = "the engine could not measure what steps cost"
            return
        hop_us = sampler.hop_us()
        n_tokens = sampler.n_tokens(costs.target_ms[0])
        traces = sampler.probe(n_tokens)
        acceptance = read_acceptance(traces)
        if acceptance is None:
            report.reason = (
                "the draft was asked at no place of any text: the texts end at once, or the "
                "prompts do not fit into the context"
            )
            return
        costs = engine.costs or costs  # steps taken meanwhile have refined them
        abort_us = -1.0 if report.gpus and gpu_layers(options)[1] else _ABORT_US
        pair, machine = expectation.models(costs, hop_us, abort_us)
        modes = expectation.expect(pair, machine, traces, max_draft=max_draft, k_max=k_max)
        chosen = _worth_timing(modes)
        timing = sampler.time(chosen, n_tokens)
    modes = [timing.fill_in(mode) for mode in modes]
    recommended = _recommended([mode for mode in modes if mode.mode in {m.mode for m in chosen}])
    steps = _step_figures(costs, hop_us, target, draft, options)
    figures = Figures(
        steps=steps,
        acceptance=acceptance,
        expected=recommended.expected,
        measured=recommended.measured,
        tokens_per_step=recommended.tokens_per_step,
        needs=None,
        draft_parameters=report.draft.n_parameters if report.draft else 0,
    )
    verdict, _ = judge(figures)
    found_needs = None
    if verdict is not Verdict.HELPS:
        found_needs = expectation.needs(pair, machine, traces, acceptance.alpha.mean)
    report.verdict, report.reason = judge(replace(figures, needs=found_needs))
    report.measurement = Measurement(
        steps=steps,
        acceptance=acceptance,
        modes=tuple(modes),
        needs=found_needs,
        tokens_per_second=timing.tokens_per_second,
        n_prompts=timing.n_texts,
        n_tokens=n_tokens,
        temperature=temperature,
        same_tokens=timing.n_same,
        seconds=time.monotonic() - begin,
    )
    threads = {"n_threads": steps.n_threads, "draft_n_threads": steps.draft_n_threads}
    given = dict(options) | threads
    if note := _unsteady(steps.target_ms, timing.tokens_per_second):
        report.notes.append(note)
    n_alone = alone(target, options)
    if n_alone > steps.n_threads:
        report.notes.append(
            f"it is compared with the target alone on the same {steps.n_threads} of its threads; "
            f"without a draft it may have {n_alone}"
        )
    if report.verdict.useless:
        report.advice = settings.without_draft(target, options)
    else:
        report.advice = settings.with_draft(target, draft, recommended, given, k_max)


def _worth_timing(modes: Sequence[ModeFigures]) -> list[ModeFigures]:
    """`autoregressive`, `auto`, and the mode that is expected to be the best if it is another."""
    plain, *drafting = modes
    auto = next(mode for mode in drafting if mode.mode == "auto")
    best = max(drafting, key=lambda mode: mode.expected.mean)
    better = best.expected.mean > max(1.0, _BETTER * auto.expected.mean)
    return [plain, auto, best] if better else [plain, auto]


def _recommended(timed: Sequence[ModeFigures]) -> ModeFigures:
    """`auto`, unless another mode was surely faster than decoding without a draft, and than it."""
    _, auto, *others = timed if timed[1].mode == "auto" else (timed[0], timed[2], timed[1])
    for other in others:
        if other.measured is None or auto.measured is None or other.measured.low is None:
            continue
        if other.measured.low > 1.0 and other.measured.mean > auto.measured.mean:
            return other
    return auto


def _unsteady(target_ms: float, tokens_per_second: float) -> str:
    """What to say where steps cost something else while texts were timed; else nothing."""
    if not tokens_per_second:
        return ""
    later_ms = 1000.0 / tokens_per_second
    if max(later_ms, target_ms) <= _STEADY * min(later_ms, target_ms):
        return ""
    return (
        f"a step of the target took {target_ms:.1f} ms while loading and {later_ms:.1f} ms in the "
        "texts: other work on this machine blurs what is expected"
    )


def _step_figures(
    costs: StepCosts, hop_us: float, target: Path, draft: Path, options: Mapping[str, Any]
) -> StepFigures:
    first, draft_first = costs.target_ms[0], costs.draft_ms[0]
    n_threads, draft_n_threads = beside(target, draft, options)
    return StepFigures(
        target_ms=first,
        draft_ms=draft_first,
        ratio=first / draft_first,
        verify={n: costs.target_ms[n - 1] / first for n in _VERIFY if n <= len(costs.target_ms)},
        target_slowdown=costs.target_slowdown,
        draft_slowdown=costs.draft_slowdown,
        hop_us=hop_us,
        n_threads=n_threads,
        draft_n_threads=draft_n_threads,
    )
