"""Files that are new to a user are loaded by a child process first."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from tests.python.support.killer_file import write_killer
from tests.python.support.tiny_gguf import write_tiny_gguf
from tests.python.support.tiny_lora import write_lora

from fuzz.gguf_bytes import Gguf
from specbranch_cpp import Engine, InvalidArgument, ModelLoadError, demo
from specbranch_cpp._llama import cpu_probe, file_trial, trial_program
from specbranch_cpp._llama.child import FINISHED, child_environment, run_child


@pytest.fixture
def trials(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[str]:
    """Turns the trial on, with an empty cache. Returns the paths that a child tries."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv(file_trial.SWITCH, raising=False)
    tried = []
    runs = file_trial._runs

    def note(file: file_trial._File, *, compute: bool, limit_s: float) -> bool:
        tried.append(file.new)
        return runs(file, compute=compute, limit_s=limit_s)

    monkeypatch.setattr(file_trial, "_runs", note)
    return tried


@pytest.fixture(scope="module")
def killer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_killer(tmp_path_factory.mktemp("killer") / "killer.gguf")


def test_a_file_that_kills_llama_cpp_raises(killer: Path, trials: list[str]) -> None:
    with pytest.raises(ModelLoadError) as error:
        Engine(killer, n_ctx=64)
    message = str(error.value)
    assert "llama.cpp ends the process (SIGABRT) that loads this file" in message
    assert "GGML_ASSERT" in message
    assert "trusted=True" in message
    assert str(killer) in message
    # A verdict like this is not remembered: the next build of llama.cpp may load the file.
    with pytest.raises(ModelLoadError):
        Engine(killer, n_ctx=64)
    assert trials == [str(killer), str(killer)]


def test_a_file_that_kills_although_its_weights_are_refused(
    killer: Path, tmp_path: Path, trials: list[str]
) -> None:
    """The engine lays a model out before it loads weights; the child has to get there, too."""
    path = tmp_path / "nan.gguf"
    data = killer.read_bytes()
    path.write_bytes(data[:-64] + b"\xff" * 64)
    with pytest.raises(ModelLoadError, match=r"llama\.cpp ends the process \(SIGABRT\)"):
        Engine(path, n_ctx=64)
    assert trials == [str(path)]


def test_a_vocabulary_without_the_letters_of_the_trial(tmp_path: Path, trials: list[str]) -> None:
    """Callers may give token ids, so the child decodes some, too."""
    path = write_tiny_gguf(tmp_path / "model.gguf", sentencepiece=True)
    for _ in range(2):
        with Engine(path, n_ctx=64) as engine:
            with pytest.raises(InvalidArgument, match="cannot be tokenized"):
                engine.tokenize(trial_program.PROMPT)
            assert engine.generate([1, 2], max_tokens=1).result().tokens
    assert trials == [str(path)]  # it passed


def test_trusted_files_are_not_tried(killer: Path, trials: list[str]) -> None:
    program = (
        "import sys; from specbranch_cpp import Engine; Engine(sys.argv[1], n_ctx=64, trusted=True)"
    )
    environment = child_environment(**{cpu_probe.SWITCH: "0"})
    environment.pop(file_trial.SWITCH, None)
    done = subprocess.run(
        [sys.executable, "-c", program, str(killer)],
        env=environment, cwd="/", capture_output=True, check=False, timeout=120,
    )  # fmt: skip
    assert done.returncode < 0
    assert not trials


def test_a_file_is_tried_once_until_it_changes(tmp_path: Path, trials: list[str]) -> None:
    path = write_tiny_gguf(tmp_path / "model.gguf")
    for _ in range(2):
        with Engine(path, n_ctx=64) as engine:
            assert engine.generate("a", max_tokens=1).result().tokens
    assert trials == [str(path)]
    write_tiny_gguf(path, seed=1)
    Engine(path, n_ctx=64).close()
    assert trials == [str(path)] * 2
    draft = write_tiny_gguf(tmp_path / "draft.gguf", seed=2)
    Engine(path, draft, n_ctx=64, measure_costs=False).close()
    assert trials[2:] == [str(draft)]


def test_the_bundled_pair_is_trusted(trials: list[str]) -> None:
    Engine(*demo.pair(), n_ctx=64, measure_costs=False).close()
    assert not trials


