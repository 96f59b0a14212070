"""Making engines of real files: options, progress, logs, and everything that is no model."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from gguf import GGUFWriter
from tests.python.support.tiny_gguf import N_VOCAB, write_tiny_gguf

from specbranch_cpp import (
    Engine,
    IncompatibleModels,
    InvalidArgument,
    ModelLoadError,
    SpecBranchError,
    policies,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.python.conftest import RunPython


def encoder(path: Path) -> Path:
    writer = GGUFWriter(path, "bert")
    writer.add_block_count(1)
    writer.add_context_length(512)
    writer.add_embedding_length(64)
    writer.add_feed_forward_length(128)
    writer.add_head_count(4)
    writer.add_layer_norm_eps(1e-5)
    writer.add_causal_attention(False)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def truncated(path: Path) -> Path:
    whole = write_tiny_gguf(path).read_bytes()
    path.write_bytes(whole[: len(whole) * 3 // 4])
    return path


def header_only(path: Path) -> Path:
    path.write_bytes(write_tiny_gguf(path).read_bytes()[:100])
    return path


def written(content: bytes) -> Callable[[Path], Path]:
    def write(path: Path) -> Path:
        path.write_bytes(content)
        return path

    return write


def folder(path: Path) -> Path:
    path.mkdir()
    return path


NO_MODELS: dict[str, Callable[[Path], Path]] = {
    "missing": lambda path: path,
    "in a missing folder": lambda path: path / "model.gguf",
    "empty": written(b""),
    "text": written(b"This is not a model.\n" * 100),
    "magic only": written(b"GGUF"),
    "zeros": written(bytes(100_000)),
    "truncated": truncated,
    "truncated in its header": header_only,
    "folder": folder,
    "encoder": encoder,
}


@pytest.mark.parametrize("kind", NO_MODELS)
@pytest.mark.parametrize("side", ["target", "draft"])
def test_what_is_no_model(tiny: Path, tmp_path: Path, kind: str, side: str) -> None:
    path = NO_MODELS[kind](tmp_path / "model.gguf")
    with pytest.raises(ModelLoadError) as caught:
        Engine(path) if side == "target" else Engine(tiny, path)
    assert isinstance(caught.value, OSError)
    assert isinstance(caught.value, SpecBranchError)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("path", ["", "with\0zero.gguf", None, 5, "\ud800"])
def test_what_is_no_path(path: Any) -> None:
    with pytest.raises(InvalidArgument):
        Engine(path)


def test_paths_of_every_kind(tiny: Path, tmp_path: Path) -> None:
    strange = tmp_path / os.fsdecode(b"mod\xffel \xc3\xa9.gguf")
    strange.symlink_to(tiny)
    for path in (str(tiny), tiny, strange):
        with Engine(path, n_ctx=256) as engine:
            assert len(engine.generate("abc", max_tokens=2).result().tokens) == 2
    strange.unlink()
    with pytest.raises(ModelLoadError):
        Engine(strange)


def test_drafts_of_another_vocabulary(tiny: Path, tmp_path: Path) -> None:
    texts = {token: f"other{token}" for token in range(100, 150)}
    other = write_tiny_gguf(tmp_path / "other.gguf", token_text=texts)
    with pytest.raises(IncompatibleModels, match=r"token 100 .*'other100'"):
        Engine(tiny, other)
    larger = write_tiny_gguf(tmp_path / "larger.gguf", n_vocab=N_VOCAB + 1000)
    with pytest.raises(IncompatibleModels, match=str(N_VOCAB + 1000)):
        Engine(tiny, larger)


@pytest.mark.parametrize("sides", ["target", "draft"])
def test_padded_vocabularies_fit(tiny: Path, tmp_path: Path, sides: str) -> None:
    padded = write_tiny_gguf(
        tmp_path / "padded.gguf", weight_type="Q8_0", n_vocab=N_VOCAB + 50, seed=1
    )
    pair = (padded, tiny) if sides == "target" else (tiny, padded)
    with Engine(*pair, n_ctx=512, n_threads=1) as engine:
        settings: dict[str, Any] = {"max_tokens": 100, "temperature": 1.5, "seed": 1}
        want = engine.generate("abc", mode="autoregressive", **settings).result()
        for mode in ("speculative", "pearl", "specbranch"):
            assert engine.generate("abc", mode=mode, **settings).result().tokens == want.tokens


BAD_OPTIONS: list[tuple[str, Any]] = [
    ("n_ctx", -1),
    ("n_ctx", 2**40),
    ("n_ctx", 512.0),
    ("n_ctx", True),
    ("n_batch", 0),
    ("n_ubatch", -5),
    ("flash_attn", 1),
    ("type_k", "q3"),
    ("type_k", 10_000),
    ("type_k", 9),  # Q8_1: llama.cpp would end the process
    ("type_v", 27),  # I64
    ("type_v", 1.0),
    ("n_gpu_layers", "all"),
    ("devices", ["NO_SUCH_DEVICE"]),
    ("devices", "CUDA0"),
    ("split_mode", 9),
    ("tensor_split", [-1.0]),
    ("tensor_split", 0.5),
    ("n_threads", 0),
    ("n_threads", 100_000),
    ("n_threads_batch", -1),
    ("cpus", []),
    ("cpus", [-1]),
    ("cpus", [1000]),
    ("cpus", 0),
    ("bit_exact", 1),
    ("mode", "fastest"),
    ("policy", 3),
    ("max_branches", 0),
    ("max_branches", 33),
    ("max_draft", 65),
    ("prefix_reuse", "some"),
    ("prefix_reuse", None),
    ("seed", -1),
    ("seed", "x"),
    ("verbose", 1),
    ("progress_callback", 5),
    ("draft_n_ctx", -1),
    ("draft_n_threads", 0),
    ("draft_type_k", "none"),
]


@pytest.mark.parametrize(("name", "value"), BAD_OPTIONS)
def test_bad_options(tiny: Path, tiny_draft: Path, name: str, value: Any) -> None:
    with pytest.raises(InvalidArgument):
        Engine(tiny, tiny_draft, **{name: value})


def test_a_context_beyond_the_memory(tiny: Path, tiny_draft: Path) -> None:
    with pytest.raises(ModelLoadError, match="memory"):
        Engine(tiny, n_ctx=2**30)
    with pytest.raises(ModelLoadError, match="memory"):
        Engine(tiny, tiny_draft, n_ctx=256, draft_n_ctx=2**30)


def test_weights_that_are_not_numbers(tmp_path: Path) -> None:
    path = write_tiny_gguf(tmp_path / "nan.gguf")
    content = bytearray(path.read_bytes())
    content[-4:] = b"\x00\x00\xc0\x7f"
    path.write_bytes(content)
    with pytest.raises(ModelLoadError):
        Engine(path)


def test_options_are_taken(tmp_path: Path) -> None:
    # A quantized cache needs heads of 32 values.
    target = write_tiny_gguf(tmp_path / "t.gguf", weight_type="Q8_0", head_size=32)
    draft = write_tiny_gguf(tmp_path / "d.gguf", weight_type="Q8_0", head_size=32, n_layer=1)
    with Engine(
        target,
        draft,
        n_ctx=300,
        n_batch=64,
        n_ubatch=32,
        type_k="q8_0",
        type_v=8,
        n_threads=1,
        n_threads_batch=1,
        cpus=[min(os.sched_getaffinity(0))],
        draft_n_ctx=200,
        draft_type_k="f16",
        use_mmap=False,
        check_tensors=False,
        use_extra_bufts=False,
        mode="pearl",
        policy=policies.Fixed(3),
        max_branches=2,
        max_draft=4,
    ) as engine:
        assert engine.n_ctx == 300
        assert repr(engine).startswith(f"<Engine: '{target}', draft='{draft}', mode='pearl'")
        done = engine.generate("abc" * 20, max_tokens=50).result()
        assert done.stats.mode == "pearl"
        assert len(done.tokens) == 50
        want = engine.generate("abc" * 20, max_tokens=50, mode="autoregressive").result()
        assert done.tokens == want.tokens


def test_progress_comes_on_the_callers_thread(tiny: Path, tiny_draft: Path) -> None:
    shares, threads = [], set()

    def progress(share: float) -> None:
        shares.append(share)
        threads.add(threading.get_ident())

    Engine(tiny, tiny_draft, n_ctx=256, progress_callback=progress).close()
    assert shares[-1] == 1.0
    assert shares == sorted(set(shares))
    assert threads == {threading.get_ident()}


def test_progress_may_stop_the_loading(tiny: Path, tiny_draft: Path) -> None:
    def progress(share: float) -> None:
        raise LookupError(share)

    with pytest.raises(LookupError):
        Engine(tiny, tiny_draft, n_ctx=256, progress_callback=progress)
    Engine(tiny, tiny_draft, n_ctx=256).close()


def test_the_log_goes_to_logging(tiny: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "specbranch_cpp"), Engine(tiny, n_ctx=256):
        pass
    lines = [record for record in caplog.records if record.name == "specbranch_cpp"]
    assert len(lines) > 10
    assert any("general.architecture" in line.getMessage() for line in lines)


def test_quiet_unless_verbose(tiny: Path) -> None:
    for options, n_lines in (("", 0), (", verbose=True", 20)):
        code = f"""
