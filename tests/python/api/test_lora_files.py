"""Files of adapters that llama.cpp would die of, or compute wrongly, are refused with a reason."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from tests.python.support.tiny_gguf import write_tiny_gguf
from tests.python.support.tiny_lora import write_lora

from specbranch_cpp import DecodeError, Engine, ModelLoadError

if TYPE_CHECKING:
    from tests.python.conftest import RunPython

Q = "blk.0.attn_q.weight"
WIDTH = 64  # of the tiny model

# What `write_lora` gets, and what the message says.
REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "a model": (
        {"texts": {"general.type": "model"}},
        "the adapter's general.type is 'model'; it must be 'adapter'",
    ),
    "no type": (
        {"texts": {"general.type": None}},
        "this is not a LoRA adapter: the metadata has no text general.type",
    ),
    "a type that is a number": (
        {"texts": {"general.type": None}, "values": {"general.type": 3}},
        "the metadata has no text general.type",
    ),
    "a control vector": (
        {"texts": {"adapter.type": "control_vector"}},
        "the adapter's adapter.type is 'control_vector'; it must be 'lora'",
    ),
    "no adapter type": (
        {"texts": {"adapter.type": None}},
        "the metadata has no text adapter.type",
    ),
    "another architecture": (
        {"texts": {"general.architecture": "qwen2"}},
        "the adapter is for the architecture 'qwen2'; the model has 'llama'",
    ),
    "an alpha that is no float": (
        {"values": {"adapter.lora.alpha": 4}},
        "adapter.lora.alpha is not a number of 32 bits",
    ),
    "an alpha that is a text": (
        {"values": {"adapter.lora.alpha": "4"}},
        "adapter.lora.alpha is not a number of 32 bits",
    ),
    "an alpha that is infinite": (
        {"alpha": float("inf")},
        "adapter.lora.alpha is inf; it must be a finite number",
    ),
    "an activated adapter": (
        {"values": {"adapter.alora.invocation_tokens": [1, 2]}},
        "this is an activated adapter (aLoRA)",
    ),
    "invocation tokens that are no list": (
        {"values": {"adapter.alora.invocation_tokens": 1}},
        "this is an activated adapter (aLoRA)",
    ),
    "no matrices": (
        {"only": ["nothing"]},
        "the adapter has no matrices",
    ),
    "no A": (
        {"renamed": {f"{Q}.lora_a": ""}},
        f"the adapter of '{Q}' has no A",
    ),
    "no B": (
        {"renamed": {f"{Q}.lora_b": ""}},
        f"the adapter of '{Q}' has no B",
    ),
    "another name": (
        {"renamed": {f"{Q}.lora_a": f"{Q}.bias"}},
        f"tensor '{Q}.bias' ends neither with .lora_a nor with .lora_b",
    ),
    "a matrix that the model lacks": (
        {
            "renamed": {
                f"{Q}.lora_a": "blk.7.attn_q.weight.lora_a",
                f"{Q}.lora_b": "blk.7.attn_q.weight.lora_b",
            }
        },
        "the model has no 'blk.7.attn_q.weight', which the adapter changes",
    ),
    "a name that llama.cpp shortens": (
        {
            "renamed": {
                f"{Q}.lora_a": "blk.0.attn_q.lora_a.weight.lora_a",
                f"{Q}.lora_b": "blk.0.attn_q.lora_a.weight.lora_b",
            }
        },
        "the model has no 'blk.0.attn_q.lora_a.weight'",
    ),
    "a vector": (
        {
            "renamed": {
                f"{Q}.lora_a": "output_norm.weight.lora_a",
                f"{Q}.lora_b": "output_norm.weight.lora_b",
            }
        },
        "'output_norm.weight' is not a matrix",
    ),
    "too few columns of A": (
        {"shapes": {f"{Q}.lora_a": (4, 32)}},
        f"the adapter does not fit the model: '{Q}' is [64, 64, 1], A is [32, 4, 1]",
    ),
    "too few rows of B": (
        {"shapes": {f"{Q}.lora_b": (32, 4)}},
        "B is [4, 32, 1]",
    ),
    "two ranks": (
        {"shapes": {f"{Q}.lora_a": (8, WIDTH)}},
        "A is [64, 8, 1], B is [4, 64, 1]",
    ),
    "A that is not transposed": (
        {"shapes": {f"{Q}.lora_a": (WIDTH, 4)}},
        "A is [4, 64, 1]",
    ),
    "A of experts": (
        {"shapes": {f"{Q}.lora_a": (2, 4, WIDTH)}},
        "A is [64, 4, 2]",
    ),
    "a type of weights": (
        {"rank": 32, "weight_type": "Q4_0"},
        "has the type q4_0; it must be f32, f16, bf16 or q8_0",
    ),
    "NaN": ({"poison": float("nan")}, "lora_b' has a value that is NaN or infinite"),
    "Inf": (
        {"poison": float("-inf"), "weight_type": "F32"},
        "lora_b' has a value that is NaN or infinite",
    ),
    "NaN in Q8_0": (
        {"poison": float("nan"), "rank": 32, "weight_type": "Q8_0"},
        "lora_b' has a value that is NaN or infinite",
    ),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_does_not_fit_is_refused(tiny: Path, tmp_path: Path, what: str) -> None:
    options, words = REFUSED[what]
    path = write_lora(tmp_path / "lora.gguf", tiny, **options)
    with pytest.raises(ModelLoadError) as caught:
        Engine(tiny, lora=path, n_ctx=64, n_threads=1)
    assert words in str(caught.value)
    assert str(path) in str(caught.value)


def test_an_embedding_that_is_the_output_too_is_refused(tmp_path: Path) -> None:
    model = write_tiny_gguf(tmp_path / "t.gguf", tied=True)
    path = write_lora(tmp_path / "lora.gguf", model, only=["token_embd.weight"])
    with pytest.raises(ModelLoadError, match="also the output matrix of this model"):
        Engine(model, lora=path, n_ctx=64, n_threads=1)


def test_the_adapter_of_a_larger_model_is_refused(tiny: Path, tmp_path: Path) -> None:
    larger = write_tiny_gguf(tmp_path / "larger.gguf", n_embd=128, head_size=32)
    path = write_lora(tmp_path / "lora.gguf", larger)
    with pytest.raises(ModelLoadError, match="the adapter does not fit the model"):
        Engine(tiny, lora=path, n_ctx=64, n_threads=1)


def test_files_that_are_no_adapters_are_refused(tiny: Path, tmp_path: Path) -> None:
    whole = write_lora(tmp_path / "whole.gguf", tiny).read_bytes()
    text = tmp_path / "text.gguf"
    text.write_text("no adapter")
    empty = tmp_path / "empty.gguf"
    empty.touch()
    short = tmp_path / "short.gguf"
    short.write_bytes(whole[:-100])
    header = tmp_path / "header.gguf"
    header.write_bytes(whole[:200])
    for path, words in (
        (tmp_path / "missing.gguf", "there is no such file"),
        (tmp_path, "this is a directory"),
        (text, "this is not a GGUF file"),
        (empty, "the file is empty"),
        (short, "the file is truncated"),
        (header, "damaged or cut off"),
        (tiny, "the metadata has no text general.type"),
    ):
        with pytest.raises(ModelLoadError) as caught:
            Engine(tiny, lora=path, n_ctx=64, n_threads=1)
        assert words in str(caught.value)
        assert str(path) in str(caught.value)


def test_vectors_of_norms_are_reported(
    tiny: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """llama.cpp loads such adapters and ignores the vectors."""
    path = write_lora(
        tmp_path / "lora.gguf",
        tiny,
        renamed={f"{Q}.lora_a": "blk.0.attn_norm.weight", f"{Q}.lora_b": "blk.0.ffn_norm.weight"},
    )
    with Engine(tiny, lora=path, n_ctx=64, n_threads=1) as engine:
        assert engine.generate("abc", max_tokens=3).result().tokens
    assert "ignores the 2 vectors of norms in the adapter" in caplog.text


def test_values_are_not_read_if_the_user_says_so(tiny: Path, tmp_path: Path) -> None:
    path = write_lora(tmp_path / "lora.gguf", tiny, poison=float("nan"))
    with Engine(tiny, lora=path, check_tensors=False, n_ctx=64, n_threads=1) as engine:
        assert engine.generate("abc", max_tokens=3, lora=[]).result().tokens


def test_a_scale_that_overflows_fails_its_text_only(tiny: Path, tmp_path: Path) -> None:
    path = write_lora(tmp_path / "lora.gguf", tiny)
    with Engine(tiny, lora=path, n_ctx=64, n_threads=1) as engine:
        want = engine.generate("abc", max_tokens=5).result().tokens
        with pytest.raises(DecodeError, match="is not a number"):
            engine.generate("abc", max_tokens=5, lora=[(0, 3e38)]).result()
        assert engine.generate("abc", max_tokens=5).result().tokens == want


@pytest.mark.parametrize("seed", range(3))
def test_no_damaged_file_kills_the_process(
    tiny: Path, tmp_path: Path, python: RunPython, seed: int
) -> None:
    """Bytes of the header are changed; whatever still loads must also decode."""
    whole = write_lora(tmp_path / "whole.gguf", tiny, only=["attn_q.weight"]).read_bytes()
    n_header = whole.rindex(b"lora_b") + 60
    rng = np.random.default_rng(seed)
    for i in range(60):
        data = bytearray(whole)
        for place in rng.integers(24, n_header, int(rng.integers(1, 4))):
            data[place] = rng.integers(256) if i % 2 else data[place] ^ (1 << rng.integers(8))
        (tmp_path / f"{i}.gguf").write_bytes(data)
    code = f"""
import os
from specbranch_cpp import DecodeError, Engine, ModelLoadError
counts = {{"loaded": 0, "refused": 0}}
for i in range(60):
    path = os.path.join({os.fspath(tmp_path)!r}, f"{{i}}.gguf")
    try:
        with Engine({os.fspath(tiny)!r}, lora=path, n_ctx=64, n_threads=1) as engine:
            counts["loaded"] += 1
            try:
                engine.generate("abc", max_tokens=2).result()
            except DecodeError:
                pass
    except ModelLoadError as error:
        assert path in str(error), error
        counts["refused"] += 1
print(counts["loaded"], counts["refused"])
"""
    loaded, refused = map(int, python(code).split())
    assert loaded + refused == 60
    assert loaded > 0
    assert refused > 10
