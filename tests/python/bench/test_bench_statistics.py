"""The figures of `specbranch bench`, from records whose answers are known."""

from __future__ import annotations

from typing import Any

import pytest
from tests.python.support.bench_records import AUTO, BASE, LONG, PEER, SHORT, header, turn

from specbranch_cpp.bench.records import Record
from specbranch_cpp.bench.statistics import compare, geometric_mean, precise_after, summarize
from specbranch_cpp.bench.summary import Comparison, GroupSummary, Row, Spread


def group_of(*records: Record) -> GroupSummary:
    (group,) = summarize([header(), *records]).groups
    return group


def row_of(group: GroupSummary, name: str) -> Row:
    row = group.row(name)
    assert row is not None
    return row


def test_quartiles() -> None:
    assert Spread.of([]) is None
    assert Spread.of([3.0]) == Spread(3.0, 3.0, 3.0, 1)
    assert Spread.of([4.0, 1.0, 3.0, 2.0, 5.0]) == Spread(2.0, 3.0, 4.0, 5)


def test_geometric_mean() -> None:
    assert geometric_mean([0.5, 2.0, 8.0]) == pytest.approx(2.0)


def test_ratios_are_taken_round_by_round() -> None:
    # Four tokens each. The slow prompt is slow for both: the ratios are 2, 2, 4.
    base = [turn(BASE, 0, 40.0), turn(BASE, 1, 400.0), turn(BASE, 2, 40.0)]
    fast = [turn(SHORT, 0, 20.0), turn(SHORT, 1, 200.0), turn(SHORT, 2, 10.0)]
    found = compare(fast, base)
    assert found is not None
    assert found.ratios == Spread(2.0, 2.0, 3.0, 3)
    assert found.total == pytest.approx(480.0 / 230.0)


def test_speeds_are_per_token() -> None:
    # Half as many tokens in half of the time: as fast.
    found = compare([turn(SHORT, 0, 20.0, tokens=(1, 2))], [turn(BASE, 0, 40.0)])
    assert found == Comparison(Spread(1.0, 1.0, 1.0, 1), 1.0)


def test_stretches_are_compared_with_the_same_stretch() -> None:
    # The machine is ten times as slow in the second stretch, for both.
    base = [turn(BASE, 0, 40.0, stretch=0), turn(BASE, 0, 400.0, stretch=1, start=4)]
    fast = [turn(SHORT, 0, 20.0, stretch=0), turn(SHORT, 0, 200.0, stretch=1, start=4)]
    assert compare(fast, base) == Comparison(Spread(2.0, 2.0, 2.0, 1), 2.0)
    # A stretch that only one of them has decoded so far does not count.
    assert compare(fast[:1], base) == Comparison(Spread(2.0, 2.0, 2.0, 1), 2.0)
    assert compare(fast[1:], base[:1]) is None
    # Nor does a stretch whose turns lie before and after an interruption.
    late = turn(SHORT, 0, 1.0, stretch=1, start=4, part=1)
    assert compare([fast[0], late], base) == Comparison(Spread(2.0, 2.0, 2.0, 1), 2.0)


def test_a_whole_text_is_compared_with_all_stretches() -> None:
    goes_on: dict[str, Any] = {"finish_reason": "cancelled"}
    base = [
        turn(BASE, 0, 40.0, stretch=0, **goes_on),
        turn(BASE, 0, 80.0, stretch=1, start=4),
    ]
    whole = [turn(AUTO, 0, 60.0, tokens=(1, 2, 3, 4, 5, 6, 7, 8))]
    expected = Comparison(Spread(2.0, 2.0, 2.0, 1), 2.0)
    assert compare(whole, base) == expected
    assert compare(base, whole) == Comparison(Spread(0.5, 0.5, 0.5, 1), 0.5)
    assert compare(whole, base[:1]) is None  # the run is not yet so far
    assert compare(whole, base[1:]) is None
    late = turn(BASE, 0, 80.0, stretch=1, start=4, part=1)
    assert compare(whole, [base[0], late]) is None


def test_intervals_are_clustered_by_prompt() -> None:
    def texts(repeats: int) -> Comparison:
        base = [turn(BASE, n, 40.0, repeat=r) for n in range(4) for r in range(repeats)]
        fast = [turn(SHORT, n, 18.0 + n, repeat=r) for n in range(4) for r in range(repeats)]
        found = compare(fast, base)
        assert found is not None
        return found

    once, often = texts(1), texts(9)
    assert once.interval is not None
    assert often.interval is not None
    # The same texts again show nothing new.
    assert (often.interval.low, often.interval.high) == pytest.approx(
        (once.interval.low, once.interval.high)
    )
    assert (often.ratios.n, often.interval.n) == (36, 4)
    assert once.more_texts == once.interval.more_texts(0.02)
    assert once.told_apart


