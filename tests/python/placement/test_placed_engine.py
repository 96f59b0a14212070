"""Engines whose layers are placed on stand-ins for GPUs; the models themselves run on the CPU."""

from __future__ import annotations

import logging
import os
from dataclasses import asdict
from typing import TYPE_CHECKING

import pytest
from tests.python.support.server_support import serving
from tests.python.support.stand_in_gpus import StandInGpus

from specbranch_cpp import Engine, InvalidArgument, ModelLoadError, _core, check

if TYPE_CHECKING:
    from pathlib import Path

PROMPT = "def fib(n):"


def text(engine: Engine) -> str:
    return engine.generate(PROMPT, max_tokens=12).result().text


def test_the_gpu_is_used_without_being_asked(
    pair: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with Engine(*pair, n_threads=1, draft_n_threads=1) as engine:
        expected = text(engine)
    StandInGpus(monkeypatch, {"GPU0": 2**36})
    with caplog.at_level(logging.INFO, "specbranch_cpp"):
        engine = Engine(*pair, n_threads=1, draft_n_threads=1)
    with engine, serving(engine) as server:
        assert text(engine) == expected
        (said,) = [line for line in caplog.messages if "layers on GPUs" in line]
        assert said.startswith("the target has 9 of 9 layers on GPUs (")
        assert "; the draft has 4 of 4 layers on GPUs (" in said
        assert " on GPU0, " in said
        placement = engine.placement
        assert placement is not None
        assert placement.draft is not None
        assert (placement.target.n_gpu_layers, placement.target.n_layers) == (9, 9)
        assert set(placement.draft.memory) == {"CPU", "GPU0"}
        (entry,) = server.client.get("/v1/models").json()["data"]
        assert entry["meta"]["placement"] == asdict(placement)


def test_a_small_gpu_gets_a_part_and_zero_none(
    pair: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    StandInGpus(monkeypatch, {"GPU0": 20 * 2**20}, total={"GPU0": 0})
    with Engine(*pair) as engine:
        placement = engine.placement
        assert placement is not None
        assert 0 < placement.target.n_gpu_layers < 9
        assert placement.target.memory["GPU0"] <= 20 * 2**20
        assert text(engine)
    with Engine(*pair, n_gpu_layers=0) as engine:
        placement = engine.placement
        assert placement is not None
        assert placement.draft is not None
        assert placement.target.n_gpu_layers == placement.draft.n_gpu_layers == 0
        assert set(placement.target.memory) == {"CPU"}


def test_without_a_gpu_the_log_says_so(
    pair: tuple[Path, Path], caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    StandInGpus(monkeypatch, {})
    with caplog.at_level(logging.INFO, "specbranch_cpp"), Engine(pair[0]) as engine:
        assert engine.placement is not None
        assert engine.placement.draft is None
    (said,) = [line for line in caplog.messages if "the target runs on the CPU" in line]
    assert said.endswith("llama.cpp finds no GPU")
    assert not any("lay" in line and "no_alloc" in line for line in caplog.messages)


def test_nothing_is_loaded_that_does_not_fit(
    pair: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(_core, "load_engine", lambda *_, **__: pytest.fail("it was loaded"))
    StandInGpus(monkeypatch, {"GPU0": 2**24})
    with pytest.raises(ModelLoadError, match=r"on GPU0, but only 16\.0 MiB are free; these"):
        Engine(*pair, n_gpu_layers=-1)
    StandInGpus(monkeypatch, {}, main=40 * 2**20)
    with pytest.raises(ModelLoadError, match=r"of main memory, but only 40\.0 MiB are free; these"):
        Engine(*pair, n_ctx=16384)
    StandInGpus(monkeypatch, {"GPU0": 2**40})
    with pytest.raises(InvalidArgument, match="split_mode is 3; then n_gpu_layers must be given"):
        Engine(*pair, split_mode=3)
    assert not caplog.messages or "ERROR" not in {each.levelname for each in caplog.records}


def test_layers_that_nearly_fill_a_gpu_get_a_warning(
    pair: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    StandInGpus(monkeypatch, {"GPU0": 2**36})
    with Engine(pair[0], n_gpu_layers=-1) as engine:
        assert engine.placement is not None
        needed = engine.placement.target.memory["GPU0"]
    assert "leave only" not in caplog.text
    StandInGpus(monkeypatch, {"GPU0": needed + 2**20}, total={"GPU0": 2**33})
    with Engine(pair[0], n_gpu_layers=-1) as engine:
        assert text(engine)
    assert "the models leave only 1.0 MiB on GPU0; llama.cpp takes memory there" in caplog.text
    report = check.examine(pair[0], n_gpu_layers=-1, measured=False)
    assert "the models leave only 1.0 MiB on GPU0" in " ".join(report.notes)


def test_weights_that_memory_cannot_hold_are_mapped_with_a_warning(
    pair: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def measured(engine_options: _core.ModelOptions) -> int:
        host = _core.target_footprint(engine_options, max_draft=16, max_branches=4).host
        return host.total - host.weights

    options = _core.ModelOptions(os.fsencode(pair[0]))
    StandInGpus(monkeypatch, {}, main=measured(options))
    with caplog.at_level(logging.WARNING, "specbranch_cpp"), Engine(pair[0]) as engine:
        assert text(engine)
    assert any("read weights from the disk again and again" in line for line in caplog.messages)


def test_a_draft_gets_room_for_no_more_than_its_training(
    pair: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    trained = _core.inspect_model(os.fsencode(pair[1])).n_ctx_train
    StandInGpus(monkeypatch, {"GPU0": 2**36})
    needs = []
    for n_ctx in (trained, 4 * trained):
        with Engine(*pair, n_ctx=n_ctx, measure_costs=False) as engine:
            placement = engine.placement
            assert placement is not None
            assert placement.draft is not None
            needs.append(placement.draft.memory["GPU0"])
            assert engine.n_ctx == n_ctx
    assert needs[1] < 1.1 * needs[0]
