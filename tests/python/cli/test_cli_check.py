"""`specbranch check`, and what it knows about memory."""

from __future__ import annotations

import io
import json
import os
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from gguf import GGML_QUANT_SIZES, GGUFReader
from rich.console import Console
from tests.python.support.stand_in_gpus import StandInGpus
from tests.python.support.tiny_gguf import write_tiny_gguf
from typer.testing import CliRunner

from specbranch_cpp import Engine, _core
from specbranch_cpp._llama import cpu_flags, cpu_probe
from specbranch_cpp._support import words
from specbranch_cpp.check import (
    Acceptance,
    ExactReport,
    ExactTrial,
    Interval,
    Measurement,
    ModeFigures,
    Report,
    StepFigures,
    Verdict,
    files,
)
from specbranch_cpp.cli import app, check, check_text

if TYPE_CHECKING:
    from pathlib import Path

    from typer.testing import Result


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_check_a_pair_that_fits(pair: tuple[Path, Path]) -> None:
    result = run("check", *pair, "-c", 512, "--no-measure")
    assert result.exit_code == 0, result.output
    for part in ("fits", "needed", "runs llama.cpp", "this pair works", "not measured"):
        assert part in result.stdout
    found = json.loads(run("check", *pair, "-c", 512, "--no-measure", "--json").stdout)
    assert found["verdict"] == "not measured"
    assert found["measurement"] is None
    assert found["fits"] is True
    assert found["cpu"] == "runs"
    assert found["target"]["cache"] > 0
    assert found["draft"]["n_cells"] > found["target"]["n_cells"] == 512
    assert found["memory_needed"] == found["target"]["total"] + found["draft"]["total"]


@pytest.fixture
def quick_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cpu_probe, "probe", lambda _model: cpu_probe.ProbeResult("runs"))


@pytest.mark.usefixtures("quick_cpu")
def test_check_takes_the_bundled_pair() -> None:
    result = run("check", "--no-measure")
    assert result.exit_code == 0, result.output
    assert "demo-target.gguf" in result.stdout
    assert "demo-draft.gguf" in result.stdout


@pytest.mark.usefixtures("quick_cpu")
def test_check_names_the_first_differences(tmp_path: Path) -> None:
    target = write_tiny_gguf(tmp_path / "target.gguf", weight_type="Q8_0", n_vocab=320)
    draft = tmp_path / "draft.gguf"
    write_tiny_gguf(draft, weight_type="Q8_0", n_vocab=320, token_text={70: "other"}, add_bos=False)
    result = run("check", target, draft, "--no-measure")
    assert result.exit_code == 0, result.output
    assert "the vocabularies have 319 equal tokens" in result.stdout
    assert "1 token has another text in the draft" in result.stdout
    assert "token 70 is 'E' in the target and 'other' in the draft" in result.stdout
    assert "the target adds a BOS token" in result.stdout
    found = json.loads(run("check", target, draft, "--no-measure", "--json").stdout)
    assert found["n_common"] == 319
    assert len(found["notes"]) >= 2

    texts = {token: "y" * 60_000 + str(token) for token in range(70, 87)}
    write_tiny_gguf(draft, weight_type="Q8_0", n_vocab=320, token_text=texts)
    result = run("check", target, draft, "--no-measure")
    assert result.exit_code == 1
    assert "differ in 17 of 320 tokens" in result.stdout
    assert "token 72 is" in result.stdout
    assert "family" in result.stdout
    assert len(result.stdout) < 4000
    alone = run("check", target)
    assert alone.exit_code == 0
    assert "there is no draft model; texts propose tokens" in alone.stdout


@pytest.mark.usefixtures("quick_cpu")
def test_check_reports_files_that_are_no_models(pair: tuple[Path, Path], tmp_path: Path) -> None:
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(pair[0].read_bytes()[:4096])
    for models in ((broken,), (pair[0], broken), (tmp_path / "none.gguf",)):
        result = run("check", *models)
        assert result.exit_code == 1
        assert models[-1].name in result.stdout
        found = json.loads(run("check", *models, "--json").stdout)
        assert found["fits"] is False
        assert len(found["reasons"]) == 1


