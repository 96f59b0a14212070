"""A process of an engine that hangs is ended after `isolate_timeout`; a slow one is not."""

from __future__ import annotations

import os
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest
from tests.python.support.isolated import PROMPT, is_gone, new_engine, process_of
from tests.python.support.server_support import wait_until

from specbranch_cpp import Engine, EngineDied, InvalidArgument, ModelLoadError, demo, policies
from specbranch_cpp._isolated import child
from specbranch_cpp._isolated import process as process_module
from specbranch_cpp._isolated.process import EngineProcess
from specbranch_cpp._support.silence import SilenceWatch

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

LIMIT_S = 3.0
N_STEPS = 4
"""The watch counts the limit in so many steps. Most tests grant each step, so no clock runs."""

# The child's other threads live on, as they do when llama.cpp hangs without the GIL.
HUNG_TEXT = """
import threading
from specbranch_cpp._isolated import child, served_text
read, n = served_text.ServedText._read, [0]
def hung(self):
    n[0] += 1
    threading.Event().wait() if n[0] > 1 else read(self)
served_text.ServedText._read = hung
child.main()
"""
HUNG_LOADING = """
import threading
from specbranch_cpp._engine import loading
from specbranch_cpp._isolated import child
loading.load = lambda *_: threading.Event().wait()
child.main()
"""
# Each token waits for a byte of the test.
SLOW = """
import os
from specbranch_cpp._isolated import child
send, gate = child.Connection.send, os.open({gate!r}, os.O_RDONLY)
def slow(self, kind, *message):
    if kind == "token":
        os.read(gate, 1)
    send(self, kind, *message)
child.Connection.send = slow
child.main()
"""


