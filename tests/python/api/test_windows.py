"""``swa_full=False``: layers with a sliding window keep only about a window of cells."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from tests.python.matrix.cells import write

from specbranch_cpp import Engine, InvalidArgument, Model

if TYPE_CHECKING:
    from pathlib import Path

MODES = ("speculative", "pearl", "specbranch", "auto")
SETTINGS: dict[str, Any] = {"n_ctx": 1024, "n_ubatch": 64, "n_threads": 1, "draft_n_threads": 1}


@pytest.fixture(scope="module")
def gemma(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random weights and a window of 24 positions."""
    return write(tmp_path_factory.mktemp("windows"), "gemma2")


def test_a_target_alone_and_with_a_draft_writes_the_text_of_a_full_cache(gemma: Path) -> None:
    prompt = [1 + 7 * i % 250 for i in range(300)]
    request: dict[str, Any] = {"max_tokens": 200, "logit_bias": {0: float("-inf")}, "seed": 3}
    with Engine(gemma, n_ctx=1024, n_ubatch=64, n_threads=1, mode="autoregressive") as full:
        expected = [full.complete(prompt, temperature=t, **request).tokens for t in (0.0, 1.0)]
    with Engine(gemma, swa_full=False, n_ctx=1024, n_ubatch=64, n_threads=1) as alone:
        assert [
            alone.complete(prompt, temperature=t, **request).tokens for t in (0.0, 1.0)
        ] == expected
    with Engine(Model(gemma, swa_full=False, n_ctx=1024, n_ubatch=64, n_threads=1), gemma,
                draft_n_threads=1) as engine:  # fmt: skip
        for mode in MODES:
            for wanted, temperature in zip(expected, (0.0, 1.0), strict=True):
                done = engine.complete(prompt, temperature=temperature, mode=mode, **request)
                assert done.tokens == wanted
                assert mode == "auto" or done.stats.n_accepted > 60


def test_a_chat_reads_only_what_is_new(gemma: Path) -> None:
    prompt = [1 + 7 * i % 250 for i in range(400)]
    with Engine(gemma, swa_full=False, n_ctx=1024, n_threads=1) as engine:
        first = engine.complete(prompt, max_tokens=30)
        assert first.stats.n_reused == 0
        again = engine.complete([*prompt, *first.tokens, 5, 6, 7], max_tokens=5)
        assert again.stats.n_reused == 384


def test_the_draft_must_keep_all_cells(gemma: Path) -> None:
    with pytest.raises(InvalidArgument, match="swa_full of the draft is False; it must be True"):
        Engine(gemma, Model(gemma, swa_full=False), n_ctx=512, n_threads=1)
    with Engine(gemma, gemma, swa_full=False, measure_costs=False, **SETTINGS) as engine:
        assert engine.can_speculate  # the draft does not take this option from the target


def test_exact_bits_need_all_cells(gemma: Path, pair: tuple[Path, Path]) -> None:
    with pytest.raises(InvalidArgument, match="bit_exact needs swa_full"):
        Engine(gemma, swa_full=False, bit_exact=True, n_ctx=512, n_threads=1)
    Engine(pair[0], swa_full=False, bit_exact=True, n_ctx=256, n_threads=1).close()  # no windows


def test_a_real_model(real_models: Path) -> None:
    """Gemma 3 270M: K-quants, and windows of 512 tokens in 15 of 18 layers."""
    path = next(iter(sorted(real_models.glob("gemma-3-270m*.gguf"))))
    prompt = "Once upon a time, in a small house by the sea, there lived an old sailor. " * 60
    request: dict[str, Any] = {"max_tokens": 60, "temperature": 0.0}
    with Engine(path, n_ctx=4096, n_threads=1, mode="autoregressive") as full:
        expected = full.complete(prompt, **request)
    with Engine(path, path, swa_full=False, n_ctx=4096, n_ubatch=128, n_threads=1,
                draft_n_threads=1) as engine:  # fmt: skip
        done = engine.complete(prompt, mode="specbranch", **request)
        assert done.tokens[:20] == expected.tokens[:20]
        assert done.stats.n_accepted > 30