@pytest.mark.usefixtures("quick_cpu")
def test_check_finds_too_little_memory(
    pair: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_core, "available_memory", lambda: 1024)
    result = run("check", *pair)
    assert result.exit_code == 1
    assert "only 1.0 KiB are free" in result.stdout


@pytest.mark.usefixtures("quick_cpu")
def test_check_shows_no_sizes_that_are_not_known(
    pair: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With --rpc the layers get their places while the models are loaded."""
    monkeypatch.setattr(files, "_ask_hosts", lambda _report, _servers: None)
    result = run("check", *pair, "--rpc", "127.0.0.1:50052", "--no-measure")
    assert result.exit_code == 0
    assert "KV cache 0 bytes" not in result.stdout
    assert result.stdout.count("; the other memory that it needs is not known") == 2


@pytest.mark.usefixtures("quick_cpu")
def test_check_says_no_to_a_target_that_cannot_have_a_draft(
    pair: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """An engine finds this out only when it has loaded the target."""
    monkeypatch.setattr(Engine, "has_draft", False)
    result = run("check", *pair, "--seconds", 1)
    assert result.exit_code == 1
    assert "no       the target is a recurrent or hybrid model" in result.stdout
    assert "this pair works here" not in result.stdout


def test_check_advises_for_a_cpu_that_cannot(
    pair: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cpu_probe, "probe", lambda _model: cpu_probe.ProbeResult("dies", "SIGILL"))
    result = run("check", *pair)
    assert result.exit_code == 1
    assert "SIGILL" in result.stdout
    assert "CMAKE_ARGS='-DGGML_NATIVE=OFF" in result.stdout or "-DGGML_NATIVE=OFF" in result.stdout
    monkeypatch.setattr(
        cpu_probe, "probe", lambda _model: cpu_probe.ProbeResult("unknown", "no luck")
    )
    result = run("check", *pair, "--no-measure")
    assert result.exit_code == 0
    assert "no luck" in result.stdout


@pytest.mark.usefixtures("quick_cpu")
def test_check_tells_of_gpus(pair: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    library = SimpleNamespace(
        llama_version="1", ggml_version="2", ggml_commit="3", system="CUDA : ARCHS = 900 | CPU : "
    )
    note = "built for NVIDIA GPUs, but it finds no GPU"
    monkeypatch.setattr(_core, "library_info", lambda: library)
    StandInGpus(monkeypatch, {"CUDA0": 2**37})
    shown = run("check", *pair, "--no-measure").stdout
    assert "CUDA0: a stand-in, 128 GiB" in shown
    assert "a CPU" not in shown
    assert "the GPU is not used" not in shown
    assert "the target has 9 of 9 layers on GPUs" in shown
    assert "the draft has 4 of 4 layers on GPUs" in shown
    assert "memory   CUDA0: " in shown
    assert note not in shown
    alone = run("check", *pair, "--no-measure", "-ngl", "0").stdout
    assert "the GPU is not used, because n_gpu_layers is 0" in alone
    assert "memory   CUDA0" not in alone
    found = json.loads(run("check", *pair, "--no-measure", "--json", "-ngl", "3").stdout)
    assert (found["n_gpu_layers"], found["draft_n_gpu_layers"]) == (3, -1)
    assert [each["name"] for each in found["devices"]] == ["CPU", "CUDA0"]
    on_cpu = ("check", *pair, "--no-measure", "-ngl", "-1", "-dev", "CPU")
    found = json.loads(run(*on_cpu, "--json").stdout)
    assert (found["n_gpu_layers"], found["draft_n_gpu_layers"]) == (0, 0)
    assert "the target runs on the CPU" in run(*on_cpu).stdout
    StandInGpus(monkeypatch, {"CUDA0": 2**20})
    refused = run("check", *pair, "--no-measure", "-ngl", "-1")
    assert refused.exit_code == 1
    assert "on CUDA0, but only 1.0 MiB are free" in refused.stdout
    StandInGpus(monkeypatch, {})
    assert note in run("check", *pair, "--no-measure").stdout
    library.system = "CPU : SSE3 = 1 | "
    found = json.loads(run("check", *pair, "--no-measure", "--json").stdout)
    assert found["gpus"] == []
    assert not any(note in each for each in found["notes"])


@pytest.mark.usefixtures("quick_cpu")
def test_check_measures_a_pair(pair: tuple[Path, Path]) -> None:
    command = ["check", *pair, "-c", 512, "-t", 1, "-td", 1, "--seconds", 1, "-p", "def add(a, b):"]
    result = run(*command)
    assert result.exit_code in (0, 3), result.output
    for part in (
        "steps",
        "draft    the target accepts its first choice",
        "verdict",
        "use      Engine(",
    ):
        assert part in result.stdout
    assert "\x1b" not in result.output
    modes = ("autoregressive", "speculative", "pearl", "specbranch", "auto")
    rows = [line.split()[0] for line in result.stdout.splitlines() if line.startswith(modes)]
    assert rows[: len(modes)] == list(modes)
    found = json.loads(run(*command, "-p", "class Stack:\n", "--temp", 0.7, "--json").stdout)
    assert found["measurement"]["n_prompts"] <= 2
    assert found["measurement"]["temperature"] == 0.7
    assert found["measurement"]["acceptance"]["n_places"] > 0
    assert found["measurement"]["steps"]["n_threads"] == 1
    assert found["advice"]["command"].startswith("specbranch generate -m ")
    assert found["verdict"] in {verdict.value for verdict in Verdict}


@pytest.mark.usefixtures("quick_cpu")
def test_check_compares_placements(
    pair: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    command = ["check", *pair, "-c", 512, "--seconds", 0.5, "-p", "def add(a, b):", "--placements"]
    StandInGpus(monkeypatch, {"CUDA0": 2**37})
    found = json.loads(run(*command, "gpu,draft-cpu,gpus", "--json").stdout)
    assert [one["name"] for one in found["placements"]] == ["gpu", "draft-cpu"]
    assert [one["words"] for one in found["placements"]] == ["-ngl -1 -ngld -1", "-ngl -1 -ngld 0"]
    for one in found["placements"]:
        assert one["tokens_per_second"] > 0
        assert min(one["target_ms"], one["draft_ms"]) > 0
    assert any("are expected to be equally fast" in note or "to be the fastest" in note
               for note in found["notes"])  # fmt: skip
    StandInGpus(monkeypatch, {"CUDA0": 2**20})
    shown = run(*command, "shared,gpu").stdout
    assert [line for line in shown.splitlines() if line.startswith("shared ")]
    assert "on CUDA0, but only 1.0 MiB are free" in shown
    refused = run(*command, "gpus")
    assert refused.exit_code == 2
    assert "this machine has none of the placements: gpus: the only GPU is CUDA0" in refused.stderr


def test_check_takes_names_of_gpus(
    pair: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    StandInGpus(monkeypatch, {"CUDA0": 2**37, "CUDA1": 2**36})
    monkeypatch.setattr(cpu_probe, "probe", lambda *_: cpu_probe.ProbeResult("runs"))

    def gpus(*options: str) -> dict[str, list[str]]:
        found = json.loads(run("check", *pair, "--no-measure", "--json", *options).stdout)
        return {
            role: [
                each["name"] for each in found["devices"] if each[role] and each["name"] != "CPU"
            ]
            for role in ("target", "draft")
        }

    assert gpus() == {"target": ["CUDA0"], "draft": ["CUDA1"]}
    assert gpus("--device", "CUDA1") == {"target": ["CUDA1"], "draft": ["CUDA1"]}
    assert gpus("-dev", "CUDA0,CUDA1", "-devd", "CUDA0") == {
        "target": ["CUDA0", "CUDA1"], "draft": ["CUDA0"],
    }  # fmt: skip


def test_check_says_that_instructions_are_unused(
    pair: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cpu_probe, "probe", lambda *_: cpu_probe.ProbeResult("runs"))
    monkeypatch.setattr(cpu_flags, "read_cpuinfo", lambda: "flags: avx avx2 fma f16c bmi2 sse4_2")
    system = _core.library_info()
    library = SimpleNamespace(llama_version="1", ggml_version="2", ggml_commit="3", system="")
    monkeypatch.setattr(_core, "library_info", lambda: library)

    def note() -> list[str]:
        found = json.loads(run("check", *pair, "--no-measure", "--json").stdout)
        return [each for each in found["notes"] if "was compiled without" in each]

    library.system = "CUDA : ARCHS = 900 | USE_GRAPHS = 1 | CPU : SSE3 = 1 | AVX = 1 | "
    (said,) = note()
    assert said.startswith(
        "this llama.cpp was compiled without AVX2, FMA, F16C, which this CPU has"
    )
    assert "CMAKE_ARGS='-DGGML_CUDA=ON -DGGML_NATIVE=OFF'" in said
    library.system = "CPU : SSE3 = 1 | AVX = 1 | AVX2 = 1 | FMA = 1 | F16C = 1 | "
    assert note() == []
    assert "CPU : " in system.system


@pytest.mark.usefixtures("quick_cpu")
def test_check_of_a_hopeless_draft(pair: tuple[Path, Path], tmp_path: Path) -> None:
    draft = shuffle_weights(pair[1], tmp_path / "hopeless.gguf")
    result = run("check", pair[0], draft, "-c", 512, "-t", 1, "-td", 1, "--seconds", 2)
    assert result.exit_code == 3, result.output
    assert "does not help" in result.stdout
    assert f"use      Engine({str(pair[0])!r}, n_ctx=512)" in result.stdout


@pytest.mark.usefixtures("quick_cpu")
def test_check_reads_prompts_from_files(
    pair: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "400")  # no line is broken within a path
    file = tmp_path / "prompt.txt"
    file.write_text("def f(x):\n")
    command = ["check", *pair, "-c", 512, "-t", 1, "-td", 1, "--seconds", 0.5, "--json"]
    assert json.loads(run(*command, "-f", file).stdout)["measurement"]["n_prompts"] == 1
    result = run(*command, "-f", tmp_path / "none.txt")
    assert result.exit_code == 2
    assert "none.txt" in result.stderr
    assert run(*command, "--seconds", 0).exit_code == 2


def test_what_auto_does_is_said_only_if_it_does_it() -> None:
    def shown(why: str) -> str:
        steps = StepFigures(20.0, 2.0, 10.0, {2: 1.1}, 1.0, 1.0, 10.0, 1, 1)
        right = Acceptance(Interval(0.1, 0.0, 0.2), (0.1,), (0.1, 0.0, 0.0, 0.0), 100)
        auto = ModeFigures("auto", "auto", 16, None, 4, Interval(1.0), Interval(1.0), 1.0, why)
        found = Measurement(steps, right, (auto,), None, 50.0, 3, 24, 0.0, 2, 20.0)
        report = Report(verdict=Verdict.DRAFT_WRONG, reason="because.", measurement=found)
        report.llama_cpp = {"llama_version": "1", "ggml_commit": "2"}
        file = io.StringIO()
        check_text.show(Console(file=file, width=100), report)
        return file.getvalue()

    assert "The default mode auto finds this out too and decodes without the draft" in shown(
        "autoregressive: so"
    )
    assert "auto: autoregressive: so" in shown("autoregressive: so")
    assert "finds this out too" not in shown("overlapped: so")
    assert "in 1 of them the modes gave different tokens" in shown("")


def test_exit_codes() -> None:
    for verdict in Verdict:
        report = Report(verdict=verdict, fits=verdict is not Verdict.UNUSABLE)
        expected = 0
        if verdict is Verdict.UNUSABLE:
            expected = 1
        elif verdict is Verdict.UNCLEAR or "does not help" in verdict.value:
            expected = 3
        assert check.exit_code(report) == expected


def shuffle_weights(source: Path, copy: Path) -> Path:
    """The same model with the blocks of every matrix in another order: it knows nothing."""
    copy.write_bytes(source.read_bytes())
    generator = np.random.default_rng(0)
    for tensor in GGUFReader(copy, "r+").tensors:
        if len(tensor.shape) > 1 and tensor.name.startswith("blk."):
            block_bytes = GGML_QUANT_SIZES[tensor.tensor_type][1]
            blocks = tensor.data.reshape(-1).view(np.uint8).reshape(-1, block_bytes)
            blocks[:] = generator.permutation(blocks)
    return copy


def write(folder: Path, files: dict[str, Any]) -> Path:
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{content}\n")
    return folder


def available(proc: Path, groups: Path) -> int | None:
    return _core.available_memory(os.fsencode(proc), os.fsencode(groups))


def test_available_memory(tmp_path: Path) -> None:
    proc = write(tmp_path / "proc", {"meminfo": "MemTotal: 64 kB\nMemAvailable: 32 kB"})
    groups = tmp_path / "cgroup"
    assert available(proc, groups) == 32 * 1024
    write(proc, {"self/cgroup": "0::/a/b"})
    write(groups, {"a/memory.max": 20_000, "a/memory.current": 9_000, "a/b/memory.max": "max"})
    assert available(proc, groups) == 11_000
    write(groups, {"a/memory.stat": "anon 1\ninactive_file 4000"})
    assert available(proc, groups) == 15_000
    write(groups, {"memory.max": 7_000, "memory.current": 6_000})
    assert available(proc, groups) == 1_000
    assert available(tmp_path / "none", groups) is None


def test_available_memory_in_old_groups(tmp_path: Path) -> None:
    proc = write(
        tmp_path / "proc",
        {"meminfo": "MemAvailable: 32 kB", "self/cgroup": "4:cpu,memory:/job\n1:name=x:/y"},
    )
    limits = {"memory.limit_in_bytes": 8_000, "memory.usage_in_bytes": 9_000}
    groups = write(tmp_path / "cgroup/memory/job", limits).parents[1]
    assert available(proc, groups) == 0


@pytest.mark.parametrize(
    ("n_bytes", "text"),
    [
        (0, "0 bytes"),
        (1023, "1023 bytes"),
        (1536, "1.5 KiB"),
        (200 * 2**20, "200 MiB"),
        (5 * 2**40, "5.0 TiB"),
        (2**51, "2048 TiB"),
    ],
)
def test_sizes_are_readable(n_bytes: int, text: str) -> None:
    assert words.readable(n_bytes) == text


def test_check_exact_prints_what_bit_exact_uses(pair: tuple[Path, Path]) -> None:
    options = ("--exact", "-c", 512, "-t", 1, "--draft-max", 4)
    result = run("check", pair[0], *options)
    assert result.exit_code == 0, result.output
    assert "bit_exact=True uses verifications of at most 10 tokens" in result.stdout
    found = json.loads(run("check", pair[0], *options, "--json").stdout)
    assert found["wanted"] == 10
    assert found["chosen"] in found["trials"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--exact", "-p", "x"], "--prompt: --exact decodes no texts"),
        (["--exact", "--no-measure"], "--no-measure: --exact decodes no texts"),
        (["--exact", "--placements", "all"], "--placements: --exact decodes no texts"),
        (["--exact", "--max-branches", "2"], "--max-branches: --exact tests the target without"),
        (["--exact", "none.gguf"], "DRAFT: --exact tests the target without a draft"),
        (["--exact", "-td", "1"], "--draft-threads: --exact tests the target without a draft"),
        (["--exact", "-devd", "CUDA0"], "--draft-device: --exact tests the target without a"),
        (["--no-measure", "--seconds", "3"], "--seconds: it has no effect with --no-measure"),
        (["--no-measure", "--temp", "0.5"], "--temp: it has no effect with --no-measure"),
        (["--no-measure", "--placements", "all"], "--placements: it has no effect with --no-m"),
        (["one", "-f", "prompt.txt"], "--file: it has no effect without a draft"),
    ],
)
def test_options_without_an_effect(
    pair: tuple[Path, Path], arguments: list[str], message: str
) -> None:
    models = pair[:1] if arguments[0] in ("one", "--exact") else pair
    result = run("check", *models, *(each for each in arguments if each != "one"))
    assert result.exit_code == 2
    assert message in " ".join(result.stderr.replace("│", " ").split())


def test_check_exact_that_finds_nothing(
    pair: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def useless(path: Path, **options: object) -> ExactReport:
        assert options["max_draft"] == 4
        trial = ExactTrial(1, repacked=True, max_path=1, single_ms=2.5, path_ms=2.5)
        return ExactReport(str(path), 10, (trial,), None, None)

    monkeypatch.setattr(check, "examine_rows", useless)
    result = run("check", "--exact", pair[0], "--draft-max", 4)
    assert result.exit_code == check.NO_GAIN
    assert "bit_exact=True cannot be used" in result.stdout
