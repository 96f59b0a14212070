"""Tiny llama-architecture GGUF files with random weights, for tests.

The files load in a few milliseconds and hold a complete byte-level tokenizer of the `gpt2` kind:

* id 0: `<|endoftext|>`, a control token; BOS and EOS;
* ids 1 to 256: the single bytes, in the usual printable spelling (`byte_characters`);
* then one token per merge of `MERGES`;
* then unused padding tokens `[PADn]` up to `n_vocab`.

Any text can be tokenized and any sequence of ordinary tokens is some bytes. `token_text` changes
the spelling of single tokens, for pairs whose vocabularies are to differ.

    from tests.python.support.tiny_gguf import write_tiny_gguf

    target = write_tiny_gguf(tmp_path / "target.gguf", n_layer=4)
    draft = write_tiny_gguf(tmp_path / "draft.gguf", n_vocab=320, seed=1)
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Literal

import numpy as np
import numpy.typing as npt
from gguf import GGMLQuantizationType, GGUFWriter, TokenType
from gguf.quants import quantize

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

WeightType = Literal["F32", "F16", "BF16", "Q8_0", "Q5_0", "Q5_1", "Q4_0", "Q4_1"]

END_OF_TEXT = "<|endoftext|>"

# Pairs in the spelling of `byte_characters`, applied in this order; "Ġ" is a space.
MERGES: tuple[tuple[str, str], ...] = (
    ("Ġ", "Ġ"),
    ("i", "n"),
    ("e", "r"),
    ("r", "e"),
    ("Ġ", "t"),
    ("h", "e"),
    ("Ġt", "he"),
    ("ĠĠ", "ĠĠ"),
    ("s", "e"),
    ("Ġ", "="),
    ("d", "e"),
    ("de", "f"),
    ("re", "t"),
    ("u", "r"),
    ("ur", "n"),
    ("ret", "urn"),
)

N_VOCAB = 1 + 256 + len(MERGES)
"""The size of the vocabulary without padding."""


@cache
def byte_characters() -> tuple[str, ...]:
    """The printable character that stands for each byte in a `gpt2` vocabulary.

    Printable bytes stand for themselves; the others are numbered from U+0100 on.
    """
    printable = {*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    others = iter(range(0x100, 0x200))
    return tuple(chr(byte if byte in printable else next(others)) for byte in range(256))


def write_tiny_gguf(
    path: Path,
    *,
    n_embd: int = 64,
    n_layer: int = 2,
    n_head: int = 4,
    n_head_kv: int = 2,
    n_ff: int = 128,
    head_size: int | None = None,
    n_vocab: int | None = None,
    token_text: Mapping[int, str] | None = None,
    add_bos: bool = True,
    add_eos: bool | None = None,
    bos: int = 0,
    eos: int = 0,
    weight_type: WeightType = "F32",
    output_type: WeightType | None = None,
    tied: bool = False,
    biases: bool = False,
    context_length: int = 512,
    norm_epsilon: float = 1e-5,
    sharpness: float = 4.0,
    seed: int = 0,
    name: str = "tiny",
    control_tokens: Sequence[str] = (),
    metadata: Mapping[str, str] | None = None,
    token_ids: Mapping[str, int] | None = None,
    sentencepiece: bool = False,
) -> Path:
    """Write a model and return its path.

    `head_size` defaults to n_embd / n_head. `n_vocab` pads the vocabulary with unused tokens.
    `weight_type` is that of all matrices (norms and biases are F32); the quantized ones need
    n_embd, n_head * head_size and n_ff in multiples of 32. `output_type`: another type for the
    output matrix, as many files have. `tied`: the output matrix is the token
    embedding. `biases`: query, key and value projections have one. `sharpness` is about the
    standard deviation of the scores: the larger, the surer the model is of its next token.
    `control_tokens` come after the merges, before the padding. `metadata`: further keys with text;
    `token_ids`: further keys of the tokenizer with a token, such as `fim_pre_token_id`.
    `sentencepiece`: the same tokens in a tokenizer of that kind. It has no tokens for single bytes,
    so that llama.cpp throws an exception at a character without a token of its own.
    """
    head_size = head_size or n_embd // n_head
    n_known = N_VOCAB + len(control_tokens)
    n_vocab = n_vocab or n_known
    if n_vocab < n_known:
        raise ValueError(f"n_vocab {n_vocab} is less than the {n_known} tokens of the tokenizer")

    writer = GGUFWriter(path, "llama")
    writer.add_name(name)
    writer.add_context_length(context_length)
    writer.add_embedding_length(n_embd)
    writer.add_block_count(n_layer)
    writer.add_feed_forward_length(n_ff)
    writer.add_head_count(n_head)
    writer.add_head_count_kv(n_head_kv)
    writer.add_key_length(head_size)
    writer.add_value_length(head_size)
    writer.add_rope_dimension_count(head_size)
    writer.add_rope_freq_base(10_000.0)
    writer.add_layer_norm_rms_eps(norm_epsilon)
    writer.add_vocab_size(n_vocab)
    _add_tokenizer(
        writer, n_vocab, token_text or {}, control_tokens, add_bos=add_bos, bos=bos, eos=eos
    )
    if add_eos is not None:
        writer.add_add_eos_token(add_eos)
    if sentencepiece:
        writer.add_tokenizer_model("llama")
        writer.add_token_scores([0.0] * n_vocab)
        writer.add_add_space_prefix(False)
    else:
        writer.add_tokenizer_model("gpt2")
        writer.add_tokenizer_pre("gpt-2")
        writer.add_token_merges([f"{first} {second}" for first, second in MERGES])
    for key, value in (metadata or {}).items():
        writer.add_string(key, value)
    for key, token in (token_ids or {}).items():
        writer.add_uint32(f"tokenizer.ggml.{key}", token)

    rng = np.random.default_rng(seed)
    weights = GGMLQuantizationType[weight_type]

    def add_vector(tensor: str, mean: float, size: int) -> None:
        values = mean + 0.1 * rng.standard_normal(size)
        writer.add_tensor(tensor, values.astype(np.float32))

    def add_matrix(
        tensor: str,
        n_rows: int,
        n_cols: int,
        scale: float = 1.0,
        weights: GGMLQuantizationType = weights,
    ) -> None:
        """Scores of standard deviation `scale` for inputs of standard deviation 1."""
        values = rng.standard_normal((n_rows, n_cols)) * (scale / np.sqrt(n_cols))
        data: npt.NDArray[np.generic] = quantize(values.astype(np.float32), weights)
        writer.add_tensor(tensor, data, raw_dtype=weights)

    add_matrix("token_embd.weight", n_vocab, n_embd, sharpness)
    add_vector("output_norm.weight", 1.0, n_embd)
    if not tied:
        output = weights if output_type is None else GGMLQuantizationType[output_type]
        add_matrix("output.weight", n_vocab, n_embd, sharpness, output)
    for block in (f"blk.{index}" for index in range(n_layer)):
        add_vector(f"{block}.attn_norm.weight", 1.0, n_embd)
        for letter, n_heads in (("q", n_head), ("k", n_head_kv), ("v", n_head_kv)):
            add_matrix(f"{block}.attn_{letter}.weight", n_heads * head_size, n_embd)
            if biases:
                add_vector(f"{block}.attn_{letter}.bias", 0.0, n_heads * head_size)
        add_matrix(f"{block}.attn_output.weight", n_embd, n_head * head_size)
        add_vector(f"{block}.ffn_norm.weight", 1.0, n_embd)
        add_matrix(f"{block}.ffn_gate.weight", n_ff, n_embd)
        add_matrix(f"{block}.ffn_up.weight", n_ff, n_embd)
        add_matrix(f"{block}.ffn_down.weight", n_embd, n_ff)

    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _add_tokenizer(
    writer: GGUFWriter,
    n_vocab: int,
    token_text: Mapping[int, str],
    control_tokens: Sequence[str],
    *,
    add_bos: bool,
    eos: int,
    bos: int = 0,
) -> None:
    tokens: list[str] = [END_OF_TEXT, *byte_characters(), *(a + b for a, b in MERGES)]
    types: list[TokenType] = [TokenType.CONTROL] + [TokenType.NORMAL] * (len(tokens) - 1)
    tokens += control_tokens
    types += [TokenType.CONTROL] * len(control_tokens)
    n_padding = n_vocab - len(tokens)
    tokens += [f"[PAD{index}]" for index in range(n_padding)]
    types += [TokenType.UNUSED] * n_padding
    for token, text in token_text.items():
        tokens[token] = text

    writer.add_token_list(tokens)
    writer.add_token_types(types)
    writer.add_bos_token_id(bos)
    writer.add_eos_token_id(eos)
    writer.add_add_bos_token(add_bos)
