"""The facts of a GGUF header that `_core.inspect_model` does not give.

These are the kind of the file, its chat template, its vocabulary, and the bytes that a step reads.

`_core.inspect_model` checks the file and reads its sizes. This reader only walks over the header,
and it never reads weights.
"""

from __future__ import annotations

import hashlib
import struct
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from specbranch_cpp._support.files import open_file

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable
    from pathlib import Path
    from typing import BinaryIO

__all__ = ["Header", "HeaderError", "read_header", "step_bytes"]

_MAGIC = b"GGUF"
_VERSIONS = (2, 3)
_BLOCK = 1 << 20
_LARGEST = 1 << 28  # bytes of a header; a vocabulary of 262,144 tokens takes 16 MiB
_STRING, _ARRAY = 8, 9
_NUMBERS = {
    0: "B",
    1: "b",
    2: "H",
    3: "h",
    4: "I",
    5: "i",
    6: "f",
    7: "?",
    10: "Q",
    11: "q",
    12: "d",
}
_SIZE = struct.Struct("<Q")
_SAMPLE_STEP = 64
_ALIGNMENT = 32
_SHORT = 64  # the most numbers of an array that is kept


class HeaderError(ValueError):
    """The header cannot be read. The message is the reason."""


@dataclass(frozen=True)
class Header:
    """The facts of one file.

    Attributes:
        values: the single values and short arrays of numbers of the metadata, by key.
        tensors: the bytes of each tensor, by its name.
        vocabulary: a digest of the tokenizer; equal digests mean equal tokenizers. Empty: the file
            has no tokenizer.
        sample: the texts of every 64th token, in the order of the ids.
        found: those of the wanted texts that are tokens.
    """

    values: dict[str, Any]
    tensors: dict[str, int]
    vocabulary: str
    sample: tuple[bytes, ...]
    found: frozenset[str] = frozenset()

    @property
    def architecture(self) -> str:
        """``general.architecture``; empty if the file has none."""
        return str(self.values.get("general.architecture", ""))

    @property
    def chat_template(self) -> bool:
        """Whether the file has a chat template."""
        return bool(self.values.get("tokenizer.chat_template"))

    @property
    def kind(self) -> str | None:
        """A name for a file that is no model, such as ``"LoRA adapter"``.

        ``None``: the header does not say that the file is something else.
        """
        written = str(self.values.get("general.type", "model"))
        if written in _KINDS:
            return _KINDS[written]
        if self.architecture in _KINDS_BY_ARCHITECTURE:
            return _KINDS_BY_ARCHITECTURE[self.architecture]
        return "vocabulary without weights" if self.vocabulary and not self.tensors else None

    @property
    def embeds(self) -> bool:
        """Whether the file is a model for embeddings or ranking, which writes no text."""
        arch = self.architecture
        pooling = self.values.get(f"{arch}.pooling_type", 0)
        return (
            arch in _EMBEDDERS
            or self.values.get(f"{arch}.attention.causal", True) is False
            or (isinstance(pooling, int) and pooling > 0)
        )


_KINDS = {
    "adapter": "LoRA adapter",
    "imatrix": "importance matrix",
    "mmproj": "multimodal projector",
}
_EMBEDDERS = {
    "bert", "eurobert", "gemma-embedding", "jina-bert-v2", "jina-bert-v3", "llama-embed",
    "modern-bert", "neo-bert", "nomic-bert", "nomic-bert-moe", "t5encoder",
}  # fmt: skip
_KINDS_BY_ARCHITECTURE = {"clip": "multimodal projector", "controlvector": "control vector"}


def read_header(path: Path, wanted: Collection[str] = ()) -> Header:
    """Reads the header of a file.

    Args:
        path: the file.
        wanted: texts of tokens to look for.

    Raises:
        HeaderError: the header is damaged.
        OSError: the file cannot be read.
    """
    with open_file(path) as file:
        return _Walk(file).header(wanted)


def step_bytes(headers: Iterable[Header]) -> int:
    """The bytes of the weights that a step of one token reads; ``headers`` are those of all parts.

    These are all weights without the experts that a token does not use, and without tables of which
    a step reads a few rows.
    """
    parts = list(headers)
    tensors = {name: size for part in parts for name, size in part.tensors.items()}
    rows_only = {"per_layer_token_embd.weight"}
    if "output.weight" in tensors:  # otherwise the embedding is the output matrix, too
        rows_only.add("token_embd.weight")
    first = parts[0]
    n_experts = first.values.get(f"{first.architecture}.expert_count")
    n_used = first.values.get(f"{first.architecture}.expert_used_count")
    if isinstance(n_used, list):
        n_used = max(n_used, default=0)
    share = 1.0
    if isinstance(n_experts, int) and isinstance(n_used, int) and 0 < n_used < n_experts:
        share = n_used / n_experts
    total = 0.0
    for name, size in tensors.items():
        if name not in rows_only:
            total += size * share if "_exps." in name else size
    return int(total)


