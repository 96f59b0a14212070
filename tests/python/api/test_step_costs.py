"""The warm-up: what it measures and what it must not change. No times: machines are busy."""

from __future__ import annotations

import dataclasses
import logging
from typing import TYPE_CHECKING, Any

import pytest
from tests.python.conftest import LETTERS
from tests.python.support.tiny_gguf import write_tiny_gguf

from specbranch_cpp import Engine, InvalidArgument, StepCosts, _core

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="module")
def tiny_pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("tiny")
    return (
        write_tiny_gguf(folder / "target.gguf", weight_type="Q8_0"),
        write_tiny_gguf(folder / "draft.gguf", weight_type="Q8_0", n_layer=1),
    )


def check_costs(costs: StepCosts | None, n_target: int, n_draft: int) -> None:
    assert costs is not None
    assert len(costs.target_ms) == n_target
    assert len(costs.draft_ms) == n_draft
    assert all(ms > 0 for ms in (*costs.target_ms, *costs.draft_ms))
    assert costs.target_slowdown >= 1.0
    assert costs.draft_slowdown >= 1.0


def test_costs_of_a_pair(pair: tuple[Path, Path]) -> None:
    with Engine(*pair, n_ctx=512, n_threads=1, draft_n_threads=1) as engine:
        check_costs(engine.costs, 17, 16)
        assert engine.costs is not None
        assert 0 < engine.costs.measure_costs_ms == engine.stats.measure_costs_ms
        assert engine.stats.n_generations == 0
        with pytest.raises(dataclasses.FrozenInstanceError):
            engine.costs.target_slowdown = 1.0  # type: ignore[misc]
        assert "auto" in repr(engine)
        assert engine.generate("def f", max_tokens=4).result().stats.mode == "auto"


def test_costs_of_a_target_alone(tiny_pair: tuple[Path, Path]) -> None:
    with Engine(tiny_pair[0], n_ctx=128, n_threads=1) as engine:
        check_costs(engine.costs, 17, 0)


@pytest.mark.parametrize("prefix_reuse", ["exact", "fast", "off"])
@pytest.mark.parametrize("flash_attn", [True, False])
def test_a_warm_engine_gives_the_same_texts(
    pair: tuple[Path, Path], prefix_reuse: str, flash_attn: bool
) -> None:
    """Bit for bit, from the first call on: the log-probabilities show it."""
    settings: dict[str, Any] = {"n_ctx": 512, "n_threads": 1, "draft_n_threads": 1}
    settings |= {"prefix_reuse": prefix_reuse, "flash_attn": flash_attn}
    results = []
    for measure_costs in (False, True):
        with Engine(*pair, measure_costs=measure_costs, **settings) as engine:
            assert (engine.costs is None) is not measure_costs
            calls: list[dict[str, Any]] = [
                # A prompt that begins as the dummy text may, one that does not, and both again.
                {"prompt": [1, *range(2, 40)], "mode": "autoregressive"},
                {"prompt": "def add(a, b):\n", "mode": "speculative", "temperature": 0.8},
                {"prompt": "def add(a, b):\n    return", "mode": "speculative"},
                {"prompt": [1, *range(2, 200)], "mode": "autoregressive"},
            ]
            done = [engine.generate(**call, max_tokens=24, seed=3, logprobs=2).result()
                    for call in calls]  # fmt: skip
            results.append(
                [
                    (each.tokens, each.logprobs, each.stats.n_reused, each.stats.n_drafted)
                    for each in done
                ]
            )
    assert results[0] == results[1]


def test_no_warm_up_where_it_is_of_no_use(tiny_pair: tuple[Path, Path]) -> None:
    settings: dict[str, Any] = {"n_ctx": 128, "n_threads": 1}
    with Engine(*tiny_pair, mode="autoregressive", **settings) as engine:
        assert engine.costs is None
    with Engine(tiny_pair[0], lookup=False, **settings) as engine:
        assert engine.generate("a", max_tokens=4).result().stats.n_generated == 4
        assert engine.costs is None
        assert engine.stats.measure_costs_ms == 0
    wrong: Any = 1
    with pytest.raises(InvalidArgument, match="measure_costs is 1"):
        Engine(*tiny_pair, measure_costs=wrong)


@pytest.mark.parametrize("n_ctx", [1, 2, 5, 33])
def test_small_contexts(tiny_pair: tuple[Path, Path], n_ctx: int) -> None:
    with Engine(*tiny_pair, n_ctx=n_ctx, n_threads=1, draft_n_threads=1) as engine:
        check_costs(engine.costs, min(n_ctx, 17), 16)


def test_small_batches_and_many_branches(tiny_pair: tuple[Path, Path]) -> None:
    settings: dict[str, Any] = {"n_ctx": 128, "n_threads": 1, "draft_n_threads": 1}
    with Engine(*tiny_pair, n_batch=64, draft_n_batch=10, **settings) as engine:
        check_costs(engine.costs, 17, 10)
    with pytest.raises(
        InvalidArgument, match="draft_n_batch is 9; with max_branches=4 it must be at least 10"
    ):
        Engine(*tiny_pair, n_batch=64, draft_n_batch=9, **settings)
    with Engine(*tiny_pair, max_draft=3, max_branches=32, **settings) as engine:
        check_costs(engine.costs, 8, 16)
        with pytest.raises(InvalidArgument, match=r"max_draft is 4; it must be in 1 \.\. 3"):
            engine.generate("a", max_draft=4)
    with Engine(*tiny_pair, **settings) as engine:
        with pytest.raises(InvalidArgument, match=r"max_draft is 17; it must be in 1 \.\. 16"):
            engine.generate("a", max_draft=17)
        for mode in ("specbranch", "auto"):
            assert engine.generate("a", mode=mode, max_draft=16, max_tokens=2).result().tokens


def test_a_model_that_fails_in_the_warm_up(caplog: pytest.LogCaptureFixture) -> None:
    target, draft = _core._FakeOptions(), _core._FakeOptions()
    target.n_vocab = draft.n_vocab = len(LETTERS)
    draft.fail_at_step = 7
    core = _core._fake_engine(target, draft, list(LETTERS), measure_costs=True)
    with caplog.at_level(logging.WARNING), Engine._from_core(core) as engine:
        assert engine.costs is None
        assert len(engine.generate("abc", max_tokens=9).result().tokens) == 9
    draft.fail_at_step = 7
    draft.fail_fatally = True
    with pytest.raises(RuntimeError, match="escaped as asked"):
        _core._fake_engine(target, draft, list(LETTERS), measure_costs=True)


def test_ctrl_c_ends_the_warm_up(tiny_pair: tuple[Path, Path]) -> None:
    calls = []

    def progress(share: float) -> None:
        calls.append(share)
        if share == 1.0:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Engine(*tiny_pair, n_ctx=128, n_threads=1, progress_callback=progress)
    assert calls[-1] == 1.0
