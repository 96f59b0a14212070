"""Real models: every way to stop ends the work within one forward pass, and nothing leaks."""

from __future__ import annotations

import gc
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.python.support.interrupts import INTERRUPT_WAIT
from tests.python.support.memory import least_growth, resident_kib
from tests.python.support.server_support import wait_until
from tests.python.support.tiny_gguf import write_tiny_gguf

from specbranch_cpp import Engine

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.python.conftest import RunPython


@pytest.fixture(scope="module")
def slow_pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Wide and deep enough that a prompt of `LONG` takes seconds."""
    folder = tmp_path_factory.mktemp("slow")

    def write(name: str, n_layer: int) -> Path:
        return write_tiny_gguf(
            folder / name, weight_type="Q8_0", n_embd=512, n_head=8, n_ff=1024, n_layer=n_layer
        )

    return write("target.gguf", 12), write("draft.gguf", 4)


LONG = list(range(1, 257)) * 30
ENDLESS = {0: float("-inf")}


@pytest.fixture
def slow(slow_pair: tuple[Path, Path]) -> Iterator[Engine]:
    with Engine(*slow_pair, n_ctx=8192, n_threads=1, draft_n_threads=1) as engine:
        yield engine


@pytest.mark.parametrize("mode", ["autoregressive", "specbranch"])
def test_cancel_in_prefill(slow: Engine, mode: str) -> None:
    generation = slow.generate(LONG, mode=mode)
    wait_until(lambda: generation.n_prefilled > 0)
    generation.cancel()
    done = generation.result()
    assert generation.n_prefilled < len(LONG)
    assert (done.finish_reason, done.tokens) == ("cancelled", ())
    # What is left in the caches does no harm.
    short = [5, 6, 7]
    want = slow.generate(short, max_tokens=8, mode="autoregressive").result().tokens
    assert slow.generate(short, max_tokens=8, mode=mode).result().tokens == want


def test_cancel_in_the_text(slow: Engine) -> None:
    whole = slow.generate([5, 6, 7], max_tokens=40, mode="autoregressive").result()
    for mode in ("autoregressive", "speculative", "pearl", "specbranch", "auto"):
        generation = slow.generate([5, 6, 7], max_tokens=8000, mode=mode)
        first = next(generation).token
        generation.cancel()
        done = generation.result()
        assert done.finish_reason == "cancelled"
        assert done.tokens[0] == first
        n = min(len(done.tokens), len(whole.tokens))
        assert done.tokens[:n] == whole.tokens[:n]
        again = slow.generate([5, 6, 7], max_tokens=40, mode=mode).result()
        assert again.tokens == whole.tokens


@pytest.mark.parametrize("prompt", ["prefill", "text"])
def test_dropping_makes_room_for_the_next(slow: Engine, prompt: str) -> None:
    texts = [slow.generate(LONG if prompt == "prefill" else [5], logit_bias=ENDLESS)]
    wait_until(lambda: texts[0].n_prefilled > 0)
    texts.clear()
    slow.generate([5], max_tokens=1).result()
    # The next text comes after it. To its end it would have filled the context.
    assert slow.stats.n_generated < (slow.n_ctx - len(LONG) if prompt == "prefill" else slow.n_ctx)


@pytest.mark.parametrize("prompt", ["prefill", "text"])
def test_close_from_another_thread(slow: Engine, prompt: str) -> None:
    generation = slow.generate(LONG if prompt == "prefill" else [5], logit_bias=ENDLESS)
    timer = threading.Timer(0.2, slow.close)
    timer.start()
    done = generation.result()
    timer.join()
    assert done.finish_reason == "cancelled"
    assert prompt == "text" or done.tokens == ()


PREAMBLE = """
import os, signal, sys, threading, time
from specbranch_cpp import Engine
LONG = list(range(1, 257)) * 30
ENDLESS = {0: float("-inf")}
"""


@pytest.mark.parametrize(
    ("prompt", "begins"), [("LONG", "generation.n_prefilled > 0"), ("[5]", "generation.n_read > 3")]
)
def test_interrupt(
    slow_pair: tuple[Path, Path], python: RunPython, prompt: str, begins: str
) -> None:
    code = f"""
engine = Engine({str(slow_pair[0])!r}, {str(slow_pair[1])!r}, n_ctx=8192, n_threads=1)
generation = engine.generate({prompt}, logit_bias=ENDLESS)
try:
    interrupt_wait(begins=lambda: {begins})
    generation.result()