def test_a_cache_that_cannot_be_read_does_not_skip_the_trial(
    killer: Path, tmp_path: Path, trials: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a home folder of another user, the name of this one gives an error to every question."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / ("x" * 300)))
    with pytest.raises(ModelLoadError, match=r"llama\.cpp ends the process \(SIGABRT\)"):
        Engine(killer, n_ctx=64)
    assert trials == [str(killer)]
    path = write_tiny_gguf(tmp_path / "model.gguf")
    for _ in range(2):
        with Engine(path, n_ctx=64) as engine:
            assert engine.generate("a", max_tokens=1).result().tokens
    assert trials == [str(killer), str(path), str(path)]


@pytest.mark.skipif(not hasattr(signal, "SIGCHLD"), reason="there is no such signal")
def test_a_program_that_does_not_learn_how_its_processes_end(
    killer: Path, tmp_path: Path, trials: list[str], empty_cache: Path
) -> None:
    """The exit code seems to be 0, whatever happened."""
    path = write_tiny_gguf(tmp_path / "model.gguf")
    wrong = tmp_path / "wrong.gguf"
    wrong.write_bytes(path.read_bytes()[:5000])
    before = signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    try:
        for _ in range(2):
            with pytest.raises(ModelLoadError, match="nobody knows how a process") as error:
                Engine(killer, n_ctx=64)
        assert "trusted=True" in str(error.value)
        with pytest.raises(ModelLoadError, match=r"the last line of that process: .*Error"):
            Engine(wrong, n_ctx=64)
        for _ in range(2):
            Engine(path, n_ctx=64).close()
        assert cpu_probe.probe(killer).state == "unknown"
        assert cpu_probe.probe(path).state == "runs"
    finally:
        signal.signal(signal.SIGCHLD, before)
    assert trials == [str(killer), str(killer), str(wrong), str(path)]
    assert len(list((empty_cache / "files").iterdir())) == 1


def test_a_refused_file_raises_its_own_error(tmp_path: Path, trials: list[str]) -> None:
    path = write_tiny_gguf(tmp_path / "model.gguf")
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(ModelLoadError, match=r"^(?!.*trusted)"):
        Engine(path, n_ctx=64)
    assert trials == [str(path)]
    with pytest.raises(ModelLoadError, match="missing"):
        Engine(tmp_path / "missing.gguf")
    assert len(trials) == 1


def test_a_child_that_does_not_end(
    tmp_path: Path, trials: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(file_trial, "_CHILD", "import time; time.sleep(600)")
    monkeypatch.setattr(file_trial, "time_limit_s", lambda _n_bytes: 0.5)
    path = write_tiny_gguf(tmp_path / "model.gguf")
    with pytest.raises(ModelLoadError, match="did not come to an end within"):
        Engine(path, n_ctx=64)
    assert trials == [str(path)]


def test_a_child_that_the_system_kills_says_nothing(
    tmp_path: Path, trials: list[str], monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    monkeypatch.setattr(file_trial, "_CHILD", "import os; os.kill(os.getpid(), 9)")
    path = write_tiny_gguf(tmp_path / "model.gguf")
    for _ in range(2):
        Engine(path, n_ctx=64).close()
    assert trials == [str(path)] * 2
    assert "was not tried: the child process ended by signal 9" in caplog.text


def test_a_file_that_is_too_large_is_tried_without_weights(
    killer: Path, trials: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(file_trial, "_memory_bytes", lambda: 0)
    with pytest.raises(ModelLoadError, match=r"llama\.cpp ends the process"):
        Engine(killer, n_ctx=64)
    assert trials == [str(killer)]


def test_the_limit_grows_with_the_file() -> None:
    assert file_trial.time_limit_s(0) == 20.0
    assert file_trial.time_limit_s(40_000_000_000) == pytest.approx(1020.0)


def test_the_switch(killer: Path, trials: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(file_trial.SWITCH, "0")
    file_trial.ensure_files_load([os.fspath(killer)])
    assert not trials


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return write_tiny_gguf(tmp_path / "model.gguf")


@pytest.fixture
def adapter(model: Path) -> Path:
    return write_lora(model.with_name("adapter.gguf"), model)


def test_a_file_that_needs_too_much_memory(
    tmp_path: Path, trials: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The layout says so, before anything is allocated."""
    monkeypatch.setattr(file_trial, "memory_limit_bytes", lambda _n_bytes: 80_000_000)
    model = write_tiny_gguf(tmp_path / "model.gguf", n_ff=65536)
    message = r"takes more than 0\.1 GB of memory, which no correct file of 10\d\.\d MB does"
    for _ in range(2):  # such a verdict is not remembered
        with pytest.raises(ModelLoadError, match=message):
            Engine(model, n_ctx=64)
    assert trials == [str(model)] * 2
    Engine(model, n_ctx=64, trusted=True).close()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux says what a process uses")
def test_a_child_that_takes_too_much_memory(
    model: Path, trials: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The layout did not say so."""
    program = """
import time
from specbranch_cpp._llama import cpu_probe, trial_program
def compute(*_):
    used = b"x" * (500 << 20)
    time.sleep(600)
cpu_probe.compute = compute
trial_program.main()
"""
    monkeypatch.setattr(file_trial, "_CHILD", program)
    monkeypatch.setattr(file_trial, "memory_limit_bytes", lambda _n_bytes: 300 << 20)
    with pytest.raises(ModelLoadError, match=r"takes more than 0\.3 GB of memory"):
        Engine(model, n_ctx=64)
    assert trials == [str(model)]


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux says what a process uses")
def test_reserved_memory_is_not_used() -> None:
    """Stacks of threads and large tables are reserved, and hardly used."""
    program = """
import mmap, threading, time
reserved = mmap.mmap(-1, 1 << 34, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | 0x4000)
threads = [threading.Thread(target=time.sleep, args=(1,)) for _ in range(60)]
[thread.start() for thread in threads]
"""
    end = run_child([sys.executable, "-c", program], 60.0, child_environment(), 200 << 20)
    assert (end.code, end.used_too_much) == (0, False), end.stderr


def test_the_memory_grows_with_the_file() -> None:
    assert file_trial.memory_limit_bytes(0) == 2 << 30
    assert file_trial.memory_limit_bytes(10**9) == (2 << 30) + 3 * 10**9


def test_an_adapter_is_tried_once_with_its_model(
    model: Path, adapter: Path, trials: list[str]
) -> None:
    for _ in range(2):
        Engine(model, n_ctx=64, lora=adapter).close()
    assert trials == [str(model), str(adapter)]
    other = write_tiny_gguf(model.with_name("other.gguf"), seed=3)
    Engine(other, n_ctx=64, lora=adapter).close()
    assert trials[2:] == [str(other), str(adapter)]
    write_lora(adapter, model, seed=1)
    Engine(model, n_ctx=64, lora=[(adapter, 0.5), adapter]).close()
    assert trials[4:] == [str(adapter)]
    Engine(model, n_ctx=64, lora=write_lora(adapter, model, seed=2), trusted=True).close()
    assert len(trials) == 5


def test_an_adapter_for_the_bundled_model_is_tried(tmp_path: Path, trials: list[str]) -> None:
    target, _ = demo.pair()
    adapter = write_lora(tmp_path / "adapter.gguf", Path(target))
    Engine(target, n_ctx=64, lora=adapter).close()
    assert trials == [str(adapter)]


def test_an_adapter_that_kills(
    model: Path, adapter: Path, trials: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """We know of no adapter that passes the rules and does this."""
    program = (
        "import os, sys; os.path.exists(sys.argv[2]) and os.abort(); "
        f"print({FINISHED!r}, file=sys.stderr)"
    )
    monkeypatch.setattr(file_trial, "_CHILD", program)
    for _ in range(2):
        with pytest.raises(ModelLoadError) as error:
            Engine(model, n_ctx=64, lora=adapter)
        assert "(SIGABRT) that loads this file, so it was not loaded; trusted" in str(error.value)
        assert f"{adapter}, with the model {model}" in str(error.value)
    assert trials == [str(model), str(adapter), str(adapter)]


def test_an_adapter_that_is_refused_raises_its_own_error(
    model: Path, adapter: Path, trials: list[str]
) -> None:
    """The child applies the adapter, and so finds what is wrong; the engine says it."""
    file = Gguf.read(adapter.read_bytes())
    damaged = [replace(one, data=b"\xff" * len(one.data)) for one in file.tensors[:1]]
    file.tensors = [*damaged, *file.tensors[1:]]
    adapter.write_bytes(file.packed())
    with pytest.raises(ModelLoadError, match="NaN or infinite"):
        Engine(model, n_ctx=64, lora=adapter)
    with pytest.raises(ModelLoadError, match="NaN or infinite"):
        trial_program.load(str(model), adapter=str(adapter))
    with pytest.raises(ModelLoadError, match="missing"):
        Engine(model, n_ctx=64, lora=model.with_name("missing.gguf"))
    assert trials == [str(model), str(adapter)]
