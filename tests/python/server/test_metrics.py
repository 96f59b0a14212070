"""The server adds up what verified branches cost and brought."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from specbranch_cpp.server.metrics import Metrics

if TYPE_CHECKING:
    from tests.python.conftest import MakeFake


def test_branches_are_added_up(make_fake: MakeFake) -> None:
    stats = make_fake().generate("abc", max_tokens=4).result().stats
    trees = replace(
        stats, n_tree_steps=3, n_branch_verified=7, n_branches_taken=2, n_branch_accepted=5
    )
    metrics = Metrics()
    for _ in range(2):
        metrics.ended(trees)
    lines = metrics.text().decode().splitlines()
    for name, value in (
        ("tree_steps", 6),
        ("branch_verified_tokens", 14),
        ("branches_taken", 4),
        ("branch_accepted_tokens", 10),
    ):
        assert f"specbranch:{name}_total {float(value)}" in lines
