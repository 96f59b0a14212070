"""Whether the CPU runs llama.cpp: the flags, the child process, and what is remembered."""

from __future__ import annotations

import logging
import sys
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest
from tests.python.support.stand_in_gpus import StandInGpus

from specbranch_cpp import Engine, ModelLoadError, _core, demo
from specbranch_cpp._llama import cpu_flags, cpu_probe, native

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

V3 = "sse4_2 avx avx2 bmi2 fma f16c"
V4 = f"{V3} avx512f avx512cd avx512vl avx512dq avx512bw avx512_vnni"
SAMPLE = "processor\t: 0\nmodel name\t: Some CPU @ 2.0GHz\nflags\t\t: {}\n\n"
WITH_AMX = SAMPLE.format(f"{V4} amx_bf16 amx_tile amx_int8")


@pytest.mark.parametrize(
    ("flags", "amx"), [(V3, False), (V4, False), (f"{V4} amx_tile", True), ("", False)]
)
def test_cpuinfo(flags: str, amx: bool) -> None:
    cpuinfo = 2 * SAMPLE.format(flags)
    assert cpu_flags.cpu_flags(cpuinfo) == set(flags.split())
    assert cpu_flags.announces_amx(cpu_flags.cpu_flags(cpuinfo)) == amx
    assert cpu_flags.cpu_model(cpuinfo) == "Some CPU @ 2.0GHz"


def test_cpuinfo_of_another_architecture(tmp_path: Path) -> None:
    cpuinfo = "processor\t: 0\nBogoMIPS\t: 243.75\nFeatures\t: fp asimd\n"
    assert cpu_flags.cpu_flags(cpuinfo) == set()
    assert cpu_flags.cpu_model(cpuinfo)
    assert cpu_flags.read_cpuinfo(tmp_path / "none") == ""


@pytest.mark.parametrize(
    ("system", "flags", "unused"),
    [
        ("CPU : SSE3 = 1 | AVX = 1 | ", V3, ["AVX2", "FMA", "F16C"]),
        (
            "CUDA : ARCHS = 900 | USE_GRAPHS = 1 | CPU : SSE3 = 1 | ",
            V4,
            ["AVX", "AVX2", "FMA", "F16C"],
        ),
        ("CPU : SSE3 = 1 | AVX = 1 | AVX2 = 1 | F16C = 1 | FMA = 1 | ", V4, []),
        ("CPU : SSE3 = 1 | AVX = 1 | ", "sse4_2 avx", []),
        ("CPU : NEON = 1 | ", "", []),
        ("", V3, []),
    ],
)
def test_unused_instructions(system: str, flags: str, unused: list[str]) -> None:
    assert cpu_flags.unused_instructions(system, set(flags.split())) == unused


def test_an_engine_on_the_cpu_says_that_instructions_are_unused(
    pair: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(cpu_flags, "read_cpuinfo", lambda: SAMPLE.format(V3))
    library = SimpleNamespace(system="CPU : SSE3 = 1 | AVX = 1 | ")
    monkeypatch.setattr(_core, "library_info", lambda: library)
    with caplog.at_level(logging.WARNING, "specbranch_cpp"):
        Engine(pair[1], n_threads=1).close()
        (said,) = [line for line in caplog.messages if "was compiled without" in line]
        assert "CMAKE_ARGS=-DGGML_NATIVE=OFF " in said
        caplog.clear()
        StandInGpus(monkeypatch, {"GPU0": 2**37})
        Engine(pair[1], n_threads=1).close()  # all its layers are on a GPU
        assert not [line for line in caplog.messages if "was compiled without" in line]


def child(code: str) -> list[str]:
    """A command in place of the child that computes."""
    limits = "import os, resource, signal, sys; resource.setrlimit(resource.RLIMIT_CORE, (0, 0))\n"
    return [sys.executable, "-c", limits + code]


@pytest.mark.parametrize("name", ["SIGILL", "SIGSEGV", "SIGABRT"])
def test_a_child_that_dies(name: str) -> None:
    verdict = cpu_probe.probe("unused", child(f"os.kill(os.getpid(), signal.{name})"))
    assert verdict == cpu_probe.ProbeResult("dies", name)


def test_a_child_that_fails_says_nothing_about_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    verdict = cpu_probe.probe("unused", child("print('line'); sys.exit('no such file')"))
    assert verdict.state == "unknown"
    assert "no such file" in verdict.detail
    assert (
        cpu_probe.probe("unused", child("os.kill(os.getpid(), signal.SIGKILL)")).state == "unknown"
    )
    assert cpu_probe.probe("unused", ["/nowhere/python"]).state == "unknown"
    monkeypatch.setattr(cpu_probe, "TIMEOUT", 0.2)
    assert cpu_probe.probe("unused", child("signal.pause()")).state == "unknown"


def test_the_child_computes_with_a_model(pair: tuple[Path, Path], tmp_path: Path) -> None:
    assert cpu_probe.probe(pair[1]) == cpu_probe.ProbeResult("runs")
    verdict = cpu_probe.probe(tmp_path / "missing.gguf")
    assert verdict.state == "unknown"
    assert "missing.gguf" in verdict.detail


def test_the_advice_is_a_command_for_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cpu_flags, "read_cpuinfo", lambda: WITH_AMX)
    advice = cpu_probe.advice(cpu_probe.ProbeResult("dies", "SIGILL"))
    assert "SIGILL" in advice
    assert "CMAKE_ARGS='-DGGML_NATIVE=OFF " in advice
    assert "--no-cache-dir" in advice
    assert "llama-cpp-python==" in advice
    assert "\n" not in advice


