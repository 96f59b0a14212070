"""Profiles: what an engine has learned, saved and loaded."""

from __future__ import annotations

import json
import logging
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from tests.python.conftest import MakeFake, RunPython
from tests.python.support.tiny_gguf import write_tiny_gguf
from typer.testing import CliRunner

from specbranch_cpp import Engine, EngineClosed, InvalidArgument, _core
from specbranch_cpp._pair import pair_profile
from specbranch_cpp.cli import app

SETTINGS: dict[str, Any] = {"n_ctx": 128, "n_threads": 1, "draft_n_threads": 1}


@pytest.fixture(scope="module")
def tiny_pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("tiny")
    return (
        write_tiny_gguf(folder / "target.gguf", weight_type="Q8_0"),
        write_tiny_gguf(folder / "draft.gguf", weight_type="Q8_0", n_layer=1),
    )


@pytest.fixture
def saved(tiny_pair: tuple[Path, Path], tmp_path: Path) -> Path:
    """A profile whose numbers no measurement gives."""
    path = tmp_path / "pair.json"
    with Engine(*tiny_pair, measure_costs=False, **SETTINGS) as engine:
        engine.save_profile(path)
    content = json.loads(path.read_text())
    content["costs"] = {
        "target_us": [1000.5, 1100.25, 1300.0],
        "draft_us": [100.0, 110.0],
        "target_slowdown": 1.25,
        "draft_slowdown": 1.5,
    }
    content["acceptance"][1] |= {"first_hits": 0.1, "first_count": 7.25}
    content["acceptance"][2]["hits"][19] = 3.5
    path.write_text(json.dumps(content))
    return path


