"""Writes an LFM2 with random weights: a hybrid of short convolutions and attention, of any size.

The default shape is that of the published 350 M model. The vocabulary is that of a given file. What
such a model says is noise; it is for the cost of its steps and of copies of its state.

    python -m benchmarks.write_lfm2 OUT.gguf --vocabulary MODEL.gguf
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from gguf import GGUFReader, GGUFValueType, GGUFWriter

KERNEL = 3
# The blocks with attention; the others are convolutions.
ATTENTION_EVERY = (2, 5, 8, 10, 12, 14)


def write(path: Path, vocabulary: Path, width: int, n_ff: int, n_heads: int, n_blocks: int) -> None:
    """Writes the file. Two of the heads share each key and value."""
    kv_heads = [n_heads // 2 if i in ATTENTION_EVERY else 0 for i in range(n_blocks)]
    writer = GGUFWriter(path, "lfm2")
    n_vocab = _copy_vocabulary(writer, vocabulary)
    writer.add_context_length(32768)
    writer.add_embedding_length(width)
    writer.add_block_count(n_blocks)
    writer.add_feed_forward_length(n_ff)
    writer.add_head_count(n_heads)
    writer.add_head_count_kv(kv_heads)
    writer.add_rope_freq_base(1e6)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_vocab_size(n_vocab)
    writer.add_uint32("lfm2.shortconv.l_cache", KERNEL)
    rng = np.random.default_rng(1)
    head = width // n_heads

    def matrix(name: str, rows: int, columns: int) -> None:
        values = rng.standard_normal((rows, columns), dtype=np.float32) / np.sqrt(columns)
        writer.add_tensor(name, values.astype(np.float16))

    def ones(name: str, n: int) -> None:
        writer.add_tensor(name, np.ones(n, dtype=np.float32))

    matrix("token_embd.weight", n_vocab, width)
    ones("token_embd_norm.weight", width)
    for i, n_kv in enumerate(kv_heads):
        block = f"blk.{i}."
        for norm in ("attn_norm", "ffn_norm"):
            ones(f"{block}{norm}.weight", width)
        matrix(f"{block}ffn_gate.weight", n_ff, width)
        matrix(f"{block}ffn_up.weight", n_ff, width)
        matrix(f"{block}ffn_down.weight", width, n_ff)
        if n_kv == 0:
            kernel = rng.standard_normal((width, KERNEL), dtype=np.float32)
            writer.add_tensor(f"{block}shortconv.conv.weight", kernel)
            matrix(f"{block}shortconv.in_proj.weight", 3 * width, width)
            matrix(f"{block}shortconv.out_proj.weight", width, width)
        else:
            matrix(f"{block}attn_q.weight", width, width)
            matrix(f"{block}attn_k.weight", n_kv * head, width)
            matrix(f"{block}attn_v.weight", n_kv * head, width)
            matrix(f"{block}attn_output.weight", width, width)
            ones(f"{block}attn_q_norm.weight", head)
            ones(f"{block}attn_k_norm.weight", head)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _copy_vocabulary(writer: GGUFWriter, source: Path) -> int:
    """Copies the tokenizer; returns the number of its tokens."""
    n_vocab = 0
    for field in GGUFReader(source).fields.values():
        if not field.name.startswith("tokenizer.") or "chat_template" in field.name:
            continue
        value = field.contents()
        if field.name == "tokenizer.ggml.tokens":
            n_vocab = len(value)
        sub_type = field.types[-1] if field.types[0] == GGUFValueType.ARRAY else None
        writer.add_key_value(field.name, value, field.types[0], sub_type)
    return n_vocab


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("out", type=Path)
    parser.add_argument("--vocabulary", type=Path, required=True, metavar="GGUF")
    parser.add_argument("--width", type=int, default=1024)
    parser.add_argument("--n-ff", type=int, default=4608)
    parser.add_argument("--heads", type=int, default=16)
    parser.add_argument("--blocks", type=int, default=16)
    args = parser.parse_args()
    write(args.out, args.vocabulary, args.width, args.n_ff, args.heads, args.blocks)


if __name__ == "__main__":
    main()
