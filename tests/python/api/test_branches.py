"""Verifications with branches: no text changes, and the statistics tell of them.

Branches pay where rows cost little, as on GPUs. Here a profile says so of the CPU: the engine
believes it until it has seen enough steps.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from tests.python.support.samplings import SAMPLINGS

from specbranch_cpp import Engine, _core

if TYPE_CHECKING:
    from pathlib import Path

    from tests.python.conftest import MakeFake

COUNTS = ("n_tree_steps", "n_branch_verified", "n_branches_taken", "n_branch_accepted")
STEP_US = 2000
SETTINGS: dict[str, Any] = {"n_ctx": 512, "n_threads": 1, "draft_n_threads": 1}
PROMPTS = ("def add(a, b):\n    ", "import os\nimport ", "class Stack:\n    def push(self, ")
SAMPLERS: dict[str, dict[str, Any]] = {**SAMPLINGS, "temperature": {"temperature": 0.8}}


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


class CheapRows:
    """Engines of a pair that begin with a profile in which rows cost nothing."""

    def __init__(self, pair: tuple[Path, Path], file: Path, **settings: Any) -> None:
        self._pair, self._file, self._settings = pair, file, {**SETTINGS, **settings}
        with Engine(*pair, measure_costs=False, **self._settings) as engine:
            engine.save_profile(file)
        content = json.loads(file.read_text())
        content["costs"] = {
            "target_us": [20_000.0] * 32,
            "draft_us": [500.0] * 16,
            "target_slowdown": 1.0,
            "draft_slowdown": 1.0,
        }
        for table in content["acceptance"]:  # the draft is known, and half of the time right
            table.update(first_hits=20.0, first_count=40.0)
        self._profile = json.dumps(content)

    def engine(self, **settings: Any) -> Engine:
        self._file.write_text(self._profile)
        return Engine(*self._pair, profile=self._file, **{**self._settings, **settings})


@pytest.fixture(scope="module")
def cheap_rows(pair: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> CheapRows:
    return CheapRows(pair, tmp_path_factory.mktemp("cheap") / "profile.json")


@pytest.mark.parametrize("samplers", SAMPLERS)
def test_branches_change_no_text(engine: Engine, cheap_rows: CheapRows, samplers: str) -> None:
    n_trees = n_accepted = 0
    for seed, prompt in enumerate(PROMPTS * 2):
        request = {"max_tokens": 48, "seed": seed, "logprobs": 1, **SAMPLERS[samplers]}
        plain = engine.generate(prompt, mode="autoregressive", **request).result()
        with cheap_rows.engine() as guided:
            assert guided.verified_branches == 4
            done = guided.generate(prompt, mode="auto", **request).result()
        assert (done.tokens, done.text) == (plain.tokens, plain.text)
        assert done.finish_reason == plain.finish_reason
        n_trees += done.stats.n_tree_steps
        n_accepted += done.stats.n_branch_accepted
    assert n_trees > 0
    assert n_accepted > 0


def test_an_isolated_engine_tells_of_branches(engine: Engine, cheap_rows: CheapRows) -> None:
    n_trees = 0
    for prompt in PROMPTS:
        plain = engine.generate(prompt, mode="autoregressive", max_tokens=48).result()
        with cheap_rows.engine(isolate=True) as isolated:
            done = isolated.generate(prompt, mode="auto", max_tokens=48).result()
        assert done.tokens == plain.tokens
        n_trees += done.stats.n_tree_steps
    assert n_trees > 0


def test_paths_for_functions_of_the_caller(cheap_rows: CheapRows) -> None:
    with cheap_rows.engine() as guided:
        done = guided.generate(
            PROMPTS[0], mode="auto", max_tokens=48, logits_processor=[lambda _ids, scores: scores]
        ).result()
    assert done.stats.n_drafted > 0
    assert done.stats.n_tree_steps == 0


def test_paths_where_bits_are_exact(pair: tuple[Path, Path], tmp_path: Path) -> None:
    rows = CheapRows(pair, tmp_path / "exact.json", bit_exact=True)
    with rows.engine() as guided:
        assert guided.verified_branches == 0
        done = guided.generate(PROMPTS[0], mode="auto", max_tokens=48).result()
    assert done.stats.n_drafted > 0
    assert done.stats.n_tree_steps == 0
