"""What the shell completes, and what every command says of itself."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from typer.testing import CliRunner

from specbranch_cpp.cli import app, options
from specbranch_cpp.options import SAMPLERS

if TYPE_CHECKING:
    from pathlib import Path

COMMANDS = ("generate", "chat", "check", "demo", "bench", "simulate", "hrad")


def completed(*words: str, folder: Path | None = None) -> list[str]:
    """What bash is told for the last of these words."""
    environment = os.environ | {
        "_SPECBRANCH_COMPLETE": "complete_bash",
        "COMP_WORDS": " ".join(("specbranch", *words)),
        "COMP_CWORD": str(len(words)),
        "PYTHONPATH": os.pathsep.join(sys.path),
    }
    command = [sys.executable, "-m", "specbranch_cpp"]
    done = subprocess.run(
        command, env=environment, cwd=folder, capture_output=True, text=True, check=True
    )
    return done.stdout.split()


def test_bash_completes_commands_modes_and_models(tmp_path: Path) -> None:
    for name in ("big.gguf", "bigger.GGUF", "big.txt", "small.gguf"):
        (tmp_path / name).touch()
    assert completed("ch") == ["chat", "check"]
    assert completed("generate", "--mode", "sp") == ["speculative", "specbranch"]
    assert completed("check", "b", folder=tmp_path) == ["big.gguf", "bigger.GGUF"]
    assert completed("chat", "-md", f"{tmp_path}/s") == [f"{tmp_path}/small.gguf"]


def test_folders_are_left_to_the_shell(tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    (tmp_path / "model.gguf").touch()
    assert options.complete_gguf(f"{tmp_path}/mod") == []
    assert options.complete_gguf(f"{tmp_path}/model.") == [f"{tmp_path}/model.gguf"]
    assert options.complete_gguf(f"{tmp_path}/none/x") == []
    assert options.complete_gguf("~nobody-of-this-name/x") == []


def test_a_script_for_the_shell(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION", "1")
    result = CliRunner().invoke(app, ["--show-completion", "bash"], prog_name="specbranch")
    assert result.exit_code == 0, result.output
    assert "_SPECBRANCH_COMPLETE=complete_bash" in result.stdout


def test_help_has_a_line_for_every_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    shown = CliRunner().invoke(app, ["--help"]).stdout
    lines = [line.strip("│ ") for line in shown.splitlines()]
    for name in COMMANDS:
        (line,) = [line for line in lines if line.startswith(f"{name} ")]
        assert line.endswith(".")
    for words in ("Example: specbranch check", "Exit codes: 0: success;"):
        assert words in unwrapped(shown)


def unwrapped(text: str) -> str:
    return " ".join(text.split())


@pytest.mark.parametrize("name", ["generate", "chat", "check"])
def test_help_tells_the_exit_codes(name: str) -> None:
    assert "Exit codes: 0" in unwrapped(CliRunner().invoke(app, [name, "--help"]).stdout)


def test_help_shows_all_of_a_default(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rich cuts a word that is longer than its column."""
    monkeypatch.setenv("COLUMNS", "80")
    shown = CliRunner().invoke(app, ["generate", "--help"], prog_name="specbranch").stdout
    assert "…" not in shown
    words = " ".join(line.strip("│ ") for line in shown.splitlines())
    assert "; ".join(name for name in SAMPLERS if name != "infill") in " ".join(words.split())


@pytest.mark.parametrize(
    ("command", "usage"),
    [
        (["models"], "[FOLDER]..."),
        (["hrad", "train"], "{FOLDER}..."),
        (["bench", "report"], "{FOLDER}"),
    ],
)
def test_usage_names_arguments_once(command: list[str], usage: str) -> None:
    shown = CliRunner().invoke(app, [*command, "--help"], prog_name="specbranch").stdout
    (line,) = (line.strip() for line in shown.splitlines() if "Usage: " in line)
    assert line.endswith(f"[OPTIONS] {usage}")
