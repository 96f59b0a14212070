"""What the scaling tool writes, and what it refuses."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gguf import GGMLQuantizationType, GGUFReader, GGUFWriter

ROOT = Path(__file__).resolve().parents[3]
sys.path.insert(0, str(ROOT))

from benchmarks.scaling import ScaleError, scale, writer  # noqa: E402
from tests.python.support.tiny_gguf import write_tiny_gguf  # noqa: E402

EVERYTHING: dict[str, Any] = {
    "n_embd": 256,
    "n_layer": 7,
    "n_head": 12,
    "n_head_kv": 6,
    "n_ff": 512,
}


def test_the_metadata_describe_the_new_shape(tmp_path: Path) -> None:
    source = write_tiny_gguf(tmp_path / "small.gguf", norm_epsilon=2.0**-16)
    result = scale(source, tmp_path / "big.gguf", **EVERYTHING)
    old, new = GGUFReader(source), GGUFReader(result.path)
    changed = {
        "llama.embedding_length": 256,
        "llama.block_count": 7,
        "llama.attention.head_count": 12,
        "llama.attention.head_count_kv": 6,
        "llama.feed_forward_length": 512,
        "llama.attention.key_length": 16,
        "llama.rope.dimension_count": 16,
        "llama.attention.layer_norm_rms_epsilon": 2.0**-18,
    }
    for key, value in changed.items():
        field = new.get_field(key)
        assert field is not None
        assert field.contents() == value, key
    kept = [key for key in old.fields if not key.startswith("GGUF.") and key not in changed]
    assert "tokenizer.ggml.merges" in kept
    for key in kept:
        assert new.fields[key].contents() == old.fields[key].contents(), key
    assert result.n_bytes == result.path.stat().st_size
    assert result.n_parameters == sum(int(tensor.n_elements) for tensor in new.tensors)


def test_extra_blocks_write_nothing_and_the_rest_is_random(tmp_path: Path) -> None:
    source = write_tiny_gguf(tmp_path / "small.gguf", n_layer=2)
    result = scale(source, tmp_path / "big.gguf", n_embd=256, n_layer=3, n_ff=256)
    old = {tensor.name: tensor.data for tensor in GGUFReader(source).tensors}
    new = {tensor.name: tensor.data for tensor in GGUFReader(result.path).tensors}
    for name in ("attn_output", "ffn_down"):
        assert not new[f"blk.1.{name}.weight"].any()
        assert not new[f"blk.2.{name}.weight"][64:].any()
    assert (new["blk.1.ffn_up.weight"] != 0).all()
    up = new["blk.2.ffn_up.weight"]
    np.testing.assert_array_equal(up[:128, :64], old["blk.1.ffn_up.weight"])
    assert (up != 0).all()
    assert not new["token_embd.weight"][:, 64:].any()
    np.testing.assert_array_equal(
        new["blk.2.attn_norm.weight"][:64], old["blk.1.attn_norm.weight"] / 2
    )


def test_the_seed_decides_the_file(tmp_path: Path) -> None:
    source = write_tiny_gguf(tmp_path / "small.gguf")
    files = [
        scale(source, tmp_path / f"{index}.gguf", seed=seed, **EVERYTHING).path
        for index, seed in enumerate((1, 1, 2))
    ]
    assert files[0].read_bytes() == files[1].read_bytes()
    assert files[0].read_bytes() != files[2].read_bytes()


@pytest.mark.parametrize(
    ("growth", "message"),
    [
        ({"n_embd": 32}, "n_embd cannot shrink from 64 to 32"),
        ({"n_layer": 1}, "n_layer cannot shrink"),
        ({"n_head": 2}, "n_head cannot shrink"),
        ({"n_head_kv": 1}, "n_head_kv cannot shrink"),
        ({"n_ff": 0}, "n_ff cannot shrink"),
        ({"n_embd": 100}, "do not divide into Q8_0 blocks of 32"),
        ({"n_ff": 150}, "do not divide into Q8_0 blocks of 32"),
        ({"n_head": 5}, "n_head 5 is not a multiple of n_head_kv 2"),
        ({"n_head": 6, "n_head_kv": 3, "n_embd": 64}, "do not divide into Q8_0 blocks of 32"),
        ({"n_head": 4, "n_head_kv": 4, "n_layer": 0}, "n_layer cannot shrink"),
    ],
)
def test_bad_shapes_are_refused(tmp_path: Path, growth: dict[str, Any], message: str) -> None:
    # Heads of 48 values: two of them, but not one, fill blocks of 32.
    source = write_tiny_gguf(tmp_path / "small.gguf", weight_type="Q8_0", head_size=24)
    with pytest.raises(ScaleError, match=message):
        scale(source, tmp_path / "big.gguf", **growth)
    assert [path.name for path in tmp_path.iterdir()] == ["small.gguf"]


def test_too_few_key_value_heads_are_refused(tmp_path: Path) -> None:
    source = write_tiny_gguf(tmp_path / "small.gguf", n_head=8, n_head_kv=2)
    with pytest.raises(ScaleError, match="n_head_kv must be at least 4"):
        scale(source, tmp_path / "big.gguf", n_head=9, n_head_kv=3)


def _write_other(path: Path, architecture: str, tensor: str, kind: GGMLQuantizationType) -> None:
    """A model whose metadata are complete, with one matrix."""
    writer = GGUFWriter(path, architecture)
    writer.add_embedding_length(64)
    writer.add_block_count(1)
    writer.add_feed_forward_length(64)
    writer.add_head_count(1)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_tensor(tensor, np.zeros((64, 64), np.float32), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


@pytest.mark.parametrize(
    ("architecture", "tensor", "kind", "message"),
    [
        ("qwen2", "token_embd.weight", "F32", "architecture 'qwen2'; only 'llama'"),
        ("llama", "token_embd.weight", "I32", "unsupported weight type I32"),
        ("llama", "blk.0.ffn_gate_exps.weight", "F32", "no rule for scaling"),
        ("llama", "blk.1.attn_q.weight", "F32", "no rule for scaling"),
        ("llama", "rope_freqs.weight", "Q8_1", "unsupported weight type Q8_1"),
    ],
)
def test_other_models_are_refused(
    tmp_path: Path, architecture: str, tensor: str, kind: str, message: str
) -> None:
    source = tmp_path / "other.gguf"
    _write_other(source, architecture, tensor, GGMLQuantizationType[kind])
    with pytest.raises(ScaleError, match=message):
        scale(source, tmp_path / "big.gguf")


def test_files_that_are_no_models_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ScaleError, match="no such file"):
        scale(tmp_path / "none.gguf", tmp_path / "big.gguf")
    text = tmp_path / "text.gguf"
    for content in (b"", b"just text, not a model"):
        text.write_bytes(content)
        with pytest.raises(ScaleError, match="not a GGUF file"):
            scale(text, tmp_path / "big.gguf")
    with pytest.raises(ScaleError, match="no such directory"):
        scale(text, tmp_path / "none" / "big.gguf")


def test_an_existing_destination_is_kept_unless_forced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = write_tiny_gguf(tmp_path / "small.gguf")
    destination = tmp_path / "big.gguf"
    destination.write_text("precious")
    with pytest.raises(ScaleError, match="exists"):
        scale(source, destination)

    def fail(*_: object, **__: object) -> None:
        raise OSError("disk full")

    with monkeypatch.context() as patch:
        patch.setattr(writer, "write_weights", fail)
        with pytest.raises(OSError, match="disk full"):
            scale(source, destination, force=True)
    assert destination.read_text() == "precious"
    scale(source, destination, force=True)
    assert destination.stat().st_size > 1000
    assert sorted(path.name for path in tmp_path.iterdir()) == ["big.gguf", "small.gguf"]
