"""Everything that takes the name of a file: no special file is read, replaced or waited for."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from tests.python.conftest import ROOT, MakeFake
from tests.python.support.special_files import (
    WORDS,
    identity,
    make_special,
    no_hang,
    small_disk,
)
from typer.testing import CliRunner

from specbranch_cpp import Engine, InvalidArgument, policies, simulation
from specbranch_cpp._pair import exact_rows
from specbranch_cpp._plots import speedup
from specbranch_cpp._support import model_parts, prompt_file
from specbranch_cpp.bench import records as bench_records
from specbranch_cpp.bench.records import RecordFile
from specbranch_cpp.cli import app
from specbranch_cpp.cli.chat import turns
from specbranch_cpp.hrad import records as hrad_records
from specbranch_cpp.hrad.weights import TENSORS, Classifier
from specbranch_cpp.local_models import ollama

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

HUGE = 1 << 42
"""Bytes of a sparse file, which no machine can read into memory."""


@pytest.fixture(autouse=True)
def guard() -> Iterator[None]:
    with no_hang():
        yield


READERS: dict[str, Callable[[Path], object]] = {
    "H-RAD's weights": policies.HRAD,
    "H-RAD's records": hrad_records.load_records,
    "H-RAD's settings": lambda path: hrad_records.read_settings(path.parent),
    "prompts": prompt_file.read_prompts,
    "a profile of a simulation": simulation.load_profile,
    "records of a bench": lambda path: bench_records.read(path.parent),
    "a model's digest": lambda path: model_parts.model_sha256(str(path)),
}
NAMES = {"H-RAD's settings": "settings.json", "records of a bench": "run.jsonl"}


@pytest.mark.parametrize(
    ("what", "kind"),
    [(what, kind) for what in READERS for kind in (*WORDS, "huge file")
     if (what, kind) != ("a model's digest", "huge file")],  # a model may have any size
)  # fmt: skip
def test_readers(tmp_path: Path, what: str, kind: str) -> None:
    path = tmp_path / NAMES.get(what, "file")
    if kind == "huge file":
        with path.open("wb") as file:
            file.truncate(HUGE)
    else:
        make_special(path, kind)
    words = WORDS.get(kind, "more than|at most|not a zip file")
    with pytest.raises(InvalidArgument, match=words) as caught:
        READERS[what](path)
    assert str(tmp_path) in str(caught.value)


@pytest.mark.parametrize("kind", WORDS)
def test_files_of_an_engine(pair: tuple[Path, Path], tmp_path: Path, kind: str) -> None:
    path = tmp_path / "special"
    make_special(path, kind)
    before = identity(path)
    words = f"{path}.* cannot be read: it is {WORDS[kind]}"
    with pytest.raises(InvalidArgument, match=words):
        Engine(*pair, n_ctx=128, profile=path)
    with pytest.raises(InvalidArgument, match=words):
        Engine(*pair, n_ctx=128, corpus=[path])
    assert identity(path) == before


@pytest.mark.parametrize("option", ["profile", "lora_path"])
def test_no_zero_bytes_in_options(pair: tuple[Path, Path], option: str) -> None:
    options: dict[str, Any] = {option: "a\0b"}
    with pytest.raises(InvalidArgument, match=f"{option} is .*a path must have no zero byte"):
        Engine(*pair, n_ctx=128, **options)


def test_no_zero_bytes_in_models() -> None:
    with pytest.raises(InvalidArgument, match=r"target is .*a path must have no zero byte"):
        Engine("a\0b")


@pytest.fixture
def traced(make_fake: MakeFake) -> tuple[Engine, Any]:
    engine = make_fake()
    return engine, engine.generate("abc", max_tokens=4, trace=True).result().trace


def weights() -> Classifier:
    return Classifier({name: np.zeros((1, 1), np.float32) for name in TENSORS})


WRITERS: dict[str, tuple[str, Callable[[Path, tuple[Engine, Any]], object]]] = {
    "a profile": ("pair.json", lambda path, made: made[0].save_profile(path)),
    "a trace": ("trace.json", lambda path, made: made[1].save(path)),
    "a picture of a trace": ("trace.png", lambda path, made: made[1].save(path)),
    "a picture of speed-ups": ("speed.png", lambda path, _: draw_speedups(path)),
    "H-RAD's weights": ("file", lambda path, _: weights().save(path)),
    "H-RAD's records": (
        "file",
        lambda path, _: hrad_records.save_records(path, hrad_records.rounds_of(()), {}),
    ),
    "records of a bench": ("run.jsonl", lambda path, _: RecordFile(path.parent, {}).close()),
}


def draw_speedups(path: Path) -> None:
    pair = simulation.Pair(alpha=0.5, target_us=1000.0, draft_us=100.0)
    found = simulation.sweep(pair, "two-gpus", (4.0,), (0.5,), ("pearl",), n_tokens=8)
    speedup.draw(found, path)


@pytest.mark.parametrize("kind", WORDS)
@pytest.mark.parametrize("what", WRITERS)
def test_writers(tmp_path: Path, traced: tuple[Engine, Any], what: str, kind: str) -> None:
    name, write = WRITERS[what]
    if name.endswith(".png"):
        pytest.importorskip("matplotlib")
    path = tmp_path / name
    make_special(path, kind)
    before = identity(path)
    with pytest.raises(InvalidArgument, match=WORDS[kind]) as caught:
        write(path, traced)
    assert str(path) in str(caught.value)
    assert identity(path) == before
    assert [each.name for each in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize("what", WRITERS)
def test_writers_on_a_full_disk(tmp_path: Path, traced: tuple[Engine, Any], what: str) -> None:
    name, write = WRITERS[what]
    if name.endswith(".png"):
        pytest.importorskip("matplotlib")
        write(tmp_path / name, traced)  # the caches of fonts are files, too
        (tmp_path / name).unlink()
    with small_disk(16), pytest.raises(OSError, match=r"File too large"):
        write(tmp_path / name, traced)
    left = list(tmp_path.iterdir())
    assert left == ([tmp_path / name] if what == "records of a bench" else [])
    assert all(each.stat().st_size == 0 for each in left)


def test_no_zero_bytes_in_the_name_of_a_profile(traced: tuple[Engine, Any]) -> None:
    with pytest.raises(InvalidArgument, match=r"path is .*a path must have no zero byte"):
        traced[0].save_profile("\0")


def test_a_line_that_does_not_fit_is_not_written_later(tmp_path: Path) -> None:
    with RecordFile(tmp_path, {}) as file:
        size = file.path.stat().st_size
        with small_disk(size + 10), pytest.raises(OSError, match="File too large"):
            file.add("turn", key="lost", text="x" * 100)
        assert file.path.stat().st_size == size
        assert not file.has("lost")
        file.add("turn", key="kept")
    assert [one.get("key") for one in bench_records.read(tmp_path)] == [None, "kept"]


def test_records_that_are_compressed_are_bounded(tmp_path: Path) -> None:
    """A file of a few kilobytes that says that it has many gigabytes."""
    import zipfile

    path = tmp_path / "records.npz"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name in ("features", "label"):
            file.writestr(f"{name}.npy", b"\0" * 1000)
    data = bytearray(path.read_bytes())
    for at in (i for i in range(len(data)) if data[i : i + 4] == b"PK\1\2"):
        data[at + 24 : at + 28] = (0xF0000000).to_bytes(4, "little")
    path.write_bytes(data)
    with pytest.raises(InvalidArgument, match="it must have at most"):
        hrad_records.load_records(path)


def test_text_that_is_nested_too_deeply(pair: tuple[Path, Path], tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("[" * 1_000_000)
    for read in (simulation.load_profile, prompt_file.read_prompts, hrad_records.load_records):
        with pytest.raises(InvalidArgument, match="file"):
            read(path)
    for name, folder in ((hrad_records.SETTINGS, "a"), (bench_records.NAME, "b")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / name).write_text("[" * 1_000_000 + "\n")
    with pytest.raises(InvalidArgument, match="nested too deeply"):
        hrad_records.read_settings(tmp_path / "a")
    with pytest.raises(InvalidArgument, match="nested too deeply"):
        bench_records.read(tmp_path / "b")
    with pytest.raises(InvalidArgument, match="nested too deeply"):
        Engine(*pair, n_ctx=128, profile=path)


def test_manifests_of_ollama(tmp_path: Path) -> None:
    folder = tmp_path / "manifests/registry.ollama.ai/library/model"
    folder.mkdir(parents=True)
    make_special(folder / "fifo", "fifo")
    (folder / "deep").write_text("[" * 1_000_000)
    refused: dict[str, str] = {}
    assert not list(ollama.blobs(tmp_path, lambda path, why: refused.update({path.name: why})))
    assert refused["fifo"] == "it is a FIFO; it must be a regular file"
    assert "nested too deeply" in refused["deep"]


def test_what_is_remembered_may_be_anything(empty_cache: Path) -> None:
    empty_cache.mkdir(parents=True)
    make_special(exact_rows.file(), "fifo")
    assert exact_rows.recall("key") is None


def test_a_history_that_is_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    history = turns.history_file()
    assert history is not None
    with history.open("wb") as file:
        file.truncate(HUGE)
    assert turns.history_file() is None
    history.unlink()
    make_special(history, "fifo")
    assert turns.history_file() is None


@pytest.mark.parametrize(
    "arguments",
    [
        ["generate", "-f"],
        ["generate", "-p", "x", "--grammar-file"],
        ["generate", "-p", "x", "--prediction-file"],
        ["generate", "-p", "x", "--corpus"],
        ["generate", "-p", "x", "--profile"],
        ["serve", "--chat-template-file"],
        ["serve", "--api-key-file"],
        ["check", "-f"],
        ["bench", "run", "--prompts"],
        ["simulate", "--profile"],
    ],
    ids=" ".join,
)
@pytest.mark.parametrize("kind", ["device", "huge file", "folder"])
def test_options_of_the_command_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], kind: str
) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "special"
    if kind == "huge file":
        with path.open("wb") as file:
            file.truncate(HUGE)
    else:
        make_special(path, kind)
    done = CliRunner().invoke(app, [*arguments, str(path)])
    assert done.exit_code == 2, done.output
    said = " ".join(done.output.replace("│", "").split())
    assert WORDS.get(kind, "more than").split()[-1] in said or "too much text" in said


@pytest.mark.parametrize("kind", ["device", "fifo"])
def test_a_trace_is_refused_before_the_text(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "trace.json"
    make_special(path, kind)
    done = CliRunner().invoke(app, ["generate", "-p", "x", "-n", "2", "--trace", str(path)])
    assert done.exit_code == 2
    assert WORDS[kind] in done.output
    assert done.stdout == ""


def test_an_endless_turn_of_a_chat(monkeypatch: pytest.MonkeyPatch) -> None:
    class Endless:
        def readline(self, limit: int) -> bytes:
            return b"x" * limit

    monkeypatch.setattr(turns, "LARGEST_TEXT", 1000)
    with pytest.raises(InvalidArgument, match="the turn has more than"):
        turns.LineTurns(turns._lines(Endless())).next()  # type: ignore[arg-type]
    with pytest.raises(InvalidArgument, match="the turn has more than"):
        turns.LineTurns('"""' + "x" * 100 for _ in range(100)).next()


def test_the_package_opens_files_in_one_place() -> None:
    """Elsewhere, only files of the system and of the package itself are opened by name."""
    allowed = {
        "_support/files.py",
        # Of the system.
        "_llama/cpu_flags.py", "_llama/native.py", "_llama/child.py", "bench/machine.py",
        "_scaling/metadata.py",  # a file of its own
        "_support/program.py",  # the streams of the program
    }  # fmt: skip
    package = ROOT / "python/specbranch_cpp"
    words = (
        ".read_text(", ".write_text(", ".read_bytes(", ".write_bytes(", '.open("', "savefig(path",
        " open(",
    )  # fmt: skip
    found = {
        str(path.relative_to(package))
        for path in package.rglob("*.py")
        for line in path.read_text(encoding="utf-8").splitlines()
        if any(word in line.replace("options.read_text", "") for word in words)
    }
    assert found <= allowed


def test_the_content_of_a_profile_stays_json(tmp_path: Path, traced: tuple[Engine, Any]) -> None:
    link = tmp_path / "link.json"
    link.symlink_to("pair.json")
    traced[0].save_profile(link)
    assert link.is_symlink()
    assert json.loads((tmp_path / "pair.json").read_text())["format"]
