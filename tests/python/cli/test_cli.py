"""The command line, as a user calls it."""

from __future__ import annotations

import io
import json
import os
import pty
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import typer
from rich.console import Console
from tests.python.support.special_files import small_disk
from typer.testing import CliRunner

from specbranch_cpp import Completion, Generation, __version__, policies
from specbranch_cpp._support import words
from specbranch_cpp.cli import app, lists, render
from specbranch_cpp.cli.aliases import OURS
from specbranch_cpp.cli.lazy_group import LazyCommand
from specbranch_cpp.cli.lists import comma_list, cpu_list, layers

if TYPE_CHECKING:
    from collections.abc import Callable

    from typer.testing import Result

    from specbranch_cpp import Engine

PROMPT = "def add(a, b):\n"
MODES = ("autoregressive", "speculative", "pearl", "specbranch", "auto")


def run(*arguments: object, stdin: str | bytes | None = None) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments], input=stdin)


@pytest.fixture
def models(pair: tuple[Path, Path]) -> list[str]:
    """What selects the pair, in a small context and with a thread each."""
    return ["-m", str(pair[0]), "-md", str(pair[1]), "-c", "512", "-t", "1", "-td", "1"]


def test_help_and_version() -> None:
    for command in ([], ["generate"], ["demo"], ["check"]):
        result = run(*command, "--help")
        assert result.exit_code == 0
        assert "Usage: " in result.stdout
    assert __version__ in run("--version").stdout
    module = subprocess.run(
        [sys.executable, "-m", "specbranch_cpp", "--version"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert module.stdout.startswith(f"specbranch {__version__} (llama.cpp ")


@pytest.mark.parametrize("mode", MODES)
def test_generate_streams_the_text_of_the_engine(
    models: list[str], engine: Engine, mode: str
) -> None:
    expected = engine.generate(PROMPT, max_tokens=24, temperature=0.7, seed=3).result()
    result = run(
        "generate", *models, "-p", PROMPT, "-n", 24, "--temp", 0.7, "-s", 3, "--mode", mode
    )
    assert result.exit_code == 0
    assert result.stdout == expected.text
    assert mode in result.stderr
    assert "seed 3" in result.stderr
    assert "\x1b" not in result.output


def test_generate_as_json(models: list[str], engine: Engine) -> None:
    expected = engine.generate(PROMPT, max_tokens=16).result()
    result = run("generate", *models, "-p", PROMPT, "-n", 16, "--json")
    assert result.exit_code == 0
    assert result.stderr == ""
    found = json.loads(result.stdout)
    assert found["text"] == expected.text
    assert found["tokens"] == list(expected.tokens)
    assert found["finish_reason"] == expected.finish_reason
    assert found["stats"]["n_generated"] == len(expected.tokens)
    assert found["stats"]["tokens_per_second"] > 0


def test_generate_records_a_timeline(models: list[str], tmp_path: Path) -> None:
    command = ["generate", *models, "-p", PROMPT, "-n", 16, "--mode", "specbranch"]
    plain = run(*command)
    file = tmp_path / "trace.json"
    result = run(*command, "--trace", file)
    assert result.exit_code == 0, result.stderr
    assert result.stdout == plain.stdout
    line = " ".join(result.stderr.split())  # it may break anywhere
    assert "target idle " in line
    assert "draft idle " in line
    names = {event["name"] for event in json.loads(file.read_text())["traceEvents"]}
    assert {"thread_name", "draft"} <= names
    pytest.importorskip("matplotlib")
    picture = tmp_path / "trace.png"
    result = run(*command, "--trace", picture, "--json")
    assert result.exit_code == 0, result.stderr
    assert json.loads(result.stdout)["stats"]["target_idle_ms"] >= 0
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_a_timeline_that_cannot_be_written(models: list[str], tmp_path: Path) -> None:
    command = ["generate", *models, "-p", PROMPT, "-n", 4, "-q"]
    with small_disk(16):
        result = run(*command, "--trace", tmp_path / "trace.json")
    assert result.exit_code == 1
    assert "trace.json: File too large" in result.stderr
    assert result.stdout == run(*command).stdout  # the text is not lost
    assert list(tmp_path.iterdir()) == []


def test_generate_passes_everything_on(models: list[str], engine: Engine) -> None:
    grammar = 'root ::= [a-z ]+ "."'
    expected = engine.generate(
        PROMPT,
        max_tokens=40,
        temperature=0.9,
        top_k=30,
        top_p=0.95,
        min_p=0.01,
        repeat_penalty=1.1,
        presence_penalty=0.2,
        frequency_penalty=0.1,
        grammar=grammar,
        stop=["q", "z"],
        seed=7,
        policy=policies.Confidence(0.5),
    ).result()
    result = run(
        *("generate", *models, "-p", PROMPT, "-n", 40, "--temp", 0.9, "--top-k", 30),
        *("--top-p", 0.95, "--min-p", 0.01, "--repeat-penalty", 1.1, "--presence-penalty", 0.2),
        *("--frequency-penalty", 0.1, "--grammar", grammar, "--stop", "q", "--stop", "z"),
        *("--seed", 7, "--draft-p-min", 0.5, "--draft-max", 4, "--max-branches", 2, "--cpus", "0"),
        *("--draft-cpus", "0-0", "-ngl", 0, "-ngld", 0),
    )
    assert result.exit_code == 0, result.stderr
    assert result.stdout == expected.text


def test_where_the_prompt_comes_from(models: list[str], tmp_path: Path) -> None:
    file = tmp_path / "prompt.txt"
    file.write_text(f"{PROMPT}\n")
    quiet = ["generate", *models, "-n", 8, "--quiet"]
    expected = run(*quiet, "-p", PROMPT)
    assert expected.stderr == ""
    assert run(*quiet, "-f", file).stdout == expected.stdout
    assert run(*quiet, "-f", "-", stdin=f"{PROMPT}\n").stdout == expected.stdout
    assert run(*quiet, stdin=f"{PROMPT}\n").stdout == expected.stdout
    assert run(*quiet, "-p", PROMPT, "--echo").stdout == PROMPT + expected.stdout


def test_a_target_without_a_draft(pair: tuple[Path, Path]) -> None:
    alone = ["generate", "-m", pair[0], "-p", PROMPT, "-n", 24, "-c", 256, "-t", 1]
    result = run(*alone)
    assert result.exit_code == 0
    assert "auto" in result.stderr
    plain = run(*alone, "--no-lookup")
    assert "autoregressive" in plain.stderr
    assert plain.stdout == result.stdout


@pytest.mark.parametrize("command", ["generate", "chat", "serve", "check"])
def test_options_of_a_draft_without_a_draft(pair: tuple[Path, Path], command: str) -> None:
    target: list[object] = [pair[0]] if command == "check" else ["-m", pair[0]]
    options = ["--draft-threads=1", "--draft-cpus=0", "--draft-n-gpu-layers=0"]
    options += ["--draft-device=CUDA0", "--max-branches=2"]
    if command == "generate":
        target += ["-p", "x", "--mode", "speculative"]  # a mode that needs no draft
        options.append("--draft-p-min=0.5")
    for option in options:
        result = run(command, *target, option)
        assert result.exit_code == 2
        words = " ".join(result.stderr.replace("\u2502", " ").split())
        assert f"{option.split('=')[0]}: it has no effect without a draft model" in words


def test_texts_that_propose_tokens(pair: tuple[Path, Path], tmp_path: Path) -> None:
    alone = ["generate", "-m", pair[0], "-p", PROMPT, "-n", 24, "-c", 256, "-t", 1]
    plain = run(*alone, "--no-lookup", "--quiet").stdout
    file = tmp_path / "answer.txt"
    file.write_text(plain)
    for option in ("--prediction-file", "--corpus"):
        result = run(*alone, option, file, "--mode", "speculative", "--json")
        assert result.exit_code == 0, result.output
        found = json.loads(result.stdout)
        assert found["text"] == plain
        assert found["stats"]["n_lookup_accepted"] > 0
        assert (found["stats"]["n_prediction_accepted"] > 0) is (option == "--prediction-file")


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["-p", "x", "--temp", "-1"], 2, "--temp is -1; it must be"),
        (["-p", "x", "-n", "-2"], 2, "--n-predict is -2; it must be in -1 .."),
        (["-p", "x", "-c", "-1"], 2, "--ctx-size is out of range; -1"),
        (["-p", ""], 2, "the prompt is empty"),
        (["-p", "x", "--json", "--echo"], 2, "--echo: the object of --json has no prompt"),
        (["-p", "x", "--mode", "auto", "--draft-p-min", "0.3"], 2, "--draft-p-min: mode auto"),
        (["-p", "x", "--mode", "pearl", "--draft-p-min", "0.3"], 2, "--draft-p-min: mode pearl"),
        (
            ["-p", "x", "--mode", "autoregressive", "--draft-p-min", "0.3"],
            2,
            "--draft-p-min: mode autoregressive drafts nothing",
        ),
        (
            ["-p", "x", "--mode", "autoregressive", "--prediction-file", "f"],
            2,
            "--prediction-file: mode autoregressive",
        ),
        (["-p", "x", "--no-lookup", "--prediction-file", "f"], 2, "no effect with --no-lookup"),
        (["-p", "x", "--mode", "fast"], 2, "autoregressive, speculative, pearl, specbranch"),
        (["-p", "x", "--max-branches", "99"], 2, "--max-branches is 99"),
        (["-p", "x", "--draft-p-min", "2"], 2, "--draft-p-min is 2"),
        (["-p", "x", "--grammar", "root ="], 2, "grammar"),
        (["-p", "x", "--grammar", "g", "--grammar-file", "f"], 2, "give only one of them"),
        (["-p", "x", "--cpus", "0,a"], 2, "'a' is not a CPU"),
        (["-p", "x", "-f", "y"], 2, "give only one of them"),
        (["-f", "missing.txt"], 2, "missing.txt"),
        (["-p", "x", "--corpus", "missing.txt"], 2, "--corpus: missing.txt cannot be read"),
        (["-p", "x", "--stop", ""], 2, "--stop has an empty string"),
        (["-p", "x", "--profile", "/"], 2, "--profile '/' cannot be read: it is a folder"),
        (["-p", "x", "--cpus", "9999"], 2, "'9999' is not a CPU from 0 to 1023"),
        (["-p", "x", "--dry-sequence-breaker", ""], 2, "--dry-sequence-breaker is 0 bytes long"),
        (["-p", "x", "--prediction-file", "missing.txt"], 2, "missing.txt"),
        (["-p", "x", "--trace", "trace.txt"], 2, "--trace is 'trace.txt'; a timeline file must"),
        (["-p", "x", "--samplers", "foo"], 2, "--samplers has 'foo'; it may have penalties, dry"),
        (["-p", "x", "--trace", "no/such/folder.json"], 2, "no/such does not exist"),
        (["-p", 600 * "x ?"], 1, "leaves no room for one more; see --ctx-size"),
        (["-p", "x", "-m", "missing.gguf"], 1, "missing.gguf"),
    ],
)
def test_errors_are_one_line_and_a_code(
    models: list[str], arguments: list[str], code: int, message: str
) -> None:
    result = run("generate", *models, *arguments)
    assert result.exit_code == code
    assert message in result.stderr
    assert result.stdout == ""
    assert "Traceback" not in result.output
    assert not isinstance(result.exception, BaseException) or isinstance(
        result.exception, SystemExit
    )
    if result.stderr.startswith("specbranch: "):
        assert result.stderr.count("\n") == 1


