"""Scaled models with larger heads."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from gguf import GGUFReader, GGUFValueType, GGUFWriter

ROOT = Path(__file__).resolve().parents[3]
sys.path.insert(0, str(ROOT))

from benchmarks.scaling import Equality, ScaleError, scale  # noqa: E402
from tests.python.support.tiny_gguf import WeightType, write_tiny_gguf  # noqa: E402

if TYPE_CHECKING:
    import numpy.typing as npt
    from tests.python.support.llama_scores import Llama

MODELS = ROOT / "python" / "specbranch_cpp" / "models"


def with_metadata(
    source: Path, path: Path, *, factors: npt.NDArray[np.float32] | None = None, **changed: Any
) -> Path:
    """A copy with some numbers of `llama.` replaced or added; dots are underscores twice.

    `factors` becomes the tensor that the angles of the rotary pairs are divided by.
    """
    reader = GGUFReader(source)
    writer = GGUFWriter(path, "llama")
    keys = {f"llama.{key.replace('__', '.')}": value for key, value in changed.items()}
    for key, field in reader.fields.items():
        if not key.startswith("GGUF.") and key not in {"general.architecture", *keys}:
            kind = field.types[-1] if field.types[0] is GGUFValueType.ARRAY else None
            writer.add_key_value(key, field.contents(), field.types[0], kind)
    for key, value in keys.items():
        kind = GGUFValueType.STRING if isinstance(value, str) else GGUFValueType.FLOAT32
        writer.add_key_value(key, value, kind)
    for tensor in reader.tensors:
        writer.add_tensor(tensor.name, tensor.data, raw_dtype=tensor.tensor_type)
    if factors is not None:
        writer.add_tensor("rope_freqs.weight", factors)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


# The rotated keys have another factor and round otherwise in the cache, which holds 16-bit floats.
# The kernels for Q8_0 make more of it: they round what they read to 8 bits.
@pytest.mark.parametrize(("weight_type", "atol"), [("F32", 0.05), ("F16", 0.05), ("Q8_0", 0.6)])
@pytest.mark.parametrize(("old", "new"), [(32, 64), (64, 128), (32, 128)])
def test_larger_heads_keep_the_scores_up_to_rounding(
    tmp_path: Path, llama: Llama, weight_type: WeightType, atol: float, old: int, new: int
) -> None:
    source = write_tiny_gguf(tmp_path / "small.gguf", head_size=old, weight_type=weight_type)
    result = scale(source, tmp_path / "big.gguf", head_size=new)
    assert result.equality is Equality.ROUNDING
    before, after = llama.scores(source), llama.scores(result.path)
    np.testing.assert_allclose(before, after, atol=atol)
    assert np.corrcoef(before.ravel(), after.ravel())[0, 1] > 0.9997


def test_everything_may_grow_at_once(tmp_path: Path, llama: Llama) -> None:
    source = write_tiny_gguf(tmp_path / "small.gguf", head_size=32, biases=True)
    grown: dict[str, Any] = {"n_embd": 128, "n_layer": 4, "n_head": 12, "n_head_kv": 6, "n_ff": 256}
    result = scale(source, tmp_path / "big.gguf", **grown, head_size=128)
    np.testing.assert_allclose(llama.scores(source), llama.scores(result.path), atol=0.05)


@pytest.mark.parametrize("name", ["demo-target", "demo-draft"])
def test_trained_models_keep_their_choices(tmp_path: Path, llama: Llama, name: str) -> None:
    source = MODELS / f"{name}.gguf"
    result = scale(source, tmp_path / "big.gguf", head_size=128)
    before, after = llama.scores(source), llama.scores(result.path)
    np.testing.assert_allclose(before, after, atol=0.25)
    assert np.corrcoef(before.ravel(), after.ravel())[0, 1] > 0.9999


@pytest.mark.parametrize("wrong", ["rope__freq_base", "rope__scaling__attn_factor"])
def test_both_changes_of_the_metadata_are_needed(tmp_path: Path, llama: Llama, wrong: str) -> None:
    source = write_tiny_gguf(tmp_path / "small.gguf", head_size=32)
    result = scale(source, tmp_path / "big.gguf", head_size=128)
    old = {"rope__freq_base": 10_000.0, "rope__scaling__attn_factor": 1.0}
    change: dict[str, Any] = {wrong: old[wrong]}
    broken = with_metadata(result.path, tmp_path / "broken.gguf", **change)
    assert np.abs(llama.scores(source) - llama.scores(broken)).max() > 0.5


def test_the_attention_scale_of_the_metadata_is_not_read(tmp_path: Path, llama: Llama) -> None:
    """Else it would be the simpler way to make up for the size of a head."""
    source = write_tiny_gguf(tmp_path / "small.gguf", head_size=32)
    scaled = with_metadata(source, tmp_path / "scaled.gguf", attention__scale=5.0)
    np.testing.assert_array_equal(llama.scores(source), llama.scores(scaled))


def test_factors_of_the_source_are_kept(tmp_path: Path, llama: Llama) -> None:
    plain = write_tiny_gguf(tmp_path / "plain.gguf", head_size=32)
    factors: dict[str, Any] = {"rope__freq_base": 500_000.0, "rope__scaling__attn_factor": 1.25}
    source = with_metadata(plain, tmp_path / "small.gguf", **factors)
    assert np.abs(llama.scores(plain) - llama.scores(source)).max() > 0.5
    result = scale(source, tmp_path / "big.gguf", head_size=64)
    np.testing.assert_allclose(llama.scores(source), llama.scores(result.path), atol=0.05)


def test_the_factors_of_the_pairs_are_kept(tmp_path: Path, llama: Llama) -> None:
    """As Llama 3 has them."""
    plain = write_tiny_gguf(tmp_path / "plain.gguf", head_size=32)
    factors = np.linspace(1, 8, 16, dtype=np.float32)
    source = with_metadata(plain, tmp_path / "small.gguf", factors=factors)
    assert np.abs(llama.scores(plain) - llama.scores(source)).max() > 0.5
    result = scale(source, tmp_path / "big.gguf", head_size=64, n_embd=128)
    (tensor,) = (t for t in GGUFReader(result.path).tensors if t.name == "rope_freqs.weight")
    np.testing.assert_array_equal(tensor.data[:16], factors)
    assert (tensor.data >= 1).all()
    assert len(tensor.data) == 32
    np.testing.assert_allclose(llama.scores(source), llama.scores(result.path), atol=0.05)


def test_heads_do_not_grow_where_the_rotation_forbids_it(tmp_path: Path) -> None:
    plain = write_tiny_gguf(tmp_path / "plain.gguf", head_size=32)
    source = with_metadata(plain, tmp_path / "small.gguf", rope__scaling__type="yarn")
    with pytest.raises(ScaleError, match="heads cannot grow in a model with yarn scaling"):
        scale(source, tmp_path / "big.gguf", head_size=64)
    scale(source, tmp_path / "wide.gguf", n_embd=256)
    for size, message in ((16, "head_size cannot shrink from 32 to 16"), (33, "33 is odd")):
        with pytest.raises(ScaleError, match=message):
            scale(plain, tmp_path / "big.gguf", head_size=size)
    with pytest.raises(ScaleError, match="base of the rotation"):
        scale(plain, tmp_path / "big.gguf", head_size=32 * 10)
