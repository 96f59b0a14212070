"""The results of the demo for scripts: one JSON object."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from specbranch_cpp.cli.demo.page import SUMMARISED

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from specbranch_cpp.cli.demo.grown import Grown
    from specbranch_cpp.cli.demo.runs import ModeRuns
    from specbranch_cpp.cli.demo.sizes import Probe
    from specbranch_cpp.results import StepCosts

FORMAT = "specbranch-demo-1"


def figures(
    files: Sequence[str],
    grown: Grown | None,
    costs: StepCosts | None,
    request: Mapping[str, Any],
    found: Sequence[ModeRuns],
    reason: str,
) -> dict[str, Any]:
    """The JSON object of ``--json``; `docs/demo.md` describes its fields."""
    (auto,) = (each for each in found if each.mode == SUMMARISED)
    return {
        "format": FORMAT,
        "files": list(files),
        "grown": None if grown is None else _grown(grown),
        "steps": None if costs is None else _steps(costs),
        "request": dict(request),
        "modes": [_mode(each) for each in found],
        "ratio": auto.ratio,
        "same_text": all(each.same_text for each in found),
        "no_gain": reason,
    }


def _grown(grown: Grown) -> dict[str, Any]:
    target, draft = grown.models
    return {
        "target_parameters": target.n_parameters,
        "draft_parameters": draft.n_parameters,
        "weight_type": grown.best.choice.weight_type,
        "placement": grown.best.choice.placement.name,
        "expected_ratio": grown.best.gain,
        "also_measured": [_probe(each) for each in grown.probes],
    }


def _probe(probe: Probe) -> dict[str, Any]:
    return {
        "size": probe.choice.size,
        "weight_type": probe.choice.weight_type,
        "placement": probe.choice.placement.name,
        "step_ms": probe.step_ms,
        "expected_ratio": probe.gain,
    }


def _steps(costs: StepCosts) -> dict[str, Any]:
    return {
        "target_ms": list(costs.target_ms),
        "draft_ms": list(costs.draft_ms),
        "target_slowdown": costs.target_slowdown,
        "draft_slowdown": costs.draft_slowdown,
    }


def _mode(each: ModeRuns) -> dict[str, Any]:
    return {
        "mode": each.mode,
        "tokens_per_second": each.tokens_per_second,
        "ratio": each.ratio,
        "ratios": list(each.ratios),
        "tokens_per_step": each.tokens_per_step,
        "acceptance_rate": each.acceptance_rate,
        "rollback_rate": each.rollback_rate,
        "overlap": each.overlap,
        "same_text": each.same_text,
    }
