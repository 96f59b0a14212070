"""A tiny hybrid model with random weights: short convolutions and attention, as LFM2 has them.

Its tokenizer is that of `write_tiny_gguf`, so that both can be a pair.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from gguf import GGUFWriter
from tests.python.support.tiny_gguf import MERGES, N_VOCAB, _add_tokenizer

if TYPE_CHECKING:
    from pathlib import Path

_WIDTH = 64
_N_FF = 128
_N_HEAD = 4
_HEAD = _WIDTH // _N_HEAD
_N_KV_HEADS = (0, 2, 0, 2)  # of each block; 0: a convolution
_KERNEL = 3


def write_tiny_hybrid(path: Path, *, sharpness: float = 4.0, seed: int = 0) -> Path:
    """Write an LFM2 model and return its path. See `write_tiny_gguf` for `sharpness`."""
    writer = GGUFWriter(path, "lfm2")
    writer.add_name("tiny hybrid")
    writer.add_context_length(512)
    writer.add_embedding_length(_WIDTH)
    writer.add_block_count(len(_N_KV_HEADS))
    writer.add_feed_forward_length(_N_FF)
    writer.add_head_count(_N_HEAD)
    writer.add_head_count_kv(list(_N_KV_HEADS))
    writer.add_rope_freq_base(10_000.0)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_vocab_size(N_VOCAB)
    writer.add_uint32("lfm2.shortconv.l_cache", _KERNEL)
    _add_tokenizer(writer, N_VOCAB, {}, (), add_bos=True, eos=0)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_merges([f"{first} {second}" for first, second in MERGES])

    rng = np.random.default_rng(seed)

    def add(tensor: str, *shape: int, mean: float = 0.0, scale: float) -> None:
        values = mean + scale * rng.standard_normal(shape)
        writer.add_tensor(tensor, values.astype(np.float32))

    def add_matrix(tensor: str, n_rows: int, n_cols: int) -> None:
        add(tensor, n_rows, n_cols, scale=1.0 / np.sqrt(n_cols))

    add("token_embd.weight", N_VOCAB, _WIDTH, scale=sharpness / np.sqrt(_WIDTH))
    add("token_embd_norm.weight", _WIDTH, mean=1.0, scale=0.1)
    for index, n_kv_heads in enumerate(_N_KV_HEADS):
        block = f"blk.{index}"
        add(f"{block}.attn_norm.weight", _WIDTH, mean=1.0, scale=0.1)
        add(f"{block}.ffn_norm.weight", _WIDTH, mean=1.0, scale=0.1)
        add_matrix(f"{block}.ffn_gate.weight", _N_FF, _WIDTH)
        add_matrix(f"{block}.ffn_up.weight", _N_FF, _WIDTH)
        add_matrix(f"{block}.ffn_down.weight", _WIDTH, _N_FF)
        if n_kv_heads == 0:
            add(f"{block}.shortconv.conv.weight", _WIDTH, _KERNEL, scale=0.6)
            add_matrix(f"{block}.shortconv.in_proj.weight", 3 * _WIDTH, _WIDTH)
            add_matrix(f"{block}.shortconv.out_proj.weight", _WIDTH, _WIDTH)
        else:
            add_matrix(f"{block}.attn_q.weight", _WIDTH, _WIDTH)
            add_matrix(f"{block}.attn_k.weight", n_kv_heads * _HEAD, _WIDTH)
            add_matrix(f"{block}.attn_v.weight", n_kv_heads * _HEAD, _WIDTH)
            add_matrix(f"{block}.attn_output.weight", _WIDTH, _WIDTH)
            add(f"{block}.attn_q_norm.weight", _HEAD, mean=1.0, scale=0.1)
            add(f"{block}.attn_k_norm.weight", _HEAD, mean=1.0, scale=0.1)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path
