"""Models in several files, under the names that downloads give them."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from tests.python.support.split_gguf import write_parts
from tests.python.support.tiny_gguf import write_tiny_gguf

from specbranch_cpp import Engine, ModelLoadError, check
from specbranch_cpp._llama import cpu_probe
from specbranch_cpp._pair.pair_profile import fingerprint
from specbranch_cpp._support.model_parts import model_parts, model_sha256

PROMPT = "def f("


def text_of(target: Path, draft: Path | None = None) -> str:
    with Engine(target, draft, n_ctx=256, measure_costs=False) as engine:
        mode = "autoregressive" if draft is None else "speculative"
        return engine.complete(PROMPT, max_tokens=16, mode=mode).text


def refusal(path: Path) -> str:
    with pytest.raises(ModelLoadError) as error:
        Engine(path, n_ctx=256)
    return str(error.value)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_gguf(tmp_path_factory.mktemp("whole") / "whole.gguf", weight_type="Q8_0")


@pytest.fixture
def parts(whole: Path, tmp_path: Path) -> list[Path]:
    return write_parts(whole, tmp_path, n_parts=3)


@pytest.mark.parametrize("bare_first", [False, True])
def test_parts_are_one_model(whole: Path, tmp_path: Path, bare_first: bool) -> None:
    first = write_parts(whole, tmp_path, n_parts=3, bare_first=bare_first)[0]
    assert text_of(first) == text_of(whole)
    assert text_of(whole, first) == text_of(whole)
    assert text_of(first, whole) == text_of(whole)


def test_links_to_blobs_with_hashes_as_names(whole: Path, tmp_path: Path) -> None:
    """The Hugging Face cache, in a folder whose name is not ASCII."""
    cache = tmp_path / "größe ✓"
    blobs, snapshot = cache / "blobs", cache / "snapshots" / "0a1b2c" / "sub"
    blobs.mkdir(parents=True)
    snapshot.mkdir(parents=True)
    links = []
    for i, part in enumerate(write_parts(whole, snapshot, n_parts=3)):
        blob = part.rename(blobs / f"{i + 5:064x}")
        part.symlink_to(Path("../../../blobs") / blob.name)
        links.append(part)
    assert text_of(links[0]) == text_of(whole)
    # The blob itself, which `Path.resolve` gives, and a link to it under a name of the user's.
    assert text_of(links[0].resolve()) == text_of(whole)
    mine = tmp_path / "mine.gguf"
    mine.symlink_to(links[0])
    assert text_of(mine) == text_of(whole)
    named = f"give the first part, {links[0]}"
    assert named in refusal(links[1].resolve())


def test_memory_and_parameters_are_those_of_all_parts(
    whole: Path, parts: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cpu_probe, "probe", lambda _model: cpu_probe.ProbeResult("runs"))
    of_whole, of_parts = (check.examine(path).target for path in (whole, parts[0]))
    assert of_whole is not None
    assert of_parts is not None
    assert of_parts.weights == of_whole.weights
    assert of_parts.n_parameters == of_whole.n_parameters


def test_another_part_than_the_first(parts: list[Path]) -> None:
    message = refusal(parts[1])
    assert "this is part 2 of the 3 parts of a split model" in message
    assert f"give the first part, {parts[0]}" in message


def test_a_part_is_missing(parts: list[Path]) -> None:
    parts[2].unlink()
    assert f"part 3 of 3 is missing, {parts[2]}" in refusal(parts[0])


@pytest.mark.parametrize("n_bytes", [-1, 100, 0])
def test_a_part_is_cut_off(parts: list[Path], n_bytes: int) -> None:
    parts[1].write_bytes(parts[1].read_bytes()[:n_bytes])
    assert parts[1].name in refusal(parts[0])


def test_a_part_of_another_place(parts: list[Path]) -> None:
    shutil.copy(parts[2], parts[1])
    message = refusal(parts[0])
    assert "does not say that this is part 2 of 3" in message
    assert parts[1].name in message


def test_parts_that_were_joined(parts: list[Path], tmp_path: Path) -> None:
    joined = tmp_path / "joined.gguf"
    joined.write_bytes(b"".join(part.read_bytes() for part in parts))
    message = refusal(joined)
    assert "the file holds several GGUF files" in message
    assert "must not be joined" in message


def test_the_first_part_has_another_name(parts: list[Path], tmp_path: Path) -> None:
    renamed = parts[0].rename(tmp_path / "renamed.gguf")
    assert "its name must end in -00001-of-00003.gguf" in refusal(renamed)


def test_absurd_numbers_of_parts(whole: Path, tmp_path: Path) -> None:
    first = write_parts(whole, tmp_path, n_parts=2)[0]
    data = first.read_bytes()
    at = data.index(b"split.count") + len(b"split.count") + 4
    first.write_bytes(data[:at] + (60_000).to_bytes(2, "little") + data[at + 2 :])
    assert "its name must end in -00001-of-60000.gguf" in refusal(first)
    at = data.index(b"split.no") + len(b"split.no") + 4
    first.write_bytes(data[:at] + (7).to_bytes(2, "little") + data[at + 2 :])
    assert "part 8 of 2" in refusal(first)


def test_what_identifies_a_model_covers_all_parts(whole: Path, parts: list[Path]) -> None:
    first, last = str(parts[0]), parts[-1]
    assert model_parts(str(whole)) == [str(whole)]
    assert model_parts(first) == [str(part) for part in parts]
    before = (fingerprint(first), model_sha256(first))
    data = last.read_bytes()
    last.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    after = (fingerprint(first), model_sha256(first))
    assert before[0]["bytes"] == after[0]["bytes"] == sum(part.stat().st_size for part in parts)
    assert before[0] != after[0]
    assert before[1] != after[1]
