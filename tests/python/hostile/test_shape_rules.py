"""Files whose settings contradict their tensors: refused before llama.cpp asserts on them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tests.python.support.patched_gguf import with_setting, with_tensors
from tests.python.support.rewrite_gguf import with_numbers
from tests.python.support.tiny_gguf import write_tiny_gguf

from specbranch_cpp import Engine, ModelLoadError


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model with 4 heads of 16 dimensions, 2 of them with keys and values of their own."""
    path = tmp_path_factory.mktemp("models") / "tiny.gguf"
    return write_tiny_gguf(path, n_embd=64, n_head=4, n_head_kv=2, biases=True)


def refused(path: Path) -> str:
    with pytest.raises(ModelLoadError) as error:
        Engine(path, n_ctx=64)
    return str(error.value)


def test_the_model_itself_loads(model: Path) -> None:
    with Engine(model, n_ctx=64) as engine:
        assert engine.generate("a", max_tokens=2, temperature=0).result().tokens


@pytest.mark.parametrize("alignment", [8, 16, 48])
def test_alignment(model: Path, tmp_path: Path, alignment: int) -> None:
    path = with_numbers(model, tmp_path / "x.gguf", {"general.alignment": alignment})
    message = refused(path)
    assert str(path) in message
    if alignment == 8:
        assert "general.alignment is 8, not a multiple of 32" in message


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("attention.head_count", 0, "llama.attention.head_count is 0, and blk.0.attn_q.weight"),
        ("attention.head_count", 3, "is 3, and blk.0.attn_q.weight has 64 rows"),
        ("attention.head_count", 8, "64 rows, and 8 heads of 16 are stated"),
        ("attention.head_count_kv", 4, "blk.0.attn_k.weight has 32 rows, and 4 heads of 16"),
        ("attention.key_length", 8, "rope.dimension_count is 16, and a head has 8 dimensions"),
        ("attention.key_length", 24, "blk.0.attn_q.weight has 64 rows, and 4 heads of 24"),
        ("attention.value_length", 32, "blk.0.attn_v.weight has 32 rows, and 2 heads of 32"),
        ("rope.dimension_count", 7, "llama.rope.dimension_count is 7, not an even number"),
        ("rope.dimension_count", 18, "llama.rope.dimension_count is 18, and a head has 16"),
    ],
)
def test_heads_and_rotary_dimensions(
    model: Path, tmp_path: Path, key: str, value: int, message: str
) -> None:
    assert message in refused(with_setting(model, tmp_path / "x.gguf", f"llama.{key}", value))


@pytest.mark.parametrize("name", ["blk.1.attn_norm.weight", "output_norm.weight"])
def test_norms_of_another_type(model: Path, tmp_path: Path, name: str) -> None:
    norm = np.ones(64, dtype=np.float16)
    message = refused(with_tensors(model, tmp_path / "x.gguf", {name: norm}))
    assert f"tensor '{name}' has the type f16; norms and biases are f32" in message


def test_biases_of_another_type(model: Path, tmp_path: Path) -> None:
    bias = np.zeros(64, dtype=np.float16)
    message = refused(with_tensors(model, tmp_path / "x.gguf", {"blk.0.attn_q.bias": bias}))
    assert "tensor 'blk.0.attn_q.bias' has the type f16" in message
