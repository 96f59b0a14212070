"""Where the scaling tool puts the old weights."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType
from gguf.quants import dequantize

ROOT = Path(__file__).resolve().parents[3]
sys.path.insert(0, str(ROOT))

from benchmarks.scaling import PRESETS, Shape  # noqa: E402

from specbranch_cpp._scaling.placement import place_blocks, place_heads  # noqa: E402


def test_zero_bytes_are_zeros_in_every_weight_type() -> None:
    """What the tool relies on to write zeros without a quantizer."""
    n_checked = 0
    for kind in GGMLQuantizationType:
        block, block_bytes = GGML_QUANT_SIZES[kind]
        try:
            values = dequantize(np.zeros((1, 256 // block * block_bytes), np.uint8), kind)
        except NotImplementedError:
            continue
        assert not values.any(), kind
        n_checked += 1
    assert n_checked > 20


@pytest.mark.parametrize(
    ("n_old", "n_new", "places"),
    [(1, 4, [0]), (2, 5, [0, 4]), (3, 3, [0, 1, 2]), (4, 9, [0, 3, 5, 8]), (8, 24, None)],
)
def test_real_blocks_are_spread(n_old: int, n_new: int, places: list[int] | None) -> None:
    placed = place_blocks(n_old, n_new)
    assert places is None or placed == places
    assert len(set(placed)) == n_old
    assert sorted(placed) == placed
    assert placed[-1] < n_new
    gaps = np.diff(placed)
    assert n_old == 1 or gaps.max() - gaps.min() <= 1


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ((4, 2), (4, 2)),
        ((4, 2), (16, 8)),
        ((6, 2), (12, 4)),
        ((6, 2), (12, 6)),
        ((4, 2), (9, 3)),
        ((8, 1), (16, 8)),
        ((4, 4), (8, 4)),
    ],
)
def test_every_query_head_reads_its_own_key_value_head(
    old: tuple[int, int], new: tuple[int, int]
) -> None:
    shapes = [Shape(64, 1, n_head, n_head_kv, 64) for n_head, n_head_kv in (old, new)]
    query, key_value = place_heads(*shapes)
    assert len(query) == new[0]
    assert len(key_value) == new[1]
    assert sorted(head for head in query if head is not None) == list(range(old[0]))
    for place, head in enumerate(query):
        if head is not None:
            assert key_value[place // (new[0] // new[1])] == head // (old[0] // old[1])


@pytest.mark.parametrize("name", ["r4", "r8", "r12"])
def test_presets_are_bit_exact_for_their_widths(name: str) -> None:
    target, draft = PRESETS[name].target, PRESETS[name].draft
    assert (target.n_embd, draft.n_embd) == (4 * 256, 4 * 192)
    assert target.n_head // target.n_head_kv == 4 // 2
    assert draft.n_head // draft.n_head_kv == 6 // 2
    assert all(shape.n_ff % 64 == 0 for shape in (target, draft))
