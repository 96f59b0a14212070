"""`Engine.from_pretrained`, with a stand-in for the Hugging Face Hub."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tests.python.support.hub_stand_in import HubStandIn
from tests.python.support.rewrite_gguf import split_gguf
from typer.testing import CliRunner

from specbranch_cpp import Engine, MissingExtra
from specbranch_cpp.cli import app

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

pytest.importorskip("huggingface_hub")

REPO = "maker/Tiny-GGUF"
PROGRAM = """
import asyncio, json, sys, time
from specbranch_cpp import AsyncEngine, Engine, SpecBranchError

time.sleep = lambda _seconds: None  # the package waits between its attempts

SMALL = {"n_ctx": 256, "n_threads": 1, "draft_n_threads": 1, "measure_costs": False}

async def asynchronous(options):
    async with AsyncEngine.from_pretrained(**options, **SMALL) as engine:
        return engine.engine.model_paths, (await engine.complete("def f", max_tokens=8)).tokens

def call(options):
    try:
        if options.pop("asynchronous", False):
            paths, tokens = asyncio.run(asynchronous(options))
        else:
            with Engine.from_pretrained(**options, **SMALL) as engine:
                paths, tokens = engine.model_paths, engine.complete("def f", max_tokens=8).tokens
    except SpecBranchError as error:
        return {"error": type(error).__name__, "message": str(error)}
    return {"paths": paths, "tokens": list(tokens)}

