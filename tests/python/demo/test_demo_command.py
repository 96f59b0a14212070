"""``specbranch demo``, as a user calls it."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jsonschema
import pytest
from typer.testing import CliRunner

from specbranch_cpp import _core
from specbranch_cpp.bench.machine import Hardware
from specbranch_cpp.cli import app
from specbranch_cpp.cli.demo import grown, sizes
from specbranch_cpp.simulation import MODES

if TYPE_CHECKING:
    from typer.testing import Result

NUMBER = {"type": "number", "minimum": 0}
SHARE = {"type": ["number", "null"], "minimum": 0, "maximum": 1}
CHOICE = {
    "weight_type": {"enum": list(sizes.WEIGHT_TYPES)},
    "placement": {"type": "string"},
    "expected_ratio": NUMBER,
}


def closed(**properties: Any) -> dict[str, Any]:
    """The schema of an object that has these fields, and no other ones."""
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


SCHEMA = closed(
    format={"const": "specbranch-demo-1"},
    files={"type": "array", "items": {"type": "string"}, "minItems": 2, "maxItems": 2},
    grown={
        "anyOf": [
            {"type": "null"},
            closed(
                target_parameters={"type": "integer"},
                draft_parameters={"type": "integer"},
                also_measured={
                    "type": "array",
                    "items": closed(size={"type": "integer"}, step_ms=NUMBER, **CHOICE),
                },
                **CHOICE,
            ),
        ]
    },
    steps={
        "anyOf": [
            {"type": "null"},
            closed(
                target_ms={"type": "array", "items": NUMBER, "minItems": 1},
                draft_ms={"type": "array", "items": NUMBER, "minItems": 1},
                target_slowdown=NUMBER,
                draft_slowdown=NUMBER,
            ),
        ]
    },
    request=closed(
        max_tokens={"type": "integer"}, temperature=NUMBER, seed={"type": ["integer", "null"]}
    ),
    modes={
        "type": "array",
        "items": closed(
            mode={"enum": list(MODES)},
            tokens_per_second=NUMBER,
            ratio=NUMBER,
            ratios={"type": "array", "items": NUMBER, "minItems": 1},
            tokens_per_step=NUMBER,
            acceptance_rate=SHARE,
            rollback_rate=SHARE,
            overlap=SHARE,
            same_text={"type": "boolean"},
        ),
        "minItems": len(MODES),
        "maxItems": len(MODES),
    },
    ratio=NUMBER,
    same_text={"type": "boolean"},
    no_gain={"type": "string"},
)


@pytest.mark.parametrize(
    ("n_usable", "threads", "split"),
    [(1, (1, 1), None), (2, (2, 1), None), (4, (4, 1), (3, 1)), (16, (16, 4), (12, 4))],
)
def test_where_the_models_run(
    n_usable: int, threads: tuple[int, int], split: tuple[int, int] | None
) -> None:
    cores = tuple((n,) for n in range(n_usable))
    here = Hardware("cpu", tuple(range(n_usable)), cores, n_usable, 0, ())
    shared, apart = grown.placements(here)
    assert shared.options == {
        "n_threads": threads[0], "draft_n_threads": threads[1],
        "n_gpu_layers": 0, "draft_n_gpu_layers": 0,  # a GPU only if it is asked for
    }  # fmt: skip
    found = apart and (apart.options["n_threads"], apart.options["draft_n_threads"])
    assert found == split


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["demo", *map(str, arguments)])


def figures(*arguments: object) -> dict[str, Any]:
    result = run("--json", *arguments)
    assert result.exit_code == 0, result.stderr
    found: dict[str, Any] = json.loads(result.stdout)
    jsonschema.validate(found, SCHEMA)
    assert [each["mode"] for each in found["modes"]] == list(MODES)
    assert found["ratio"] == found["modes"][-1]["ratio"]
    return found


@pytest.fixture
def own(pair: tuple[Path, Path]) -> list[str]:
    """Two files of one's own, in a small context and with a thread each."""
    return ["-m", str(pair[0]), "-md", str(pair[1]), "-c", "512", "-t", "1", "-td", "1"]


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """The bundled pair grows no further than to the smallest size."""
    monkeypatch.setattr(sizes, "GOAL_STEP_MS", 0.0)


@pytest.mark.usefixtures("small")
def test_figures_of_the_grown_pair() -> None:
    found = figures("-n", 12, "--weights", "q8_0", "-t", 1, "-td", 1)
    assert found["same_text"]
    assert found["grown"]["weight_type"] == "Q8_0"
    assert found["grown"]["placement"] == "given"
    assert found["grown"]["target_parameters"] > 20_000_000
    assert len(found["steps"]["target_ms"]) > 4
    assert all(len(each["ratios"]) == 3 for each in found["modes"])
    assert [Path(name).name for name in found["files"]] == ["demo-target.gguf", "demo-draft.gguf"]


