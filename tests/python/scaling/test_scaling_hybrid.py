"""Scaled models with short convolutions."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from gguf import GGUFReader, GGUFWriter

ROOT = Path(__file__).resolve().parents[3]
sys.path.insert(0, str(ROOT))

from benchmarks.scaling import Equality, ScaleError, scale  # noqa: E402
from tests.python.support.llama_scores import assert_same_bits  # noqa: E402
from tests.python.support.tiny_hybrid import write_tiny_hybrid  # noqa: E402

if TYPE_CHECKING:
    from tests.python.support.llama_scores import Llama

# The source has width 64, 4 heads of 16 values, 2 key-value heads in the blocks 1 and 3 of 4.
WIDER: dict[str, Any] = {"n_embd": 256, "n_head": 16, "n_head_kv": 8}


@pytest.mark.parametrize(
    "growth",
    [{"n_layer": 9}, {"n_ff": 320}, {"n_layer": 6, "n_ff": 512}],
    ids=["deeper", "more feed-forward", "both"],
)
def test_scores_are_equal_to_the_last_bit(
    tmp_path: Path, llama: Llama, growth: dict[str, Any]
) -> None:
    source = write_tiny_hybrid(tmp_path / "small.gguf")
    result = scale(source, tmp_path / "big.gguf", **growth)
    assert result.bit_exact
    assert_same_bits(llama.scores(source), llama.scores(result.path))


@pytest.mark.parametrize(
    "growth",
    [WIDER, WIDER | {"n_layer": 9, "n_ff": 512}, {"n_embd": 128, "n_head": 8, "n_head_kv": 4}],
    ids=["wider", "everything", "width times 2"],
)
def test_wider_models_keep_the_scores_up_to_rounding(
    tmp_path: Path, llama: Llama, growth: dict[str, Any]
) -> None:
    source = write_tiny_hybrid(tmp_path / "small.gguf")
    result = scale(source, tmp_path / "big.gguf", **growth)
    assert result.equality is Equality.ROUNDING
    # The key-value cache holds 16-bit floats: one of them may round the other way.
    np.testing.assert_allclose(llama.scores(source), llama.scores(result.path), atol=0.02)


def test_the_metadata_say_which_blocks_have_attention(tmp_path: Path) -> None:
    source = write_tiny_hybrid(tmp_path / "small.gguf")
    result = scale(source, tmp_path / "big.gguf", n_layer=7, **WIDER)
    reader = GGUFReader(result.path)
    field = reader.get_field("lfm2.attention.head_count_kv")
    assert field is not None
    assert field.contents() == [0, 0, 8, 8, 0, 0, 8]
    names = {tensor.name for tensor in reader.tensors}
    for index, heads in enumerate(field.contents()):
        assert (f"blk.{index}.attn_q.weight" in names) == (heads > 0)
        assert (f"blk.{index}.shortconv.conv.weight" in names) == (heads == 0)


def test_added_channels_and_blocks_write_nothing(tmp_path: Path) -> None:
    source = write_tiny_hybrid(tmp_path / "small.gguf")
    result = scale(source, tmp_path / "big.gguf", n_layer=7, **WIDER)
    old = {tensor.name: tensor.data for tensor in GGUFReader(source).tensors}
    new = {tensor.name: tensor.data for tensor in GGUFReader(result.path).tensors}
    assert not new["blk.1.shortconv.out_proj.weight"].any()  # an extra block
    out = new["blk.0.shortconv.out_proj.weight"]
    np.testing.assert_array_equal(out[:64, :64], old["blk.0.shortconv.out_proj.weight"])
    assert not out[64:].any()
    assert not out[:, 64:].any()
    gates = new["blk.0.shortconv.in_proj.weight"]
    for part in range(3):
        np.testing.assert_array_equal(
            gates[256 * part : 256 * part + 64, :64],
            old["blk.0.shortconv.in_proj.weight"][64 * part : 64 * part + 64],
        )
    assert (gates != 0).all()
    assert (new["blk.0.shortconv.conv.weight"] != 0).all()


@pytest.mark.parametrize(("weight_type", "atol"), [("F16", 0.05), ("Q8_0", 1.0)])
def test_another_weight_type_leaves_the_taps(
    tmp_path: Path, llama: Llama, weight_type: str, atol: float
) -> None:
    """llama.cpp computes convolutions only with taps in F32."""
    source = write_tiny_hybrid(tmp_path / "small.gguf")
    result = scale(source, tmp_path / "big.gguf", weight_type=weight_type)
    kinds = {tensor.name: tensor.tensor_type.name for tensor in GGUFReader(result.path).tensors}
    assert kinds["blk.0.shortconv.conv.weight"] == "F32"
    assert kinds["blk.0.shortconv.in_proj.weight"] == weight_type
    np.testing.assert_allclose(llama.scores(source), llama.scores(result.path), atol=atol)


@pytest.mark.parametrize(
    ("growth", "message"),
    [
        ({"head_size": 32}, "head_size 16 cannot become 32: queries and keys are normalized"),
        ({"n_embd": 256}, "n_head 4 must be 16"),
        ({"n_head": 8, "n_head_kv": 4}, "n_head 8 must be 4"),
    ],
)
def test_bad_shapes_are_refused(tmp_path: Path, growth: dict[str, Any], message: str) -> None:
    source = write_tiny_hybrid(tmp_path / "small.gguf")
    with pytest.raises(ScaleError, match=message):
        scale(source, tmp_path / "big.gguf", **growth)


@pytest.mark.parametrize("heads_kv", [[2, 1], [0, 0], [2, 0, 2], [0, -2], [2, -2], ["2", "2"]])
def test_numbers_of_key_value_heads_that_differ_are_refused(tmp_path: Path, heads_kv: Any) -> None:
    source = tmp_path / "odd.gguf"
    writer = GGUFWriter(source, "lfm2")
    writer.add_embedding_length(64)
    writer.add_block_count(2)
    writer.add_feed_forward_length(64)
    writer.add_head_count(2)
    writer.add_head_count_kv(heads_kv)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    with pytest.raises(ScaleError, match="one number for each of 2 blocks, 0 or the same"):
        scale(source, tmp_path / "big.gguf")


#: Every step counts the same number of tokens before it; the state of a hybrid cannot be cut.
STEPS = """
import sys
from pathlib import Path
from benchmarks.scaling import step_times

stepper = step_times._Stepper(Path(sys.argv[1]), 8)
assert all(stepper.step() > 0 for _ in range(5))
memory = stepper._api.llama_get_memory(stepper._context)
print(stepper._api.llama_memory_seq_pos_max(memory, 0))
stepper.close()
print(step_times.measure_step_times(*map(Path, sys.argv[1:]), n_steps=20, n_prompt=8))
"""


def test_step_times_are_measured(tmp_path: Path) -> None:
    pair = [str(write_tiny_hybrid(tmp_path / f"{name}.gguf")) for name in ("target", "draft")]
    done = subprocess.run(
        [sys.executable, "-c", STEPS, *pair], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0] == "7"
    assert lines[2].startswith("both at work: target")
