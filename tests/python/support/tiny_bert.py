"""A small encoder (BERT) with random weights, and the same computation with NumPy."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from gguf import GGUFWriter, PoolingType

if TYPE_CHECKING:
    from pathlib import Path

    import numpy.typing as npt

    Floats = npt.NDArray[np.float32]

WORDS = ("the", "cat", "dog", "sat", "ran", "on", "mat", "a")
TOKENS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", *(f"\u2581{word}" for word in WORDS))
_CLS, _SEP, _UNKNOWN = 2, 3, 1
_N_EMBD, _N_FF, _N_HEAD, _N_LAYER, _EPSILON = 32, 64, 2, 2, 1e-12
N_CTX = 16


def write_tiny_bert(
    path: Path, *, pooling: PoolingType | None = PoolingType.MEAN, damaged: str = ""
) -> TinyBert:
    """Writes a model whose texts are words of `WORDS` with blanks between them.

    ``damaged``: a word whose embedding is no number.
    """
    model = TinyBert()
    if damaged:
        model.tensors["token_embd.weight"][TOKENS.index(f"\u2581{damaged}")] = np.nan
    writer = GGUFWriter(path, "bert")
    writer.add_name("tiny-bert")
    writer.add_context_length(N_CTX)
    writer.add_embedding_length(_N_EMBD)
    writer.add_feed_forward_length(_N_FF)
    writer.add_block_count(_N_LAYER)
    writer.add_head_count(_N_HEAD)
    writer.add_layer_norm_eps(_EPSILON)
    writer.add_causal_attention(False)
    if pooling is not None:
        writer.add_pooling_type(pooling)
    writer.add_tokenizer_model("bert")
    writer.add_token_list(list(TOKENS))
    writer.add_token_types([3 if token.startswith("[") else 1 for token in TOKENS])
    writer.add_token_type_count(1)
    writer.add_bos_token_id(_CLS)  # llama.cpp takes it for the CLS token
    writer.add_sep_token_id(_SEP)
    writer.add_unk_token_id(_UNKNOWN)
    writer.add_pad_token_id(0)
    for name, tensor in model.tensors.items():
        writer.add_tensor(name, tensor)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return model


class TinyBert:
    """The weights and what they compute."""

    def __init__(self) -> None:
        rng = np.random.default_rng(0)
        self.tensors: dict[str, Floats] = {}

        def add(name: str, *shape: int) -> None:
            """A matrix, or the weight and the bias of a norm."""
            if len(shape) == 1:
                self.tensors[f"{name}.weight"] = (1 + 0.1 * rng.standard_normal(shape)).astype("f4")
            else:
                self.tensors[f"{name}.weight"] = (
                    rng.standard_normal(shape) / np.sqrt(shape[-1])
                ).astype("f4")

        def add_biased(name: str, *shape: int) -> None:
            add(name, *shape)
            self.tensors[f"{name}.bias"] = (0.1 * rng.standard_normal(shape[0])).astype("f4")

        add("token_embd", len(TOKENS), _N_EMBD)
        add("token_types", 1, _N_EMBD)
        add("position_embd", N_CTX, _N_EMBD)
        add_biased("token_embd_norm", _N_EMBD)
        for i in range(_N_LAYER):
            for letter in ("q", "k", "v", "output"):
                add_biased(f"blk.{i}.attn_{letter}", _N_EMBD, _N_EMBD)
            add_biased(f"blk.{i}.attn_output_norm", _N_EMBD)
            add_biased(f"blk.{i}.ffn_up", _N_FF, _N_EMBD)
            add_biased(f"blk.{i}.ffn_down", _N_EMBD, _N_FF)
            add_biased(f"blk.{i}.layer_output_norm", _N_EMBD)

    def embed(self, text: str) -> Floats:
        """The mean over all tokens, of length 1 (arXiv:1810.04805, section 3)."""
        words = [WORDS.index(word) + 4 if word in WORDS else _UNKNOWN for word in text.split()]
        tokens = [_CLS, *words, _SEP]
        at = self.tensors
        x = at["token_embd.weight"][tokens] + at["position_embd.weight"][: len(tokens)]
        x = self._norm("token_embd_norm", x + at["token_types.weight"][0])
        for i in range(_N_LAYER):
            x = self._norm(f"blk.{i}.attn_output_norm", x + self._attention(i, x))
            inner = self._linear(f"blk.{i}.ffn_up", x)
            gelu = 0.5 * inner * (1 + np.tanh(0.79788456 * (inner + 0.044715 * inner**3)))
            x = self._norm(
                f"blk.{i}.layer_output_norm", x + self._linear(f"blk.{i}.ffn_down", gelu)
            )
        mean = x.mean(axis=0)
        vector: Floats = mean / np.linalg.norm(mean)
        return vector

    def _attention(self, i: int, x: Floats) -> Floats:
        def heads(letter: str) -> Floats:
            rows: Floats = self._linear(f"blk.{i}.attn_{letter}", x)
            found: Floats = rows.reshape(len(x), _N_HEAD, -1).transpose(1, 0, 2)
            return found

        q, k, v = heads("q"), heads("k"), heads("v")
        scores: Floats = q @ k.transpose(0, 2, 1) / np.sqrt(np.float32(q.shape[-1]))
        weights: Floats = np.exp(scores - scores.max(axis=-1, keepdims=True))
        weights /= weights.sum(axis=-1, keepdims=True)
        mixed: Floats = (weights @ v).transpose(1, 0, 2).reshape(len(x), -1)
        found: Floats = self._linear(f"blk.{i}.attn_output", mixed)
        return found

    def _linear(self, name: str, x: Floats) -> Floats:
        found: Floats = x @ self.tensors[f"{name}.weight"].T + self.tensors[f"{name}.bias"]
        return found

    def _norm(self, name: str, x: Floats) -> Floats:
        centred = x - x.mean(axis=-1, keepdims=True)
        scaled = centred / np.sqrt((centred**2).mean(axis=-1, keepdims=True) + _EPSILON)
        found: Floats = scaled * self.tensors[f"{name}.weight"] + self.tensors[f"{name}.bias"]
        return found