@pytest.mark.usefixtures("small")
def test_the_whole_page_without_a_terminal() -> None:
    result = run("-n", 16)
    assert result.exit_code == 0, result.stderr
    assert "\x1b" not in result.stdout
    text = " ".join(result.stdout.split())
    assert "its target was grown in memory from 7.3 M to 29 M parameters" in text
    for words in ("without speculation: done: 32 tokens", "with speculation (auto): done: 32"):
        assert words in text
    for mode in MODES:
        row = next(line for line in result.stdout.splitlines() if line.startswith(mode + " "))
        assert row.endswith("yes")
    rows = [line for line in result.stdout.splitlines() if line.startswith(("target ", "draft "))]
    assert "█" in rows[0]
    assert "▓" in rows[1]
    gains = "times as fast as decoding without speculation" in text
    assert gains or "Nothing gains on this machine" in text  # where other programs run
    assert "same text: yes" in text
    assert text.index("same text: yes") < text.index("specbranch check your-target.gguf")


def test_own_files_run_as_they_are(own: list[str]) -> None:
    found = figures(*own, "-n", 12, "-p", "def add(a, b):\n")
    assert found["grown"] is None
    assert found["files"] == [own[1], own[3]]
    assert found["same_text"]
    assert all(len(each["ratios"]) == 3 for each in found["modes"])
    result = run(*own, "-n", 12, "--repeat", 1)
    assert result.exit_code == 0, result.stderr
    assert "grown" not in result.stdout


def test_the_bundled_pair_as_it_is() -> None:
    assert figures("--no-grow", "-n", 8, "--repeat", 1, "-t", 1, "-td", 1)["grown"] is None


@pytest.mark.usefixtures("small")
def test_too_little_memory_to_grow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_core, "available_memory", lambda: 50_000_000)
    result = run("-n", 8, "--repeat", 1)
    assert result.exit_code == 0, result.stderr
    assert "There is too little free memory to grow the bundled pair" in result.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["-m", "TARGET"], "the demo needs a draft"),
        (["-md", "DRAFT"], "a draft was given without a target"),
        (["-m", "TARGET", "-md", "DRAFT", "--show", "fast"], "'fast' is none of"),
        (["-m", "TARGET", "-md", "DRAFT", "--weights", "F32"], "only the grown pair"),
        (["--no-grow", "--weights", "F32"], "only the grown pair"),
        (["--weights", "Q4_0"], "'Q4_0' is none of F32, F16, Q8_0"),
        (["--no-measure-costs"], "--no-grow"),
        (["--profile", "p.json"], "exists only in memory"),
        (["-n", "0"], "--n-predict"),
        (["--temp", "-1"], "--temp: -1 is not a temperature"),
        (["--temp", "nan"], "--temp: nan is not a temperature"),
        (["--seed", "-5"], "--seed is -5"),
        (["-p", ""], "the prompt is empty"),
    ],
)
def test_options_that_do_not_do(
    pair: tuple[Path, Path], arguments: list[str], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The command says so before it looks for a size, which takes long."""
    monkeypatch.delattr(grown, "find")
    names = {"TARGET": str(pair[0]), "DRAFT": str(pair[1])}
    result = run(*(names.get(each, each) for each in arguments))
    assert result.exit_code == 2
    assert message in " ".join(result.stderr.replace("│", " ").split())
    assert "Traceback" not in result.stderr


def test_a_missing_file_is_one_line(tmp_path: Path, pair: tuple[Path, Path]) -> None:
    result = run("-m", tmp_path / "none.gguf", "-md", pair[1])
    assert result.exit_code == 1
    assert result.stderr.count("\n") == 1
    assert "none.gguf" in result.stderr


def on_terminal(command: list[str], *, interrupt_at: bytes | None = None) -> tuple[int, str]:
    """Runs it on a terminal; exit code and what it showed."""
    master, slave = pty.openpty()
    environment = os.environ | {"TERM": "xterm", "COLUMNS": "100", "LINES": "40"}
    with subprocess.Popen(command, stdout=slave, stderr=slave, env=environment) as process:
        os.close(slave)
        output = b""
        while True:
            try:
                data = os.read(master, 65536)
            except OSError:  # the terminal's other end is closed
                break
            if not data:
                break
            output += data
            if interrupt_at is not None and interrupt_at in output:
                interrupt_at = None
                time.sleep(0.1)
                process.send_signal(signal.SIGINT)
        os.close(master)
        return process.wait(timeout=60), output.decode(errors="replace")


def test_a_terminal_shows_the_race(own: list[str]) -> None:
    command = [sys.executable, "-m", "specbranch_cpp", "demo", *own, "-n", "12", "--repeat", "1"]
    code, output = on_terminal(command)
    assert code == 0
    assert "without speculation" in output
    assert "right: live; left: replayed" in output
    assert "same text: yes" in " ".join(output.split())
    assert "\x1b[?25h" in output  # the cursor is there again


def test_an_interrupt_in_the_race_leaves_a_clean_terminal(own: list[str]) -> None:
    # Much longer than this test needs to send the interrupt; the last `-c` counts.
    command = [sys.executable, "-m", "specbranch_cpp", "demo", *own, "-c", "8192", "-n", "4000"]
    code, output = on_terminal(command, interrupt_at=b"waits for its turn")
    assert code == 130
    assert "Traceback" not in output
    assert output.rfind("\x1b[?25h") > output.rfind("\x1b[?25l")