def test_a_prompt_that_is_no_text(models: list[str]) -> None:
    result = run("generate", *models, stdin=b"\xff\xfe")
    assert result.exit_code == 2
    assert "UTF-8" in result.stderr


def test_a_profile_that_does_not_hold_is_told(pair: tuple[Path, Path], tmp_path: Path) -> None:
    command = ["generate", "-m", pair[0], "-md", pair[1], "-c", 512, "-p", "x", "-n", 2, "-q"]
    command += ["--profile", tmp_path / "pair.json"]
    assert run(*command, "-t", 1).stderr == ""
    told = run(*command, "-t", 2).stderr
    assert told.startswith("specbranch: profile ")
    assert "has costs from another machine or other settings, which are ignored" in told


def test_a_draft_without_a_target(pair: tuple[Path, Path]) -> None:
    result = run("generate", "-md", pair[1], "-p", "x")
    assert result.exit_code == 2
    assert "-m" in result.stderr


def test_interrupt_keeps_the_text(models: list[str]) -> None:
    endless = "root ::= [a-z] root"  # forbids the end
    command = [sys.executable, "-m", "specbranch_cpp", "generate", *models, "-c", "32768"]
    command += ["-p", PROMPT, "-n", "-1", "--grammar", endless]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        begin = process.stdout.read(8)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert begin.isalpha()
    assert len(begin) == 8
    assert b"end: cancelled" in errors
    assert b"Traceback" not in errors


