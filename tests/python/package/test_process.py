"""What the process around an engine does: signals, the end, forks."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest
from tests.python.support.interrupts import INTERRUPT_WAIT

from specbranch_cpp._engine import lifetime

if TYPE_CHECKING:
    from pathlib import Path
    from types import FrameType
    from typing import Any

    from tests.python.conftest import MakeFake, RunPython

    from specbranch_cpp import Chunk

# An engine of fakes whose passes take `step_us`; the whole context takes hours, and so would a
# pass of `HOUR`: what is not stopped ends at the time limit of the child.
PREAMBLE = """
import os, signal, sys, threading, time
from specbranch_cpp import Engine, EngineClosed, _core

HOUR = 3_600_000_000

def make(step_us=200_000, n_ctx=200_000):
    options = _core._FakeOptions()
    options.step_us = step_us
    options.n_ctx = n_ctx
    pieces = [bytes([97 + i % 26]) for i in range(options.n_vocab)]
    return Engine._from_core(_core._fake_engine(options, options, pieces))
"""


@pytest.mark.parametrize(
    ("step_us", "n_read", "wait"),
    [
        (20_000, 3, "list(generation)"),
        (20_000, 3, "generation.result()"),
        (3_600_000_000, 0, "next(generation)"),  # within the first pass, that of the prompt
    ],
)
def test_interrupt_cancels_and_comes_out(
    python: RunPython, step_us: int, n_read: int, wait: str
) -> None:
    code = f"""
engine = make({step_us})
generation = engine.generate("abc")
try:
    interrupt_wait(begins=lambda: generation.n_read >= {n_read})
    {wait}
except KeyboardInterrupt:
    print(generation.result().finish_reason)
assert engine.generate("abc", max_tokens=0).result().finish_reason == "length"
"""
    assert python(INTERRUPT_WAIT + PREAMBLE + code) == "cancelled"


def test_any_exception_of_a_signal_handler_cancels(python: RunPython) -> None:
    code = """
def handler(number, frame):
    raise LookupError("from the handler")
signal.signal(signal.SIGUSR1, handler)
generation = make().generate("abc")
try:
    interrupt_wait(signal.SIGUSR1)
    generation.result()
except LookupError as error:
    print(error, generation.result().finish_reason)
"""
    assert python(INTERRUPT_WAIT + PREAMBLE + code) == "from the handler cancelled"


def test_a_signal_handler_that_returns_changes_nothing(python: RunPython) -> None:
    code = """
engine = make(20_000)
calm = engine.generate("abc", max_tokens=20).result().text
seen = []
def handler(number, frame):
    seen.extend(chunk.text for chunk in [next(generation, None)] if chunk is not None)
signal.signal(signal.SIGALRM, handler)
while not seen:  # on a busy machine a text may be whole before its reader runs
    generation = engine.generate("abc", max_tokens=20)
    signal.setitimer(signal.ITIMER_REAL, 0.05, 0.05)
    chunks = [chunk.text for chunk in generation]
    signal.setitimer(signal.ITIMER_REAL, 0)
    assert generation.result().text == calm
assert len(seen) + len(chunks) == 21, (seen, chunks)
"""
    python(PREAMBLE + code)


def test_a_signal_handler_may_read_at_any_line(make_fake: MakeFake) -> None:
    engine = make_fake()
    calm = engine.generate("abc", max_tokens=6).result()
    n_lines = 0

    def trace(frame: FrameType, event: str, _: object) -> Any:
        nonlocal n_lines
        if event == "line" and frame.f_code.co_filename.endswith("generation.py"):
            n_lines += 1
            if n_lines == strike:
                sys.settrace(None)
                seen.extend(chunk for chunk in [next(generation, None)] if chunk is not None)
        return trace

    for strike in range(1, 10_000):
        generation = engine.generate("abc", max_tokens=6)
        seen: list[Chunk] = []
        n_lines = 0
        sys.settrace(trace)
        chunks = list(generation)
        sys.settrace(None)
        assert len(seen) + len(chunks) == 7, strike
        assert generation.result().tokens == calm.tokens
        assert generation.result().text == calm.text
        if n_lines < strike:
            break
    assert strike > 50


ENDINGS = {
    "falling off": "",
    "sys.exit": "sys.exit(0)",
    "a daemon reader": "threading.Thread(target=generation.result, daemon=True).start()\n"
    "time.sleep(0.1)",
    "a reader": "threading.Thread(target=generation.result).start()\ngeneration.cancel()",
    "many": "more = [engine.generate('abc') for _ in range(5)]\nrest = [make(), make(), make()]",
    "a cycle": "cycle = [engine, generation]; cycle.append(cycle); del engine, generation",
}


@pytest.mark.parametrize("ending", ENDINGS)
def test_exit_with_a_live_generation(python: RunPython, ending: str) -> None:
    code = f"""
