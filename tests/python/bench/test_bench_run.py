"""`specbranch bench` at work on the bundled pair, with small texts."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.python.support.bench_clock import VirtualEngines, virtual_plan
from tests.python.support.bench_runs import measure, small_request, turns

from specbranch_cpp import Engine
from specbranch_cpp.bench import near_ties, records, runner, session
from specbranch_cpp.bench.group_engines import GroupEngines, MeasuredText
from specbranch_cpp.bench.near_ties import Difference, first_difference
from specbranch_cpp.bench.statistics import summarize
from specbranch_cpp.bench.turns import LEAD
from specbranch_cpp.bench.variants import Variant
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


def stretched(request: dict[str, Any]) -> dict[str, Any]:
    """Texts of three stretches of 16 tokens."""
    return request | {"tokens": 48, "stretch": 16, "lengths": (3,)}


def test_stretches_give_the_texts_of_whole_calls(tmp_path: Path, request_: dict[str, Any]) -> None:
    request = stretched(request_) | {"temperatures": (0.0, 0.9)}
    found = measure(tmp_path, request)
    whole = measure(tmp_path / "whole", {**request, "stretch": 0})
    texts = {
        (r["prompt"], r["temperature"]): r["tokens"]
        for r in turns(whole)
        if r["variant"] == "autoregressive"
    }
    assert len(texts) == 6
    for record in turns(found):
        text = texts[record["prompt"], record["temperature"]]
        start = record["start"]
        assert record["tokens"] == text[start : start + len(record["tokens"])]
        if record["variant"] == "auto":
            assert (record["stretch"], record["tokens"]) == (None, text)
    assert not summarize(found).differences
    for group in summarize(found).groups:
        assert [(row.n_equal, row.n_texts) for row in group.rows] == [(3, 3)] * 3
        assert group.rows[1].speedup is not None
        assert group.rows[1].speedup.interval is not None
        assert group.rows[1].speedup.interval.n == 3


def test_what_a_stretch_pays_for(tmp_path: Path, request_: dict[str, Any]) -> None:
    found = [r for r in turns(measure(tmp_path, stretched(request_))) if r["stretch"] is not None]
    assert {r["stretch"] for r in found} == {0, 1, 2}
    for record in found:
        stats, drafts = record["stats"], record["variant"] != "autoregressive"
        # The stretch goes on with the KV cells of the stretch before: the target reads no text.
        begun = stats["n_prompt"] - 1
        if record["stretch"] > 0:
            assert stats["n_reused"] == begun
            assert record["start"] == 16 * record["stretch"] - (LEAD if drafts else 0)
        if drafts:
            # Up to one round less at the begin, and up to one round more at the end.
            assert 16 - 3 <= stats["n_timed"] <= 16 + 3
            assert stats["n_accepted"] + stats["n_target_steps"] >= stats["n_timed"]
        else:
            assert stats["n_timed"] == stats["n_target_steps"] == 16 - (record["start"] > 0) * LEAD
        assert stats["decode_ms"] >= stats["target_busy_ms"] > 0.0
        assert len(record["tokens"]) >= stats["n_timed"]
    # The windows of a variant that drafts cover the text, up to a round at each of two seams.
    for prompt in range(3):
        own = [
            r for r in found if r["prompt"] == prompt and r["variant"] == "speculative (3, fixed)"
        ]
        assert abs(sum(r["stats"]["n_timed"] for r in own) - 48) <= 2 * 3


def test_a_run_goes_on_within_a_text(
    tmp_path: Path, request_: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    real = GroupEngines.measure
    n_left = 3 + 4  # the warm-up, then two stretches

    def interrupted(self: GroupEngines, *arguments: Any) -> MeasuredText:
        nonlocal n_left
        if n_left == 0:
            raise KeyboardInterrupt
        n_left -= 1
        return real(self, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(GroupEngines, "measure", interrupted)
        with pytest.raises(KeyboardInterrupt):
            measure(tmp_path, stretched(request_))
    before = turns(records.read(tmp_path))
    found = measure(tmp_path, stretched(request_))
    after = turns(found)
    assert after[:4] == before
    assert len(after) == len({record["key"] for record in after}) == 3 * (2 * 3 + 1)
    (group,) = summarize(found).groups
    assert [(row.n_equal, row.n_texts) for row in group.rows] == [(3, 3)] * 3
    # The text that was interrupted counts where both turns of a stretch lie on the same side;
    # a whole text counts where all of it does.
    assert [row.speedup and row.speedup.ratios.n for row in group.rows] == [3, 3, 2]


def test_a_stretch_begins_with_the_reference_text(
    tmp_path: Path, request_: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    real = GroupEngines.measure
    prompts: list[tuple[str, int, list[int]]] = []

    def altered(self: GroupEngines, variant: Any, prompt: list[int], *rest: Any) -> MeasuredText:
        done = real(self, variant, prompt, *rest)
        stretch = rest[2] if len(rest) > 2 else None
        if stretch is not None:
            prompts.append((variant.mode, stretch.index, prompt))
        if variant.mode != "speculative" or stretch is None or stretch.index != 1:
            return done
        return MeasuredText((*done.tokens[:10], done.tokens[10] + 1, *done.tokens[11:]), done.stats)

    monkeypatch.setattr(GroupEngines, "measure", altered)
    summary = summarize(measure(tmp_path, stretched(request_)))
    # Each text differs once, counted from its begin, and its last stretch agrees again.
    assert [(one.variant, one.index) for one in summary.differences] == [
        ("speculative (3, fixed)", 16 - LEAD + 10)
    ] * 3
    assert all(one.gap for one in summary.differences)
    (group,) = summary.groups
    assert [row.n_equal for row in group.rows] == [3, 0, 3]
    lasts = {mode: prompt for mode, index, prompt in prompts if index == 2}
    n = len(lasts["speculative"])
    assert lasts["autoregressive"][:n] == lasts["speculative"]
    assert len(lasts["autoregressive"]) == n + LEAD


def test_texts_that_end_early_have_fewer_turns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    variants = (Variant("autoregressive"), Variant("speculative", 2, "fixed"), Variant("auto"))
    plan = virtual_plan(variants, 4)
    monkeypatch.setattr(runner, "GroupEngines", VirtualEngines)
    for end, n_stretches in ((70, 3), (64, 2), (1, 1)):
        monkeypatch.setattr(VirtualEngines, "text_end", end)
        monkeypatch.setattr(VirtualEngines, "calls", [])
        told: list[tuple[int, int]] = []
        with records.RecordFile(tmp_path / str(end), {"plan": plan.settings()}) as file:
            runner.run(plan, file, lambda n, of, _, told=told: told.append((n, of)))
            assert file.n_turns == 4 * (2 * n_stretches + 1)
            n_calls = len(VirtualEngines.calls)
            runner.run(plan, file)  # nothing is left
            assert len(VirtualEngines.calls) == n_calls
            summary = summarize(file.records)
        assert told[-1] == (plan.n_turns, plan.n_turns) == (36, 36)
        assert summary.n_items == 12
        assert [row.n_equal for row in summary.groups[0].rows] == [4, 4, 4]
        assert {r["stats"]["finish_reason"] for r in file.records if r.get("stretch") == 2} <= {
            "stop"
        }


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