def test_variants_as_fast_as_the_fastest() -> None:
    records = [turn(BASE, n, 40.0) for n in range(4)]
    records += [turn(SHORT, n, 20.0 + 0.1 * n) for n in range(4)]
    records += [turn(LONG, n, 20.5 - 0.1 * n) for n in range(4)]
    group = group_of(*records)
    assert group.fastest == SHORT.name
    assert group.as_fast == (LONG.name,)


def test_a_precise_group_needs_no_more_texts() -> None:
    def after(n: int, scatter: float) -> int | None:
        records = [turn(BASE, i, 40.0) for i in range(n)]
        records += [
            turn(v, i, 20.0 + scatter * (i % 2)) for v in (SHORT, LONG, AUTO) for i in range(n)
        ]
        return precise_after([header(), *records], records[0], 0.02)

    assert after(8, 0.1) == 8
    assert after(8, 2.0) is None
    assert after(5, 0.1) is None  # intervals of so few texts vary too much
    records = [turn(v, i, 20.0) for v in (BASE, SHORT, LONG) for i in range(8)]
    assert precise_after([header(), *records], records[0], 0.02) is None  # `auto` is missing


def test_rounds_that_were_interrupted_are_not_compared() -> None:
    base = [turn(BASE, 0, 40.0), turn(BASE, 1, 40.0)]
    late = [turn(SHORT, 0, 1.0, part=1), turn(SHORT, 1, 20.0)]
    found = compare(late, base)
    assert found == Comparison(Spread(2.0, 2.0, 2.0, 1), 2.0)
    assert compare(late[:1], base) is None


def test_a_first_token_that_is_not_timed_does_not_count() -> None:
    peer = turn(PEER, 0, 30.0, n_timed=3)  # of four tokens
    found = compare([peer], [turn(BASE, 0, 40.0)])
    assert found == Comparison(Spread(1.0, 1.0, 1.0, 1), 1.0)
    short = turn(PEER, 0, 0.0, tokens=(1,), n_timed=0)
    assert compare([short], [turn(BASE, 0, 40.0)]) is None


def test_empty_texts_have_no_speed() -> None:
    empty = turn(SHORT, 0, 0.0, tokens=())
    assert compare([empty], [turn(BASE, 0, 40.0)]) is None
    assert compare([turn(SHORT, 0, 20.0)], [turn(BASE, 0, 0.0, tokens=())]) is None


def test_what_a_row_counts() -> None:
    group = group_of(
        turn(BASE, 0, 40.0),
        turn(BASE, 1, 40.0),
        turn(
            SHORT, 0, 20.0, n_target_steps=2, n_drafted=6, n_accepted=2, n_rolled_back=3,
            coordination_ms=2.0, overlap_ms=5.0, acceptance_histogram=[1, 0, 1],
        ),
        turn(
            SHORT, 1, 20.0, n_target_steps=3, n_drafted=4, n_accepted=1, n_rolled_back=3,
            coordination_ms=4.0, overlap_ms=5.0, acceptance_histogram=[2, 1],
        ),
    )  # fmt: skip
    row = row_of(group, SHORT.name)
    assert row.mean_accepted_length == pytest.approx(8 / 5)
    assert row.rollback_rate == pytest.approx(6 / 10)
    assert row.rollback_per_token == pytest.approx(6 / 8)
    assert row.acceptance == pytest.approx(3 / 10)
    assert row.coordination_share == pytest.approx(6 / 40)
    assert row.overlap_share == pytest.approx(10 / 40)
    assert row.tokens_per_second == pytest.approx(8 / 0.040)
    assert row.histogram == (3, 1, 1)
    assert row_of(group, BASE.name).acceptance is None


def test_the_best_setting_is_that_of_the_greatest_total() -> None:
    # By the median SHORT would win, by all tokens over all time LONG does.
    records = [turn(BASE, prompt, ms) for prompt, ms in enumerate((40.0, 40.0, 400.0))]
    records += [turn(SHORT, prompt, ms) for prompt, ms in enumerate((20.0, 20.0, 400.0))]
    records += [turn(LONG, prompt, ms) for prompt, ms in enumerate((40.0, 40.0, 100.0))]
    group = group_of(*records)
    assert [row.name for row in group.best] == [BASE.name, LONG.name]


