"""A scaled model gives the scores of its source."""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from gguf import GGUFReader

ROOT = Path(__file__).resolve().parents[3]
sys.path.insert(0, str(ROOT))

from benchmarks.scaling import PRESETS, scale  # noqa: E402
from tests.python.support.llama_scores import assert_same_bits  # noqa: E402
from tests.python.support.tiny_gguf import WeightType, write_tiny_gguf  # noqa: E402

from specbranch_cpp._scaling import tensor  # noqa: E402

if TYPE_CHECKING:
    from tests.python.support.llama_scores import Llama

BUNDLED_DRAFT = ROOT / "python" / "specbranch_cpp" / "models" / "demo-draft.gguf"


BIGGER: dict[str, dict[str, Any]] = {
    "deeper": {"n_layer": 5},
    "wider": {"n_embd": 256},
    "more heads": {"n_head": 8, "n_head_kv": 4},
    "single-query groups": {"n_head": 8, "n_head_kv": 8},
    "more feed-forward": {"n_ff": 320},
    "everything": {"n_embd": 256, "n_layer": 7, "n_head": 12, "n_head_kv": 6, "n_ff": 512},
}


@pytest.mark.parametrize("growth", BIGGER)
@pytest.mark.parametrize("weight_type", ["F32", "Q8_0"])
def test_scores_are_equal_to_the_last_bit(
    tmp_path: Path, llama: Llama, weight_type: WeightType, growth: str
) -> None:
    source = write_tiny_gguf(tmp_path / "small.gguf", weight_type=weight_type)
    result = scale(source, tmp_path / "big.gguf", **BIGGER[growth])
    assert result.bit_exact
    assert_same_bits(llama.scores(source), llama.scores(result.path))


@pytest.mark.parametrize(
    "options",
    [
        {"weight_type": "F16"},
        {"weight_type": "BF16"},
        {"weight_type": "Q4_0"},
        {"weight_type": "Q5_1"},
        {"weight_type": "Q8_0", "tied": True},
        {"weight_type": "Q8_0", "head_size": 32},
        {"weight_type": "F32", "biases": True},
        {"weight_type": "F32", "n_layer": 1},
    ],
    ids=lambda options: "-".join(map(str, options.values())),
)
def test_every_kind_of_source_keeps_its_bits(
    tmp_path: Path, llama: Llama, options: dict[str, Any]
) -> None:
    source = write_tiny_gguf(tmp_path / "small.gguf", **options)
    result = scale(source, tmp_path / "big.gguf", **BIGGER["everything"])
    assert result.bit_exact
    assert_same_bits(llama.scores(source), llama.scores(result.path))


# llama_ftype: the mixtures of 256-value blocks that most published models come in.
@pytest.mark.parametrize(("name", "file_type"), [("Q4_K_M", 15), ("Q6_K", 18), ("IQ4_XS", 30)])
def test_k_quants_keep_their_bits(tmp_path: Path, llama: Llama, name: str, file_type: int) -> None:
    plain = write_tiny_gguf(tmp_path / "f32.gguf", n_embd=256, n_ff=512, head_size=64)
    source = llama.quantize(plain, tmp_path / f"{name}.gguf", file_type)
    kinds = {tensor.tensor_type.name for tensor in GGUFReader(source).tensors}
    assert kinds & {"Q4_K", "Q6_K", "IQ4_XS"}
    result = scale(
        source, tmp_path / "big.gguf", n_embd=1024, n_layer=3, n_head=8, n_head_kv=4, n_ff=1024
    )
    assert result.bit_exact
    assert_same_bits(llama.scores(source), llama.scores(result.path))


@pytest.mark.parametrize(
    "growth",
    [
        pytest.param({"n_embd": 128}, id="width times 2"),
        pytest.param({"n_embd": 224}, id="width times 3.5"),
        pytest.param({"n_head": 8, "n_head_kv": 2}, id="larger groups"),
        pytest.param({"n_head": 12, "n_head_kv": 4}, id="groups of 2 in groups of 3"),
    ],
)
def test_other_shapes_keep_the_scores_up_to_rounding(
    tmp_path: Path, llama: Llama, growth: dict[str, Any]
) -> None:
    source = write_tiny_gguf(tmp_path / "small.gguf")
    result = scale(source, tmp_path / "big.gguf", **growth)
    assert not result.bit_exact
    # The key-value cache holds 16-bit floats: one of them may round the other way.
    np.testing.assert_allclose(llama.scores(source), llama.scores(result.path), atol=0.02)


def test_groups_of_three_keep_their_heads(tmp_path: Path, llama: Llama) -> None:
    source = write_tiny_gguf(
        tmp_path / "small.gguf", n_embd=192, n_head=6, n_head_kv=2, weight_type="Q8_0"
    )
    exact = scale(source, tmp_path / "exact.gguf", n_head=12, n_head_kv=4)
    assert exact.bit_exact
    assert_same_bits(llama.scores(source), llama.scores(exact.path))
    split = scale(source, tmp_path / "split.gguf", n_head=16, n_head_kv=8)
    assert not split.bit_exact
    np.testing.assert_allclose(llama.scores(source), llama.scores(split.path), atol=0.02)


def test_a_preset_keeps_the_bits_of_the_bundled_draft(tmp_path: Path, llama: Llama) -> None:
    result = scale(BUNDLED_DRAFT, tmp_path / "big.gguf", **asdict(PRESETS["r8"].draft))
    assert result.bit_exact
    assert_same_bits(llama.scores(BUNDLED_DRAFT), llama.scores(result.path))


def test_rows_may_come_in_many_chunks(
    tmp_path: Path, llama: Llama, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = write_tiny_gguf(tmp_path / "small.gguf", weight_type="Q8_0")
    monkeypatch.setattr(tensor, "CHUNK_BYTES", 1000)
    result = scale(source, tmp_path / "big.gguf", **BIGGER["everything"])
    assert_same_bits(llama.scores(source), llama.scores(result.path))