class GrantedSteps:
    """In the place of the event that stops a watch. The test says when a step is over."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._n_granted = 0
        self._is_waiting = self._is_stopped = False

    def wait(self, _step_s: float) -> bool:
        with self._changed:
            self._is_waiting = True
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._n_granted or self._is_stopped)
            self._n_granted = 0
            return self._is_stopped

    def set(self) -> None:
        with self._changed:
            self._is_stopped = True
            self._changed.notify_all()

    def grant(self, n_steps: int) -> None:
        """So many steps pass. The watch has looked after each of them, unless it was stopped."""
        with self._changed:
            for _ in range(n_steps):
                self._wait_for_watch()
                self._is_waiting = False
                self._n_granted = 1
                self._changed.notify_all()
            self._wait_for_watch()

    def _wait_for_watch(self) -> None:
        assert self._changed.wait_for(lambda: self._is_waiting or self._is_stopped, 120)


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> list[GrantedSteps]:
    """The steps of each watch that is started in the test."""
    found: list[GrantedSteps] = []
    start = SilenceWatch.start

    def stepped(watch: SilenceWatch) -> None:
        found.append(GrantedSteps())
        watch._stopped = found[-1]  # type: ignore[assignment]
        start(watch)

    monkeypatch.setattr(SilenceWatch, "start", stepped)
    return found


def test_a_text_that_hangs(monkeypatch: pytest.MonkeyPatch, steps: list[GrantedSteps]) -> None:
    monkeypatch.setattr(process_module, "_CHILD", HUNG_TEXT)
    engine = new_engine(isolate_timeout=LIMIT_S)
    assert engine.complete(PROMPT, max_tokens=4).tokens  # the first text is whole
    process = process_of(engine)
    generations = [engine.generate(PROMPT, max_tokens=4) for _ in range(2)]
    while not engine.closed:  # the prompts are still a sign
        steps[0].grant(1)
    for generation in generations:
        with pytest.raises(EngineDied, match=r"did nothing for 3 s \(isolate_timeout\)") as died:
            generation.result()
    assert "a new engine can be made" in str(died.value)
    assert engine.closed
    assert is_gone(process)
    engine.restart()
    assert engine.complete(PROMPT, max_tokens=4).tokens
    engine.close()


def test_loading_that_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process_module, "_CHILD", HUNG_LOADING)
    with pytest.raises(ModelLoadError, match=r"did nothing for 0\.3 s .* it was loading"):
        new_engine(isolate_timeout=0.3)


def test_a_slow_engine_lives_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, steps: list[GrantedSteps]
) -> None:
    """The whole text takes many times the limit; each token comes just within it."""
    with new_engine() as engine:
        expected = engine.complete(PROMPT, max_tokens=24, temperature=0).tokens
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    ours = os.open(gate, os.O_RDWR)
    monkeypatch.setattr(process_module, "_CHILD", SLOW.format(gate=str(gate)))
    with new_engine(isolate_timeout=LIMIT_S) as engine:
        generation = engine.generate(PROMPT, max_tokens=24, temperature=0)
        for token in expected:
            steps[0].grant(N_STEPS)  # the first of them has a sign
            os.write(ours, b"x")
            assert next(generation).token == token
        assert generation.result().tokens == expected
    os.close(ours)


def test_an_idle_engine_lives_on(steps: list[GrantedSteps]) -> None:
    with new_engine(isolate_timeout=LIMIT_S) as engine:
        engine.complete(PROMPT, max_tokens=2)
        steps[0].grant(3 * N_STEPS)
        unread = engine.generate(PROMPT, max_tokens=2)
        wait_until(lambda: engine.stats.n_generations == 2)
        steps[0].grant(3 * N_STEPS)
        assert unread.result().tokens
        assert not engine.closed


class Slow:
    """A policy that takes longer than the limit."""

    def __init__(self, steps: list[GrantedSteps]) -> None:
        self.n_rounds = 0
        self._steps = steps

    def plan(self, state: policies.RoundState) -> policies.Plan:
        self.n_rounds += 1
        if self.n_rounds == 1:
            self._steps[0].grant(3 * N_STEPS)
        return policies.Plan(min(2, state.max_draft))

    def observe(self, outcome: policies.RoundOutcome) -> None:
        pass


def test_functions_of_the_caller_may_take_their_time(steps: list[GrantedSteps]) -> None:
    n_calls = 0

    def slow(_ids: NDArray[np.int32], scores: NDArray[np.float32]) -> NDArray[np.float32]:
        nonlocal n_calls
        n_calls += 1
        if n_calls == 2:
            steps[0].grant(3 * N_STEPS)
        return scores

    with new_engine(isolate_timeout=LIMIT_S) as engine:
        assert engine.complete(PROMPT, max_tokens=3, logits_processor=[slow]).tokens
        assert n_calls >= 2
        policy = Slow(steps)
        assert engine.complete(PROMPT, max_tokens=100, mode="speculative", policy=policy).tokens
        assert policy.n_rounds >= 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"isolate": True, "isolate_timeout": 0}, "isolate_timeout is 0; it must be above 0"),
        ({"isolate": True, "isolate_timeout": float("nan")}, "it must be above 0"),
        ({"isolate": True, "isolate_timeout": "1"}, "isolate_timeout is '1'"),
        ({"isolate": False, "isolate_timeout": 1.0}, "isolate_timeout is 1.0, but isolate is"),
    ],
)
def test_wrong_limits(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidArgument, match=message):
        Engine(*demo.pair(), **options)


def test_a_watch_counts_from_the_last_sign() -> None:
    ended = threading.Event()
    answers = iter([True, True, True, False, True, True, True, True, False])
    steps: list[float] = []

    def is_silent(step_s: float) -> bool:
        steps.append(step_s)
        return next(answers)

    SilenceWatch(0.25, is_silent, ended.set).start()  # four silent steps in a row
    assert ended.wait(120)
    assert steps == [0.0625] * 8


def test_a_watch_that_was_stopped() -> None:
    asked, stopped, ended = threading.Event(), threading.Event(), threading.Event()

    def is_silent(_: float) -> bool:
        asked.set()
        assert stopped.wait(120)
        return True

    watch = SilenceWatch(0.1, is_silent, ended.set)
    watch.start()
    assert asked.wait(120)
    watch.stop()
    stopped.set()
    watch._thread.join(120)
    assert not watch._thread.is_alive()
    assert not ended.is_set()


@pytest.mark.parametrize("limit_s", [None, 60.0])
def test_only_a_process_with_a_limit_says_that_it_works(
    monkeypatch: pytest.MonkeyPatch, limit_s: float | None
) -> None:
    kinds: list[str] = []
    pass_on = EngineProcess._pass_on

    def noted(self: EngineProcess, kind: str, *message: Any) -> None:
        kinds.append(kind)
        pass_on(self, kind, *message)

    monkeypatch.setattr(EngineProcess, "_pass_on", noted)
    with new_engine(isolate_timeout=limit_s) as engine:
        generation = engine.generate(PROMPT, max_tokens=2)  # it stays, so it is looked at
        generation.result()
        if limit_s is None:
            time.sleep(3 * child._REPORT_S)
        else:
            wait_until(lambda: "working" in kinds)
    assert "token" in kinds
    assert ("working" in kinds) == (limit_s is not None)
