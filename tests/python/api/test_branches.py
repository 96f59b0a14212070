"""Verifications with branches: no text changes, and the statistics tell of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from specbranch_cpp import Engine, _core

if TYPE_CHECKING:
    from tests.python.conftest import MakeFake

COUNTS = ("n_tree_steps", "n_branch_verified", "n_branches_taken", "n_branch_accepted")
STEP_US = 2000


@pytest.fixture
def doubtful(make_fake: MakeFake) -> Engine:
    """Fakes whose steps take the same time whatever they decode, and whose draft is often wrong."""
    profile = _core.PairProfile()
    costs = _core.StepCosts()
    costs.target_us = [float(STEP_US)] * 32
    costs.draft_us = [STEP_US / 8] * 32
    profile.costs = costs
    return make_fake(
        target_n_branches=4,
        target_step_us=STEP_US,
        draft_step_us=STEP_US // 8,
        draft_n_seq=32,
        draft_alignment=0.6,
        sharpness=1.0,
        sources={"profile": profile, "lookup": False},
    )


def test_the_statistics_count_branches(doubtful: Engine) -> None:
    plain = doubtful.generate("abc", mode="autoregressive", max_tokens=200).result()
    assert all(getattr(plain.stats, name) == 0 for name in COUNTS)
    assert "on branches" not in str(plain.stats)
    done = doubtful.generate("abc", mode="auto", max_tokens=200).result()
    assert done.tokens == plain.tokens
    stats = done.stats
    assert 0 < stats.n_tree_steps <= min(stats.n_target_steps, stats.n_branch_verified)
    assert 0 < stats.n_branches_taken <= min(stats.n_tree_steps, stats.n_branch_accepted)
    assert stats.n_branch_accepted <= stats.n_accepted
    assert (
        f"trees    {stats.n_tree_steps} steps verified {stats.n_branch_verified} tokens on "
        f"branches: {stats.n_branch_accepted} accepted in {stats.n_branches_taken} steps"
    ) in str(stats)
    assert set(COUNTS) < set(stats.as_dict())


def test_other_modes_verify_paths(doubtful: Engine) -> None:
    for mode in ("speculative", "pearl", "specbranch"):
        stats = doubtful.generate("abc", mode=mode, max_tokens=40).result().stats
        assert stats.n_drafted > 0
        assert all(getattr(stats, name) == 0 for name in COUNTS)
