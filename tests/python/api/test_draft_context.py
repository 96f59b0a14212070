"""A draft that was trained with a shorter context than the engine has."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import pytest
from tests.python.matrix.random_model import write_random_model
from tests.python.matrix.table import ARCHITECTURES
from tests.python.support.tiny_gguf import write_tiny_gguf

from specbranch_cpp import Engine, Model, check
from specbranch_cpp._llama import cpu_probe

if TYPE_CHECKING:
    from pathlib import Path

OPTIONS: dict[str, Any] = {"max_tokens": 100, "temperature": 0.0, "logit_bias": {0: -1000.0}}


@pytest.fixture
def models(tmp_path: Path) -> tuple[Path, Path]:
    target = write_tiny_gguf(tmp_path / "target.gguf", context_length=512)
    return target, write_tiny_gguf(tmp_path / "draft.gguf", context_length=64)


@pytest.mark.parametrize("n_ctx", [256, 0])
def test_it_drafts_as_far_as_it_was_trained(
    models: tuple[Path, Path], caplog: pytest.LogCaptureFixture, n_ctx: int
) -> None:
    caplog.set_level(logging.WARNING, "specbranch_cpp")
    with Engine(*models, n_ctx=n_ctx, measure_costs=False) as engine:
        alone = engine.complete("def ", mode="autoregressive", **OPTIONS)
        done = engine.complete("def ", mode="speculative", **OPTIONS)
    assert done.tokens == alone.tokens
    assert done.stats.n_drafted > 64 + 8  # beyond its context it reads the end of the text
    asked = n_ctx or 512
    assert (
        f"the draft was trained with a context of 64 tokens, and the context has {asked}; of a "
        f"longer text it reads the end (draft_n_ctx={asked} lets it read all)"
    ) in caplog.text


@pytest.mark.parametrize("as_object", [False, True])
def test_who_asks_for_more_gets_it(
    models: tuple[Path, Path], caplog: pytest.LogCaptureFixture, as_object: bool
) -> None:
    caplog.set_level(logging.WARNING, "specbranch_cpp")
    target, draft = models
    given: dict[str, Any] = {"draft": draft, "draft_n_ctx": 256}
    if as_object:
        given = {"draft": Model(draft, n_ctx=256)}
    with Engine(target, n_ctx=256, measure_costs=False, **given) as engine:
        done = engine.complete("def ", mode="speculative", **OPTIONS)
        limited = engine.complete("def ", mode="speculative", **{**OPTIONS, "max_tokens": 56})
    assert done.stats.mode_reason == ""
    assert done.stats.n_drafted > limited.stats.n_drafted + 10
    assert "its context has 256; beyond its training its guesses are poor" in caplog.text


def test_nothing_is_said_of_a_draft_that_is_long_enough(
    models: tuple[Path, Path], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, "specbranch_cpp")
    Engine(*models, measure_costs=False, n_ctx=64).close()
    Engine(*models, measure_costs=False, n_ctx=256, draft_n_ctx=48).close()
    assert "trained with a context" not in caplog.text


def test_check_counts_and_says_it(
    models: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cpu_probe, "probe", lambda _model: cpu_probe.ProbeResult("runs"))
    reports = [check.examine(*models, n_ctx=n_ctx, measured=False) for n_ctx in (256, 64)]
    sizes = [report.draft.n_cells for report in reports if report.draft is not None]
    assert sizes[0] == sizes[1]
    said = ["trained with a context of 64" in " ".join(report.notes) for report in reports]
    assert said == [True, False]


def test_check_knows_learned_positions(
    models: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cpu_probe, "probe", lambda _model: cpu_probe.ProbeResult("runs"))
    path = tmp_path / "gpt2.gguf"
    (gpt2,) = (one for one in ARCHITECTURES if one.name == "gpt2")
    write_random_model(path, gpt2)
    with Engine(path, n_threads=1) as engine:
        n_positions = engine.n_ctx
    report = check.examine(path, n_ctx=2 * n_positions, measured=False)
    assert report.target is not None
    assert report.target.n_cells == n_positions
    assert f"the target has learned {n_positions:,} positions" in " ".join(report.notes)
    report = check.examine(path, n_ctx=n_positions, measured=False)
    assert "learned" not in " ".join(report.notes)
    report = check.examine(models[0], path, n_ctx=2 * n_positions, measured=False)
    said = f"the draft has learned a context of {n_positions:,} tokens; of a longer text"
    assert said in " ".join(report.notes)
