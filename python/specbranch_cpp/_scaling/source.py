"""The small model: its metadata are read and checked, and its weights are mapped."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gguf import GGUFEndian, GGUFReader

from specbranch_cpp._scaling.shape import ScaleError, Shape

if TYPE_CHECKING:
    from pathlib import Path

_LLAMA, _LFM2 = "llama", "lfm2"


class Source:
    """A GGUF file of llama or LFM2, with checked metadata and mapped weights.

    Attributes:
        has_attention: for each block, whether it has attention (otherwise a short convolution).
        has_head_norms: whether queries and keys are normalized.
    """

    def __init__(self, path: Path) -> None:
        if not path.is_file():
            raise ScaleError(f"{path}: no such file")
        try:
            self.reader = GGUFReader(path)
        except (ValueError, IndexError, KeyError, OverflowError) as error:
            raise ScaleError(f"{path}: not a GGUF file that can be read: {error}") from error
        self.path = path
        self.architecture = str(self._get("general.architecture"))
        if self.architecture not in (_LLAMA, _LFM2):
            raise ScaleError(
                f"{path}: architecture {self.architecture!r}; only {_LLAMA!r} and {_LFM2!r} can be "
                "scaled"
            )
        self.has_head_norms = self.architecture == _LFM2
        if self.reader.endianess != GGUFEndian.LITTLE:
            raise ScaleError(f"{path}: big-endian files cannot be scaled")
        if int(self._get("split.count", 1)) > 1:
            raise ScaleError(f"{path}: split into several files; merge them first")
        n_head = self._int("attention.head_count")
        n_embd = self._int("embedding_length")
        head_size = self._int("attention.key_length", n_embd // n_head)
        for key in ("attention.value_length", "rope.dimension_count"):
            if (size := self._int(key, head_size)) != head_size:
                raise ScaleError(
                    f"{path}: {key} {size} differs from the size of a key, {head_size}"
                )
        n_layer = self._int("block_count")
        heads_kv = self._heads_kv(n_head, n_layer)
        self.has_attention = tuple(count > 0 for count in heads_kv)
        self.shape = Shape(
            n_embd=n_embd,
            n_layer=n_layer,
            n_head=n_head,
            n_head_kv=max(heads_kv),
            n_ff=self._int("feed_forward_length"),
            head_size=head_size,
        )
        self.norm_epsilon = self._float("attention.layer_norm_rms_epsilon")
        # The defaults are those of llama.cpp.
        self.rope_base = self._float("rope.freq_base", 10_000.0)
        self.attention_factor = self._float("rope.scaling.attn_factor", 1.0)
        self.rope_scaling = str(self._get(f"{self.architecture}.rope.scaling.type", "linear"))
        self.n_vocab = len(self._get("tokenizer.ggml.tokens", ()))

    def _get(self, key: str, default: Any = None) -> Any:
        field = self.reader.get_field(key)
        if field is not None:
            return field.contents()
        if default is None:
            raise ScaleError(f"{self.path}: the metadata lack {key}")
        return default

    def _heads_kv(self, n_head: int, n_layer: int) -> list[int]:
        """The key-value heads of each block; 0: a short convolution instead of attention."""
        if self.architecture != _LFM2:
            return [self._int("attention.head_count_kv", n_head)] * n_layer
        counts = self._get(f"{self.architecture}.attention.head_count_kv")
        counts = counts if isinstance(counts, list) else [counts] * n_layer
        numbers = [count for count in counts if isinstance(count, int) and count > 0]
        if len(counts) != n_layer or len(set(numbers)) != 1 or set(counts) - {0, *numbers}:
            raise ScaleError(
                f"{self.path}: attention.head_count_kv {counts} must have one number for each of "
                f"{n_layer} blocks, 0 or the same"
            )
        return counts

    def _int(self, key: str, default: int | None = None) -> int:
        value = self._get(f"{self.architecture}.{key}", default)
        if not isinstance(value, int):
            raise ScaleError(
                f"{self.path}: {key} differs between layers, so the model cannot be scaled"
            )
        return value

    def _float(self, key: str, default: float | None = None) -> float:
        return float(self._get(f"{self.architecture}.{key}", default))
