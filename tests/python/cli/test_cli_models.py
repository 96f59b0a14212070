"""`specbranch models`."""

from __future__ import annotations

import io
import json
import os
import re
import shlex
import shutil
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from tests.python.support.fake_home import FakeHome, write_other
from tests.python.support.tiny_gguf import write_tiny_gguf
from typer.testing import CliRunner

from specbranch_cpp.cli import app, models_text, render

if TYPE_CHECKING:
    from pathlib import Path

    from typer.testing import Result

    from specbranch_cpp.local_models import Catalog

VARIABLES = (
    "HF_HOME", "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "XDG_CACHE_HOME", "OLLAMA_MODELS",
    "LLAMA_CACHE",
)  # fmt: skip


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeHome:
    """The home of this process."""
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    made = FakeHome(tmp_path)
    made.home.mkdir()
    (tmp_path / "here").mkdir()
    monkeypatch.setenv("HOME", str(made.home))
    monkeypatch.setenv("OLLAMA_MODELS", str(made.home / ".ollama/models"))
    monkeypatch.chdir(tmp_path / "here")
    return made


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["models", *map(str, arguments)])


def text(catalog: Catalog, *, everything: bool = False, width: int = 80) -> str:
    out = io.StringIO()
    console = render.PrintableConsole(
        file=out, width=width, highlight=False, markup=False, emoji=False
    )
    models_text.show(console, catalog, everything=everything)
    return out.getvalue()


def fill(home: FakeHome) -> None:
    folder = home.folder
    large = write_tiny_gguf(folder / "l.gguf", n_layer=30, context_length=32768, name="Large",
                            metadata={"tokenizer.chat_template": "x"})  # fmt: skip
    small = write_tiny_gguf(folder / "s.gguf", n_layer=1, weight_type="Q8_0")
    home.hugging_face("maker/Tiny-Coder-1.5B-Instruct-GGUF", "tiny-coder-instruct-f32.gguf", large)
    home.ollama(["registry.ollama.ai", "library", "tiny", "0.5b"], small)
    lmstudio = home.home / ".lmstudio/models/me/it"
    write_other(lmstudio / "mmproj.gguf", "clip", lambda writer: writer.add_type("mmproj"))
    (lmstudio / "broken.gguf").write_text("no")


def test_text(home: FakeHome) -> None:
    fill(home)
    result = run()
    assert result.exit_code == 0, result.output
    words = " ".join(result.stdout.split())
    for part in (
        "Hugging Face cache", "tiny-coder", "Ollama", "tiny:0.5b", "32k", "q8_0",
        "drafts for 1 tiny-coder-instruct-f32: 2 tiny:0.5b: about ", " times as fast (",
        "no draft here gains speed for 2", "estimates", "right at 70 % of the",
        "left out, because they are no text models: multimodal projector (1)",
        "broken.gguf: this is not a GGUF file",
    ):  # fmt: skip
        assert part in words, part


def test_the_command_at_the_end_works(home: FakeHome) -> None:
    fill(home)
    (line,) = [line for line in run().stdout.splitlines() if line.startswith("specbranch check ")]
    arguments = shlex.split(line)[1:]
    result = CliRunner().invoke(app, [*arguments, "--no-measure", "-c", "256"])
    assert result.exit_code == 0, result.output
    assert "fits" in result.stdout


def test_json(home: FakeHome) -> None:
    fill(home)
    found = json.loads(run("--json").stdout)
    assert found["format"] == "specbranch-models-1"
    assert set(found) == {
        "format", "assumptions", "places", "models", "others", "unusable", "pairs",
        "memory_available",
    }  # fmt: skip
    assert set(found["models"][0]) == {
        "path", "name", "source", "other_paths", "title", "architecture", "n_parameters",
        "quantization", "n_ctx_train", "chat_template", "n_parts", "size", "step_bytes", "memory",
    }  # fmt: skip
    (pair,) = found["pairs"]
    assert pair["target"] == found["models"][0]["path"]
    assert pair["draft"] == found["models"][1]["path"]
    assert set(pair) == {"target", "draft", "n_common", "ratio", "gain"}
    assert set(pair["gain"]) == {"expected", "low", "high"}
    assert set(found["assumptions"]) == {"machine", "alpha", "alpha_low", "alpha_high"}
    assert found["others"][0]["kind"] == "multimodal projector"
    assert found["unusable"][0]["reason"] == "this is not a GGUF file"
    assert {place["source"] for place in found["places"]} == {
        "Hugging Face cache", "LM Studio", "Ollama", "current folder",
    }  # fmt: skip


def test_nothing_is_found(home: FakeHome) -> None:
    result = run()
    assert result.exit_code == 0
    assert "no models were found" in result.stdout
    assert str(home.folder / "here") in result.stdout
    assert json.loads(run("--json").stdout)["models"] == []


def test_folders(home: FakeHome, tiny: Path) -> None:
    fill(home)
    more = home.folder / "more"
    more.mkdir()
    shutil.copyfile(tiny, more / "mine.gguf")
    assert len(json.loads(run(more, "--json").stdout)["models"]) == 3
    found = json.loads(run(more, "--only", "--json").stdout)
    assert [model["name"] for model in found["models"]] == ["mine.gguf"]
    result = run("--only")
    assert result.exit_code == 2
    result = run(home.folder / "nowhere")
    assert result.exit_code == 2
    assert "No such file or directory" in result.stderr
    result = run("/dev/null")
    assert result.exit_code == 2
    assert "FOLDER is '/dev/null', which is a device; it must be a folder" in result.stderr


