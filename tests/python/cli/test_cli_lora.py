"""The options `--lora` and `--lora-scaled`."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
import typer
from tests.python.support.tiny_lora import write_lora
from typer.testing import CliRunner

from specbranch_cpp import Engine
from specbranch_cpp.cli import app, options

if TYPE_CHECKING:
    from pathlib import Path

    from typer.testing import Result


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def adapters(
    tmp_path_factory: pytest.TempPathFactory, pair: tuple[Path, Path]
) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("lora")
    return (
        write_lora(folder / "a.gguf", pair[0], strength=0.5, seed=1),
        write_lora(folder / "b.gguf", pair[0], strength=0.5, seed=2),
    )


def test_lists_of_adapters() -> None:
    assert options.lora_files(None, None) is None
    assert options.lora_files(["a,b", "c"], ["d:0.5,e:-1", "C:x.gguf:2"]) == [
        ("a", 1.0), ("b", 1.0), ("c", 1.0), ("d", 0.5), ("e", -1.0), ("C:x.gguf", 2.0)
    ]  # fmt: skip
    assert options.lora_files(["a"], ["b:2"], applied=False) == [("a", 0.0), ("b", 0.0)]
    for wrong in ("a", "a:", ":1", "a:b", "a:1,", ""):
        with pytest.raises(typer.BadParameter, match="is not FILE:SCALE"):
            options.lora_files(None, [wrong])


def test_paths_of_adapters_with_commas(tmp_path: Path) -> None:
    one = tmp_path / "a,b.gguf"
    one.touch()
    assert options.lora_files([str(one)], [f"{one}:0.5", "c:1,d:2"]) == [
        (str(one), 1.0), (str(one), 0.5), ("c", 1.0), ("d", 2.0)
    ]  # fmt: skip


def test_generate_uses_adapters(pair: tuple[Path, Path], adapters: tuple[Path, Path]) -> None:
    target, draft = pair
    plain = ("generate", "-m", target, "-md", draft, "-c", 512, "-t", 1, "-td", 1, "-p", "def f(",
             "-n", 20, "--no-measure-costs", "--json")  # fmt: skip
    with Engine(target, lora=[adapters[0], (adapters[1], -0.5)], n_ctx=512, n_threads=1) as engine:
        want = engine.generate("def f(", max_tokens=20).result().text
        without = engine.generate("def f(", max_tokens=20, lora=[]).result().text
    done = run(*plain, "--lora", adapters[0], "--lora-scaled", f"{adapters[1]}:-0.5")
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["text"] == want
    assert json.loads(run(*plain).stdout)["text"] == without != want


def test_wrong_adapters_are_one_line(pair: tuple[Path, Path], tmp_path: Path) -> None:
    for command in (("generate", "-m", pair[0], "-p", "x"), ("check", pair[0], "--no-measure")):
        done = run(*command, "--lora", tmp_path / "missing.gguf")
        assert done.exit_code == 1
        assert "there is no such file" in done.output
        done = run(*command, "--lora-scaled", "x")
        assert done.exit_code == 2


def test_check_names_adapters(pair: tuple[Path, Path], adapters: tuple[Path, Path]) -> None:
    command = ("check", *pair, "-c", 512, "--no-measure", "--lora", adapters[0],
               "--lora-scaled", f"{adapters[1]}:0.25")  # fmt: skip
    done = run(*command)
    assert done.exit_code == 0, done.output
    assert "a.gguf: scale 1, rank 4, changes" in done.stdout
    assert "b.gguf: scale 0.25, rank 4, changes" in done.stdout
    report = json.loads(run(*command, "--json").stdout)
    plain = json.loads(run("check", *pair, "-c", 512, "--no-measure", "--json").stdout)
    assert [each["scale"] for each in report["adapters"]] == [1.0, 0.25]
    n_bytes = sum(each["n_bytes"] for each in report["adapters"])
    assert report["target"]["total"] - plain["target"]["total"] >= n_bytes > 0
    assert plain["adapters"] == []


def test_check_recommends_the_adapters_too(
    pair: tuple[Path, Path], adapters: tuple[Path, Path]
) -> None:
    done = run("check", pair[0], "-c", 512, "--lora", adapters[0], "--json")
    advice = json.loads(done.stdout)["advice"]
    assert f"--lora-scaled {adapters[0]}:1" in advice["command"]
    assert f"lora=[({str(adapters[0])!r}, 1.0)]" in advice["python"]


def test_check_exact_tests_adapters(pair: tuple[Path, Path], adapters: tuple[Path, Path]) -> None:
    plain, adapted = (
        json.loads(run("check", pair[0], "-c", 256, "-t", 1, "--exact", "--json", *more).stdout)
        for more in ((), ("--lora", adapters[0]))
    )
    assert plain["chosen"]["multiple"] == 1
    assert adapted["chosen"]["multiple"] > 1
