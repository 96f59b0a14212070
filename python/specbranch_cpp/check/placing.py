"""Compares where the models of a pair can run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from specbranch_cpp._support.words import message
from specbranch_cpp.check import predicted_speedup, settings
from specbranch_cpp.check.report import PlacementFigures
from specbranch_cpp.check.sampling import Sampler
from specbranch_cpp.engine import Engine
from specbranch_cpp.errors import ModelLoadError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from specbranch_cpp._engine.machine_keywords import MachineKeywords, PlaceKeywords
    from specbranch_cpp.bench.placements import Placement
    from specbranch_cpp.check.report import Report
    from specbranch_cpp.check.sampling import Sample
    from specbranch_cpp.results import StepCosts, Trace

__all__ = ["compare", "fastest", "predict"]

_FASTER = 1.05  # ratio of the expected speeds from which another placement is worth a note


def compare(
    report: Report,
    pair: tuple[Path, Path],
    machine: MachineKeywords,
    traces: Sequence[Trace],
    sample: Sample,
) -> None:
    """Adds the figures of every placement to a report with a measurement.

    The engine loads and measures the models again in each placement. The acceptance rate is that of
    the measurement, because it does not depend on the placement.

    Args:
        report: the report.
        pair: GGUF files of target and draft.
        machine: options of `Engine`; those of a placement replace them.
        traces: the texts with the proposals of the draft.
        sample: the placements, and the limits of the engine.
    """
    for number, placement in enumerate(sample.placements):
        sample.progress(f"placement {placement.name}", number / len(sample.placements))
        report.placements.append(_measured(placement, pair, machine, traces, sample))
    if (note := fastest(report)) is not None:
        report.notes.append(note)


def _measured(
    placement: Placement,
    pair: tuple[Path, Path],
    machine: MachineKeywords,
    traces: Sequence[Trace],
    sample: Sample,
) -> PlacementFigures:
    words = settings.words(placement.options)
    nowhere: PlaceKeywords = {
        "n_threads": None, "draft_n_threads": None, "cpus": None, "draft_cpus": None,
    }  # fmt: skip
    options: MachineKeywords = {**machine, **nowhere, **placement.options}
    try:
        with Engine(
            *pair,
            max_draft=sample.max_draft,
            max_branches=sample.max_branches,
            lookup=False,
            **options,
        ) as engine:
            costs = engine.costs
            sampler = Sampler(
                engine, sample.prompts, sample.seconds, sample.temperature, sample.progress
            )
            hop_us = sampler.hop_us()
            n_branches = engine.verified_branches
    except (ModelLoadError, MemoryError) as error:
        reason = message(error) if isinstance(error, ModelLoadError) else "not enough memory"
        return PlacementFigures(placement.name, words, reason=reason)
    if costs is None:
        return PlacementFigures(
            placement.name, words, reason="the engine could not measure the step costs"
        )
    on_gpu = placement.options.get("draft_n_gpu_layers") != 0
    return predict(
        placement.name, words, costs, hop_us, traces, sample,
        draft_on_gpu=on_gpu, verified_branches=n_branches,
    )  # fmt: skip


def predict(
    name: str,
    words: str,
    costs: StepCosts,
    hop_us: float,
    traces: Sequence[Trace],
    sample: Sample,
    *,
    draft_on_gpu: bool,
    verified_branches: int,
) -> PlacementFigures:
    """The figures of a placement, from the step costs there."""
    models = predicted_speedup.models(
        costs, hop_us, draft_on_gpu=draft_on_gpu, verified_branches=verified_branches
    )
    auto = predicted_speedup.expect_auto(
        *models, traces, max_draft=sample.max_draft, max_branches=sample.max_branches
    )
    return PlacementFigures(
        name,
        words,
        target_ms=costs.target_ms[0],
        draft_ms=costs.draft_ms[0],
        target_slowdown=costs.target_slowdown,
        expected=auto.expected,
        tokens_per_second=1000.0 / costs.target_ms[0] * auto.expected.mean,
    )


def fastest(report: Report) -> str | None:
    """A note on the fastest placement. ``None``: fewer than two were measured."""
    found = sorted(
        (one for one in report.placements if one.tokens_per_second is not None),
        key=lambda one: -(one.tokens_per_second or 0.0),
    )
    if len(found) < 2:
        return None
    best, second = found[:2]
    ratio = (best.tokens_per_second or 0.0) / (second.tokens_per_second or 1.0)
    if ratio < _FASTER:
        return (
            f"the placements {best.name} and {second.name} are expected to be equally fast (within "
            f"{100 * (_FASTER - 1):.0f} %); `specbranch bench run --placements "
            f"{best.name},{second.name}` measures them in turns"
        )
    return (
        f"the placement {best.name} is expected to be the fastest, {ratio:.2f} times as fast as "
        f"{second.name}: {best.words}"
    )