except KeyboardInterrupt:
    print(generation.result().finish_reason)
assert engine.generate([5], max_tokens=3).result().finish_reason == "length"
"""
    assert python(INTERRUPT_WAIT + PREAMBLE + code) == "cancelled"


def test_interrupt_while_loading(slow_pair: tuple[Path, Path], python: RunPython) -> None:
    code = f"""
def progress(share):
    signal.raise_signal(signal.SIGINT)
for _ in range(2):
    try:
        Engine({str(slow_pair[0])!r}, progress_callback=progress)
    except KeyboardInterrupt:
        print("interrupted")
"""
    assert python(PREAMBLE + code).split() == ["interrupted"] * 2


@pytest.mark.parametrize("prompt", ["LONG", "[5]"])
def test_exit_with_a_live_generation(
    slow_pair: tuple[Path, Path], python: RunPython, prompt: str
) -> None:
    # What is registered before the package is called after it.
    told = """
import atexit
atexit.register(lambda: print(generation.result().finish_reason))
"""
    code = f"""
engine = Engine({str(slow_pair[0])!r}, {str(slow_pair[1])!r}, n_ctx=8192, n_threads=1)
generation = engine.generate({prompt}, logit_bias=ENDLESS)
time.sleep(0.1)
"""
    assert python(told + PREAMBLE + code) == "cancelled"


def test_a_forked_child(slow_pair: tuple[Path, Path], python: RunPython) -> None:
    code = f"""
from specbranch_cpp import EngineClosed
paths = {str(slow_pair[0])!r}, {str(slow_pair[1])!r}
engine = Engine(*paths, n_ctx=1024, n_threads=1)
want = engine.generate([5], max_tokens=8).result().tokens
generation = engine.generate([5], max_tokens=300)
next(generation)
child = os.fork()
if child == 0:
    try:
        engine.generate([5])
    except EngineClosed:
        with Engine(*paths, n_ctx=256, n_threads=1) as own:
            assert own.generate([5], max_tokens=8).result().tokens == want
        sys.exit(7)
pid, status = os.waitpid(child, 0)
print(os.waitstatus_to_exitcode(status), len(generation.result().tokens))
"""
    assert python(PREAMBLE + code) == "7 300"


def test_memory_is_flat(tmp_path: Path) -> None:
    target = write_tiny_gguf(tmp_path / "target.gguf", weight_type="Q8_0")
    draft = write_tiny_gguf(tmp_path / "draft.gguf", weight_type="Q8_0", n_layer=1)
    grammar = 'root ::= [a-z ]+ "."'
    with Engine(target, draft, n_ctx=256, n_threads=1, draft_n_threads=1) as engine:

        def run(n: int) -> None:
            for seed in range(n):
                engine.generate(
                    f"text {seed % 50}",
                    max_tokens=6,
                    temperature=1.0,
                    seed=seed,
                    logprobs=2,
                    repeat_penalty=1.1,
                    grammar=grammar if seed % 4 == 0 else None,
                    mode=("autoregressive", "speculative", "pearl", "specbranch")[seed // 2 % 4],
                ).result()
                if seed % 3 == 0:
                    engine.generate("dropped")

        run(150)
        resident = []
        for _ in range(4):
            gc.collect()
            resident.append(resident_kib())
            run(200)
        assert least_growth(resident) < 400


def test_engines_give_their_memory_back(slow_pair: tuple[Path, Path]) -> None:
    def run() -> None:
        with Engine(*slow_pair, n_ctx=2048, n_threads=1) as engine:
            engine.generate([5], max_tokens=2).result()

    resident = []
    for _ in range(4):
        for _ in range(3):
            run()
        resident.append(resident_kib())
    # Three engines hold more than 60,000; malloc may keep once what one or two have used.
    assert least_growth(resident) < 40_000


def test_a_signal_handler_that_reads_to_the_end(python: RunPython) -> None:
    code = """
import signal, os, threading
from specbranch_cpp import Engine, _core
options = _core._FakeOptions()
options.step_us = 100_000
engine = Engine._from_core(_core._fake_engine(options, None, [b"a"] * options.n_vocab))
generation = engine.generate([0], max_tokens=40, mode="autoregressive")
seen = []
signal.signal(signal.SIGUSR1, lambda *_: seen.append(generation.result()))
threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGUSR1)).start()
rest = list(generation)
print(len(seen[0].tokens), len(rest), generation.result() is seen[0])
"""
    assert python(code).split()[::2] == ["40", "True"]