from specbranch_cpp import Engine
with Engine({str(tiny)!r}, n_ctx=256{options}) as engine:
    engine.generate("abc", max_tokens=3).result()
"""
        command = [sys.executable, "-W", "error", "-c", code]
        result = subprocess.run(command, capture_output=True, text=True, check=False)
        assert (result.returncode, result.stdout) == (0, "")
        assert (len(result.stderr.splitlines()) > n_lines) == bool(n_lines)


def test_llama_cpp_may_be_imported_at_any_time(tiny: Path, python: RunPython) -> None:
    """Its log callback needs the GIL, so a worker that logs could wait for a waiting thread."""
    code = f"""
import warnings
from specbranch_cpp import Engine
path = {str(tiny)!r}
engine = Engine(path, path, n_ctx=256)
running = engine.generate("abc")
warnings.simplefilter("ignore")  # llama_cpp's own
import llama_cpp
for _ in range(3):
    assert len(engine.generate("abc", max_tokens=20).result().tokens) == 20
running.cancel()
more = [Engine(path, path, n_ctx=256, n_threads=1) for _ in range(3)]
llama_cpp.llama_log_set(llama_cpp.llama_log_callback(lambda *line: None), None)
for other in more:
    other.generate("abc", max_tokens=20)
    other.close()
engine.close()
model = llama_cpp.Llama(path, n_ctx=256, verbose=False)
print(len(model.tokenize(b"abc")))
"""
    assert int(python(code)) >= 2