def read(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(path.read_text())
    return content


def test_a_second_run_starts_tuned(tiny_pair: tuple[Path, Path], saved: Path) -> None:
    before = read(saved)
    with Engine(*tiny_pair, profile=saved, **SETTINGS) as engine:
        costs = engine.costs
        assert costs is not None
        assert costs.target_ms == (1.0005, 1.10025, 1.3)
        assert costs.draft_ms == (0.1, 0.11)
        assert (costs.target_slowdown, costs.draft_slowdown) == (1.25, 1.5)
        assert costs.measure_costs_ms == 0
        engine.generate("abc", max_tokens=3, mode="specbranch").result()
    after = read(saved)
    assert after["acceptance"] == before["acceptance"]  # nothing but `auto` learns these
    assert after["costs"]["target_us"][0] < 1000.5  # a step of these models takes no millisecond
    assert len(after["costs"]["target_us"]) >= 3
    del before["costs"], after["costs"]
    assert after == before


def test_the_file_is_made_and_written_back(tiny_pair: tuple[Path, Path], tmp_path: Path) -> None:
    path = tmp_path / "new.json"
    with Engine(*tiny_pair, profile=str(path), **SETTINGS) as engine:
        costs = engine.costs
        assert costs is not None
        assert costs.measure_costs_ms > 0
        assert not path.exists()
    content = read(path)
    assert content["format"] == "specbranch-profile-2"
    assert [us / 1000 for us in content["costs"]["target_us"]] == list(costs.target_ms)
    assert list(tmp_path.iterdir()) == [path]
    path.unlink()
    engine.close()
    assert not path.exists()  # only the first close writes
    engine.save_profile(path)  # what was known is still known
    assert read(path) == content
    link = tmp_path / "link.json"
    link.symlink_to(path)
    engine.save_profile(link)
    assert link.is_symlink()


def test_another_machine_gives_no_costs(
    tiny_pair: tuple[Path, Path], saved: Path, caplog: pytest.LogCaptureFixture
) -> None:
    settings = SETTINGS | {"n_threads": 2, "measure_costs": False}
    with Engine(*tiny_pair, profile=saved, **settings) as engine:
        assert engine.costs is None
        assert engine._core.profile.acceptance[1].first_count == 7.25
    assert "has costs from another machine or other settings" in caplog.text
    assert "target n_threads was 1 and is 2" in caplog.text
    assert "sha256" not in caplog.text
    assert read(saved)["costs"] is None
    assert read(saved)["acceptance"][1]["first_count"] == 7.25
    assert read(saved)["machine"]["target"]["n_threads"] == 2


def test_other_models_give_nothing(
    tiny_pair: tuple[Path, Path], saved: Path, caplog: pytest.LogCaptureFixture
) -> None:
    target, _ = tiny_pair
    with Engine(target, target, profile=saved, **SETTINGS) as engine:
        assert engine.costs is not None
        assert engine.costs.measure_costs_ms > 0
        assert engine._core.profile.acceptance[1].first_count == 0
    assert "other models" in caplog.text
    assert "draft bytes was" in caplog.text


def damage(content: dict[str, Any], how: str) -> Any:
    if how == "format":
        return content | {"format": "specbranch-profile-9"}
    if how == "machine":
        return content | {"machine": 3}
    if how == "target_us":
        return content | {"costs": content["costs"] | {"target_us": [1.0, float("nan")]}}
    if how == "draft_us":
        return content | {"costs": content["costs"] | {"draft_us": []}}
    if how == "target_slowdown":
        return content | {"costs": content["costs"] | {"target_slowdown": 0.5}}
    if how == "costs":
        return content | {"costs": "none"}
    if how == "acceptance":
        return content | {"acceptance": content["acceptance"][:2]}
    if how == "rank_hits":
        content["acceptance"][0]["rank_hits"] = [1.0] * 7
        return content
    if how == "first_count":
        del content["acceptance"][2]["first_count"]
        return content
    if how == "first_hits":
        content["acceptance"][0] |= {"first_hits": 2.0, "first_count": 1.0}
        return content
    if how == "hits":
        content["acceptance"][0]["hits"][0] = 10**400  # more than a float can hold
        return content
    if how == "beyond_first":
        content["acceptance"][0]["beyond_first"] = 1
        return content
    return [content]


@pytest.mark.parametrize(
    "how",
    ["format", "machine", "target_us", "draft_us", "target_slowdown", "costs", "acceptance",
     "rank_hits", "first_count", "first_hits", "hits", "beyond_first", "no format"],
)  # fmt: skip
def test_damaged_files(tiny_pair: tuple[Path, Path], saved: Path, how: str) -> None:
    saved.write_text(json.dumps(damage(read(saved), how)))
    text = saved.read_text()
    with pytest.raises(InvalidArgument, match=how) as caught:
        Engine(*tiny_pair, profile=saved, **SETTINGS)
    assert saved.name in str(caught.value)
    assert "damaged" in str(caught.value)
    assert saved.read_text() == text


@pytest.mark.parametrize("data", [b"", b"{", b"\xff\xfe", b"[" * 100_000])
def test_files_that_are_no_profiles(
    tiny_pair: tuple[Path, Path], tmp_path: Path, data: bytes
) -> None:
    path = tmp_path / "pair.json"
    path.write_bytes(data)
    with pytest.raises(InvalidArgument, match=r"pair\.json"):
        Engine(*tiny_pair, profile=path, **SETTINGS)
    with pytest.raises(InvalidArgument, match="cannot be read"):
        Engine(*tiny_pair, profile=tmp_path, **SETTINGS)
    with pytest.raises(InvalidArgument, match="its folder does not exist"):
        Engine(*tiny_pair, profile=tmp_path / "none" / "pair.json", **SETTINGS)


def test_arguments(tiny_pair: tuple[Path, Path], tmp_path: Path, make_fake: MakeFake) -> None:
    wrong: Any = 3
    with pytest.raises(InvalidArgument, match="profile is 3"):
        Engine(*tiny_pair, profile=wrong)
    with pytest.raises(InvalidArgument, match="without a draft"):
        Engine(tiny_pair[0], profile=tmp_path / "pair.json")
    with pytest.raises(InvalidArgument, match="has no draft model"):
        make_fake(draft=False).save_profile(tmp_path / "pair.json")
    with pytest.raises(FileNotFoundError):
        make_fake().save_profile(tmp_path / "none" / "pair.json")
    assert not list(tmp_path.iterdir())


def test_a_file_that_cannot_be_written(
    tiny_pair: tuple[Path, Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "gone"
    folder.mkdir()
    with caplog.at_level(logging.WARNING):
        engine = Engine(*tiny_pair, profile=folder / "pair.json", measure_costs=False, **SETTINGS)
        folder.rmdir()
        engine.close()
    assert "was not written" in caplog.text
    assert engine.closed


@pytest.mark.parametrize("how", ["another folder", "no files", "other files"])
def test_it_is_that_of_the_files_that_were_loaded(
    tiny_pair: tuple[Path, Path], saved: Path, tmp_path: Path, how: str,
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    """A program may go to another folder, and a new version of a model may take its place."""
    here = tmp_path / "here"
    here.mkdir()
    names = [shutil.copyfile(file, here / file.name).name for file in tiny_pair]
    monkeypatch.chdir(here)
    with Engine(*names, profile="new.json", measure_costs=False, **SETTINGS) as engine:
        if how == "another folder":
            monkeypatch.chdir(tmp_path)
        for name in names:
            if how == "no files":
                (here / name).unlink()
            elif how == "other files":
                (here / name).rename(here / f"old-{name}")
                write_tiny_gguf(here / name, seed=7)
        engine.generate("abc", max_tokens=3).result()
    assert "was not written" not in caplog.text
    assert read(here / "new.json")["models"] == read(saved)["models"]


def test_every_number_survives(tmp_path: Path) -> None:
    profile = _core.PairProfile()
    costs = _core.StepCosts()
    costs.target_us = [1 / 3, 2e-7, 12345.678901234567]
    costs.draft_us = [0.1]
    costs.target_slowdown = 1.1
    profile.costs = costs
    tables = profile.acceptance
    for i, table in enumerate(tables):
        table.hits = [i + j / 7 for j in range(20)]
        table.seen = [i + j / 11 for j in range(20)]
        table.rank_expected = [i + j / 3 for j in range(8)]
        table.first_hits = i / 9
        table.first_count = i / 7
    profile.acceptance = tables
    key = {"models": {"a": [1, {"b": 2}]}, "machine": {"c": None}}
    path = str(tmp_path / "pair.json")
    pair_profile.save(path, key, profile)
    again = pair_profile.load(path, key)
    for name in ("target_us", "draft_us", "target_slowdown", "draft_slowdown"):
        assert getattr(again.costs, name) == getattr(profile.costs, name)
    for one, other in zip(again.acceptance, profile.acceptance, strict=True):
        for name in (
            "hits", "expected", "seen", "rank_hits", "rank_expected", "first_hits", "first_count",
            "beyond_hits", "beyond_expected", "beyond_trials", "beyond_wins", "beyond_first",
        ):  # fmt: skip
            assert getattr(one, name) == getattr(other, name)


def test_a_fork_writes_nothing(tiny_pair: tuple[Path, Path], tmp_path: Path) -> None:
    path = tmp_path / "pair.json"
    with Engine(*tiny_pair, profile=path, measure_costs=False, **SETTINGS) as engine:
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                engine.close()
                engine.save_profile(path)
            except EngineClosed:
                code = 2 if path.exists() else 0
            os._exit(code)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
        assert not path.exists()
    assert path.exists()


def test_it_is_written_at_exit(
    tiny_pair: tuple[Path, Path], tmp_path: Path, python: RunPython
) -> None:
    path = tmp_path / "pair.json"
    python(
        "from specbranch_cpp import Engine\n"
        f"paths = {[str(each) for each in tiny_pair]!r}\n"
        f"engine = Engine(*paths, n_ctx=128, n_threads=1, profile={str(path)!r})\n"
    )
    assert read(path)["costs"]["target_us"]


def test_command_line(tiny_pair: tuple[Path, Path], tmp_path: Path) -> None:
    path = tmp_path / "pair.json"
    models = ["-m", str(tiny_pair[0]), "-md", str(tiny_pair[1])]
    generate = ["generate", *models, "-p", "abc", "-n", "2", "-c", "128", "--profile", str(path)]
    result = CliRunner().invoke(
        app, [*generate, "--no-measure-costs", "-n", "0"]
    )  # nothing is timed
    assert result.exit_code == 0, result.output
    assert read(path)["costs"] is None
    assert CliRunner().invoke(app, generate).exit_code == 0
    assert read(path)["costs"] is not None
    path.write_text("{}")
    result = CliRunner().invoke(app, generate)
    assert result.exit_code != 0