engine = make(HOUR)
generation = engine.generate("abc")
print("there")
{ENDINGS[ending]}
"""
    assert python(PREAMBLE + code) == "there"


LOADING = """
import threading, time
from specbranch_cpp import Engine, EngineClosed
loading = threading.Event()

def progress(share):
    loading.set()
    time.sleep(0.05)

def load():
    while True:
        Engine(PATH, n_ctx=128, n_threads=1, trusted=True, isolate=ISOLATE, measure_costs=False,
               progress_callback=progress)

def loads():
    try:
        load()
    except EngineClosed:
        pass

for _ in range(3):
    threading.Thread(target=loads, daemon=True).start()
assert loading.wait(120)
print("there")
"""


@pytest.mark.parametrize("isolate", [False, True])
def test_exit_while_models_load(python: RunPython, tiny: Path, isolate: bool) -> None:
    code = LOADING.replace("PATH", repr(str(tiny))).replace("ISOLATE", str(isolate))
    assert python(code) == "there"


def test_no_load_begins_at_the_end(python: RunPython, tiny: Path) -> None:
    code = f"""
import atexit

def load():
    try:
        Engine({str(tiny)!r}, n_ctx=128, trusted=True)
    except EngineClosed as error:
        print(error)

atexit.register(load)  # runs after the ends that are registered later
from specbranch_cpp import Engine, EngineClosed
"""
    told = "[Engine] the engine was not loaded, because the program ends"
    assert python(code) == told


def test_an_engine_that_cannot_be_closed_keeps_no_other_one_open(
    make_fake: MakeFake, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken() -> None:
        raise ZeroDivisionError

    engines = [make_fake(), make_fake()]
    monkeypatch.setattr(lifetime, "_live", engines)
    with monkeypatch.context() as patch:
        patch.setattr(engines[0], "close", broken)
        with pytest.raises(ZeroDivisionError):
            lifetime._close_all()
    assert [engine.closed for engine in engines] == [False, True]


# The parent's engine works while the child looks at its copy.
FORK = """
engine = make(20_000)
generation = engine.generate("abc", max_tokens=30)
next(generation)
read_by_another = engine.generate("abc", max_tokens=1)
threading.Thread(target=read_by_another.result).start()
time.sleep(0.05)
def reap(child):
    begin = time.monotonic()
    while time.monotonic() - begin < 60:
        pid, status = os.waitpid(child, os.WNOHANG)
        if pid:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.01)
    os.kill(child, signal.SIGKILL)
    return "hangs"
def closed(call):
    try:
        call()
    except EngineClosed as error:
        return "fork" in str(error)
sys.stdout.flush()
child = os.fork()
if child == 0:
    {child}
else:
    print(reap(child))
    done = generation.result()
    print(done.finish_reason, len(done.tokens))
"""

CHILDREN = {
    "calls": """
    assert closed(lambda: engine.generate("abc"))
    assert closed(lambda: engine.tokenize("abc"))
    assert closed(lambda: next(generation))
    assert closed(generation.result)
    generation.cancel()
    assert engine.closed
    repr(engine), engine.stats
    engine.close()
    engine.close()""",
    "sys.exit": "sys.exit(0)",
    "os._exit": "os._exit(0)",
    "drops": "del generation, engine",
    "drops the engine first": "del engine; del generation",
    "with": """
    with engine, generation:
        pass""",
    "calls while another thread of the parent reads": """
    assert closed(lambda: next(read_by_another))
    assert closed(read_by_another.result)
    del read_by_another""",
    "its own engine": """
    own = make(100)
    assert len(own.generate("abc", max_tokens=30).result().tokens) == 30
    own.close()""",
    "its own engine, left open": """
    own = make(100, 512).generate("abc").result()""",
}


@pytest.mark.parametrize("child", CHILDREN)
def test_a_forked_child_neither_hangs_nor_crashes(python: RunPython, child: str) -> None:
    code = FORK.replace("{child}", CHILDREN[child].strip())
    assert python(PREAMBLE + code).split() == ["0", "length", "30"]


def test_fork_while_reading(python: RunPython) -> None:
    """The child is forked off by another thread than the one that reads."""
    code = """
engine = make(1_000)
def read():
    for _ in range(20):
        engine.generate("abc", max_tokens=20).result()
readers = [threading.Thread(target=read) for _ in range(3)]
[reader.start() for reader in readers]
for _ in range(20):
    child = os.fork()
    if child == 0:
        assert engine.closed
        engine.close()
        sys.exit(0)
    pid, status = os.waitpid(child, 0)
    assert status == 0, status
[reader.join() for reader in readers]
print("joined")
"""
    assert python(PREAMBLE + code) == "joined"


def test_multiprocessing_by_fork(python: RunPython) -> None:
    code = """
import multiprocessing
engine = make(1_000)
generation = engine.generate("abc", max_tokens=20)
process = multiprocessing.get_context("fork").Process(target=lambda: engine.close())
process.start()
process.join(60)
print(process.exitcode, len(generation.result().tokens))
"""
    assert python(PREAMBLE + code) == "0 20"
