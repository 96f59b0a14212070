"""Policies: the built-in ones, those written in Python, and that none changes a token."""

from __future__ import annotations

import dataclasses
import random
import re
import threading
import time
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from specbranch_cpp import Engine, InvalidArgument, SpecBranchError, policies

if TYPE_CHECKING:
    from tests.python.conftest import MakeFake

MODES = ("speculative", "pearl", "specbranch")
# Steps so long that a reader is mostly back before the next round.
SLOW: dict[str, Any] = {"target_step_us": 600, "draft_step_us": 60, "n_ctx": 200_000}
# A text so long that its policy is asked, however late its reader runs.
LONG = 100_000
DOCS = Path(__file__).resolve().parents[3] / "docs"


class Recorder:
    """Always the same plan; remembers what it saw."""

    def __init__(self, plan: policies.Plan | None = None) -> None:
        self.answer = plan or policies.Plan(3)
        self.rounds: list[policies.RoundState] = []
        self.outcomes: list[policies.RoundOutcome] = []
        self.threads: set[int] = set()

    def plan(self, state: policies.RoundState, /) -> policies.Plan:
        self.rounds.append(state)
        self.threads.add(threading.get_ident())
        return self.answer

    def observe(self, outcome: policies.RoundOutcome, /) -> None:
        self.outcomes.append(outcome)


class Half:
    def plan(self, state: policies.RoundState, /) -> policies.Plan:
        return policies.Plan(len(state.path))


