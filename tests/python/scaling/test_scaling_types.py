"""Scaled models in another weight type than their source's."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from gguf import GGMLQuantizationType, GGUFReader
from gguf.quants import dequantize

ROOT = Path(__file__).resolve().parents[3]
sys.path.insert(0, str(ROOT))

from benchmarks.scaling import Equality, ScaleError, scale  # noqa: E402
from tests.python.support.llama_scores import Scores, assert_same_bits  # noqa: E402
from tests.python.support.tiny_gguf import write_tiny_gguf  # noqa: E402

from specbranch_cpp._scaling import weight_types  # noqa: E402

if TYPE_CHECKING:
    from tests.python.support.llama_scores import Llama

MODELS = ROOT / "python" / "specbranch_cpp" / "models"
GROWN: dict[str, Any] = {"n_embd": 256, "n_layer": 3, "n_head": 8, "n_head_kv": 4, "n_ff": 512}


def likeness(first: Scores, second: Scores) -> float:
    """The smallest correlation of the scores of one position."""
    return min(float(np.corrcoef(a, b)[0, 1]) for a, b in zip(first, second, strict=True))


# The worst correlation that a trained model may have with itself in that type.
@pytest.mark.parametrize(
    ("name", "low"),
    [
        ("F16", 0.999),
        ("BF16", 0.999),
        ("Q8_0", 0.999),
        ("Q5_0", 0.96),
        ("Q4_0", 0.9),
        ("Q6_K", 0.99),
        ("Q4_K", 0.95),
        ("IQ4_XS", 0.9),
    ],
)
def test_a_trained_model_survives(tmp_path: Path, llama: Llama, name: str, low: float) -> None:
    source = MODELS / "demo-target.gguf"
    result = scale(source, tmp_path / "big.gguf", n_ff=1024, n_layer=9, weight_type=name)
    tensors = GGUFReader(result.path).tensors
    assert {t.tensor_type.name for t in tensors if len(t.shape) > 1} == {name}
    assert {t.tensor_type.name for t in tensors if len(t.shape) == 1} == {"F32"}
    unchanged = name == "Q8_0"
    assert result.equality is (Equality.BITS if unchanged else Equality.QUANTIZED)
    assert (result.weight_change == 0) is unchanged
    assert likeness(llama.scores(source), llama.scores(result.path)) > low


def test_q8_0_weights_are_the_same_numbers_in_f32(tmp_path: Path, llama: Llama) -> None:
    source = write_tiny_gguf(tmp_path / "small.gguf", weight_type="Q8_0")
    result = scale(source, tmp_path / "big.gguf", **GROWN, weight_type="F32")
    assert (result.equality, result.weight_change) == (Equality.ROUNDING, 0.0)
    old = {tensor.name: tensor for tensor in GGUFReader(source).tensors}
    new = {tensor.name: tensor for tensor in GGUFReader(result.path).tensors}
    for name in ("token_embd.weight", "blk.0.ffn_down.weight"):
        values = dequantize(old[name].data, old[name].tensor_type)
        np.testing.assert_array_equal(new[name].data[: len(values), : values.shape[1]], values)
    # The kernels for Q8_0 round the activations to 8 bits, those for F32 do not.
    assert likeness(llama.scores(source), llama.scores(result.path)) > 0.999


def test_scaling_does_not_add_to_what_conversion_changes(tmp_path: Path, llama: Llama) -> None:
    source = write_tiny_gguf(tmp_path / "small.gguf")
    small = scale(source, tmp_path / "small-q4_0.gguf", weight_type="Q4_0")
    big = scale(source, tmp_path / "big.gguf", **GROWN, weight_type="Q4_0")
    assert small.equality is big.equality is Equality.QUANTIZED
    assert small.weight_change == big.weight_change
    assert 0.05 < small.weight_change < 0.15
    assert_same_bits(llama.scores(small.path), llama.scores(big.path))


def test_the_seed_has_no_part_in_how_weights_are_rounded(tmp_path: Path, llama: Llama) -> None:
    # 192 real values and 64 added ones share a block.
    source = write_tiny_gguf(tmp_path / "small.gguf", n_embd=192, n_ff=192, n_head=6, n_head_kv=2)
    growth: dict[str, Any] = {"n_embd": 768, "n_ff": 512, "n_head": 24, "n_head_kv": 8}
    files = [
        scale(source, tmp_path / f"{seed}.gguf", **growth, weight_type="Q4_K", seed=seed).path
        for seed in (1, 2)
    ]
    assert files[0].read_bytes() != files[1].read_bytes()
    first, second = ({t.name: t for t in GGUFReader(path).tensors} for path in files)
    for name in ("attn_q", "attn_output", "ffn_up", "ffn_down"):
        tensors = (file[f"blk.1.{name}.weight"] for file in (first, second))
        one, other = (dequantize(t.data, t.tensor_type)[:192, :256] for t in tensors)
        np.testing.assert_array_equal(one, other)
    assert likeness(llama.scores(source), llama.scores(files[0])) > 0.8


def test_blocks_are_copied_where_the_type_is_the_same(tmp_path: Path) -> None:
    source = write_tiny_gguf(tmp_path / "small.gguf", weight_type="Q4_0")
    same = scale(source, tmp_path / "same.gguf", **GROWN)
    named = scale(source, tmp_path / "named.gguf", **GROWN, weight_type="q4_0")
    assert same.equality is named.equality is Equality.BITS
    tensors = zip(GGUFReader(same.path).tensors, GGUFReader(named.path).tensors, strict=True)
    assert all(np.array_equal(a.data, b.data) for a, b in tensors)


def test_the_file_says_its_type(tmp_path: Path) -> None:
    for name, number in (("Q8_0", 7), ("Q4_K", 14), ("F32", 0)):
        path = tmp_path / f"{name}.gguf"
        scale(MODELS / "demo-target.gguf", path, weight_type=name)
        field = GGUFReader(path).get_field("general.file_type")
        assert field is not None
        assert field.contents() == number


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("Q9_0", "GGUF has no such type"),
        ("I32", "this type is not for weights"),
        ("Q8_K", "this type is not for weights"),
        ("IQ2_XS", "importance matrix"),
        ("NVFP4", "more than the values of the tensor"),
        ("Q4_K", "rows of 64 values do not divide into Q4_K blocks of 256"),
    ],
)
def test_other_types_are_refused_by_name(tmp_path: Path, name: str, message: str) -> None:
    source = write_tiny_gguf(tmp_path / "small.gguf")
    with pytest.raises(ScaleError, match=message):
        scale(source, tmp_path / "big.gguf", weight_type=name)
    assert [path.name for path in tmp_path.iterdir()] == ["small.gguf"]


def test_llama_cpp_and_gguf_write_the_same_bytes() -> None:
    values = np.random.default_rng(0).standard_normal((8, 512)).astype(np.float32)
    for name in weight_types._by_gguf():
        kind = GGMLQuantizationType[name]
        expected = weight_types.encode(values, kind)
        found = weight_types._encode_by_llama_cpp(values, kind)
        np.testing.assert_array_equal(found.ravel(), expected.ravel(), err_msg=name)


@pytest.mark.parametrize(("value", "message"), [(np.nan, "not finite"), (1e6, "too large for F16")])
def test_what_the_type_cannot_hold_is_refused(tmp_path: Path, value: float, message: str) -> None:
    source = write_tiny_gguf(tmp_path / "small.gguf")
    tensor = next(t for t in GGUFReader(source).tensors if t.name == "blk.1.ffn_up.weight")
    with source.open("r+b") as file:
        file.seek(tensor.data_offset)
        file.write(np.float32(value).tobytes())
    with pytest.raises(ScaleError, match=message):
        scale(source, tmp_path / "big.gguf", weight_type="F16")
    assert [path.name for path in tmp_path.iterdir()] == ["small.gguf"]
