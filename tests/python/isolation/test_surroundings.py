"""Isolated engines in programs with unusual streams, folders, forks and handlers of the log."""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from tests.python.support.isolated import LONG, PROMPT, is_gone, new_engine, process_of
from tests.python.support.tiny_gguf import write_tiny_gguf

from specbranch_cpp import Engine, EngineClosed, EngineDied, ModelLoadError, demo
from specbranch_cpp._llama import cpu_probe
from specbranch_cpp._llama.child import child_environment
from specbranch_cpp._support import logs


def die(engine: Engine) -> None:
    os.kill(process_of(engine), signal.SIGKILL)
    while not engine.closed:
        with contextlib.suppress(EngineDied):
            engine.tokenize("x")


class Raising(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        raise ZeroDivisionError(record.getMessage())


def test_a_handler_of_the_log_that_raises_does_not_end_the_engine(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    told: list[threading.ExceptHookArgs] = []
    monkeypatch.setattr(threading, "excepthook", told.append)
    logs.forward()  # nothing of this process is left to be logged
    handler = Raising()
    with caplog.at_level(logging.INFO, "specbranch_cpp"):
        logs.LOGGER.addHandler(handler)
        try:
            with new_engine() as engine:
                assert len(engine.complete(PROMPT, max_tokens=4).tokens) == 4
        finally:
            logs.LOGGER.removeHandler(handler)
    assert told
    assert {one.exc_type for one in told} == {ZeroDivisionError}


@pytest.mark.parametrize("closed", [(0,), (0, 1), (0, 1, 2), (2,)])
def test_closed_standard_streams(tmp_path: Path, closed: tuple[int, ...]) -> None:
    """What the program writes to them must not go to the engine's process."""
    found = tmp_path / "found"
    program = (
        "import os, sys\n"
        "from pathlib import Path\n"
        "from specbranch_cpp import Engine, demo\n"
        f"for number in {closed!r}:\n"
        "    os.close(number)\n"
        "with Engine(demo.pair()[0], n_ctx=128, measure_costs=False, isolate=True) as engine:\n"
        "    for number in (1, 2):\n"
        "        try:\n"
        "            os.write(number, b'lines of another library\\n')\n"
        "        except OSError:\n"
        "            pass\n"
        "    text = engine.complete('def ', max_tokens=5)\n"
        "    Path(sys.argv[1]).write_text(str(len(text.tokens)))\n"
    )
    subprocess.run(
        [sys.executable, "-c", program, str(found)],
        env=child_environment(), capture_output=True, check=False, timeout=240,
    )  # fmt: skip
    assert found.read_text() == "5"


def test_a_program_that_does_not_learn_how_its_processes_end() -> None:
    before = signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    try:
        with new_engine(n_ctx=8192) as engine:
            generation = engine.generate(PROMPT, **LONG)
            next(generation)
            os.kill(process_of(engine), signal.SIGKILL)
            with pytest.raises(EngineDied, match="has ended: nobody knows how") as died:
                generation.result()
            assert died.value.exit_code is None
            engine.restart()
            assert len(engine.complete(PROMPT, max_tokens=4).tokens) == 4
    finally:
        signal.signal(signal.SIGCHLD, before)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder, with a pair of models."""
    here = tmp_path / "here"
    here.mkdir()
    for name, file in zip(("target.gguf", "draft.gguf"), demo.pair(), strict=True):
        shutil.copyfile(file, here / name)
    monkeypatch.chdir(here)
    return here


def test_relative_paths_belong_to_the_folder_in_which_the_engine_was_made(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Engine("target.gguf", n_ctx=128, measure_costs=False, isolate=True) as engine:
        monkeypatch.chdir(tmp_path)
        die(engine)
        engine.restart()
        assert len(engine.complete(PROMPT, max_tokens=4).tokens) == 4
        assert engine.model_paths == ("target.gguf",)
    assert (folder / "target.gguf").exists()


def test_an_interpreter_with_a_relative_path(monkeypatch: pytest.MonkeyPatch) -> None:
    """It has one if ``python`` was found by a relative folder in PATH."""
    monkeypatch.setattr(sys, "executable", os.path.relpath(sys.executable))
    with new_engine() as engine:
        assert len(engine.complete(PROMPT, max_tokens=4).tokens) == 4
    assert cpu_probe.probe(demo.pair()[1]).state == "runs"


def test_files_that_are_gone_when_the_engine_closes(folder: Path, tmp_path: Path) -> None:
    profile = tmp_path / "pair.json"
    options: dict[str, Any] = {"n_ctx": 128, "measure_costs": False, "isolate": True}
    engines = [
        Engine("target.gguf", "draft.gguf", **options),
        Engine("target.gguf", "draft.gguf", profile=profile, **options),
    ]
    children = [process_of(engine) for engine in engines]
    shutil.rmtree(folder)
    for engine in engines:
        engine.close()
    assert all(map(is_gone, children))
    assert profile.exists()


def test_a_working_folder_that_was_removed(folder: Path) -> None:
    shutil.rmtree(folder)
    with pytest.raises(ModelLoadError, match=r"target\.gguf: the working folder is lost"):
        Engine("target.gguf", n_ctx=128, isolate=True)
    with new_engine() as engine:
        assert len(engine.complete(PROMPT, max_tokens=4).tokens) == 4


def test_a_fork_does_not_wait_for_a_thread_of_its_parent(tiny: Path) -> None:
    with Engine(tiny, n_ctx=128, n_threads=1, isolate=True) as engine:
        core: Any = engine._core
        locked, done = threading.Event(), threading.Event()

        def hold() -> None:
            with core._lock, engine._end_lock:
                locked.set()
                done.wait(120)

        thread = threading.Thread(target=hold)
        thread.start()
        assert locked.wait(120)
        number = os.fork()
        if number == 0:
            code = 1
            with contextlib.suppress(BaseException):
                n_refused = 0
                for call in (lambda: engine.tokenize("x"), engine.restart):
                    with contextlib.suppress(EngineClosed):
                        call()
                        continue
                    n_refused += 1
                code = 0 if n_refused == 2 else 2
            os._exit(code)
        watch = threading.Timer(60, os.kill, (number, 9))
        watch.start()
        status = os.waitpid(number, 0)[1]
        watch.cancel()
        done.set()
        thread.join()
        assert status == 0


def test_a_signal_handler_may_close_while_it_restarts(tmp_path: Path) -> None:
    path = write_tiny_gguf(tmp_path / "model.gguf")
    engine = Engine(path, n_ctx=128, n_threads=1, isolate=True)
    die(engine)
    reload, made = engine._reload, []
    assert reload is not None

    def interrupted() -> Any:
        loaded = reload()
        core: Any = loaded.core
        made.append(core.process_id)
        engine.close()  # as a handler would, in this thread
        return loaded

    engine._reload = interrupted
    with pytest.raises(EngineClosed):
        engine.restart()
    assert engine.closed
    assert is_gone(made[0])