print(json.dumps([call(options) for options in json.loads(sys.argv[1])]))
"""


@pytest.fixture
def hub(tiny: Path, tiny_draft: Path) -> Iterator[HubStandIn]:
    files = {
        "README.md": b"# Tiny",
        "tiny-q8_0.gguf": tiny.read_bytes(),
        "small/tiny-draft-q8_0.gguf": tiny_draft.read_bytes(),
    }
    with HubStandIn({REPO: files}) as hub:
        yield hub


class Caller:
    """Calls `from_pretrained` in a process of its own, for its variables."""

    def __init__(self, hub: HubStandIn, folder: Path) -> None:
        self.home = folder / "hf"
        self.environ = {
            "HF_HOME": str(self.home),
            "HF_ENDPOINT": hub.url,
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "HF_HUB_DISABLE_PROGRESS_BARS": "1",
            "HF_HUB_DISABLE_XET": "1",
            "PYTHONPATH": os.pathsep.join(sys.path),
        }

    def __call__(self, *, environ: dict[str, str] | None = None, **options: Any) -> dict[str, Any]:
        """The result of one call: paths and tokens, or the class and message of the error."""
        return self.each([options], environ)[0]

    def each(
        self, calls: Sequence[dict[str, Any]], environ: dict[str, str] | None = None
    ) -> list[dict[str, Any]]:
        """The results of several calls in one process."""
        options = [{"repo_id": REPO, **each} for each in calls]
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM, json.dumps(options)],
            env=os.environ | self.environ | (environ or {}),
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        assert done.returncode == 0, done.stderr
        found: list[dict[str, Any]] = json.loads(done.stdout)
        return found


@pytest.fixture
def call(hub: HubStandIn, tmp_path: Path) -> Caller:
    return Caller(hub, tmp_path)


OFFLINE = {"HF_HUB_OFFLINE": "1"}


def test_a_pair_of_one_repository(
    hub: HubStandIn, call: Caller, tiny: Path, tiny_draft: Path
) -> None:
    names: dict[str, Any] = {"filename": "tiny-q8_0.gguf", "draft_filename": "*draft*.gguf"}
    found = call(**names)
    target, draft = map(Path, found["paths"])
    assert target.read_bytes() == tiny.read_bytes()
    assert draft.read_bytes() == tiny_draft.read_bytes()
    assert call.home in target.parents
    with Engine(tiny, n_ctx=256, n_threads=1) as engine:
        assert found["tokens"] == list(engine.complete("def f", max_tokens=8).tokens)
    n_downloads = len(hub.downloads())
    assert n_downloads == 2
    assert call(**names) == found  # from the cache
    assert call(**names, environ=OFFLINE) == found
    assert call(**names, asynchronous=True) == found
    assert len(hub.downloads()) == n_downloads


def test_a_draft_of_another_repository(hub: HubStandIn, call: Caller, tiny_draft: Path) -> None:
    hub.files["other/Small"] = {"d.gguf": tiny_draft.read_bytes()}
    found = call(filename="*tiny-q8_0*", draft_repo_id="other/Small", draft_filename="d.gguf")
    assert "models--other--Small" in found["paths"][1]
    local = call(filename="*tiny-q8_0*", draft=str(tiny_draft))
    assert local["paths"] == [found["paths"][0], str(tiny_draft)]


@pytest.mark.parametrize(
    "name",
    [
        "split/m-00001-of-00003.gguf",
        "split/m-00002-of-00003.gguf",
        "split/m-*.gguf",
        "*-00001-of-*",
    ],
)
def test_all_parts_of_a_split_model(
    hub: HubStandIn, call: Caller, tiny: Path, tmp_path: Path, name: str
) -> None:
    whole = tmp_path / "m.gguf"
    whole.write_bytes(tiny.read_bytes())
    for part in split_gguf(whole, 3):
        hub.files[REPO][f"split/{part.name}"] = part.read_bytes()
    found = call(filename=name)
    (path,) = found["paths"]
    assert path.endswith("split/m-00001-of-00003.gguf")
    assert len(hub.downloads()) == 3
    with Engine(tiny, n_ctx=256, n_threads=1) as engine:
        assert found["tokens"] == list(engine.complete("def f", max_tokens=8).tokens)


def test_a_part_that_the_repository_lacks(
    hub: HubStandIn, call: Caller, tiny: Path, tmp_path: Path
) -> None:
    whole = tmp_path / "m.gguf"
    whole.write_bytes(tiny.read_bytes())
    for part in split_gguf(whole, 2)[:1]:
        hub.files[REPO][part.name] = part.read_bytes()
    found = call(filename="m-*")
    assert found["error"] == "InvalidArgument"
    assert "'m-00002-of-00002.gguf'; no such file is" in found["message"]


def test_a_folder_of_one_s_own(call: Caller, tmp_path: Path) -> None:
    folder = tmp_path / "own"
    found = call(filename="small/*.gguf", local_dir=str(folder), additional_files=["READ*"])
    (path,) = found["paths"]
    assert path == str(folder / "small/tiny-draft-q8_0.gguf")
    assert (folder / "README.md").read_bytes() == b"# Tiny"
    assert call(filename="small/*.gguf", local_dir=str(folder), environ=OFFLINE)["paths"] == [path]
    cache = tmp_path / "cache"
    (path,) = call(filename="tiny-q8_0.gguf", cache_dir=str(cache))["paths"]
    assert cache in Path(path).parents


def test_a_file_that_does_not_exist(call: Caller) -> None:
    names = ("tiny-q4_0.gguf", "*q4_0*")
    for name, found in zip(names, call.each([{"filename": name} for name in names]), strict=True):
        assert found["error"] == "InvalidArgument"
        assert found["message"].startswith(f"filename is {name!r}; no ")
        assert "The GGUF files are: small/tiny-draft-q8_0.gguf, tiny-q8_0.gguf" in found["message"]
    found = call(filename="tiny-q8_0.gguf", draft_filename="none.gguf")
    assert found["message"].startswith("draft_filename is 'none.gguf'")


def test_a_glob_that_several_models_match(hub: HubStandIn, call: Caller) -> None:
    found = call(filename="*q8_0.gguf")
    assert found["error"] == "InvalidArgument"
    assert "2 files of maker/Tiny-GGUF match it" in found["message"]
    assert "small/tiny-draft-q8_0.gguf, tiny-q8_0.gguf" in found["message"]
    assert hub.downloads() == []


def test_a_repository_that_cannot_be_read(hub: HubStandIn, call: Caller) -> None:
    names = ("a.gguf", "*.gguf")
    for found in call.each([{"repo_id": "nobody/nothing", "filename": name} for name in names]):
        assert found["error"] == "ModelLoadError"
        assert "no such repository, or it is private" in found["message"]
    hub.gated.add(REPO)
    found = call(filename="tiny-q8_0.gguf")
    assert found["error"] == "ModelLoadError"
    assert "grants access on request" in found["message"]


def test_a_download_that_breaks_goes_on(hub: HubStandIn, call: Caller, tiny: Path) -> None:
    """The package tries again by itself, or, in old versions, in the next call."""
    hub.cuts["tiny-q8_0.gguf"] = 2
    *failed, found = call.each([{"filename": "tiny-q8_0.gguf"}] * 3)
    assert {each.get("error", "ModelLoadError") for each in failed} == {"ModelLoadError"}
    (path,) = found["paths"]
    assert Path(path).read_bytes() == tiny.read_bytes()
    assert len(hub.downloads()) == 3


def test_a_download_that_fails(hub: HubStandIn, call: Caller, tiny: Path) -> None:
    hub.failing.add("tiny-q8_0.gguf")
    found = call(filename="tiny-q8_0.gguf")
    assert found["error"] == "ModelLoadError"
    assert found["message"].startswith(f"{REPO}/tiny-q8_0.gguf cannot be downloaded: ")
    assert "500" in found["message"]
    hub.failing.clear()
    hub.cuts["tiny-q8_0.gguf"] = 1000
    found = call(filename="tiny-q8_0.gguf")
    assert found["error"] == "ModelLoadError"
    assert found["message"].startswith(f"{REPO}/tiny-q8_0.gguf cannot be downloaded: ")
    assert "\n" not in found["message"]
    hub.cuts.clear()
    (path,) = call(filename="tiny-q8_0.gguf")["paths"]  # half a file is never taken for a whole one
    assert Path(path).read_bytes() == tiny.read_bytes()


def test_without_a_network(hub: HubStandIn, call: Caller) -> None:
    names = [{"filename": "tiny-q8_0.gguf"}, {"filename": "tiny*"}]
    for found in call.each(names, OFFLINE):
        assert found["error"] == "ModelLoadError"
        assert "not on this machine" in found["message"]
        assert "HF_HUB_OFFLINE is set" in found["message"]
    gone = {"HF_ENDPOINT": "http://127.0.0.1:9"}  # nobody listens there
    for found in call.each(names, gone):
        assert found["error"] == "ModelLoadError"
        assert "not on this machine" in found["message"]
    assert hub.requests == []
    known = call(filename="tiny*")
    assert call(filename="tiny*", environ=OFFLINE) == known
    assert call(filename="tiny*", environ=gone) == known
    found = call(filename="*draft*", environ=OFFLINE)
    assert found["error"] == "InvalidArgument"
    assert "no file of maker/Tiny-GGUF on this machine matches it" in found["message"]


def test_wrong_arguments_come_before_any_request(hub: HubStandIn, call: Caller) -> None:
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"repo_id": "a/b/c"}, "repo_id is 'a/b/c'"),
        ({"filename": ""}, "filename is empty"),
        ({"filename": "../a.gguf"}, "must be a name inside the repository"),
        ({"filename": "/a.gguf"}, "must be a name inside the repository"),
        ({"filename": 3}, "filename is 3"),
        ({"draft_repo_id": "a/b"}, "draft_filename is None; name the file"),
        ({"draft_filename": "d.gguf", "draft": "d.gguf"}, "give one"),
        ({"draft_repo_id": "a b", "draft_filename": "d"}, "draft_repo_id is 'a b'"),
        ({"additional_files": "mmproj.gguf"}, "additional_files is 'mmproj.gguf'"),
    ]
    results = call.each([{"filename": "tiny-q8_0.gguf", **options} for options, _ in wrong])
    for (options, message), found in zip(wrong, results, strict=True):
        assert found["error"] == "InvalidArgument", options
        assert message in found["message"]
    with pytest.raises(TypeError, match="n_ctxx"):
        Engine.from_pretrained(REPO, "a.gguf", n_ctxx=3)
    with pytest.raises(TypeError, match="target"):
        Engine.from_pretrained(REPO, "a.gguf", target="a.gguf")
    assert hub.requests == []


def test_the_command_line(hub: HubStandIn, call: Caller, tiny: Path) -> None:
    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        line = [sys.executable, "-m", "specbranch_cpp", "generate", "-hf", REPO, *arguments]
        options = ["-p", "def f", "-n", "8", "-c", "256", "-t", "1", "--no-measure-costs", "--json"]
        return subprocess.run(
            [*line, *options],
            env=os.environ | call.environ,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )

    done = run("-hff", "tiny-q8_0.gguf", "-hffd", "small/*", "-td", "1")
    assert done.returncode == 0, done.stderr
    with Engine(tiny, n_ctx=256, n_threads=1) as engine:
        assert json.loads(done.stdout)["text"] == engine.complete("def f", max_tokens=8).text
    assert len(hub.downloads()) == 2
    done = run("-hff", "none*")
    assert done.returncode == 2
    assert done.stderr.startswith("specbranch: --hf-file is 'none*'; no file of maker/Tiny-GGUF")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["-hff", "a.gguf"], "name the target's repository with -hf"),
        (["-hfd", "a/b"], "name the target's repository with -hf"),
        (["-hffd", "a.gguf"], "name the target's repository with -hf"),
        (["-hf", "a/b"], "name the file with -hff"),
        (["-hf", "a/b", "-hff", "c", "-hfd", "d/e"], "name the file with -hffd"),
        (["-hf", "a/b", "-hff", "c", "-m", "x.gguf"], "give a file or a repository, not both"),
        (["-hf", "a/b", "-hff", "c", "-hffd", "d", "-md", "x"], "give a file or a repository"),
    ],
)
def test_the_command_line_needs_names(arguments: list[str], message: str) -> None:
    for command in (["generate", "-p", "x"], ["serve"], ["chat"]):
        result = CliRunner().invoke(app, [*command, *arguments], env={"COLUMNS": "200"})
        assert result.exit_code == 2, result.output
        assert message in result.stderr


def test_the_package_is_optional(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.split(".")[0] == "huggingface_hub"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(MissingExtra, match=r"pip install 'specbranch_cpp\[hub\]'") as caught:
        Engine.from_pretrained(REPO, "a.gguf")
    assert isinstance(caught.value, ImportError)