class Guesser:
    """Any plan that is in range."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)

    def plan(self, state: policies.RoundState, /) -> policies.Plan:
        draw = self.random.randint
        return policies.Plan(
            draw(0, state.max_draft),
            branch_at=self.random.choice([None, draw(0, len(state.path))]),
            branches=draw(1, state.max_branches),
            submit=self.random.choice([None, draw(0, state.max_submit)]),
        )

    def observe(self, outcome: policies.RoundOutcome, /) -> None:
        pass


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_no_policy_changes_the_text(make_fake: MakeFake, mode: str, temperature: float) -> None:
    engine = make_fake(**SLOW)
    options: dict[str, Any] = {"max_tokens": 60, "temperature": temperature, "seed": 5}
    whole = engine.generate("abc", mode="autoregressive", **options).result()
    for policy in (
        policies.Fixed(2),
        policies.Confidence(0.7),
        policies.AdaEDL(),
        policies.AdaEDL(threshold=0.9, acceptance=0.5),
        Recorder(),
        Guesser(1),
        Guesser(2),
    ):
        done = engine.generate("abc", mode=mode, policy=policy, **options).result()
        assert done.tokens == whole.tokens, policy


@pytest.mark.parametrize("mode", MODES)
def test_a_policy_sees_every_round(make_fake: MakeFake, mode: str) -> None:
    for target_step_us in (600, 6_000, 60_000):  # for machines whose threads run late
        engine = make_fake(**SLOW | {"target_step_us": target_step_us})
        policy = Recorder()
        done = engine.generate("abc", max_tokens=60, mode=mode, policy=policy).result()
        n_rounds = done.stats.n_target_steps
        assert len(policy.rounds) + done.stats.policy_skipped == n_rounds
        if len(policy.rounds) > n_rounds / 2:
            break
    assert len(policy.rounds) > n_rounds / 2
    assert policy.threads == {threading.get_ident()}
    # Outcomes of skipped rounds come too, before the next plan; the last ones never.
    assert len(policy.rounds) - 1 <= len(policy.outcomes) < n_rounds
    committed = [token for outcome in policy.outcomes for token in outcome.committed]
    assert tuple(committed) == done.tokens[: len(committed)]
    assert policies.Plan(3) in [outcome.plan for outcome in policy.outcomes]
    assert sum(o.n_rolled_back for o in policy.outcomes) <= done.stats.n_rolled_back
    for outcome in policy.outcomes:
        assert len(outcome.committed) == outcome.n_accepted + 1
    for seen in policy.rounds:
        assert seen.mode == mode
        assert seen.max_branches == (4 if mode == "specbranch" else 1)
        assert seen.max_draft == 8
        assert len(seen.path) == len(seen.confidences)
        assert [node.token for node in seen.nodes[1 : 1 + len(seen.path)]] == list(seen.path)
        assert seen.nodes[0].parent == -1
        assert all(0 < q <= 1 for q in seen.confidences)
        assert 0.0 <= seen.acceptance <= 1.0
        assert seen.features is None
        for index, node in enumerate(seen.nodes[1:], 1):
            assert 0 <= node.parent < index
            known = dict(seen.nodes[node.parent].candidates)
            assert known.get(node.token, node.confidence) == node.confidence
    last = policy.rounds[-1]
    assert last.target_ms > 0.5
    assert last.draft_ms > 0.05
    assert last.position == 2 + len(committed)


def test_rounds_and_outcomes_are_frozen(make_fake: MakeFake) -> None:
    policy = Recorder()
    engine = make_fake(**SLOW)
    for _ in range(1000):
        engine.generate("abc", max_tokens=30, policy=policy).result()
        if policy.outcomes:
            break
    for value in (policy.rounds[0], policy.outcomes[0], policies.Plan(1)):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(value, dataclasses.fields(value)[0].name, 1)
        assert not hasattr(value, "__dict__")


def test_without_a_reader_the_built_in_rule_goes_on(make_fake: MakeFake) -> None:
    engine = make_fake(**SLOW)
    policy = Recorder()
    unread = engine.generate("abc", max_tokens=40, policy=policy)
    after = engine.generate("abc", max_tokens=40)
    whole = after.result()  # generations run in order
    assert policy.rounds == []
    done = unread.result()
    assert done.tokens == whole.tokens
    assert done.stats.policy_skipped == done.stats.n_target_steps
    assert policy.rounds == []
    assert policy.outcomes == []


def test_a_policy_may_be_the_engines(make_fake: MakeFake) -> None:
    engine = make_fake(**SLOW)
    policy = Recorder()
    engine._defaults = dataclasses.replace(engine._defaults, policy=policy)
    for _ in range(1000):
        engine.generate("abc", max_tokens=30).result()
        if policy.rounds:
            break
    assert policy.rounds
    seen = len(policy.rounds)
    done = engine.generate("abc", max_tokens=30, policy=policies.Fixed(2)).result()
    assert len(policy.rounds) == seen
    assert done.stats.policy_skipped == 0
    plain = engine.generate("abc", max_tokens=30, mode="autoregressive").result()
    assert len(policy.rounds) == seen
    assert plain.tokens == done.tokens


class MineError(Exception):
    pass


@pytest.mark.parametrize("method", ["plan", "observe"])
def test_what_a_policy_raises_comes_out(make_fake: MakeFake, method: str) -> None:
    engine = make_fake(**SLOW)
    whole = engine.generate("abc", max_tokens=40).result()
    error = MineError("no idea")

    class Failing(Recorder):
        def plan(self, state: policies.RoundState, /) -> policies.Plan:
            self.fail("plan")
            return super().plan(state)

        def observe(self, outcome: policies.RoundOutcome, /) -> None:
            self.fail("observe")
            super().observe(outcome)

        def fail(self, here: str) -> None:
            if here == method and len(self.rounds) == 3:
                raise error

    generation = engine.generate("abc", max_tokens=LONG, policy=Failing())
    for reading in (list, next, list, lambda g: g.result()):
        with pytest.raises(MineError) as raised:
            reading(generation)
        assert raised.value is error
        assert "in fail" in "".join(traceback.format_exception(error))
    assert engine.generate("abc", max_tokens=40).result().tokens == whole.tokens


def test_a_policy_cannot_end_a_loop_without_a_word(make_fake: MakeFake) -> None:
    class Stopping(policies.Policy):
        def plan(self, _: policies.RoundState, /) -> policies.Plan:
            raise StopIteration

        def observe(self, outcome: policies.RoundOutcome, /) -> None:
            # Rounds pass without a plan until the reader below is there.
            assert outcome.plan is None

    generation = make_fake(**SLOW).generate("abc", max_tokens=LONG, policy=Stopping())
    for _ in range(2):
        with pytest.raises(RuntimeError, match="a function of the caller raised StopIteration"):
            generation.result()


@pytest.mark.parametrize(
    ("plan", "message"),
    [
        (policies.Plan(9), r"draft_length 9; in this round it must be in 0 \.\. 8"),
        (policies.Plan(1, branches=5), r"branches 5; in this round it must be in 1 \.\. 4"),
        (
            policies.Plan(1, branch_at=99),
            r"branch_at 99; in this round .* 0 \.\. \d, or None",
        ),
        (policies.Plan(1, submit=99), r"submit 99; in this round .* 0 \.\. \d, or None"),
        (7, r"Recorder\.plan returned 7; it must return a policies\.Plan"),
        (None, r"Recorder\.plan returned None"),
    ],
)
def test_a_bad_plan_is_refused_by_name(make_fake: MakeFake, plan: Any, message: str) -> None:
    engine = make_fake(**SLOW)
    policy = Recorder()
    policy.answer = plan
    generation = engine.generate("abc", max_tokens=LONG, policy=policy)
    for read in (generation.result, generation.__next__, generation.result):
        with pytest.raises(InvalidArgument, match=message):
            read()
    assert len(engine.generate("abc", max_tokens=40).result().tokens) == 40


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"draft_length": -1}, "draft_length is -1; it must be in 0 "),
        ({"draft_length": 2.0}, "draft_length is 2.0 .*integer"),
        ({"draft_length": True}, "draft_length is True; it must be an integer"),
        ({"draft_length": 2**31}, "draft_length is 2147483648; it must be in 0 "),
        ({"draft_length": 1, "branches": 0}, "branches is 0; it must be in 1 "),
        ({"draft_length": 1, "branch_at": -1}, "branch_at is -1; it must be in 0 "),
        ({"draft_length": 1, "submit": "x"}, "submit is 'x' .*integer"),
    ],
)
def test_a_plan_is_checked_when_made(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidArgument, match=message):
        policies.Plan(**options)


@pytest.mark.parametrize(
    ("policy", "message"),
    [
        (object(), "no method plan and no method observe"),
        (Half(), "it has no method observe"),
        (Recorder, "a class"),
        ("fixed", "it must be one of policies.Fixed"),
    ],
)
def test_what_is_no_policy_is_refused(make_fake: MakeFake, policy: Any, message: str) -> None:
    with pytest.raises(InvalidArgument, match=message):
        make_fake().generate("abc", policy=policy)
    with pytest.raises(InvalidArgument, match=message):
        Engine("none.gguf", "none.gguf", policy=policy)


def test_settings_of_the_built_in_ones_are_checked() -> None:
    for make, message in (
        (lambda: policies.AdaEDL(threshold=1.1), "threshold is 1.1; it must be in 0 .. 1"),
        (lambda: policies.AdaEDL(acceptance=-1), "acceptance is -1; it must be in 0 .. 1"),
        (lambda: policies.Confidence(float("nan")), "epsilon is nan; it must be in 0 .. 1"),
    ):
        with pytest.raises(InvalidArgument, match=re.escape(message)):
            make()


def test_cancel_and_close_from_within(make_fake: MakeFake) -> None:
    engine = make_fake(**SLOW)

    class Ending(Recorder):
        def plan(self, state: policies.RoundState, /) -> policies.Plan:
            if len(self.rounds) == 2:
                self.end()
            return super().plan(state)

        def end(self) -> None:
            generation.cancel()

    generation = engine.generate("abc", max_tokens=LONG, policy=Ending())
    assert generation.result().finish_reason == "cancelled"
    policy = Ending()
    policy.end = engine.close  # type: ignore[method-assign]
    generation = engine.generate("abc", max_tokens=LONG, policy=policy)
    assert generation.result().finish_reason == "cancelled"


def test_an_error_of_the_package_comes_out_of_a_policy_each_time(make_fake: MakeFake) -> None:
    engine, error = make_fake(**SLOW), InvalidArgument("mine")

    class Failing(Recorder):
        def plan(self, _: policies.RoundState, /) -> policies.Plan:
            raise error

    generation = engine.generate("abc", max_tokens=LONG, policy=Failing())
    for read in (generation.result, generation.__next__, generation.result):
        with pytest.raises(InvalidArgument, match="mine") as caught:
            read()
        assert caught.value is error
    assert repr(generation) == "<Generation: 0 tokens read, failed>"


def test_a_policy_must_not_read_its_own_engine(make_fake: MakeFake) -> None:
    engine = make_fake(**SLOW)

    class Greedy(Recorder):
        def plan(self, state: policies.RoundState, /) -> policies.Plan:
            next(generation)
            return super().plan(state)

    generation = engine.generate("abc", max_tokens=LONG, policy=Greedy())
    with pytest.raises(SpecBranchError, match="must not read a generation of the engine"):
        generation.result()
    assert len(engine.generate("abc", max_tokens=10).result().tokens) == 10


def test_ctrl_c_within_a_policy_cancels(make_fake: MakeFake) -> None:
    engine = make_fake(**SLOW)

    class Interrupted(Recorder):
        def plan(self, state: policies.RoundState, /) -> policies.Plan:
            if len(self.rounds) == 2:
                raise KeyboardInterrupt
            return super().plan(state)

    generation = engine.generate("abc", max_tokens=LONG, policy=Interrupted())
    with pytest.raises(KeyboardInterrupt):
        generation.result()
    assert generation.result().finish_reason == "cancelled"


def test_a_thinking_policy_does_not_hold_up_other_engines(make_fake: MakeFake) -> None:
    # Sleeping policies of many readers; no worker waits for the GIL, each engine goes on.
    class Sleeping(Recorder):
        def plan(self, state: policies.RoundState, /) -> policies.Plan:
            time.sleep(0.002)
            return super().plan(state)

    engines = [make_fake(**SLOW) for _ in range(3)]
    results: list[tuple[int, ...]] = []

    def read(engine: Engine) -> None:
        done = engine.generate("abc", max_tokens=40, policy=Sleeping()).result()
        results.append(done.tokens)

    threads = [threading.Thread(target=read, args=(engine,)) for engine in engines]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
        assert not thread.is_alive()
    assert len(results) == 3
    assert len(set(results)) == 1


def test_the_example_of_the_documentation_runs(
    make_fake: MakeFake, capsys: pytest.CaptureFixture[str]
) -> None:
    text = (DOCS / "policies.md").read_text()
    blocks = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    assert blocks
    ascii_pieces = tuple(bytes([byte]) for byte in range(32, 127))
    scope: dict[str, Any] = {"engine": make_fake(pieces=ascii_pieces, **SLOW)}
    for block in blocks:
        exec(compile(block, "policies.md", "exec"), scope)
    assert "tokens" in capsys.readouterr().out


def test_a_policy_without_a_mode_is_one_of_rounds(tiny: Path, tiny_draft: Path) -> None:
    policy = policies.Confidence(0.3)
    with Engine(tiny, tiny_draft, n_ctx=256) as plain:
        assert plain.generate("abc", max_tokens=4).result().stats.mode == "auto"
        steered = plain.generate("abc", max_tokens=4, policy=policy).result()
        assert steered.stats.mode == "specbranch"
        with pytest.raises(InvalidArgument, match="mode 'auto' takes no policy"):
            plain.generate("abc", mode="auto", policy=policy)
    with Engine(tiny, tiny_draft, n_ctx=256, policy=policy) as given:
        assert given.generate("abc", max_tokens=4).result().stats.mode == "specbranch"
        assert given.generate("abc", max_tokens=4, mode="auto").result().stats.mode == "auto"
    with pytest.raises(InvalidArgument, match="mode 'auto'"):
        Engine(tiny, tiny_draft, n_ctx=256, mode="auto", policy=policy)
