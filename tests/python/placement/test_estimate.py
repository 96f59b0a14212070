"""The memory that is estimated before loading is what llama.cpp logs when it allocates."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from benchmarks.memory_estimate import SETTINGS, measure
from tests.python.support.tiny_hybrid import write_tiny_hybrid

if TYPE_CHECKING:
    from pathlib import Path

LOG_ROUNDS = 0.01  # of a few MiB, in hundredths of a MiB


def deviation(target: Path, draft: Path | None = None, **settings: Any) -> float:
    found = measure(target, draft, settings)
    assert found["parts"]["model"] > 0
    assert found["parts"]["compute"] > 0
    return abs(float(found["estimate"]) / float(found["allocated"]) - 1)


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_of_the_bundled_target(pair: tuple[Path, Path], settings: dict[str, Any]) -> None:
    assert deviation(pair[0], **settings) < LOG_ROUNDS


def test_of_both_models(pair: tuple[Path, Path]) -> None:
    assert deviation(*pair) < LOG_ROUNDS
    assert deviation(*pair, n_ctx=2048, flash_attn=False, max_branches=12) < LOG_ROUNDS


def test_of_a_hybrid_model(tmp_path: Path) -> None:
    hybrid = write_tiny_hybrid(tmp_path / "hybrid.gguf")
    assert deviation(hybrid, n_ctx=8192) < LOG_ROUNDS
    assert deviation(hybrid, n_ctx=16384, flash_attn=False, n_ubatch=64) < LOG_ROUNDS


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("gemma-3-270m-q4_k_m.gguf", {"type_k": "q4_0", "type_v": "q4_0"}),  # sliding windows
        ("qwen2.5-coder-0.5b-instruct-q4_0.gguf", {"flash_attn": False, "n_ctx": 2048}),  # repacked
    ],
)
def test_of_real_models(real_models: Path, name: str, settings: dict[str, Any]) -> None:
    assert deviation(real_models / name, **settings) < LOG_ROUNDS
