"""What `advice` makes of figures: no models, no clocks but those of fakes that sleep."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from tests.python.conftest import LETTERS, MakeFake

from specbranch_cpp import Engine, InvalidArgument, StepCosts, Trace, TraceRound, _core, check
from specbranch_cpp.check import (
    Acceptance,
    Interval,
    ModeFigures,
    Needs,
    PlacementFigures,
    Report,
    StepFigures,
    Verdict,
    examine_pair,
    predicted_speedup,
    settings,
    statistics,
)
from specbranch_cpp.check.acceptance import read_acceptance
from specbranch_cpp.check.measuring import Assessment, Place, _recommended, assess
from specbranch_cpp.check.placing import fastest, predict
from specbranch_cpp.check.sampling import Sample
from specbranch_cpp.check.threads import to_advise
from specbranch_cpp.check.verdict import GAIN, GOOD, Figures, cause, gain, judge
from specbranch_cpp.simulation import MODES, Machine, Pair

if TYPE_CHECKING:
    from specbranch_cpp._engine.machine_keywords import MachineKeywords

STEPS = StepFigures(20.0, 2.0, 10.0, {2: 1.1, 4: 1.3}, 1.0, 1.0, 10.0, 1, 1)


def figures(
    measured: Interval | None = None,
    expected: Interval | None = None,
    *,
    alpha: float = 0.8,
    ratio: float = 10.0,
    needs: Needs | None = None,
    tokens_per_step: float = 2.0,
) -> Figures:
    steps = StepFigures(20.0, 20.0 / ratio, ratio, {4: 1.3}, 1.0, 1.0, 10.0, 1, 1)
    right = Acceptance(Interval(alpha, alpha - 0.1, alpha + 0.1), (alpha,), (alpha,), 100)
    return Figures(
        steps=steps,
        acceptance=right,
        expected=expected or Interval(1.5, 1.4, 1.6),
        measured=measured,
        tokens_per_step=tokens_per_step,
        needs=needs,
        draft_parameters=10**9,
    )


@pytest.mark.parametrize(
    ("measured", "expected", "verdict"),
    [
        ((1.6, 1.4, 1.8), (1.5, 1.4, 1.6), Verdict.HELPS),
        ((GOOD, 1.001, 1.3), (1.5, 1.4, 1.6), Verdict.HELPS),
        ((GOOD - 0.001, 1.001, 1.3), (1.5, 1.4, 1.6), Verdict.HELPS_LITTLE),
        ((GAIN, 1.001, 1.06), (1.1, 1.0, 1.2), Verdict.HELPS_LITTLE),
        ((1.6, 1.0, 2.5), (1.5, 1.1, 1.6), Verdict.UNCLEAR),  # the interval holds 1
        ((1.6, None, None), (1.5, 1.1, 1.6), Verdict.UNCLEAR),  # one text only
        ((GOOD, 0.8, 1.7), (1.5, GOOD, 1.6), Verdict.HELPS),  # both agree
        ((GOOD - 0.01, 0.8, 1.7), (1.5, GOOD, 1.6), Verdict.UNCLEAR),
        ((0.9, 0.5, 1.6), (1.5, 1.4, 1.6), Verdict.UNCLEAR),
        ((GAIN - 0.01, 1.01, 1.03), (1.1, 1.0, 1.2), None),  # sure, and too little to count
        ((1.0, 0.9, GOOD - 0.01), (1.5, 1.4, 1.6), None),
        ((1.3, 0.7, 2.4), (1.0, 0.99, 1.01), None),  # noise, where nothing is expected
        (None, (1.5, 1.4, 1.6), Verdict.HELPS),
        (None, (1.5, None, None), Verdict.UNCLEAR),
        (None, (1.0, 0.9, 1.02), None),
    ],
)
def test_a_gain_is_one_beyond_the_noise(
    measured: tuple[Any, Any, Any] | None,
    expected: tuple[Any, Any, Any],
    verdict: Verdict | None,
) -> None:
    of_time = None if measured is None else Interval(*measured)
    assert gain(figures(of_time, Interval(*expected))) is verdict


def test_nothing_drafted_is_no_gain_whatever_the_clock_says() -> None:
    lucky = Interval(1.3, 1.2, 1.4)
    assert gain(figures(lucky, tokens_per_step=1.0)) is None
    assert gain(figures(lucky, tokens_per_step=1.01)) is Verdict.HELPS


@pytest.mark.parametrize(
    ("alpha", "ratio", "needs", "verdict"),
    [
        (0.3, 10.0, Needs(0.6, None, True), Verdict.DRAFT_WRONG),
        (0.8, 1.5, Needs(None, 4.0, True), Verdict.DRAFT_SLOW),
        (0.8, 1.0, Needs(None, None, False), Verdict.DRAFT_SLOW),
        (0.8, 10.0, Needs(None, None, True), Verdict.VERIFICATION_SLOW),
        (0.1, 10.0, Needs(None, None, True), Verdict.DRAFT_WRONG),
        # Both would do: errors half as frequent, or steps 8 times as short; then the reverse.
        (0.6, 2.0, Needs(0.8, 16.0, True), Verdict.DRAFT_WRONG),
        (0.6, 2.0, Needs(0.95, 4.0, True), Verdict.DRAFT_SLOW),
    ],
)
def test_the_cause_is_what_would_have_to_change_least(
    alpha: float, ratio: float, needs: Needs, verdict: Verdict
) -> None:
    assert cause(figures(alpha=alpha, ratio=ratio, needs=needs)) is verdict


def test_reasons_name_the_figures_that_decide() -> None:
    none = Interval(1.0, 0.98, 1.02)
    verdict, reason = judge(figures(none, none, alpha=0.31, needs=Needs(0.62, None, True)))
    assert verdict is Verdict.DRAFT_WRONG
    for words in (
        "speed-up is 1.00 times (0.98 to 1.02)",
        "31 %",
        "10.0 times",
        "62 %",
        "no draft would be fast enough",
    ):
        assert words in reason
    verdict, reason = judge(figures(none, none, ratio=2.0, needs=Needs(None, 8.0, True)))
    assert verdict is Verdict.DRAFT_SLOW
    assert "c would have to be about 8.0 (a draft of about 250.0 million parameters)" in reason
    verdict, reason = judge(figures(Interval(1.2, 0.8, 1.7), Interval(1.5, 1.1, 1.6)))
    assert verdict is Verdict.UNCLEAR
    assert "too noisy" in reason
    assert reason.startswith(
        "the measured speed-up is 1.20 times (0.80 to 1.70), "
        "the expected speed-up was 1.50 times (1.10 to 1.60);"
    )
    # Where one change is not enough, no single one is called the remedy.
    _, reason = judge(figures(none, none, alpha=0.4, needs=Needs(None, None, True)))
    assert "Neither a better nor a faster draft alone would gain 5 %" in reason
    assert "no acceptance" not in reason
    assert "if several tokens cost little more than one token" in reason
    _, reason = judge(figures(none, none, ratio=1.0, needs=Needs(None, None, cheap_verify=False)))
    assert "if several tokens" not in reason
    _, reason = judge(figures(Interval(1.3, 1.2, 1.4), tokens_per_step=1.0, ratio=1.0))
    assert "no drafted token became text" in reason
    assert "1.3" not in reason.partition(":")[0]


def test_no_reason_asks_for_what_the_pair_has() -> None:
    # As reported: "c is 2.5 ... c would have to be about 2.5".
    none = Interval(0.9, 0.85, 0.95)
    met = Needs(0.7, 2.52, cheap_verify=True)
    _, reason = judge(figures(none, none, alpha=0.7, ratio=2.5, needs=met))
    assert "would have to be" not in reason
    # By the figures the draft gains already: the texts contradict them, which has no cause.
    met = replace(met, ratio=2.5, nothing=True)
    verdict, reason = judge(figures(none, Interval(1.3), alpha=0.7, ratio=2.5, needs=met))
    assert verdict is Verdict.UNCLEAR
    assert "would have to be" not in reason
    assert "the texts do not show a gain" in reason
    unused = figures(none, none, ratio=2.5, needs=met, tokens_per_step=1.0)
    assert "the texts do not show a gain" not in judge(unused)[1]


def test_step_times_that_change_do_not_decide() -> None:
    none, needs = Interval(1.0, 0.98, 1.02), Needs(None, None, True)
    steady = figures(none, none, needs=needs)
    assert judge(steady)[0] is Verdict.VERIFICATION_SLOW
    assert judge(replace(steady, drift=1.4))[0] is Verdict.VERIFICATION_SLOW
    assert judge(replace(steady, drift=1.6))[0] is Verdict.UNCLEAR
    # Nor do such step times decide for it, where the measured speed-up alone does not suffice.
    agreeing = figures(Interval(1.6, 0.8, 2.5), Interval(1.5, 1.4, 1.6))
    verdict, reason = judge(agreeing)
    assert verdict is Verdict.HELPS
    assert "The times are noisy" in reason
    assert judge(replace(agreeing, drift=1.6))[0] is Verdict.UNCLEAR
    sure = figures(Interval(1.6, 1.4, 1.8))
    assert judge(replace(sure, drift=1.6))[0] is Verdict.HELPS
    assert "noisy" not in judge(sure)[1]
    # What no clock is needed for stays.
    wrong = figures(none, none, alpha=0.1, needs=needs)
    assert judge(replace(wrong, drift=9.0))[0] is Verdict.DRAFT_WRONG
    slow = figures(none, none, ratio=1.0, needs=needs)
    assert judge(replace(slow, drift=9.0))[0] is Verdict.DRAFT_SLOW


def test_intervals() -> None:
    assert statistics.mean_interval([2.0]) == Interval(2.0)
    found = statistics.mean_interval([1.0, 2.0, 3.0])
    assert found.mean == 2.0
    assert found.low == pytest.approx(2.0 - 4.30 / math.sqrt(3), abs=1e-3)
    ratios = statistics.speedup_interval([0.5, 2.0])
    assert ratios.mean == pytest.approx(1.0)
    assert ratios.low is not None
    assert ratios.high == pytest.approx(1 / ratios.low)
    # As sure as 100 places can be, however alike the texts are; never beyond 0 and 1.
    alike = statistics.share_interval([25, 25], [50, 50])
    assert alike.low == pytest.approx(0.4, abs=0.01)
    assert statistics.share_interval([0, 0], [5, 5]).low == 0.0
    assert statistics.share_interval([0, 0], [5, 5]).high != 0.0
    apart = statistics.share_interval([50, 0], [50, 50])
    assert (apart.low, apart.high) == (0.0, 1.0)


def trace(*proposals: tuple[tuple[float, ...], int]) -> Trace:
    rounds = [
        TraceRound(0.0, 0, (1,), (), branch_hit=False, proposals=(proposal,))
        for proposal in proposals
    ]
    return Trace((), tuple(rounds))


def test_acceptance_of_what_was_proposed() -> None:
    asked = ((0.6, 0.2), 0), ((0.5, 0.4), 1), ((0.5, 0.4), -1), ((), -1)
    found = read_acceptance([trace(*asked), trace(((0.9,), 0)), trace(((), -1))])
    assert found is not None
    assert found.n_places == 4
    assert found.by_prompt == (1 / 3, 1.0)
    assert found.by_rank == (0.5, 0.25)
    assert found.alpha.mean == 0.5
    assert read_acceptance([trace(((), -1))]) is None


def recorded(alpha: float, n: int = 200) -> list[Trace]:
    """Texts in which every so many places the draft is right, and as sure as that."""
    rights = [int((i + 1) * alpha) > int(i * alpha) for i in range(n)]
    return [trace(*(((alpha,), 0 if right else -1) for right in rights))] * 3


SAMPLE = Sample(("a",), 1.0, 0.0, 8, 2, lambda _what, _share: None)


def figures_of(name: str, target_ms: float, draft_ms: float, slowdown: float) -> PlacementFigures:
    costs = StepCosts((target_ms,) * 9, (draft_ms,) * 8, slowdown, slowdown, 0.0)
    return predict(
        name, f"-ngl {name}", costs, 10.0, recorded(0.8), SAMPLE,
        draft_on_gpu=False, verified_branches=4,
    )  # fmt: skip


def test_the_speed_in_a_placement_is_predicted_from_its_steps() -> None:
    beside = figures_of("beside", 20.0, 2.0, 1.0)
    in_turns = figures_of("in turns", 20.0, 2.0, 2.0)
    elsewhere = figures_of("elsewhere", 40.0, 4.0, 1.0)
    speeds = [one.tokens_per_second or 0.0 for one in (beside, in_turns, elsewhere)]
    assert beside.expected is not None
    assert beside.expected.mean > 1.5
    assert speeds[0] == pytest.approx(50.0 * beside.expected.mean)
    assert speeds[0] > speeds[1] > 50.0  # models that slow each other down gain less
    assert speeds[0] == pytest.approx(2.0 * speeds[2], rel=0.02)  # the hop counts half there


def test_the_fastest_placement_is_named_with_what_to_type() -> None:
    report = Report(placements=[
        figures_of("slow", 40.0, 4.0, 1.0), figures_of("fast", 20.0, 2.0, 1.0),
        PlacementFigures("none", "-ngl 7", reason="too small"),
    ])  # fmt: skip
    note = fastest(report)
    assert note is not None
    assert note.startswith("the placement fast is expected to be the fastest, ")
    assert note.endswith(" times as fast as slow: -ngl fast")
    report.placements[0] = figures_of("same", 20.0, 2.0, 1.0)
    note = fastest(report)
    assert note is not None
    assert "--placements same,fast` measures" in note
    assert "equally fast" in note
    del report.placements[0]
    assert fastest(report) is None


@pytest.mark.parametrize(
    "change", [{"draft": None}, {"measured": False}, {"rpc_servers": ["127.0.0.1:1"]}]
)
def test_there_must_be_something_to_compare(change: dict[str, Any]) -> None:
    with pytest.raises(InvalidArgument, match=r"placements is .*; it must be None without a draft"):
        check.examine(**{"target": "t", "draft": "d", "placements": ["all"], **change})
    with pytest.raises(InvalidArgument, match="placement is 'moon'"):
        check.examine("t", "d", placements=["moon"])


def test_a_keyword_that_does_not_exist_is_refused() -> None:
    wrong: dict[str, Any] = {"swa_full": False}
    for examine in (check.examine, check.examine_rows):
        with pytest.raises(TypeError, match=r"examine\w*\(\) got an unexpected .*'swa_full'"):
            examine("t", **wrong)


@pytest.mark.parametrize("alpha", [0.9, 0.02])
def test_expectations_of_every_mode(alpha: float) -> None:
    pair, machine = Pair(target_us=(20_000.0,) * 8, draft_us=(1_000.0,) * 8), Machine()
    found = predicted_speedup.expect(pair, machine, recorded(alpha), max_draft=8, max_branches=2)
    assert [one.mode for one in found] == list(MODES)
    assert found[0].expected == Interval(1.0)
    assert found[0].gamma is None
    auto = found[-1].expected
    assert auto.low is not None
    assert auto.high is not None
    assert auto.low <= auto.mean <= auto.high
    assert (auto.mean > 2.0) is (alpha > 0.5)
    assert all(one.max_branches <= 2 and (one.gamma or 0) <= 8 for one in found)
    # Where there is no room for the windows of a mode, it is left out.
    small = predicted_speedup.expect(pair, machine, recorded(alpha), max_draft=1, max_branches=1)
    assert "specbranch" not in [one.mode for one in small]


def test_what_would_help() -> None:
    flat, machine = (20_000.0,) * 8, Machine()
    wrong = Pair(target_us=flat, draft_us=(1_000.0,))
    found = predicted_speedup.needs(wrong, machine, recorded(0.02))
    assert found.alpha is not None
    assert 0.02 < found.alpha < 0.4
    assert found.ratio is None
    slow = Pair(target_us=flat, draft_us=(60_000.0,))
    found = predicted_speedup.needs(slow, machine, recorded(0.8))
    assert found.alpha is None
    assert found.ratio is not None
    assert 1 / 3 < found.ratio < 20
    dear = Pair(target_us=tuple(20_000.0 * n for n in range(1, 9)), draft_us=(10_000.0,))
    found = predicted_speedup.needs(dear, machine, recorded(0.8))
    assert (found.alpha, found.ratio, found.cheap_verify) == (None, None, True)
    assert not found.nothing
    good = Pair(target_us=flat, draft_us=(8_000.0,))  # c is 2.5
    found = predicted_speedup.needs(good, machine, recorded(0.9))
    assert found.nothing
    assert found.ratio == 2.5
    assert found.alpha == pytest.approx(0.9, abs=0.01)


def mode(name: str, gamma: int = 4, epsilon: float | None = None) -> ModeFigures:
    return ModeFigures(name, name, gamma, epsilon, 2, Interval(1.0))


def test_lines_to_copy(tmp_path: Any) -> None:
    target, draft = tmp_path / "a b.gguf", tmp_path / "d.gguf"
    usual = replace(mode("auto", settings.MAX_DRAFT), max_branches=settings.MAX_BRANCHES)
    found = settings.with_draft(target, draft, usual, {"n_threads": 2})
    assert found.python == f"Engine({str(target)!r}, {str(draft)!r}, mode='auto', n_threads=2)"
    assert found.command == f"specbranch generate -m '{target}' -md {draft} --mode auto -t 2"
    found = settings.with_draft(target, draft, mode("pearl"), {"cpus": [0, 1]})
    assert found.python.endswith("cpus=[0, 1], max_draft=4, policy=policies.Fixed(4))")
    assert found.command.endswith("--mode pearl --cpus 0,1 --draft-max 4 --draft-p-min 0")
    found = settings.with_draft(target, draft, mode("specbranch", 8, 0.2), {})
    assert found.options == {"max_draft": 8, "max_branches": 2}
    assert found.python.endswith("policy=policies.Confidence(0.2))")
    narrow = replace(mode("auto", 8), max_branches=8)
    assert settings.with_draft(target, draft, narrow, {}).options == {
        "max_draft": 8,
        "max_branches": 8,
    }
    total = settings.with_draft(target, draft, usual, {"n_ctx_total": 512})
    assert "n_ctx_total=512" in total.python
    assert "512" not in total.command  # `generate` has one text
    threads: MachineKeywords = to_advise({"n_ctx": 512}, (2, 1, [3]), on_gpus=False)
    assert threads == {"n_ctx": 512, "n_threads": 2, "draft_n_threads": 1, "draft_cpus": [3]}
    given: MachineKeywords = {"n_threads": 5, "n_gpu_layers": 7}
    assert to_advise(given, (5, 1, []), on_gpus=True) == given
    plain = settings.without_draft(target, {"n_threads": 1, "draft_cpus": [1], "n_ctx": 512})
    assert plain.python == f"Engine({str(target)!r}, n_ctx=512)"


@pytest.mark.parametrize(
    ("auto", "other", "chosen"),
    [
        (1.2, 1.5, "pearl"),
        (1.5, 1.2, "auto"),
        (0.8, GAIN, "auto"),  # better than `auto`, but no gain
        (1.0, None, "auto"),
    ],
)
def test_the_recommended_mode(auto: float, other: float | None, chosen: str) -> None:
    timed = [
        replace(mode(name), measured=None if mean is None else Interval(mean))
        for name, mean in (("autoregressive", 1.0), ("auto", auto), ("pearl", other))
    ]
    assert _recommended(timed).mode == chosen


def test_built_in_prompts_are_code_and_prose() -> None:
    prompts = examine_pair.built_in_prompts()
    assert len(prompts) == len(set(prompts)) == 78
    assert "harbour" in prompts[4]


def fakes(alignment: float, step_us: int, draft_step_us: int) -> Engine:
    """A pair whose verifications all take the same time, asleep, so that nobody is in its way."""
    target, draft = _core._FakeOptions(), _core._FakeOptions()
    for fake, each_us in ((target, step_us), (draft, draft_step_us)):
        fake.n_vocab, fake.n_ctx, fake.n_seq = len(LETTERS), 512, 32
        fake.step_us, fake.alignment, fake.sharpness = each_us, alignment, 6.0
    return Engine._from_core(_core._fake_engine(target, draft, list(LETTERS), measure_costs=True))


def assessment(engine: Engine) -> Assessment:
    told: list[tuple[str, float]] = []
    sample = Sample(
        prompts=["the fox", "a hound", "once", 2000 * "far too long ", "then"],
        seconds=3.0,
        temperature=0.0,
        max_draft=8,
        max_branches=4,
        progress=lambda what, share: told.append((what, share)),
    )
    with engine:
        found = assess(engine, sample, Place(1, 1, draft_on_gpu=False, draft_parameters=10**6))
    assert {what for what, _ in told} == {"asking the draft", "timing"}
    assert all(0.0 <= share <= 1.0 for _, share in told)
    return found


def test_a_pair_that_helps() -> None:
    found = assessment(fakes(1.0, 20_000, 1_000))
    assert found.verdict is Verdict.HELPS, found.reason
    assert found.measurement is not None
    assert found.measurement.acceptance.alpha.mean == 1.0
    assert found.measurement.n_prompts >= 2
    assert found.measurement.same_tokens == found.measurement.n_prompts


def test_expectations_are_those_of_the_step_times_in_the_texts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Other work ends while the pair is measured: the table and the verdict agree."""
    real, n_reads = Engine.costs, 0

    def costs(engine: Engine) -> StepCosts | None:
        nonlocal n_reads
        n_reads += 1
        found: StepCosts | None = real.__get__(engine)
        assert found is not None
        if n_reads > 2:  # after the timed texts
            return found
        slow = tuple(2.0 * n for n in range(1, 1 + len(found.target_ms)))
        return replace(found, target_ms=slow, draft_ms=slow[: len(found.draft_ms)])

    monkeypatch.setattr(Engine, "costs", property(costs))
    found = assessment(fakes(1.0, 20_000, 1_000))
    assert found.expected_ms == 2.0
    assert found.measurement is not None
    assert found.measurement.steps.ratio > 2.0
    assert found.recommended in found.measurement.modes
    assert found.measurement.modes[-1].expected.mean > 1.5


