"""Isolated engines asked by code that runs anywhere: handlers of signals and logs, finalizers."""

from __future__ import annotations

import contextlib
import enum
import io
import logging
import os
import socket
import subprocess
import sys
import threading
import types
from pathlib import Path
from typing import Any

import pytest
from tests.python.support.isolated import PROMPT, new_engine

from specbranch_cpp import Engine, EngineClosed, InvalidArgument, SpecBranchError
from specbranch_cpp._isolated import child, frames
from specbranch_cpp._isolated.child import Connection, OrderServer
from specbranch_cpp._isolated.plain_values import plain
from specbranch_cpp._isolated.remote_core import RemoteCore
from specbranch_cpp._support import logs
from specbranch_cpp._support.wakeups import Changes, Wakeup

AT_LINES = """
import sys
from specbranch_cpp import Engine

FILES = ("remote_generation.py", "process.py", "wakeups.py", "threading.py", "remote_channel.py")
n_lines = 0
inside = False

def trace(frame, event, argument):
    global n_lines, inside
    if not inside and event == "line" and frame.f_code.co_filename.endswith(FILES):
        inside = True
        n_lines += 1
        act(n_lines)
        inside = False
    return trace

def text(engine, **options):
    global n_lines
    n_lines = 0
    generation = engine.generate("abc", max_tokens=60, **options)
    sys.settrace(trace)
    try:
        return len(generation.result().tokens)
    finally:
        sys.settrace(None)

def new():
    return Engine(sys.argv[1], n_ctx=128, n_threads=1, isolate=True, measure_costs=False)

"""
ASKS = """
with new() as engine:
    act = lambda n: engine.tokenize("ab")
    print(text(engine, logits_processor=[lambda tokens, scores: scores]), n_lines > 10)
"""
CLOSES = """
from specbranch_cpp import EngineClosed, InvalidArgument
for last in range(1, 40, 5):
    engine = new()
    act = lambda n: engine.close() if n == last else None
    try:
        text(engine)
    except EngineClosed:
        pass
    engine.close()
print("ended")
"""


@pytest.mark.parametrize(("code", "printed"), [(ASKS, "60 True"), (CLOSES, "ended")])
def test_a_signal_handler_may_run_at_any_line(tiny: Path, code: str, printed: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", AT_LINES + code, str(tiny)],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        stdout=subprocess.PIPE, text=True, check=True, timeout=240,
    )  # fmt: skip
    assert done.stdout.strip() == printed


def test_a_finalizer_on_the_thread_of_the_connection_waits_for_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    told: list[BaseException | None] = []
    update = RemoteCore._update

    def finalized(core: RemoteCore, last_words: dict[str, Any]) -> None:
        update(core, last_words)
        try:
            engine.tokenize("x")
        except BaseException as error:  # noqa: BLE001, it is looked at below
            told.append(error)
        engine.close()
        told.append(None)

    monkeypatch.setattr(RemoteCore, "_update", finalized)
    engine = new_engine()
    with contextlib.suppress(EngineClosed):  # or the whole text, if its end is read first
        engine.complete(PROMPT, max_tokens=4)
    refused, closed = told
    assert type(refused) is SpecBranchError
    assert "cannot be asked here" in str(refused)
    assert closed is None
    assert engine.closed
    with pytest.raises(EngineClosed):
        engine.tokenize("x")


def test_a_handler_of_the_log_may_ask_the_engine() -> None:
    class Asking(logging.Handler):
        def emit(self, _: logging.LogRecord) -> None:
            found.append(engine.tokenize("ab"))

    found: list[list[int]] = []
    handler, level = Asking(), logs.LOGGER.level
    with new_engine() as engine:
        expected = engine.tokenize("ab")
        logs.LOGGER.addHandler(handler)
        logs.LOGGER.setLevel(logging.INFO)
        try:
            new_engine().close()
        finally:
            logs.LOGGER.removeHandler(handler)
            logs.LOGGER.setLevel(level)
    assert found
    assert found == [expected] * len(found)


class Mode(str, enum.Enum):
    AUTO = "auto"


class Two(enum.IntEnum):
    TWO = 2


class Half(float):
    pass


