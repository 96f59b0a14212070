"""Every mode in turn, and the sentences about what came of it."""

from __future__ import annotations

import io
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from rich.console import Console

from specbranch_cpp import StepCosts
from specbranch_cpp.bench.placements import Placement
from specbranch_cpp.cli.demo import page, runs
from specbranch_cpp.simulation import MODES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.python.conftest import MakeFake

    from specbranch_cpp import Completion
    from specbranch_cpp.cli.demo.runs import ModeRuns

REQUEST: dict[str, Any] = {"max_tokens": 12, "temperature": 0.0, "seed": 1}
COSTS = StepCosts((10.0, 16.0, 23.0, 31.0), (2.0,), 1.9, 1.9, 0.0)


@pytest.fixture
def completion(make_fake: MakeFake) -> Completion:
    return make_fake().generate("ab", **REQUEST).result()


def timed(completion: Completion, decode_ms: float, **changed: Any) -> Completion:
    """The same text, decoded in so much time."""
    stats = replace(completion.stats, decode_ms=decode_ms, target_busy_ms=decode_ms, **changed)
    return replace(completion, stats=stats)


def rounds(completion: Completion, ratios: Sequence[Sequence[float]]) -> list[ModeRuns]:
    """Modes that are so many times faster than the first, in each round; only `auto` drafts."""
    n = completion.stats.n_generated
    counts = {"n_drafted": 8, "n_accepted": 6, "n_rolled_back": 2, "n_unresolved": 0}

    def one(i: int, speed: float) -> Completion:
        if not i:
            return timed(completion, 100.0 * n, n_target_steps=n, n_drafted=0)
        return timed(completion, 100.0 * n / speed, n_target_steps=n // 2, **counts)

    found = [[one(i, speed) for i, speed in enumerate((1.0, *each))] for each in ratios]
    return runs.compare(MODES[: len(found[0]) - 1] + MODES[-1:], found)


def test_every_mode_takes_part_in_every_round(make_fake: MakeFake) -> None:
    shares: list[float] = []
    found = runs.measure(make_fake(), ["ab", "cd"], REQUEST, shares.append)
    assert [each.mode for each in found] == list(MODES)
    assert all(len(each.completions) == len(each.ratios) == 2 for each in found)
    assert all(each.same_text for each in found)
    assert found[0].ratios == (1.0, 1.0)
    assert found[0].acceptance_rate is None
    assert found[0].tokens_per_step == 1.0
    assert shares == pytest.approx([0.1 * n for n in range(1, 11)])


def test_the_median_of_the_rounds_counts(completion: Completion) -> None:
    auto = rounds(completion, [[1.5], [3.0], [1.0]])[-1]
    assert auto.mode == "auto"
    assert auto.ratios == pytest.approx((1.5, 3.0, 1.0))
    assert auto.ratio == pytest.approx(1.5)
    assert auto.tokens_per_second == pytest.approx(15.0)
    assert auto.acceptance_rate == 0.75
    assert auto.rollback_rate == 0.25
    assert auto.tokens_per_step == 2.0


def test_another_text_is_told(completion: Completion) -> None:
    other = replace(completion, tokens=completion.tokens[:-1])
    found = runs.compare(("autoregressive", "auto"), [[completion, other]])
    assert [each.same_text for each in found] == [True, False]
    assert "same text: no" in page.speed_up(found)
    assert table(found).splitlines()[-1].endswith("no")


def table(found: Sequence[ModeRuns], width: int = 80) -> str:
    shown = io.StringIO()
    Console(file=shown, width=width).print(page.comparison(found))
    return shown.getvalue()


def test_the_table_has_a_row_for_each_mode(completion: Completion) -> None:
    lines = table(rounds(completion, [[1.5], [2.0]])).splitlines()
    assert [line.split() for line in lines[-2:]] == [
        ["autoregressive", "10", "1.00x", "1.00", "yes"],
        ["auto", "18", "1.75x", "2.00", "75", "%", "25", "%", "0", "%", "yes"],
    ]


def test_the_last_line_tells_the_spread(completion: Completion) -> None:
    assert page.speed_up(rounds(completion, [[1.5], [3.0], [1.0]])) == (
        "auto is 1.50 times as fast as decoding without speculation (1.00 to 3.00 in 3 texts); "
        "same text: yes"
    )
    assert "(" not in page.speed_up(rounds(completion, [[1.5]]))


def test_a_mode_gains_or_none_does(completion: Completion) -> None:
    best = runs.gaining(rounds(completion, [[1.2, 1.1]]))
    assert best is not None
    assert best.mode == "speculative"
    assert runs.gaining(rounds(completion, [[0.9, 0.99]])) is None


@pytest.mark.parametrize(
    ("costs", "n_cores", "words"),
    [
        (
            COSTS,
            2,
            (
                "on this machine (2 cores)",
                "verifying 4 tokens takes 3.1 times as long as decoding one",
                "a step of the draft 0.20 of a target step of 10.00 ms",
                "the 2.0 tokens that speculative gets",
            ),
        ),
        (None, 1, ("(1 core)", "a step of the target takes only 100.00 ms")),
        (replace(COSTS, target_ms=(10.0,)), 4, ("(4 cores)", "takes only 100.00 ms")),
    ],
)
def test_the_reason_why_nothing_gains(
    completion: Completion, costs: StepCosts | None, n_cores: int, words: Sequence[str]
) -> None:
    sentence = page.no_gain(rounds(completion, [[0.9, 0.8]]), costs, n_cores)
    assert sentence.startswith("Nothing gains")
    for each in words:
        assert each in sentence


def test_the_sentence_about_steps() -> None:
    assert page.step_sentence(COSTS) == (
        "A step of the target takes 10.0 ms, one of the draft 2.00 ms; verifying 4 tokens takes "
        "3.1 times as long as decoding one."
    )
    assert "verifying" not in page.step_sentence(replace(COSTS, target_ms=(10.0,)))


@pytest.mark.parametrize(
    ("draft", "placement", "words"),
    [
        (2_500_000, "shared", "the draft has 2.5 M (F32 weights)"),
        (9_400_000, "split", "the draft from 2.5 M to 9.4 M (F32 weights)"),
        (9_400_000, "given", "the models run where you said"),
    ],
)
def test_the_sentence_about_growth(draft: int, placement: str, words: str) -> None:
    sentence = page.grown_sentence(
        (29_400_000, draft), (7_344_384, 2_508_480), "F32", Placement(placement)
    )
    assert "grown in memory from 7.3 M to 29 M parameters" in sentence
    assert words in sentence


@pytest.mark.parametrize("no_color", [False, True])
def test_brackets_take_the_place_of_colours(make_fake: MakeFake, no_color: bool) -> None:
    """With NO_COLOR, a terminal shows what was rolled back like the text around it."""
    engine = make_fake()
    traced = engine.generate("ab", trace=True, mode="specbranch", **REQUEST).result()
    console = Console(
        file=io.StringIO(), width=80, force_terminal=True, color_system="standard",
        no_color=no_color,
    )  # fmt: skip
    page.show_trace(console, engine, "ab", traced)
    assert isinstance(console.file, io.StringIO)
    assert ("[-rolled back-]" in console.file.getvalue()) == no_color
