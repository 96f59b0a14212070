"""`specbranch bench` at work on the bundled pair, with small texts."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.python.support.bench_runs import measure, small_request, turns

from specbranch_cpp import Engine
from specbranch_cpp.bench import near_ties, records, runner, session
from specbranch_cpp.bench.group_engines import GroupEngines, MeasuredText
from specbranch_cpp.bench.near_ties import Difference, first_difference
from specbranch_cpp.bench.statistics import summarize
from specbranch_cpp.errors import InvalidArgument, ModelLoadError


@pytest.fixture
def request_(pair: tuple[Path, Path], tmp_path: Path) -> dict[str, Any]:
    return small_request(pair, tmp_path)


def test_every_item_is_measured_once(tmp_path: Path, request_: dict[str, Any]) -> None:
    found = measure(tmp_path, request_ | {"temperatures": (0.0, 0.7), "repeat": 2})
    measured = turns(found)
    assert len(measured) == 3 * 2 * 2 * 4  # prompts, repeats, temperatures, variants
    assert len({record["key"] for record in measured}) == len(measured)
    assert found[0]["n_items"] == len(measured)
    kinds = [record["kind"] for record in found]
    assert kinds[:2] == ["header", "begin"]
    assert kinds.count("engine") == 2  # a warm-up for each temperature
    assert kinds.count("trace") == 1
    for record in measured:
        assert 0 < len(record["tokens"]) <= 6
        assert record["stats"]["n_generated"] == len(record["tokens"])
        assert record["stats"]["decode_ms"] > 0
    seeds = {(r["prompt"], r["repeat"], r["temperature"]): r["seed"] for r in measured}
    assert all(seeds[r["prompt"], r["repeat"], r["temperature"]] == r["seed"] for r in measured)
    rounds = [measured[i : i + 4] for i in range(0, len(measured), 4)]
    for one in rounds:
        assert len({(r["prompt"], r["repeat"], r["temperature"]) for r in one}) == 1
        assert [r["place"] for r in one] == [0, 1, 2, 3]
    assert len({tuple(r["variant"] for r in one) for one in rounds}) > 1
    summary = summarize(found)
    assert not summary.differences
    for group in summary.groups:
        assert [(row.n_equal, row.n_texts) for row in group.rows] == [(6, 6)] * 4


def test_a_run_that_was_stopped_goes_on(
    tmp_path: Path, request_: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    real = GroupEngines.measure
    n_left = 4 + 6  # the warm-up, then a round and a half

    def interrupted(self: GroupEngines, *arguments: Any) -> MeasuredText:
        nonlocal n_left
        if n_left == 0:
            raise KeyboardInterrupt
        n_left -= 1
        return real(self, *arguments)

    monkeypatch.setattr(GroupEngines, "measure", interrupted)
    with pytest.raises(KeyboardInterrupt):
        measure(tmp_path, request_)
    before = turns(records.read(tmp_path))
    assert len(before) == 6
    monkeypatch.setattr(GroupEngines, "measure", real)
    found = measure(tmp_path, request_)
    after = turns(found)
    assert after[:6] == before
    assert len(after) == len({record["key"] for record in after}) == 12
    assert [record["part"] for record in after] == [0] * 6 + [1] * 6
    # A third time there is nothing left, and no engine is made for it.
    monkeypatch.setattr(GroupEngines, "__init__", None)
    assert turns(measure(tmp_path, request_)) == after
    (group,) = summarize(found).groups
    for row in group.rows:
        assert row.n_texts == row.n_equal == 3
        assert row.speedup is not None
        assert row.speedup.ratios.n >= 2  # the round that was stopped counts where it is whole


def wrong_auto(real: Callable[..., MeasuredText]) -> Callable[..., MeasuredText]:
    """Measures, but for the fourth token of `auto`."""

    def altered(self: GroupEngines, variant: Any, *rest: Any) -> MeasuredText:
        done = real(self, variant, *rest)
        if variant.mode != "auto":
            return done
        return MeasuredText((*done.tokens[:3], done.tokens[3] + 1), done.stats)

    return altered


def test_a_text_that_differs_is_noted_with_its_gap(
    tmp_path: Path, request_: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(GroupEngines, "measure", wrong_auto(GroupEngines.measure))
    summary = summarize(measure(tmp_path, request_))
    assert [(one.variant, one.index) for one in summary.differences] == [("auto", 3)] * 3
    for one in summary.differences:
        assert one.gap is not None
        assert one.gap > 0.0


@pytest.mark.parametrize("temperature", [0.0, 1.5])
def test_the_gap_is_the_distance_of_the_scores_that_the_choice_compares(
    engine: Engine, temperature: float
) -> None:
    # What is chosen when the best ones are forbidden comes next by its score.
    prompt = engine.tokenize("def add(a, b):\n", special=True)
    for seed in range(6):
        settings: dict[str, Any] = {"max_tokens": 1, "temperature": temperature, "seed": seed}
        order: list[int] = []
        for _ in range(4):
            bias = dict.fromkeys(order, float("-inf"))
            order += engine.generate(prompt, **settings, logit_bias=bias).result().tokens
        gaps = [
            near_ties.gap(
                engine, prompt, (), Difference(0, order[0], token), temperature=temperature,
                seed=seed,
            )
            for token in order
        ]  # fmt: skip
        assert gaps[0] == 0.0
        assert gaps == sorted(gap for gap in gaps if gap is not None)


def test_a_difference_that_was_not_noted_in_time_is_noted_later(
    tmp_path: Path, request_: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(GroupEngines, "measure", wrong_auto(GroupEngines.measure))
        patch.setattr(GroupEngines, "gap", interrupted)
        with pytest.raises(KeyboardInterrupt):
            measure(tmp_path, request_)
    found = measure(tmp_path, request_)
    assert len([r for r in found if r["kind"] == "difference" and r["gap"] is not None]) == 1


def test_first_difference() -> None:
    assert first_difference([1, 2], [1, 2]) is None
    assert first_difference([1, 2, 3], [1, 5]) == Difference(1, 2, 5)
    assert first_difference([1, 2, 3], [1]) == Difference(1, 2, None)
    assert first_difference([1], [1, 4]) == Difference(1, None, 4)


def test_prompts_must_fit(tmp_path: Path, request_: dict[str, Any]) -> None:
    with pytest.raises(InvalidArgument, match=r"the prompt '.*' has \d+ tokens; .*context of 256"):
        measure(tmp_path, request_ | {"tokens": 255})


def test_prompts_are_looked_at_before_any_is_decoded(
    tmp_path: Path, request_: dict[str, Any]
) -> None:
    long = tmp_path / "long.jsonl"
    texts = ("a", "a b " * 300, "c")
    long.write_text("".join(json.dumps({"prompt": text}) + "\n" for text in texts))
    with pytest.raises(InvalidArgument, match="context of 256"):
        measure(tmp_path, request_ | {"prompts": (long,)})
    assert not turns(records.read(tmp_path))


def test_a_group_that_does_not_fit_is_skipped(
    tmp_path: Path, request_: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        raise ModelLoadError("no memory for the cache")

    monkeypatch.setattr(GroupEngines, "__init__", full)
    prepared = session.prepare(session.BenchRequest(**request_))
    with records.RecordFile(tmp_path, prepared.header) as file:
        runner.run(prepared.plan, file)
    (skip,) = [r for r in records.read(tmp_path) if r["kind"] == "skip"]
    assert skip["reason"] == "no memory for the cache"