def test_wrong_options(home: FakeHome) -> None:
    del home
    result = run("--alpha", "1.5")
    assert (result.exit_code, "--alpha is 1.5" in result.stderr) == (2, True)
    result = run("--machine", "mainframe")
    assert (result.exit_code, "--machine is 'mainframe'" in result.stderr) == (2, True)


def test_eighty_columns_are_enough(home: FakeHome) -> None:
    fill(home)
    long = home.folder / "more"
    long.mkdir()
    name = "A-Model-with-a-name-that-is-much-longer-than-any-column-of-80-characters-could-be"
    write_tiny_gguf(long / f"{name}-Q8_0.gguf", n_layer=2)
    shown = text(home.find(long, known=False))
    table = shown.partition("\n\n")[0].splitlines()
    assert max(map(len, table)) <= 80
    assert "\u2026" not in shown
    names = [re.split(r"  +", line)[1] for line in table[3:]]
    assert "".join(names) == f"{name}-Q8_0"
    assert all(part.endswith("-") for part in names[:-1])
    wide = text(home.find(long, known=False), width=200)
    assert f"{name}-Q8_0" in wide


def test_everything(home: FakeHome) -> None:
    fill(home)
    for i in range(4):
        write_tiny_gguf(home.folder / f"here/extra-{i}.gguf", n_layer=2 + i)
    catalog = home.find()
    few = text(catalog)
    assert few.count(" times as fast") < len(catalog.pairs)
    assert "with less or no gain (--all)" in few
    everything = text(catalog, everything=True)
    assert everything.count("times as fast") == len(catalog.pairs)
    assert "multimodal projector: " in everything


def test_everything_by_an_option(home: FakeHome) -> None:
    fill(home)
    everything, few = run("--all").stdout, run().stdout
    assert "multimodal projector: " in everything
    assert "(--all)" not in everything
    assert "(--all)" in few


def test_a_file_of_ollama_that_cannot_be_used_is_named(home: FakeHome) -> None:
    broken = home.folder / "broken.gguf"
    broken.write_text("no")
    blob = home.ollama(["registry.ollama.ai", "library", "tiny", "1b"], broken)
    assert run("--only", broken).stdout.endswith(f"{broken}: this is not a GGUF file\n")
    assert f"{blob} (tiny:1b): this is not a GGUF file\n" in run().stdout
    assert json.loads(run("--json").stdout)["unusable"][0]["name"] == "tiny:1b"


def test_models_that_do_not_fit_in_memory(home: FakeHome) -> None:
    fill(home)
    catalog = home.find()
    assert "larger than the free main memory" not in text(catalog)
    object.__setattr__(catalog, "memory_available", catalog.models[1].memory)
    assert "larger than the free main memory (" in text(catalog)
    assert "): 1\n" in text(catalog)
    object.__setattr__(catalog, "memory_available", None)
    assert "larger than" not in text(catalog)


def test_names_cannot_control_the_terminal(home: FakeHome, tiny: Path) -> None:
    folder = home.folder / "more"
    folder.mkdir()
    shutil.copyfile(tiny, folder / os.fsdecode(b"a\xff\x1b[31m\n.gguf"))
    (folder / "b\x1b.gguf").touch()
    result = run(folder, "--only")
    assert result.exit_code == 0, result.output
    assert "\x1b" not in result.stdout
    assert "\\xff\\x1b[31m\\n" in "".join(result.stdout.split())
    assert json.loads(run(folder, "--only", "--json").stdout)["models"]


def test_equal_names_are_told_apart(home: FakeHome, tiny: Path) -> None:
    for owner in ("one", "two"):
        folder = home.home / f".lmstudio/models/{owner}/m"
        folder.mkdir(parents=True)
        shutil.copyfile(tiny, folder / "m.gguf")
    shown = "".join(text(home.find()).split())
    assert "one/m/m.gguf" in shown
    assert "two/m/m.gguf" in shown


@pytest.mark.parametrize(
    ("name", "label"),
    [
        ("mine.gguf", "mine"),
        ("tiny:1b", "tiny:1b"),
        ("maker/Qwen2.5-0.5B-GGUF/qwen2.5-0.5b-q8_0.gguf", "qwen2.5-0.5b-q8_0"),
        ("maker/Qwen2.5-0.5B-GGUF/Q8_0.GGUF", "Qwen2.5-0.5B-GGUF/Q8_0"),
        ("maker/m/Q8_0/m-Q8_0-00001-of-00002.gguf", "m-Q8_0"),
        ("7B/model.gguf", "7B/model"),
    ],
)
def test_short_names(home: FakeHome, tiny: Path, name: str, label: str) -> None:
    (model,) = home.find(tiny).models
    catalog = home.find(tiny)
    catalog.models[:] = [replace(model, name=name)]
    (row,) = [line for line in text(catalog, width=200).splitlines() if line.startswith("1 ")]
    assert row.split()[1] == label


@pytest.mark.parametrize("width", [20, 40, 60])
def test_a_narrow_terminal_shows_names_and_numbers(home: FakeHome, width: int) -> None:
    fill(home)
    catalog = home.find()
    lines = text(catalog, width=width).splitlines()
    for i, model in enumerate(catalog.models, 1):
        row = next(line for line in lines if line.startswith(f"{i} "))
        facts = row.split()
        assert model.architecture in facts
        assert facts[-1] in ("bytes", "KiB", "MiB")
        assert not re.fullmatch(rf"{i} +{model.architecture} .*", row)  # no name
    assert "…" not in "".join(lines)
