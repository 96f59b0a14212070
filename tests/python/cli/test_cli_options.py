"""What the command line says about options that are wrong, or that do nothing."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest
from typer.testing import CliRunner

from specbranch_cpp import _core
from specbranch_cpp.cli import app

if TYPE_CHECKING:
    from pathlib import Path

    from typer.testing import Result


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(each) for each in arguments], env={"COLUMNS": "200"})


@pytest.fixture
def short(pair: tuple[Path, Path]) -> list[object]:
    """A short text of a pair, with a thread for each model."""
    return [
        "generate", "-m", pair[0], "-md", pair[1], "-c", "64", "-t", "1", "-td", "1", "-q",
        "--no-measure-costs", "-p", "x", "-n", "2",
    ]  # fmt: skip


def test_layers_on_gpus_that_are_not_there(
    short: list[object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_core, "list_devices", lambda: [SimpleNamespace(is_gpu=False)])
    for options, told in (
        (["-ngl", "99"], "--n-gpu-layers is 99, but"),
        (["-ngl", "all", "-ngld", "1"], "--n-gpu-layers is all and --draft-n-gpu-layers is 1, but"),
    ):
        done = run(*short, *options)
        assert done.exit_code == 0
        assert done.stderr.count("\n") == 1
        assert f"specbranch: {told} llama.cpp finds no GPU here" in done.stderr
    for option in ("0", "auto"):
        assert run(*short, "-ngl", option, "-ngld", option).stderr == ""


def test_an_answer_without_tokens(pair: tuple[Path, Path]) -> None:
    done = run("chat", "-m", pair[0], "-n", "0")
    assert done.exit_code == 2
    assert "--n-predict: an answer of 0 tokens is none; give at least 1, or -1" in done.stderr


@pytest.mark.parametrize(
    ("command", "told"),
    [
        (["demo"], "which -m needs here"),
        (["hrad", "collect"], "which -m needs here"),
        (["generate"], "with -m no draft"),
    ],
)
def test_what_a_target_without_a_draft_means(command: list[str], told: str) -> None:
    words = " ".join(run(*command, "--help").stdout.replace("\u2502", " ").split())
    assert told in words


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        (["generate", "-p", "x", "-m", ""], "--model"),
        (["chat", "-m", "x.gguf", "-md", ""], "--model-draft"),
        (["demo", "-m", "x.gguf", "-md", ""], "--model-draft"),
        (["bench", "run", "-m", "x.gguf", "-md", ""], "--model-draft"),
        (["check", ""], "TARGET"),
        (["check", "x.gguf", ""], "DRAFT"),
    ],
)
def test_an_empty_name_of_a_model(arguments: list[str], name: str) -> None:
    done = run(*arguments)
    assert done.exit_code == 2
    (line,) = [
        each for each in done.stderr.splitlines() if "the name of the model is empty" in each
    ]
    assert name in line