class _Walk:
    """Walks over a header. The bytes so far stay in memory, because parts of them are hashed."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._data = bytearray()
        self._at = 0

    def header(self, wanted: Collection[str]) -> Header:
        if self._take(4) != _MAGIC:
            raise HeaderError("this is not a GGUF file")
        version = self._number("I")
        if version not in _VERSIONS:
            raise HeaderError(f"its GGUF version is {version}, not 2 or 3")
        n_tensors, n_keys = self._number("Q"), self._number("Q")
        values: dict[str, Any] = {}
        digest = hashlib.sha256()
        sample: tuple[bytes, ...] = ()
        found: frozenset[str] = frozenset()
        known = False
        for _ in range(n_keys):
            start = self._at
            key = self._text()
            kind = self._number("I")
            if key == "tokenizer.ggml.tokens" and kind == _ARRAY:
                sample = self._tokens()
                found = frozenset(text for text in wanted if self._has_text(text, start))
            else:
                value = self._value(kind)
                if value is not None:
                    values[key] = value
            if key.startswith("tokenizer.ggml."):
                digest.update(self._data[start : self._at])
                known = True
        tensors = self._tensors(n_tensors, values)
        return Header(values, tensors, digest.hexdigest() if known else "", sample, found)

    def _has_text(self, text: str, start: int) -> bool:
        """Whether a text, behind its length, is between this place and the current place."""
        data = text.encode()
        return self._data.find(_SIZE.pack(len(data)) + data, start, self._at) >= 0

    def _tensors(self, n_tensors: int, values: dict[str, Any]) -> dict[str, int]:
        """The bytes of each tensor: up to the next tensor, with at most 31 bytes of padding."""
        offsets: dict[str, int] = {}
        for _ in range(n_tensors):
            name = self._text()
            n_dimensions = self._number("I")
            self._skip(8 * n_dimensions + 4)
            offsets[name] = self._number("Q")
        alignment = values.get("general.alignment")
        if not isinstance(alignment, int) or alignment <= 0:
            alignment = _ALIGNMENT
        begin = -(-self._at // alignment) * alignment
        end = max(0, self._file.seek(0, 2) - begin)
        in_order = sorted(offsets, key=offsets.__getitem__)
        borders = [*(offsets[name] for name in in_order), end]
        return {
            name: max(0, after - before)
            for name, (before, after) in zip(in_order, pairwise(borders), strict=True)
        }

    def _value(self, kind: int) -> Any:
        """A value of this type. ``None``: a long array or an array of texts, which is skipped."""
        if kind == _STRING:
            return self._text()
        if kind == _ARRAY:
            return self._array()
        return self._number(self._code(kind))

    def _array(self) -> Any:
        kind, n = self._number("I"), self._number("Q")
        if kind == _STRING:
            self._strings(n)
            return None
        code = self._code(kind)
        n_bytes = n * struct.calcsize(f"<{code}")
        if n > _SHORT:
            self._skip(n_bytes)
            return None
        return list(struct.unpack(f"<{n}{code}", self._take(n_bytes)))

    def _tokens(self) -> tuple[bytes, ...]:
        kind, n = self._number("I"), self._number("Q")
        if kind != _STRING:
            raise HeaderError("its tokens are not texts")
        return self._strings(n)

    def _strings(self, n: int) -> tuple[bytes, ...]:
        """Skips texts; every 64th is the result. The header's largest part, so a short loop."""
        data, at = self._data, self._at
        size_of = _SIZE.unpack_from
        sample = []
        for first in range(0, n, _SAMPLE_STEP):
            begin = at
            for _ in range(min(_SAMPLE_STEP, n - first)):
                try:
                    at += 8 + size_of(data, at)[0]
                except (struct.error, OverflowError):  # beyond the bytes in memory
                    self._fill(at + 8)
                    at += 8 + size_of(data, at)[0]
            self._fill(begin + 8 + size_of(data, begin)[0])
            sample.append(bytes(data[begin + 8 : begin + 8 + size_of(data, begin)[0]]))
        self._fill(at)
        self._at = at
        return tuple(sample)

    def _text(self) -> str:
        return self._take(self._number("Q")).decode(errors="replace")

    def _number(self, code: str) -> Any:
        form = struct.Struct(f"<{code}")
        return form.unpack(self._take(form.size))[0]

    def _code(self, kind: int) -> str:
        if kind not in _NUMBERS:
            raise HeaderError(f"a value has the unknown type {kind}")
        return _NUMBERS[kind]

    def _take(self, n_bytes: int) -> bytes:
        begin = self._at
        self._skip(n_bytes)
        return bytes(self._data[begin : self._at])

    def _skip(self, n_bytes: int) -> None:
        self._fill(self._at + n_bytes)
        self._at += n_bytes

    def _fill(self, until: int) -> None:
        """Reads at least up to this byte."""
        if until > _LARGEST:
            raise HeaderError(f"its header is larger than {_LARGEST} bytes")
        while len(self._data) < until:
            block = self._file.read(max(_BLOCK, until - len(self._data)))
            if not block:
                raise HeaderError("its header is cut off")
            self._data += block