def test_auto_is_compared_with_the_best_of_each() -> None:
    group = group_of(
        turn(BASE, 0, 40.0),
        turn(SHORT, 0, 30.0),
        turn(LONG, 0, 20.0),
        turn(AUTO, 0, 10.0, mode_reason="it pays"),
        turn(PEER, 0, 25.0),
    )
    assert {mode: one.total for mode, one in group.auto.items()} == pytest.approx(
        {"autoregressive": 4.0, "speculative": 2.0, "other-engine": 2.5}
    )
    assert row_of(group, "auto").mode_reason == "it pays"


def test_means_over_groups() -> None:
    records = [turn(BASE, 0, 40.0), turn(AUTO, 0, 10.0)]
    warm = [{**record, "temperature": 0.8} for record in records]
    warm[1]["stats"] = {**warm[1]["stats"], "decode_ms": 40.0}
    summary = summarize([header(temperatures=[0.0, 0.8]), *records, *warm])
    assert [group.temperature for group in summary.groups] == [0.0, 0.8]
    assert summary.auto_means["autoregressive"] == pytest.approx((2.0, 1.0))
    assert list(summary.auto_means) == ["autoregressive"]
    assert summary.n_items == 4


def test_equal_texts_are_counted_prompt_by_prompt() -> None:
    other = turn(SHORT, 1, 20.0, tokens=(1, 2, 9, 4))
    known = {"kind": "difference", "key": f"difference {other['key']}", "gap": 0.01}
    far = turn(LONG, 0, 20.0, tokens=(1, 2))
    peer = turn(PEER, 0, 20.0, tokens=(8,))
    group = group_of(
        turn(BASE, 0, 40.0),
        turn(BASE, 1, 40.0),
        turn(SHORT, 0, 20.0, part=1),  # texts do not depend on when they were made
        other,
        far,
        peer,
        turn(LONG, 2, 20.0),  # with nothing to compare it with
        known,
    )
    assert (row_of(group, SHORT.name).n_equal, row_of(group, SHORT.name).n_texts) == (1, 2)
    assert (row_of(group, LONG.name).n_equal, row_of(group, LONG.name).n_texts) == (0, 1)
    found = {one.variant: one for one in group.differences}
    assert (found[SHORT.name].prompt, found[SHORT.name].index) == (1, 2)
    assert found[SHORT.name].is_near_tie
    assert found[LONG.name].index == 2
    assert not found[LONG.name].is_near_tie  # nobody knows
    summary = summarize([header(), turn(BASE, 0, 40.0), peer, far])
    assert [one.variant for one in summary.differences] == [LONG.name]  # not the peer's


def test_step_ratio_from_modes_that_take_turns() -> None:
    group = group_of(
        turn(BASE, 0, 40.0, target_busy_ms=32.0),  # 8 ms a step
        turn(SHORT, 0, 20.0, draft_busy_ms=10.0, n_draft_steps=5),  # 2 ms a step
    )
    assert group.step_ratio == pytest.approx(4.0)
    assert group.target_slowdown is None


def test_step_ratio_and_slow_downs_from_costs() -> None:
    costs = {"target_ms": [9.0, 10.0], "draft_ms": [3.0], "target_slowdown": 1.5,
             "draft_slowdown": 2.0, "measure_costs_ms": 1.0}  # fmt: skip
    engine = {"kind": "engine", "pair": 0, "placement": "shared", "costs": costs}
    group = group_of(engine, turn(BASE, 0, 40.0))
    assert group.step_ratio == pytest.approx(3.0)
    assert (group.target_slowdown, group.draft_slowdown) == (1.5, 2.0)
    nothing = group_of({**engine, "costs": None}, turn(BASE, 0, 40.0))
    assert nothing.step_ratio is None


def test_a_peer_that_does_not_tell_has_gaps() -> None:
    group = group_of(
        turn(BASE, 0, 40.0),
        turn(PEER, 0, 20.0, n_drafted=None, n_accepted=None),
    )
    row = row_of(group, PEER.name)
    assert row.speedup is not None
    assert row.speedup.total == pytest.approx(2.0)
    assert (row.acceptance, row.mean_accepted_length, row.coordination_share) == (None, None, None)