class FakeProbe:
    """Counts how often a child would have been started."""

    def __init__(self, verdict: cpu_probe.ProbeResult) -> None:
        self.verdict = verdict
        self.models: list[str] = []

    def __call__(
        self, model: str | Path, command: Sequence[str] | None = None
    ) -> cpu_probe.ProbeResult:
        assert command is None
        self.models.append(str(model))
        return self.verdict


@pytest.fixture
def with_amx(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A CPU that announces AMX, and an empty cache, whose folder is returned."""
    monkeypatch.setattr(cpu_flags, "read_cpuinfo", lambda: WITH_AMX)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv(cpu_probe.SWITCH, raising=False)
    return tmp_path / "cache"


def use(monkeypatch: pytest.MonkeyPatch, state: str, detail: str = "") -> FakeProbe:
    fake = FakeProbe(cpu_probe.ProbeResult(state, detail))  # type: ignore[arg-type]
    monkeypatch.setattr(cpu_probe, "probe", fake)
    return fake


def test_no_child_without_amx(with_amx: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cpu_flags, "read_cpuinfo", lambda: SAMPLE.format(V4))
    fake = use(monkeypatch, "dies", "SIGILL")
    cpu_probe.ensure_safe_cpu(["target.gguf"])
    assert fake.models == []
    assert not with_amx.exists()


def test_success_is_remembered_for_this_build(
    with_amx: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    fake = use(monkeypatch, "runs")
    for _ in range(2):
        cpu_probe.ensure_safe_cpu(["target.gguf"])
    assert len(fake.models) == 1
    assert len(list((with_amx / "specbranch_cpp").iterdir())) == 1
    # Another build of llama.cpp.
    (tmp_path / "libllama.so").touch()
    monkeypatch.setattr(native, "library_folder", lambda: tmp_path)
    cpu_probe.ensure_safe_cpu(["target.gguf"])
    assert len(fake.models) == 2
    # Another machine.
    monkeypatch.setattr(cpu_flags, "read_cpuinfo", lambda: WITH_AMX.replace("2.0", "3.0"))
    cpu_probe.ensure_safe_cpu(["target.gguf"])
    assert len(fake.models) == 3


@pytest.mark.usefixtures("with_amx")
def test_a_cache_that_cannot_be_read_remembers_nothing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / ("x" * 300)))
    fake = use(monkeypatch, "runs")
    for _ in range(2):
        cpu_probe.ensure_safe_cpu(["target.gguf"])
    assert len(fake.models) == 2


def test_a_cpu_that_cannot_is_an_error_every_time(
    with_amx: Path, monkeypatch: pytest.MonkeyPatch, pair: tuple[Path, Path]
) -> None:
    fake = use(monkeypatch, "dies", "SIGILL")
    for _ in range(2):
        with pytest.raises(ModelLoadError, match=r"SIGILL.*GGML_NATIVE=OFF"):
            Engine(*pair)
    assert len(fake.models) == 2
    assert not with_amx.exists()
    monkeypatch.setenv(cpu_probe.SWITCH, "0")
    Engine(*pair, n_ctx=256).close()


def test_an_unclear_answer_is_logged_and_asked_again(
    with_amx: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    fake = use(monkeypatch, "unknown", "no memory")
    with caplog.at_level(logging.WARNING, "specbranch_cpp"):
        for _ in range(2):
            cpu_probe.ensure_safe_cpu(["target.gguf"])
    assert len(fake.models) == 2
    assert "no memory" in caplog.text
    assert not with_amx.exists()


def test_without_the_bundled_pair_the_target_is_tried(
    with_amx: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing() -> tuple[Path, Path]:
        raise FileNotFoundError

    monkeypatch.setattr(demo, "pair", missing)
    fake = use(monkeypatch, "unknown")
    cpu_probe.ensure_safe_cpu(["target.gguf", "draft.gguf"])
    assert fake.models == ["target.gguf"]
    cpu_probe.ensure_safe_cpu([])
    assert len(fake.models) == 1
    assert not with_amx.exists()


def test_a_cache_that_cannot_be_written(with_amx: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = use(monkeypatch, "runs")
    with_amx.write_text("a file where the folder would be")
    for _ in range(2):
        cpu_probe.ensure_safe_cpu(["target.gguf"])
    assert len(fake.models) == 2