def test_values_become_pythons_own() -> None:
    given = {"mode": Mode.AUTO, "more": [Two.TWO, (Half(0.5), True, None, b"x")]}
    made = plain(given)
    assert made == {"mode": "auto", "more": [2, (0.5, True, None, b"x")]}
    kinds = [type(made["mode"]), type(made["more"][0]), *map(type, made["more"][1])]
    assert kinds == [str, int, float, bool, type(None), bytes]


def test_classes_that_the_process_cannot_import_do_not_end_it(
    tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = types.ModuleType("a_program_of_this_test")
    monkeypatch.setitem(sys.modules, here.__name__, here)
    for kind in (Mode, Two):
        monkeypatch.setattr(kind, "__module__", here.__name__)
        setattr(here, kind.__name__, kind)
    with Engine(
        tiny, n_ctx=128, n_threads=1, isolate=True, n_parallel=Two.TWO, measure_costs=False
    ) as engine:
        assert engine.n_parallel == 2
        done = engine.complete("abc", max_tokens=Two.TWO, mode=Mode.AUTO, samplers=["top_k"])
        assert len(done.tokens) == 2


def test_a_call_that_cannot_be_read_is_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    class Gone:
        pass

    here = types.ModuleType("a_program_that_is_gone")
    Gone.__module__, Gone.__qualname__ = here.__name__, "Gone"
    here.Gone = Gone  # type: ignore[attr-defined]
    ours, theirs = socket.socketpair()
    with ours, theirs:
        with monkeypatch.context() as patch:
            patch.setitem(sys.modules, here.__name__, here)
            frames.write_order(ours, ("call", 7, "generate", 1, Gone()))
            frames.write_order(ours, ("call", 8, "ends"))
        with theirs.makefile("rb") as stream:
            kind, number, name, why = frames.read_order(stream) or ()
            assert (kind, number, name) == ("call", 7, "unreadable")
            assert here.__name__ in why
            assert frames.read_order(stream) == ("call", 8, "ends")
        OrderServer(Connection(theirs)).obey((kind, number, name, why))
        with ours.makefile("rb") as stream:
            answer = frames.read_data(stream)
    assert answer is not None
    assert answer[:2] == ["error", 7]
    assert answer[2][0] == InvalidArgument.__name__


def test_long_calls_do_not_hold_up_orders(monkeypatch: pytest.MonkeyPatch) -> None:
    go_on = threading.Event()

    def slow(_: OrderServer, text: bytes, *__: object) -> bytes:
        if len(text) > child._SHORT:
            assert go_on.wait(60)
        return b""

    monkeypatch.setattr(OrderServer, "_call_tokenize", slow)
    ours, theirs = socket.socketpair()
    with ours, theirs:
        server = OrderServer(Connection(theirs))
        server.obey(("call", 1, "tokenize", bytes(child._SHORT + 1), True, True))
        server.obey(("call", 2, "tokenize", b"short", True, True))
        go_on.set()
        with ours.makefile("rb") as stream:
            answers = [frames.read_data(stream), frames.read_data(stream)]
    assert answers == [["answer", 2, b""], ["answer", 1, b""]]


def test_verbose_lines_go_to_the_standard_error_of_the_moment() -> None:
    shown = [one for one in logs.LOGGER.handlers if isinstance(one, logs._Shown)]
    level = logs.LOGGER.level
    try:
        for _ in range(2):
            with contextlib.redirect_stderr(io.StringIO()) as stream:
                logs.show()
                logs.LOGGER.info("a line")
            assert stream.getvalue() == "a line\n"
    finally:
        logs.LOGGER.setLevel(level)
        for one in [*logs.LOGGER.handlers]:
            if isinstance(one, logs._Shown) and one not in shown:
                logs.LOGGER.removeHandler(one)


def test_wakeups_are_kept_until_somebody_waits() -> None:
    wakeup = Wakeup()
    wakeup.set()
    wakeup.set()
    assert wakeup.wait(0)
    assert not wakeup.wait(0)
    changes = Changes()
    changes.tell()
    with changes.watched() as first, changes.watched() as second:
        assert not first.wait(0)
        changes.tell()
        assert first.wait(0)
        assert second.wait()
        assert not first.wait(0)