def test_interrupt_before_the_json(models: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    result_of = Generation.result

    def interrupted(_self: Generation) -> Completion:
        monkeypatch.setattr(Generation, "result", result_of)
        raise KeyboardInterrupt

    monkeypatch.setattr(Generation, "result", interrupted)
    result = run("generate", *models, "-c", 8192, "-p", PROMPT, "-n", -1, "--json")
    assert result.exit_code == 130
    assert json.loads(result.stdout)["finish_reason"] == "cancelled"


FULL = Path("/dev/full")


@pytest.mark.skipif(not FULL.exists(), reason="there is no /dev/full")
@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_full_disk_is_told(
    models: list[str], unbuffered: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONUNBUFFERED", unbuffered)
    with FULL.open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "specbranch_cpp", "generate", *models, "-p", "x", "-n", "3"],
            stdout=full, stderr=subprocess.PIPE, text=True, check=False,
        )  # fmt: skip
    assert done.returncode == 1
    assert "specbranch: standard output: No space left on device\n" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_reader_that_leaves(models: list[str]) -> None:
    command = [sys.executable, "-m", "specbranch_cpp", "generate", *models]
    command += ["-p", PROMPT, "-n", "-1"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        errors = process.stderr.read()
        assert process.wait(timeout=60) == 1
    assert b"Traceback" not in errors
    assert b"BrokenPipe" not in errors


def test_a_terminal_gets_colours_and_the_prompt(models: list[str]) -> None:
    master, slave = pty.openpty()
    command = [sys.executable, "-m", "specbranch_cpp", "generate", *models]
    environment = {name: value for name, value in os.environ.items() if name != "NO_COLOR"}
    subprocess.run(
        [*command, "-p", "def add(a, b):", "-n", "4", "-q"],
        stdout=slave,
        env=environment | {"TERM": "xterm"},
        check=True,
    )
    os.close(slave)
    output = os.read(master, 65536).decode()
    os.close(master)
    assert output.startswith("\x1b[2mdef add(a, b):\x1b[0m")
    assert output.endswith("\n")


def test_a_table_that_is_too_wide_folds_its_names() -> None:
    shown = io.StringIO()
    rows = [("specbranch (4, confidence 0.4, k 4)", "0.58 .. 0.83", "12 of 12")]
    table = render.table(("contender", "quartiles", "equal"), rows)
    Console(file=shown, width=50).print(table)
    lines = shown.getvalue().splitlines()
    assert len(lines) == 3
    assert "12 of 12" in shown.getvalue()
    assert "…" not in shown.getvalue()


@pytest.mark.parametrize("width", [1, 20, 50])
def test_a_narrow_terminal_cuts_nothing_off_a_table(width: int) -> None:
    """rich would make columns narrower than their text. Then names and ends of numbers are lost."""
    columns = ("mode", "expected", "measured", "tokens\nper step")
    rows = [
        ("autoregressive", "1.00", "12.2 tokens/s", "1.00"),
        ("auto", "1.20 (1.10 to 1.30)", "1.23 (1.10 to 1.40)", "2.33"),
    ]
    shown = io.StringIO()
    render.PrintableConsole(file=shown, width=width).print(render.table(columns, rows))
    assert [re.split(r" {2,}", line) for line in shown.getvalue().splitlines()] == [
        ["", "tokens"], [*columns[:3], "per step"], *map(list, rows),
    ]  # fmt: skip


def test_lists(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lists, "usable_cpus", lambda: [0, 1, 4])
    assert comma_list("4, 7", int, "--lengths") == (4, 7)
    assert comma_list("a", str, "--modes") == ("a",)
    assert comma_list(None, int, "--lengths") is None
    assert cpu_list("0,2-4", "--cpus") == [0, 2, 3, 4]
    assert cpu_list(None, "--cpus") is None
    with pytest.raises(typer.BadParameter, match=r"'2,9' has no CPU that .* may use 0-1,4") as told:
        cpu_list("2,9", "--draft-cpus")
    assert told.value.param_hint == "--draft-cpus"


@pytest.mark.parametrize("text", ["5-2", "1024", "0-99999999999999", "-1", "1-"])
def test_cpus_that_are_none(text: str) -> None:
    """A range is not made into a list before its end is known."""
    with pytest.raises(typer.BadParameter, match="is not a CPU from 0 to 1023, or a range"):
        cpu_list(f"0,{text}", "--cpus")


def test_numbers_of_layers() -> None:
    given = (None, "auto", "all", "-1", "0", "33")
    assert [layers(each, "-ngl") for each in given] == [None, None, -1, -1, 0, 33]
    with pytest.raises(typer.BadParameter, match="'many' is not a number of layers, all, or auto"):
        layers("many", "-ngl")


def test_other_names_of_llama_cpp(models: list[str], engine: Engine) -> None:
    expected = engine.generate(PROMPT, max_tokens=8, temperature=0.5, seed=3, mode="pearl").result()
    result = run(
        "generate", *models, "-p", PROMPT, "-q", "--predict", 8, "--temperature", "0.5", "-s", 3,
        "--mode", "pearl", "--gpu-layers", "0", "--gpu-layers-draft=all", "--draft", "8",
        "--threads-draft", 1,
    )  # fmt: skip
    assert result.exit_code == 0, result.stderr
    assert result.stdout == expected.text
    names = set()
    for module, name in (("generate", "generate"), ("chat.command", "chat")):
        command = LazyCommand(module, name, "").load(name)
        names |= {each.lstrip("-") for option in command.params for each in option.opts}
    assert set(OURS.values()) <= names
    assert names.isdisjoint(OURS)


@pytest.mark.parametrize(
    ("text", "kind", "message"),
    [
        ("4,x", int, "'x' is not a whole number"),
        ("0.5,", float, "'0.5,' has an empty part"),
        ("a,,b", str, "'a,,b' has an empty part"),
        ("x", float, "'x' is not a number"),
    ],
)
def test_lists_that_are_none(text: str, kind: Callable[[str], object], message: str) -> None:
    with pytest.raises(typer.BadParameter) as refused:
        comma_list(text, kind, "--what")
    assert refused.value.message == message
    assert refused.value.param_hint == "--what"


def test_messages_do_not_name_methods() -> None:
    assert words.message(ValueError("[Weights::load] no such file; x")) == "no such file; x"
    assert words.message(ValueError("[1, 2] is no prompt")) == "[1, 2] is no prompt"
