"""The server adds up the statistics of its texts, each figure under its name."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from specbranch_cpp.server.metrics import COUNTERS, Metrics

if TYPE_CHECKING:
    from tests.python.conftest import MakeFake

    from specbranch_cpp import GenerationStats

# No two figures, nor what follows from them, have the same value.
FIGURES = {
    "n_prompt": 1009, "n_reused": 13, "n_generated": 19, "n_target_steps": 29, "n_draft_steps": 103,
    "n_drafted": 31, "n_accepted": 37, "n_rolled_back": 73, "n_unresolved": 107,
    "n_all_drafted": 1037, "n_lookup_drafted": 41, "n_lookup_accepted": 43, "n_forced_drafted": 47,
    "n_forced_accepted": 53, "n_prediction_accepted": 109, "n_prediction_rejected": 113,
    "acceptance_histogram": (2, 3, 0, 6), "branch_hits": 79, "branch_misses": 83,
    "policy_skipped": 149, "prefill_ms": 17_000.0, "decode_ms": 23_000.0,
    "target_busy_ms": 89_000.0, "draft_busy_ms": 97_000.0, "target_idle_ms": 127_000.0,
    "draft_idle_ms": 131_000.0, "overlap_ms": 101_000.0, "coordination_ms": 137_000.0,
    "n_processor_calls": 139, "processor_ms": 151_000.0, "processor_wait_ms": 157_000.0,
    "n_tree_steps": 59, "n_branch_verified": 61, "n_branches_taken": 67, "n_branch_accepted": 71,
}  # fmt: skip

SUMS = {
    "llamacpp:prompt_tokens": 996,
    "llamacpp:prompt_tokens_cached": 13,
    "llamacpp:prompt_seconds": 17,
    "llamacpp:tokens_predicted": 19,
    "llamacpp:tokens_predicted_seconds": 23,
    "llamacpp:n_decode": 29,
    "llamacpp:spec_decode_num_drafts": 11,
    "llamacpp:spec_decode_num_draft_tokens": 31,
    "llamacpp:spec_decode_num_accepted_tokens": 37,
    "specbranch:lookup_draft_tokens": 41,
    "specbranch:lookup_accepted_tokens": 43,
    "specbranch:forced_draft_tokens": 47,
    "specbranch:forced_accepted_tokens": 53,
    "specbranch:tree_steps": 59,
    "specbranch:branch_verified_tokens": 61,
    "specbranch:branches_taken": 67,
    "specbranch:branch_accepted_tokens": 71,
    "specbranch:rolled_back_tokens": 73,
    "specbranch:wasted_draft_tokens": 1000,
    "specbranch:branch_hits": 79,
    "specbranch:branch_misses": 83,
    "specbranch:target_busy_seconds": 89,
    "specbranch:draft_busy_seconds": 97,
    "specbranch:overlap_seconds": 101,
}


@pytest.fixture
def stats(make_fake: MakeFake) -> GenerationStats:
    done = make_fake().generate("abc", max_tokens=1).result()
    return replace(done.stats, **FIGURES)  # type: ignore[arg-type]


def lines_of(metrics: Metrics) -> list[str]:
    return metrics.text().decode().splitlines()


def test_each_figure_is_added_up(stats: GenerationStats) -> None:
    assert set(SUMS) == set(COUNTERS)
    metrics = Metrics()
    for _ in range(2):
        metrics.ended(stats)
    lines = lines_of(metrics)
    for name, value in SUMS.items():
        assert f"{name}_total {float(2 * value)}" in lines
    name = "llamacpp:spec_decode_num_accepted_tokens_per_pos_total"
    assert [line for line in lines if line.startswith(name)] == [
        f'{name}{{position="{position}"}} {float(2 * count)}'
        for position, count in enumerate((9, 6, 6))
    ]
    assert f"llamacpp:prompt_tokens_seconds {996 / 17}" in lines
    assert f"llamacpp:predicted_tokens_seconds {19 / 23}" in lines


def test_a_text_without_drafts_has_verified_none(stats: GenerationStats) -> None:
    metrics = Metrics()
    metrics.ended(replace(stats, n_drafted=0))
    assert "llamacpp:spec_decode_num_drafts_total 0.0" in lines_of(metrics)


def test_times_are_sorted_by_their_length() -> None:
    metrics = Metrics()
    metrics.waited(0.3)
    metrics.first_token("here", 4.0)
    metrics.first_token("here", 40.0)
    lines = lines_of(metrics)
    for line in (
        'queue_wait_seconds_bucket{le="0.25"} 0.0',
        'queue_wait_seconds_bucket{le="0.5"} 1.0',
        "queue_wait_seconds_count 1.0",
        "queue_wait_seconds_sum 0.3",
        'time_to_first_token_seconds_bucket{endpoint="here",le="2.5"} 0.0',
        'time_to_first_token_seconds_bucket{endpoint="here",le="5.0"} 1.0',
        'time_to_first_token_seconds_bucket{endpoint="here",le="60.0"} 2.0',
        'time_to_first_token_seconds_count{endpoint="here"} 2.0',
        'time_to_first_token_seconds_sum{endpoint="here"} 44.0',
    ):
        assert f"specbranch:{line}" in lines


def test_figures_that_follow_from_others(stats: GenerationStats) -> None:
    assert stats.tokens_per_second == 19 / 23
    assert stats.mean_accepted_length == 19 / 29
    assert stats.rollback_rate == 73 / 31
    assert stats.rollback_per_token == 73 / 19
    assert stats.draft_waste == 1000 / 1037
    assert replace(stats, n_accepted=0, n_all_drafted=0).draft_waste == 0.0
