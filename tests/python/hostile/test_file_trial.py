"""Files that are new to a user are loaded by a child process first."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from tests.python.matrix.architecture import Architecture
from tests.python.matrix.random_model import write_random_model
from tests.python.support.patched_gguf import with_setting
from tests.python.support.tiny_gguf import write_tiny_gguf

from specbranch_cpp import Engine, InvalidArgument, ModelLoadError, demo
from specbranch_cpp._llama import cpu_probe, file_trial
from specbranch_cpp._llama.child import child_environment


@pytest.fixture
def trials(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[str]:
    """Turns the trial on, with an empty cache. Returns the paths that a child tries."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv(file_trial.SWITCH, raising=False)
    tried = []
    runs = file_trial._runs

    def note(path: str, *, compute: bool, limit_s: float) -> bool:
        tried.append(path)
        return runs(path, compute=compute, limit_s=limit_s)

    monkeypatch.setattr(file_trial, "_runs", note)
    return tried


@pytest.fixture(scope="module")
def killer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file that passes all rules. llama.cpp asserts that all dimensions of a head are rotary."""
    folder = tmp_path_factory.mktemp("killer")
    architecture = Architecture("qwen2", "", {"rope.dimension_count": 32})
    whole = folder / "whole.gguf"
    write_random_model(whole, architecture)
    return with_setting(whole, folder / "killer.gguf", "qwen2.rope.dimension_count", 8)


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
                engine.tokenize(file_trial._PROMPT)
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
