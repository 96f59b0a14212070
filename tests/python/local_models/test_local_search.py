"""`local_models.find`: where it looks, what it finds, and what it survives."""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from gguf import GGUFWriter, PoolingType
from tests.python.support.fake_home import FakeHome, write_other
from tests.python.support.rewrite_gguf import split_gguf, with_holes, with_numbers
from tests.python.support.tiny_gguf import write_tiny_gguf

from specbranch_cpp import InvalidArgument
from specbranch_cpp.local_models import Surroundings, find
from specbranch_cpp.local_models.places import known_places

if TYPE_CHECKING:
    from collections.abc import Iterator

REPO = "maker/Tiny-GGUF"


@pytest.fixture
def home(tmp_path: Path) -> FakeHome:
    return FakeHome(tmp_path)


def put(source: Path, path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    return Path(shutil.copyfile(source, path))


def test_every_program_has_its_folders(home: FakeHome) -> None:
    at = home.home
    folders = {
        "Hugging Face cache": [at / ".cache/huggingface/hub"],
        "LM Studio": [at / ".lmstudio/models", at / ".cache/lm-studio/models"],
        "Ollama": [
            at / ".ollama/models",
            home.folder / "root/usr/share/ollama/.ollama/models",
        ],
        "llama.cpp's cache": [at / ".cache/llama.cpp"],
        "current folder": [home.folder / "here/models", home.folder / "here"],
    }
    (home.folder / "here").mkdir()
    assert [place.source for place in known_places(home.around)] == ["current folder"]
    for paths in folders.values():
        for path in paths:
            path.mkdir(parents=True, exist_ok=True)
    found: dict[str, list[Path]] = {}
    for place in known_places(home.around):
        found.setdefault(place.source, []).append(place.path)
    assert found == folders


@pytest.mark.parametrize(
    ("variables", "source", "folder"),
    [
        ({"HF_HOME": "~/hf"}, "Hugging Face cache", "home/hf/hub"),
        ({"HF_HUB_CACHE": "/{}/hub", "HF_HOME": "~/hf"}, "Hugging Face cache", "hub"),
        ({"HUGGINGFACE_HUB_CACHE": "/{}/old"}, "Hugging Face cache", "old"),
        ({"XDG_CACHE_HOME": "/{}/xdg"}, "Hugging Face cache", "xdg/huggingface/hub"),
        ({"XDG_CACHE_HOME": "/{}/xdg"}, "llama.cpp's cache", "xdg/llama.cpp"),
        ({"LLAMA_CACHE": "cache", "XDG_CACHE_HOME": "/x"}, "llama.cpp's cache", "here/cache"),
        ({"OLLAMA_MODELS": "/{}/ollama"}, "Ollama", "ollama"),
        ({"HF_HOME": ""}, "Hugging Face cache", "home/.cache/huggingface/hub"),
    ],
)
def test_variables_name_other_folders(
    home: FakeHome, variables: dict[str, str], source: str, folder: str
) -> None:
    (home.home / ".ollama/models").mkdir(parents=True)
    (home.folder / folder).mkdir(parents=True, exist_ok=True)
    root = str(home.folder).lstrip("/")
    home.environ = {name: value.replace("{}", root) for name, value in variables.items()}
    found = [place.path for place in known_places(home.around) if place.source == source]
    assert found == [home.folder / folder]


def test_macos_keeps_the_cache_elsewhere(home: FakeHome) -> None:
    folder = home.home / "Library/Caches/llama.cpp"
    folder.mkdir(parents=True)
    around = Surroundings(home.home, {}, home.folder, "darwin", home.folder)
    assert folder in [place.path for place in known_places(around)]


def test_models_of_every_program(home: FakeHome, tmp_path: Path) -> None:
    sources = [
        write_tiny_gguf(tmp_path / f"{seed}.gguf", seed=seed, context_length=512 + seed)
        for seed in range(7)
    ]
    home.hugging_face(REPO, "q8/tiny.gguf", sources[0])
    put(sources[1], home.home / ".lmstudio/models/maker/Tiny-GGUF/Tiny.GGUF")
    home.ollama(["registry.ollama.ai", "library", "tiny", "1b"], sources[2])
    home.ollama(["registry.ollama.ai", "me", "tiny", "latest"], sources[3])
    home.ollama(["hf.co", "maker", "Tiny-GGUF", "Q8_0"], sources[4])
    put(sources[5], home.home / ".cache/llama.cpp/maker_Tiny_tiny.gguf")
    put(sources[6], home.folder / "here/models/7B/model.gguf")
    found = home.find()
    assert found.unusable == []
    names = {model.name: (model.source, model.n_ctx_train) for model in found.models}
    assert names == {
        "maker/Tiny-GGUF/q8/tiny.gguf": ("Hugging Face cache", 512),
        "maker/Tiny-GGUF/Tiny.GGUF": ("LM Studio", 513),
        "tiny:1b": ("Ollama", 514),
        "me/tiny:latest": ("Ollama", 515),
        "hf.co/maker/Tiny-GGUF:Q8_0": ("Ollama", 516),
        "maker_Tiny_tiny.gguf": ("llama.cpp's cache", 517),
        "7B/model.gguf": ("current folder", 518),
    }
    assert found.models == home.find(home.folder / "home", home.folder / "here").models


def test_facts_of_a_model(home: FakeHome) -> None:
    path = write_tiny_gguf(
        home.folder / "a.gguf",
        weight_type="Q8_0",
        context_length=2048,
        name="A tiny one",
        metadata={"tokenizer.chat_template": "{{ messages }}"},
    )
    (model,) = home.find(path).models
    assert model.path == str(path)
    assert (model.source, model.name, model.title) == ("given folder", "a.gguf", "A tiny one")
    assert (model.architecture, model.quantization, model.n_ctx_train) == ("llama", "q8_0", 2048)
    assert model.chat_template
    assert (model.n_parts, model.size) == (1, path.stat().st_size)
    assert 0 < model.step_bytes < model.size < model.memory
    plain = write_tiny_gguf(home.folder / "b.gguf")
    assert not home.find(plain).models[0].chat_template


def test_quantization_has_the_name_of_publishers(home: FakeHome, tiny: Path) -> None:
    def quantization(file_type: int) -> str:
        path = with_numbers(tiny, home.folder / "a.gguf", {"general.file_type": file_type})
        return home.find(path).models[0].quantization

    assert home.find(tiny).models[0].quantization == "q8_0"
    assert quantization(15) == "Q4_K_M"
    assert quantization(0) == "F32"
    assert quantization(1024) == "q8_0"  # the mark of a guess
    assert quantization(123456) == "q8_0"  # a type of the future


def test_one_blob_with_several_links_is_one_model(home: FakeHome, tiny: Path) -> None:
    old = home.hugging_face(REPO, "tiny.gguf", tiny)
    new = home.hugging_face(REPO, "tiny.gguf", tiny, "2" * 40)
    hard = home.home / ".lmstudio/models/me/it/tiny.gguf"
    hard.parent.mkdir(parents=True)
    hard.hardlink_to(old.resolve())
    (model,) = home.find().models
    assert model.path == str(old)
    assert set(model.other_paths) == {str(new), str(hard)}


def test_circles_of_links_end(home: FakeHome, tiny: Path) -> None:
    folder = home.folder / "given"
    put(tiny, folder / "a/tiny.gguf")
    (folder / "a/up").symlink_to(folder)
    (folder / "a/self").symlink_to("self")
    (folder / "loop.gguf").symlink_to("loop.gguf")
    (folder / "b.gguf").symlink_to(folder / "a")  # a folder with the name of a model
    found = home.find(folder)
    assert [model.name for model in found.models] == ["a/tiny.gguf"]
    assert [Path(each.path).name for each in found.unusable] == ["loop.gguf"]


def test_a_split_model_is_one_model(home: FakeHome, tmp_path: Path) -> None:
    whole = write_tiny_gguf(tmp_path / "given.gguf")
    folder = tmp_path / "given"
    folder.mkdir()
    parts = [part.rename(folder / part.name) for part in split_gguf(whole, 3)]
    (model,) = home.find(folder).models
    (alone,) = home.find(whole).models
    assert (model.name, model.n_parts) == ("given-00001-of-00003.gguf", 3)
    assert model.size == sum(part.stat().st_size for part in parts)
    assert model.n_parameters == alone.n_parameters
    assert abs(model.step_bytes - alone.step_bytes) < 100
    for part in parts:
        home.hugging_face(REPO, part.name, part)
    by_hash = home.find().models
    assert [(each.n_parts, each.size) for each in by_hash] == [(3, model.size)]


def test_parts_that_are_missing_are_named(home: FakeHome, tmp_path: Path) -> None:
    parts = split_gguf(write_tiny_gguf(tmp_path / "m.gguf"), 3)
    folder = tmp_path / "given"
    folder.mkdir()
    for part in parts[1:]:
        part.rename(folder / part.name)
    (line,) = home.find(folder).unusable
    assert line.path.endswith("m-00002-of-00003.gguf")
    assert line.reason == "this is part 2 of 3; m-00001-of-00003.gguf is missing"
    parts[0].rename(folder / parts[0].name)
    (folder / parts[1].name).unlink()
    found = home.find(folder)
    assert found.models == []
    assert "00002-of-00003.gguf" in found.unusable[0].reason


def test_files_that_are_no_models_are_told_apart(home: FakeHome, tmp_path: Path) -> None:
    folder = tmp_path / "given"

    def kind(value: str) -> object:
        return lambda writer: writer.add_type(value)

    def with_weights(writer: GGUFWriter) -> None:
        writer.add_tensor("v.patch_embd.weight", np.zeros((4, 4), np.float32))

    def vocabulary(writer: GGUFWriter) -> None:
        writer.add_tokenizer_model("gpt2")
        writer.add_token_list(["a", "b"])

    fills = {
        "lora": ("llama", kind("adapter")),
        "mmproj-new": ("clip", kind("mmproj")),
        "mmproj-old": ("clip", with_weights),
        "imatrix": ("llama", kind("imatrix")),
        "vocab": ("llama", vocabulary),
        "control": ("controlvector", with_weights),
        "bert": ("bert", lambda writer: writer.add_block_count(1)),
        "pooled": ("qwen3", lambda writer: writer.add_pooling_type(PoolingType.LAST)),
        "encoder": ("llama", lambda writer: writer.add_causal_attention(False)),
    }
    for name, (architecture, fill) in fills.items():
        write_other(folder / f"{name}.gguf", architecture, fill)  # type: ignore[arg-type]
    found = home.find(folder)
    assert found.models == []
    assert found.unusable == []
    assert {each.name.removesuffix(".gguf"): each.kind for each in found.others} == {
        "lora": "LoRA adapter",
        "mmproj-new": "multimodal projector",
        "mmproj-old": "multimodal projector",
        "imatrix": "importance matrix",
        "vocab": "vocabulary without weights",
        "control": "control vector",
        "bert": "embedding model",
        "pooled": "embedding model",
        "encoder": "embedding model",
    }
    assert all(each.size > 0 for each in found.others)


def test_broken_files_harm_nothing(home: FakeHome, tiny: Path) -> None:
    folder = home.folder / "given"
    put(tiny, folder / "good.gguf")
    (folder / "empty.gguf").touch()
    (folder / "text.gguf").write_text("version https://git-lfs.github.com/spec/v1")
    (folder / "cut.gguf").write_bytes(tiny.read_bytes()[:-100])
    (folder / "header.gguf").write_bytes(tiny.read_bytes()[:1000])
    (folder / "link.gguf").symlink_to("nowhere")
    os.mkfifo(folder / "pipe.gguf")
    (folder / "download.gguf.incomplete").write_text("not listed")
    write_other(folder / "encoder.gguf", "t5", lambda writer: writer.add_block_count(1))
    found = home.find(folder)
    assert [model.name for model in found.models] == ["good.gguf"]
    reasons = {Path(each.path).name: each.reason for each in found.unusable}
    assert set(reasons) == {
        "empty.gguf", "text.gguf", "cut.gguf", "header.gguf", "link.gguf", "pipe.gguf",
        "encoder.gguf",
    }  # fmt: skip
    assert reasons["link.gguf"] == "this link leads to no file"
    assert reasons["pipe.gguf"] == "this is a FIFO, not a regular file"
    assert reasons["text.gguf"] == "this is not a GGUF file"
    assert "truncated" in reasons["cut.gguf"]
    assert "encoder" in reasons["encoder.gguf"]
    assert all("\n" not in reason and str(folder) not in reason for reason in reasons.values())


@pytest.mark.parametrize("variable", ["LLAMA_CACHE", "OLLAMA_MODELS"])
def test_a_variable_that_names_no_folder(home: FakeHome, variable: str) -> None:
    os.mkfifo(home.folder / "pipe")
    home.environ[variable] = str(home.folder / "pipe")
    (found,) = home.find().unusable
    assert (found.path, found.reason) == (home.environ[variable], "this is a FIFO, not a folder")


@pytest.mark.parametrize("name", ["x" * 300, "self/hub"])
def test_a_variable_that_names_a_folder_that_cannot_be_reached(
    home: FakeHome, tiny: Path, name: str
) -> None:
    """The other folders are searched all the same."""
    (home.folder / "self").symlink_to("self")
    for variable in ("LLAMA_CACHE", "OLLAMA_MODELS"):
        home.environ[variable] = str(home.folder / name)
    put(tiny, home.folder / "given/a.gguf")
    found = home.find(home.folder / "given")
    assert [model.name for model in found.models] == ["a.gguf"]
    assert {each.path.removeprefix(home.environ["LLAMA_CACHE"]) for each in found.unusable} == {
        "", "/manifests",
    }  # fmt: skip


@pytest.fixture
def foreign() -> Iterator[Path]:
    """A folder that all users can reach."""
    folder = Path(tempfile.mkdtemp(prefix="specbranch-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


def test_files_of_other_users(foreign: Path, tiny: Path) -> None:
    put(tiny, foreign / "open.gguf")
    put(tiny, foreign / "closed.gguf").chmod(0)
    put(tiny, foreign / "secret/a.gguf")
    (foreign / "secret").chmod(0)
    root = os.geteuid() == 0
    if root:  # whom no permission stops
        os.seteuid(65534)
    try:
        found = find([foreign], known=False)
    finally:
        if root:
            os.seteuid(0)
        (foreign / "secret").chmod(stat.S_IRWXU)
    assert [model.name for model in found.models] == ["open.gguf"]
    reasons = {Path(each.path).name: each.reason for each in found.unusable}
    assert set(reasons) == {"closed.gguf", "secret"}
    assert all("Permission denied" in reason for reason in reasons.values())


def test_a_damaged_store_of_ollama(home: FakeHome, tiny: Path) -> None:
    home.ollama(["registry.ollama.ai", "library", "good", "latest"], tiny)
    manifests = home.home / ".ollama/models/manifests/registry.ollama.ai/library"
    lost = home.ollama(["registry.ollama.ai", "library", "lost", "latest"],
                       write_tiny_gguf(home.folder / "lost.gguf", seed=9))  # fmt: skip
    lost.unlink()
    damaged = {
        "cut": b'{"layers": [',
        "list": b"[]",
        "layers": b'{"layers": [1]}',
        "climbs": b'{"layers": [{"mediaType": "application/vnd.ollama.image.model", '
        b'"digest": "sha256:../../../../etc/passwd"}]}',
        "bytes": b"\xff\xfe",
        "deep": b"[" * 200_000,
        "large": b" " * 2_000_000,
    }
    for name, content in damaged.items():
        (manifests / name).mkdir()
        (manifests / name / "latest").write_bytes(content)
    found = home.find()
    assert [model.name for model in found.models] == ["good:latest"]
    reasons = {Path(each.path).parent.name: each.reason for each in found.unusable}
    assert set(reasons) == {*damaged, "blobs"}
    assert reasons["blobs"] == "the file of lost:latest does not exist"
    assert all("\n" not in reason for reason in reasons.values())


def test_files_of_ollama_that_cannot_be_used_have_a_name(home: FakeHome, tiny: Path) -> None:
    cut = home.folder / "cut.gguf"
    cut.write_bytes(tiny.read_bytes()[:-100])
    home.ollama(["registry.ollama.ai", "library", "cut", "1b"], cut)
    (found,) = home.find().unusable
    assert found.name == "cut:1b"
    assert "truncated" in found.reason


def test_two_names_of_one_blob_of_ollama(home: FakeHome, tiny: Path) -> None:
    for tag in ("latest", "1b"):
        home.ollama(["registry.ollama.ai", "library", "tiny", tag], tiny)
    home.ollama(
        ["registry.ollama.ai", "library", "tiny", "1b-lora"],
        write_other(home.folder / "lora.gguf", "llama", lambda writer: writer.add_type("adapter")),
        layer="application/vnd.ollama.image.adapter",
    )
    found = home.find()
    assert [model.name for model in found.models] == ["tiny:1b"]
    assert [other.kind for other in found.others] == ["LoRA adapter"]
    assert found.unusable == []


def test_no_weights_are_read(home: FakeHome, tiny: Path) -> None:
    """The file has holes in place of 4 GiB of weights."""
    large = with_holes(tiny, home.folder / "large.gguf", {"token_embd.weight": (1 << 24, 64)})
    io = Path("/proc/self/io")
    before = int(io.read_text().split()[1])
    (model,) = home.find(large).models
    assert model.size > 1 << 32
    assert int(io.read_text().split()[1]) - before < 32 << 20


def test_names_that_are_not_text(home: FakeHome, tiny: Path) -> None:
    folder = home.folder / "given"
    put(tiny, folder / os.fsdecode(b"a\xff\n.gguf"))
    (model,) = home.find(folder).models
    assert os.fsencode(model.name) == b"a\xff\n.gguf"


def test_wrong_arguments(home: FakeHome) -> None:
    with pytest.raises(InvalidArgument, match=r"folder is .*nowhere': No such file"):
        home.find(home.folder / "nowhere")
    os.mkfifo(home.folder / "pipe")
    with pytest.raises(InvalidArgument, match=r"folder is .*pipe', which is a FIFO; it must be a"):
        home.find(home.folder / "pipe")
    with pytest.raises(InvalidArgument, match=r"alpha is 1.5"):
        home.find(alpha=1.5)
    with pytest.raises(InvalidArgument, match=r"machine is 'mainframe'"):
        home.find(machine="mainframe")


def test_a_folder_that_was_deleted_and_a_user_without_a_home(
    home: FakeHome, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The folders of variables, and given folders, are searched all the same."""

    def no_home(_kind: object) -> Path:
        raise RuntimeError("Could not determine home directory.")

    put(tiny, home.folder / "cache/a.gguf")
    put(tiny, home.folder / "given/b.gguf")
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    monkeypatch.setattr(Path, "home", classmethod(no_home))
    around = Surroundings(environ={"LLAMA_CACHE": str(home.folder / "cache"), "HF_HOME": "~/hf"},
                          platform="linux", root=home.folder / "root")  # fmt: skip
    assert (around.home, around.here) == (None, None)
    assert [place.source for place in known_places(around)] == ["llama.cpp's cache"]
    found = find([home.folder / "given"], around=around)
    assert [model.name for model in found.models] == ["a.gguf", "b.gguf"]
    assert known_places(Surroundings(environ={}, root=home.folder / "root")) == []
    with pytest.raises(InvalidArgument, match="folder is 'given': No such file"):
        find(["given"], around=around)


def test_files_that_a_repository_lacks(home: FakeHome, tiny: Path) -> None:
    """The Hub's cache remembers them with empty files."""
    link = home.hugging_face(REPO, "m.gguf", tiny)
    absent = link.parents[2] / ".no_exist" / ("1" * 40) / "other.gguf"
    absent.parent.mkdir(parents=True)
    absent.touch()
    found = home.find()
    assert [model.name for model in found.models] == [f"{REPO}/m.gguf"]
    assert found.unusable == []


def test_a_whole_model_with_the_name_of_a_first_part(home: FakeHome, tiny: Path) -> None:
    """The engine loads it, so it is a model."""
    path = put(tiny, home.folder / "given/m-00001-of-00002.gguf")
    found = home.find(path.parent)
    assert [(model.path, model.n_parts) for model in found.models] == [(str(path), 1)]
    assert found.models[0].size == tiny.stat().st_size
    assert found.unusable == []
