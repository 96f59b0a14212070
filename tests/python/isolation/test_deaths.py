"""The process of an isolated engine ends in every state; the program of the caller goes on."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tests.python.support.isolated import LONG, PROMPT, is_gone, new_engine, process_of
from tests.python.support.killer_file import write_killer

from specbranch_cpp import Engine, EngineDied, ModelLoadError, demo, policies
from specbranch_cpp._isolated import process as process_module
from specbranch_cpp._isolated import remote_core
from specbranch_cpp._llama.child import child_environment
from specbranch_cpp.errors import EngineClosed

if TYPE_CHECKING:
    from collections.abc import Callable

SIGNALS = (signal.SIGKILL, signal.SIGABRT, signal.SIGBUS)
REPEATS = int(os.environ.get("SPECBRANCH_DEATHS", "1"))
"""How often each state is tried with each signal."""


class Slow:
    """A policy that lets the test end the process while it is asked."""

    def __init__(self, strike: Callable[[], None]) -> None:
        self.strike = strike

    def plan(self, state: policies.RoundState) -> policies.Plan:
        if state.position > 20:
            self.strike()
        return policies.Plan(min(2, state.max_draft))

    def observe(self, outcome: policies.RoundOutcome) -> None:
        pass


def idle(_: Engine, strike: Callable[[], None]) -> list[Any]:
    strike()
    return []


def reading(engine: Engine, strike: Callable[[], None]) -> list[Any]:
    generation = engine.generate(PROMPT, **LONG)
    next(generation)
    strike()
    return [generation]


def prefill(engine: Engine, strike: Callable[[], None]) -> list[Any]:
    generation = engine.generate("x = 1\n" * 80, **LONG)
    strike()
    return [generation]


def waiting(engine: Engine, strike: Callable[[], None]) -> list[Any]:
    all_of_them = [engine.generate(PROMPT, **LONG) for _ in range(4)]
    next(all_of_them[1])
    strike()
    return all_of_them


def while_a_thread_reads(engine: Engine, strike: Callable[[], None]) -> list[Any]:
    generation = engine.generate(PROMPT, **LONG)
    threading.Timer(0.05, strike).start()
    with contextlib.suppress(EngineDied):
        generation.result()
    return [generation]


def in_a_policy(engine: Engine, strike: Callable[[], None]) -> list[Any]:
    generation = engine.generate(PROMPT, **LONG, mode="speculative", policy=Slow(strike))
    with pytest.raises(EngineDied):
        generation.result()
    return []


def in_a_processor(engine: Engine, strike: Callable[[], None]) -> list[Any]:
    def edit(input_ids: Any, scores: Any) -> Any:
        if len(input_ids) == 30:
            strike()
        return scores

    return [engine.generate(PROMPT, max_tokens=99, logits_processor=edit)]


def with_a_grammar(engine: Engine, strike: Callable[[], None]) -> list[Any]:
    generation = engine.generate(PROMPT, **LONG, grammar='root ::= ("ab" | "c") root')
    next(generation)
    strike()
    return [generation]


STATES = (
    idle, reading, prefill, waiting, while_a_thread_reads, in_a_policy, in_a_processor,
    with_a_grammar,
)  # fmt: skip


@pytest.mark.parametrize("repeat", range(REPEATS))
@pytest.mark.parametrize("number", SIGNALS)
@pytest.mark.parametrize("state", STATES)
def test_a_signal_in_every_state(state: Any, number: signal.Signals, repeat: int) -> None:
    del repeat
    engine = new_engine(n_ctx=8192)
    child = process_of(engine)
    for generation in state(engine, lambda: os.kill(child, number)):
        with pytest.raises(EngineDied, match=f"has ended: by {number.name}") as error:
            generation.result()
        assert error.value.exit_code == -number
    assert is_gone(child)
    assert engine.closed
    for use in (
        lambda: engine.complete(PROMPT, max_tokens=4), lambda: engine.tokenize("x"),
        lambda: engine.token_bytes(5), lambda: engine.costs,
    ):  # fmt: skip
        with pytest.raises(EngineDied, match=number.name):
            use()
    engine.close()
    with new_engine() as again:
        assert len(again.complete(PROMPT, max_tokens=4).tokens) == 4


def test_the_next_engine_has_the_same_text() -> None:
    with new_engine() as engine:
        expected = engine.complete(PROMPT, max_tokens=30, seed=1, temperature=0.7).tokens
        os.kill(process_of(engine), signal.SIGKILL)
        with pytest.raises(EngineDied):
            engine.complete(PROMPT, max_tokens=30)
    with new_engine() as engine:
        assert engine.complete(PROMPT, max_tokens=30, seed=1, temperature=0.7).tokens == expected


def test_a_file_that_is_cut_while_it_is_mapped(tmp_path: Path) -> None:
    """The system ends a process (SIGBUS) that reads behind the end of a mapped file."""
    path = tmp_path / "cut.gguf"
    shutil.copy(demo.pair()[0], path)
    engine = Engine(path, n_ctx=256, isolate=True, use_extra_bufts=False)
    assert len(engine.complete(PROMPT, max_tokens=4).tokens) == 4
    os.truncate(path, 4096)
    with pytest.raises(EngineDied, match="SIGBUS"):
        engine.complete(PROMPT, max_tokens=4)
    assert engine.closed


def test_a_file_that_kills_llama_cpp(tmp_path: Path) -> None:
    killer = write_killer(tmp_path / "killer.gguf")
    with pytest.raises(ModelLoadError) as error:
        Engine(killer, n_ctx=64, isolate=True, trusted=True)
    message = str(error.value)
    assert "has ended: by SIGABRT" in message
    assert "GGML_ASSERT" in message
    assert str(killer) in message


def test_the_last_lines_are_kept() -> None:
    engine = new_engine()
    os.kill(process_of(engine), signal.SIGABRT)
    with pytest.raises(EngineDied) as error:
        engine.tokenize("x")
    assert len(error.value.log) > 0
    assert isinstance(error.value, EngineClosed)


def test_close_beside_the_death() -> None:
    for _ in range(5 * REPEATS):
        engine = new_engine(n_ctx=8192)
        child = process_of(engine)
        # So long that it runs still, however late this thread goes on.
        generation = engine.generate(PROMPT, logit_bias={0: float("-inf")})
        killer = threading.Thread(target=os.kill, args=(child, signal.SIGKILL))
        killer.start()
        engine.close()
        killer.join()
        assert is_gone(child)
        assert engine.closed
        with contextlib.suppress(EngineClosed):
            assert generation.result().finish_reason == "cancelled"


def test_an_engine_that_nobody_has_ends_its_process() -> None:
    engine = new_engine()
    child = process_of(engine)
    generation = engine.generate(PROMPT, max_tokens=400)
    del engine
    assert Path(f"/proc/{child}").exists()
    del generation
    assert is_gone(child)


def test_the_process_ends_with_that_of_the_caller() -> None:
    program = (
        "import sys, time; from specbranch_cpp import Engine, demo\n"
        "engine = Engine(demo.pair()[0], n_ctx=256, isolate=True, measure_costs=False)\n"
        "generation = engine.generate('x', max_tokens=200)\n"
        "print(engine._core.process_id, flush=True)\n"
        "time.sleep(60)\n"
    )
    caller = subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, env=child_environment()
    )
    assert caller.stdout is not None
    with caller.stdout:
        child = int(caller.stdout.readline())
    caller.kill()
    caller.wait()
    assert is_gone(child)


def run_program(program: str) -> subprocess.CompletedProcess[bytes]:
    """Runs it in a session of its own, whose processes get no signals of ours."""
    return subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        env=child_environment(),
        start_new_session=True,
        timeout=60,
        check=True,
    )


def test_a_program_that_forgets_to_close_ends() -> None:
    program = (
        "from specbranch_cpp import Engine, demo\n"
        "engine = Engine(demo.pair()[0], n_ctx=256, isolate=True, measure_costs=False)\n"
        "generation = engine.generate('x', max_tokens=200)\n"
        "next(generation)\n"
        "print(engine._core.process_id)\n"
    )
    done = run_program(program)
    assert done.stderr == b""
    assert is_gone(int(done.stdout))


def test_ctrl_c_is_for_the_caller_only() -> None:
    program = (
        "import os, signal, threading; from specbranch_cpp import Engine, demo\n"
        "engine = Engine(demo.pair()[0], n_ctx=512, isolate=True, measure_costs=False)\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "try:\n"
        "    threading.Timer(0.1, lambda: os.killpg(0, signal.SIGINT)).start()\n"
        "    while True: engine.complete('x', max_tokens=400)\n"
        "except KeyboardInterrupt: pass\n"
        "print(len(engine.complete('def ', max_tokens=5).tokens))\n"
    )
    done = run_program(program)
    assert done.stdout.split() == [b"5"]


def test_a_fork_has_no_engine() -> None:
    with new_engine() as engine:
        number = os.fork()
        if number == 0:
            code = 1
            with contextlib.suppress(BaseException):
                try:
                    engine.tokenize("x")
                except EngineClosed:
                    code = 0 if engine.closed else 2
            os._exit(code)
        assert os.waitpid(number, 0)[1] == 0
        assert len(engine.complete(PROMPT, max_tokens=4).tokens) == 4


@pytest.mark.parametrize(
    "message",
    [b"evil", b'["token"]', b'["answer", 0]', b'["progress", "all"]', b'["error", 0, ["a"]]',
     b'["answer", 0, {"dict": []}]', b'["answer", 0, 5]'],
)  # fmt: skip
def test_what_no_engine_sends_ends_the_process(
    monkeypatch: pytest.MonkeyPatch, message: bytes
) -> None:
    """The file of a model may have taken the process over."""
    program = (
        "import os, struct, sys, time\n"
        f"message = {message!r}\n"
        "os.read(int(sys.argv[1]), 1)\n"  # an answer to nothing would be ignored
        "os.write(int(sys.argv[1]), struct.pack('<II', len(message), 0) + message)\n"
        "time.sleep(60)"
    )
    monkeypatch.setattr(process_module, "_CHILD", program)
    with pytest.raises(ModelLoadError, match="sent what no engine sends"):
        new_engine()


def test_a_process_that_hangs_is_ended_by_close(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote_core, "_CLOSE_S", 0.5)
    engine = new_engine()
    child = process_of(engine)
    os.kill(child, signal.SIGSTOP)
    engine.close()
    assert is_gone(child)


def test_a_signal_to_all_processes_of_a_service_is_for_the_caller() -> None:
    """systemd sends SIGTERM to all of them, and the server lets its requests end."""
    with new_engine() as engine:
        generation = engine.generate(PROMPT, max_tokens=50)
        os.kill(process_of(engine), signal.SIGTERM)
        assert len(generation.result().tokens) == 50


def test_no_process_can_be_started(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/no/such/python")
    with pytest.raises(RuntimeError, match="could not be started: No such file"):
        new_engine()