def test_a_draft_that_is_wrong() -> None:
    found = assessment(fakes(0.0, 10_000, 1_000))
    assert found.verdict is Verdict.DRAFT_WRONG, found.reason
    assert found.measurement is not None
    assert found.measurement.acceptance.alpha.mean < 0.3
    assert found.measurement.modes[-1].mode_reason.startswith("autoregressive")


def test_a_draft_that_is_slow() -> None:
    found = assessment(fakes(0.8, 4_000, 20_000))
    assert found.verdict is Verdict.DRAFT_SLOW, found.reason
    assert found.measurement is not None
    assert found.measurement.steps.ratio < 1.0


def test_an_engine_without_costs_is_not_measured(make_fake: MakeFake) -> None:
    found = assess(
        make_fake(),
        Sample(["a"], 1.0, 0.0, 8, 4, lambda _what, _share: None),
        Place(1, 1, draft_on_gpu=False, draft_parameters=1),
    )
    assert found.verdict is Verdict.NOT_MEASURED
    assert "could not measure" in found.reason


@pytest.mark.parametrize(
    "wrong", [{"seconds": 0}, {"prompts": []}, {"max_draft": 0}, {"max_branches": 33}]
)
def test_arguments_out_of_range(wrong: dict[str, Any]) -> None:
    with pytest.raises(InvalidArgument):
        check.examine("target.gguf", "draft.gguf", **wrong)
