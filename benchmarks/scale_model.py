#!/usr/bin/env python3
"""Blow up a small GGUF into a big one that computes the same function.

Speculative decoding is judged by two things: how often the target accepts the draft's tokens, and
what a step of either model costs. A small *trained* pair has realistic acceptance but no realistic
cost; a big random one has the cost but accepts nothing. This tool joins the two: it enlarges a
trained llama-architecture model without changing a single score.

    python benchmarks/scale_model.py --preset r8 --target t.gguf --draft d.gguf --out-dir DIR
    python benchmarks/scale_model.py small.gguf big.gguf --n-embd 1024 --n-layer 24 --n-head 16 \
        --n-head-kv 8 --n-ff 3072

How the function is kept
------------------------
Deeper
    Extra blocks are spread among the real ones. Their output projections are zero, so that they
    add nothing to the residual stream.
Wider (n_embd from d to D)
    The residual stream is padded with zeros: everything that writes to it gets zero rows, and what
    reads it may hold anything in the added columns. RMSNorm now averages over D values instead of
    d, so its weights are multiplied by sqrt(d/D) and its epsilon by d/D.
More heads, more feed-forward rows
    What they write is multiplied by zero columns of the output projection. Every real query head
    keeps reading its own key-value head; where the groups of the new shape are smaller than the
    old ones, key-value heads are duplicated.

Weights that cannot matter are filled with blocks drawn at random from the same tensor of the
source. That needs no quantizer, so every weight type GGUF knows can be scaled, and the numbers
have natural magnitudes.

When the scores are equal to the last bit
-----------------------------------------
`ScaleResult.bit_exact` promises it (same kernels, same batches, one thread) if

* n_embd is unchanged or grows by a power of 4, for then sqrt(d/D) is a power of 2. Any other
  factor rounds the norm weights, and scores are equal up to rounding only: the activations differ
  in their last bit or two, which 8-bit quantization of the activations often, not always, hides;
* query heads stay side by side, i.e. heads per key-value head stay the same or are divided, so
  that zeros are only ever appended to a dot product;
* the lengths that zeros are appended to are multiples of 64 (whole SIMD steps), and the rows of
  every enlarged matrix are multiples of 16 (the same kernel is picked).

Every preset is bit-exact for the sources it was made for: a target 256 wide with two query heads
per key-value head, and a draft 192 wide with three.

The file is written in chunks of a few MiB under a temporary name that is renamed at the end:
memory use does not depend on the size of the model.
"""

from __future__ import annotations

import argparse
import enum
import functools
import math
import os
import statistics
import sys
import threading
import time
import zlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt
from gguf import (
    GGML_QUANT_SIZES,
    GGMLQuantizationType,
    GGUFEndian,
    GGUFReader,
    GGUFValueType,
    GGUFWriter,
    ReaderTensor,
)
from tqdm import tqdm  # type: ignore[import-untyped]

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

Bytes = npt.NDArray[np.uint8]

ARCHITECTURE = "llama"
CHUNK_BYTES = 8 << 20
POOL_BYTES = 4 << 20

# Plain numbers, not weights, or formats that only ever hold activations.
_NOT_WEIGHTS = frozenset(
    GGMLQuantizationType[name] for name in ("I8", "I16", "I32", "I64", "F64", "Q8_1", "Q8_K")
)


class ScaleError(ValueError):
    """The model cannot be scaled as asked; the message says why."""


@dataclass(frozen=True)
class Shape:
    """The dimensions that scaling may enlarge; the size of a head stays."""

    n_embd: int
    n_layer: int
    n_head: int
    n_head_kv: int
    n_ff: int

    def __str__(self) -> str:
        return ", ".join(f"{name} {value}" for name, value in asdict(self).items())


@dataclass(frozen=True)
class Preset:
    """A pair of shapes; `ratio` is about the draft's step time over the target's, measured on a
    CPU with Q8_0 weights, one thread per model and one model working at a time."""

    target: Shape
    draft: Shape
    ratio: float


_BIG = Shape(n_embd=1024, n_layer=24, n_head=16, n_head_kv=8, n_ff=3072)

PRESETS: Mapping[str, Preset] = {
    "r4": Preset(_BIG, Shape(n_embd=768, n_layer=9, n_head=12, n_head_kv=4, n_ff=2048), 1 / 4),
    "r8": Preset(_BIG, Shape(n_embd=768, n_layer=5, n_head=12, n_head_kv=4, n_ff=1536), 1 / 8),
    "r12": Preset(_BIG, Shape(n_embd=768, n_layer=4, n_head=12, n_head_kv=4, n_ff=896), 1 / 12),
}


@dataclass(frozen=True)
class ScaleResult:
    """What was written, and whether its scores are promised to equal the source's bit by bit."""

    path: Path
    source_shape: Shape
    shape: Shape
    n_parameters: int
    n_bytes: int
    bit_exact: bool


# ------------------------------------------------------------------------------------------------
# Where the old weights go


class Copy(NamedTuple):
    """`length` old indices from `old` on become new indices from `new` on."""

    new: int
    old: int
    length: int


@dataclass(frozen=True)
class Axis:
    """One dimension of a tensor: its new size and where the old indices went.

    New indices that no copy covers are added ones.
    """

    new_size: int
    copies: tuple[Copy, ...]

    @classmethod
    def padded(cls, old_size: int, new_size: int) -> Axis:
        """The old indices first, the added ones behind them."""
        return cls(new_size, (Copy(0, 0, old_size),))

    @classmethod
    def of_heads(cls, placed: Sequence[int | None], head_size: int) -> Axis:
        """`placed[new head]` is the old head that it holds, or None for an added head."""
        copies: list[Copy] = []
        for new, old in enumerate(placed):
            if old is None:
                continue
            start, origin = new * head_size, old * head_size
            if copies and _end(copies[-1]) == (start, origin):
                copies[-1] = copies[-1]._replace(length=copies[-1].length + head_size)
            else:
                copies.append(Copy(start, origin, head_size))
        return cls(len(placed) * head_size, tuple(copies))

    def without_copies(self) -> Axis:
        return Axis(self.new_size, ())

    def in_bytes(self, block: int, block_bytes: int) -> Axis | None:
        """The same in bytes of a quantized row, or None if some border cuts a block."""
        numbers = [self.new_size, *(number for copy in self.copies for number in copy)]
        if any(number % block for number in numbers):
            return None

        def size(n: int) -> int:
            return n // block * block_bytes

        copies = tuple(Copy(size(c.new), size(c.old), size(c.length)) for c in self.copies)
        return Axis(size(self.new_size), copies)

    @property
    def covered(self) -> bool:
        """Whether there are no added indices."""
        return sum(copy.length for copy in self.copies) == self.new_size


def _end(copy: Copy) -> tuple[int, int]:
    return copy.new + copy.length, copy.old + copy.length


def place_heads(old: Shape, new: Shape) -> tuple[list[int | None], list[int | None]]:
    """Which old head each new query head and each new key-value head holds.

    A query head h reads the key-value head h // (n_head // n_head_kv). One old group of query
    heads fills as many new groups as it needs, each with a copy of its key-value head.
    """
    old_group = old.n_head // old.n_head_kv
    new_group = new.n_head // new.n_head_kv
    groups_each = -(-old_group // new_group)
    if groups_each * old.n_head_kv > new.n_head_kv:
        raise ScaleError(
            f"{new.n_head_kv} key-value heads with {new_group} query heads each cannot hold "
            f"{old.n_head_kv} with {old_group} each; n_head_kv must be at least "
            f"{groups_each * old.n_head_kv}"
        )
    query: list[int | None] = [None] * new.n_head
    key_value: list[int | None] = [None] * new.n_head_kv
    for head in range(old.n_head):
        old_kv, member = divmod(head, old_group)
        new_kv = old_kv * groups_each + member // new_group
        key_value[new_kv] = old_kv
        query[new_kv * new_group + member % new_group] = head
    return query, key_value


def place_blocks(n_old: int, n_new: int) -> list[int]:
    """The new index of each real block: the first and the last stay at the ends."""
    if n_old == 1:
        return [0]
    gaps = n_old - 1
    return [(i * (n_new - 1) + gaps // 2) // gaps for i in range(n_old)]


# ------------------------------------------------------------------------------------------------
# What each tensor needs


class Dim(enum.Enum):
    """What an axis of a tensor counts."""

    ONE = enum.auto()  # the rows of a vector
    SAME = enum.auto()  # never enlarged
    VOCAB = enum.auto()
    EMBD = enum.auto()  # the residual stream
    QUERY = enum.auto()
    KEY = enum.auto()
    VALUE = enum.auto()
    MIX = enum.auto()  # what the query heads gathered: n_head values
    FF = enum.auto()


class Fill(enum.Enum):
    """What added weights hold: anything where nobody listens, zeros where somebody does."""

    RANDOM = enum.auto()
    ZERO = enum.auto()


@dataclass(frozen=True)
class Rule:
    """How a tensor grows; rows are outputs and columns inputs, as in GGUF."""

    rows: Dim
    cols: Dim
    fill: Fill
    is_norm: bool = False


_GLOBAL_RULES: Mapping[str, Rule] = {
    "token_embd.weight": Rule(Dim.VOCAB, Dim.EMBD, Fill.ZERO),
    "output_norm.weight": Rule(Dim.ONE, Dim.EMBD, Fill.RANDOM, is_norm=True),
    "output.weight": Rule(Dim.VOCAB, Dim.EMBD, Fill.RANDOM),
    "rope_freqs.weight": Rule(Dim.ONE, Dim.SAME, Fill.RANDOM),
}

_BLOCK_RULES: Mapping[str, Rule] = {
    "attn_norm.weight": Rule(Dim.ONE, Dim.EMBD, Fill.RANDOM, is_norm=True),
    "attn_q.weight": Rule(Dim.QUERY, Dim.EMBD, Fill.RANDOM),
    "attn_k.weight": Rule(Dim.KEY, Dim.EMBD, Fill.RANDOM),
    "attn_v.weight": Rule(Dim.VALUE, Dim.EMBD, Fill.RANDOM),
    "attn_q.bias": Rule(Dim.ONE, Dim.QUERY, Fill.RANDOM),
    "attn_k.bias": Rule(Dim.ONE, Dim.KEY, Fill.RANDOM),
    "attn_v.bias": Rule(Dim.ONE, Dim.VALUE, Fill.RANDOM),
    "attn_output.weight": Rule(Dim.EMBD, Dim.MIX, Fill.ZERO),
    "attn_output.bias": Rule(Dim.ONE, Dim.EMBD, Fill.ZERO),
    "ffn_norm.weight": Rule(Dim.ONE, Dim.EMBD, Fill.RANDOM, is_norm=True),
    "ffn_gate.weight": Rule(Dim.FF, Dim.EMBD, Fill.RANDOM),
    "ffn_up.weight": Rule(Dim.FF, Dim.EMBD, Fill.RANDOM),
    "ffn_down.weight": Rule(Dim.EMBD, Dim.FF, Fill.ZERO),
    "ffn_gate.bias": Rule(Dim.ONE, Dim.FF, Fill.RANDOM),
    "ffn_up.bias": Rule(Dim.ONE, Dim.FF, Fill.RANDOM),
    "ffn_down.bias": Rule(Dim.ONE, Dim.EMBD, Fill.ZERO),
}


@dataclass(frozen=True)
class _Tensor:
    """One tensor of the new file, still to be computed; axes in elements."""

    name: str
    source: ReaderTensor
    rows: Axis
    cols: Axis
    fill: Fill
    factor: float = 1.0

    @property
    def type(self) -> GGMLQuantizationType:
        return self.source.tensor_type

    @property
    def shape(self) -> tuple[int, ...]:
        """In NumPy's order."""
        is_vector = len(self.source.shape) == 1
        return (self.cols.new_size,) if is_vector else (self.rows.new_size, self.cols.new_size)

    @property
    def n_elements(self) -> int:
        return math.prod(self.shape)

    @property
    def n_bytes(self) -> int:
        block, block_bytes = GGML_QUANT_SIZES[self.type]
        return self.n_elements // block * block_bytes

    def chunks(self, seed: int) -> Iterator[Bytes]:
        """The tensor's bytes, some rows at a time."""
        old_cols = int(self.source.shape[0])
        data: Bytes = self.source.data.view(np.uint8).reshape(
            self.source.n_elements // old_cols, -1
        )
        cols = self.cols.in_bytes(*GGML_QUANT_SIZES[self.type])
        assert cols is not None  # checked when planned
        rng = np.random.default_rng((seed, zlib.crc32(self.name.encode())))
        pool = self._pool(data) if self.fill is Fill.RANDOM else None
        if self.rows.covered and self.cols.covered:
            pool = None  # nothing to fill
        step = max(1, CHUNK_BYTES // cols.new_size)
        for start in range(0, self.rows.new_size, step):
            stop = min(start + step, self.rows.new_size)
            shape = (stop - start, cols.new_size)
            if pool is None:
                chunk = np.zeros(shape, np.uint8)
            else:
                n_units = math.prod(shape) // pool.shape[1]
                chunk = pool[rng.integers(len(pool), size=n_units, dtype=np.int32)].reshape(shape)
            for row in self.rows.copies:
                first, last = max(start, row.new), min(stop, row.new + row.length)
                if first >= last:
                    continue
                origin = row.old + first - row.new
                lines = data[origin : origin + last - first]
                for col in cols.copies:
                    chunk[first - start : last - start, col.new : col.new + col.length] = lines[
                        :, col.old : col.old + col.length
                    ]
            if self.factor != 1.0:
                scaled = chunk.view(np.float32).astype(np.float64) * self.factor
                chunk = scaled.astype(np.float32).view(np.uint8)
            yield chunk

    def _pool(self, data: Bytes) -> Bytes:
        """Pieces of the source that random rows are composed of: whole quantization blocks."""
        block, block_bytes = GGML_QUANT_SIZES[self.type]
        if block == 1:  # plain floats: pieces as long as divide the old and the new rows
            block_bytes *= math.gcd(int(self.source.shape[0]), self.cols.new_size, 32)
        rows = data[: max(1, POOL_BYTES // data.shape[1])]
        return rows.reshape(-1, block_bytes)


# ------------------------------------------------------------------------------------------------
# The source


class _Source:
    """A GGUF file of the llama architecture: metadata read and checked, weights mapped."""

    def __init__(self, path: Path) -> None:
        if not path.is_file():
            raise ScaleError(f"{path}: no such file")
        try:
            self.reader = GGUFReader(path)
        except (ValueError, IndexError, KeyError, OverflowError) as error:
            raise ScaleError(f"{path}: not a GGUF file that can be read: {error}") from error
        self.path = path
        architecture = self._get("general.architecture")
        if architecture != ARCHITECTURE:
            raise ScaleError(
                f"{path}: architecture {architecture!r}; only {ARCHITECTURE!r} can be scaled"
            )
        if self.reader.endianess != GGUFEndian.LITTLE:
            raise ScaleError(f"{path}: big-endian files cannot be scaled")
        if int(self._get("split.count", 1)) > 1:
            raise ScaleError(f"{path}: split into several files; merge them first")
        n_head = self._int("attention.head_count")
        self.shape = Shape(
            n_embd=self._int("embedding_length"),
            n_layer=self._int("block_count"),
            n_head=n_head,
            n_head_kv=self._int("attention.head_count_kv", n_head),
            n_ff=self._int("feed_forward_length"),
        )
        self.key_size = self._int("attention.key_length", self.shape.n_embd // n_head)
        self.value_size = self._int("attention.value_length", self.shape.n_embd // n_head)
        self.n_rot = self._int("rope.dimension_count", self.key_size)
        self.norm_epsilon = float(self._get(f"{ARCHITECTURE}.attention.layer_norm_rms_epsilon"))

    def _get(self, key: str, default: Any = None) -> Any:
        field = self.reader.get_field(key)
        if field is not None:
            return field.contents()
        if default is None:
            raise ScaleError(f"{self.path}: the metadata lack {key}")
        return default

    def _int(self, key: str, default: int | None = None) -> int:
        value = self._get(f"{ARCHITECTURE}.{key}", default)
        if not isinstance(value, int):
            raise ScaleError(f"{self.path}: {key} differs from layer to layer, cannot be scaled")
        return value


def _plan(source: _Source, new: Shape) -> list[_Tensor]:
    """Every tensor of the new file, in the order of writing."""
    old = source.shape
    query, key_value = place_heads(old, new)
    axes = {
        Dim.ONE: Axis.padded(1, 1),
        Dim.EMBD: Axis.padded(old.n_embd, new.n_embd),
        Dim.QUERY: Axis.of_heads(query, source.key_size),
        Dim.KEY: Axis.of_heads(key_value, source.key_size),
        Dim.VALUE: Axis.of_heads(key_value, source.value_size),
        Dim.MIX: Axis.of_heads(query, source.value_size),
        Dim.FF: Axis.padded(old.n_ff, new.n_ff),
    }
    old_sizes = {
        Dim.ONE: 1,
        Dim.EMBD: old.n_embd,
        Dim.QUERY: old.n_head * source.key_size,
        Dim.KEY: old.n_head_kv * source.key_size,
        Dim.VALUE: old.n_head_kv * source.value_size,
        Dim.MIX: old.n_head * source.value_size,
        Dim.FF: old.n_ff,
    }
    norm_factor = math.sqrt(old.n_embd / new.n_embd)

    def planned(name: str, tensor: ReaderTensor, rule: Rule, *, is_extra: bool) -> _Tensor:
        if tensor.tensor_type in _NOT_WEIGHTS or (
            rule.is_norm and tensor.tensor_type is not GGMLQuantizationType.F32
        ):
            raise ScaleError(f"{tensor.name}: unsupported weight type {tensor.tensor_type.name}")
        dims = [int(n) for n in tensor.shape] + [1] * (2 - len(tensor.shape))
        if len(dims) != 2 or any(
            dim in old_sizes and size != old_sizes[dim]
            for dim, size in zip((rule.cols, rule.rows), dims, strict=True)
        ):
            raise ScaleError(f"{tensor.name}: shape {dims} does not fit the metadata ({old})")
        cols = axes.get(rule.cols) or Axis.padded(dims[0], dims[0])
        rows = axes.get(rule.rows) or Axis.padded(dims[1], dims[1])
        block = GGML_QUANT_SIZES[tensor.tensor_type][0]
        if cols.in_bytes(block, 1) is None:
            raise ScaleError(
                f"{name}: rows of {cols.new_size} values (parts {list(cols.copies)}) do not divide "
                f"into {tensor.tensor_type.name} blocks of {block}"
            )
        if is_extra and not rule.is_norm:
            rows = rows.without_copies()
        return _Tensor(name, tensor, rows, cols, rule.fill, norm_factor if rule.is_norm else 1.0)

    blocks: list[list[tuple[str, ReaderTensor, Rule]]] = [[] for _ in range(old.n_layer)]
    plan: list[_Tensor] = []
    for tensor in source.reader.tensors:
        if tensor.name in _GLOBAL_RULES:
            rule = _GLOBAL_RULES[tensor.name]
            plan.append(planned(tensor.name, tensor, rule, is_extra=False))
            continue
        prefix, _, rest = tensor.name.partition(".")
        number, _, suffix = rest.partition(".")
        is_known = prefix == "blk" and number.isdigit() and suffix in _BLOCK_RULES
        if not is_known or int(number) >= old.n_layer:
            raise ScaleError(f"{tensor.name}: no rule for scaling this tensor")
        blocks[int(number)].append((suffix, tensor, _BLOCK_RULES[suffix]))

    places = {new_index: i for i, new_index in enumerate(place_blocks(old.n_layer, new.n_layer))}
    model = 0
    for index in range(new.n_layer):
        model = places.get(index, model)  # an extra block is modelled on the last real one
        for suffix, tensor, rule in blocks[model]:
            name = f"blk.{index}.{suffix}"
            plan.append(planned(name, tensor, rule, is_extra=index not in places))
    return plan


def _check_shape(old: Shape, new: Shape) -> None:
    for name, value in asdict(new).items():
        before = asdict(old)[name]
        if value < before:
            raise ScaleError(f"{name} cannot shrink from {before} to {value}")
    if new.n_head % new.n_head_kv:
        raise ScaleError(f"n_head {new.n_head} is not a multiple of n_head_kv {new.n_head_kv}")


def _is_bit_exact(source: _Source, new: Shape) -> bool:
    """See the module's documentation; a dimension that stays needs nothing."""
    old = source.shape
    width_ratio = new.n_embd / old.n_embd
    heads_stay = (old.n_head, old.n_head_kv) == (new.n_head, new.n_head_kv)
    growing = [
        (old.n_embd, new.n_embd, 64),
        (old.n_ff, new.n_ff, 64),
        (old.n_head * source.key_size, new.n_head * source.key_size, 64),
        (old.n_head * source.value_size, new.n_head * source.value_size, 64),
        (old.n_head_kv * source.key_size, new.n_head_kv * source.key_size, 16),
        (old.n_head_kv * source.value_size, new.n_head_kv * source.value_size, 16),
    ]
    return (
        math.frexp(width_ratio)[0] == 0.5
        and math.frexp(width_ratio)[1] % 2 == 1
        and (heads_stay or (old.n_head // old.n_head_kv) % (new.n_head // new.n_head_kv) == 0)
        and all(
            before == after or before % unit == after % unit == 0 for before, after, unit in growing
        )
    )


# ------------------------------------------------------------------------------------------------
# The destination


def _write_metadata(source: _Source, new: Shape, plan: Sequence[_Tensor], path: Path) -> int:
    """Write everything before the weights; return the alignment of the tensors."""
    old_width, new_width = source.shape.n_embd, new.n_embd
    # Written even where the source left them to their defaults, which depend on the shape.
    changed: dict[str, tuple[int | float, GGUFValueType]] = {
        "embedding_length": (new.n_embd, GGUFValueType.UINT32),
        "block_count": (new.n_layer, GGUFValueType.UINT32),
        "feed_forward_length": (new.n_ff, GGUFValueType.UINT32),
        "attention.head_count": (new.n_head, GGUFValueType.UINT32),
        "attention.head_count_kv": (new.n_head_kv, GGUFValueType.UINT32),
        "attention.key_length": (source.key_size, GGUFValueType.UINT32),
        "attention.value_length": (source.value_size, GGUFValueType.UINT32),
        "rope.dimension_count": (source.n_rot, GGUFValueType.UINT32),
        "attention.layer_norm_rms_epsilon": (
            source.norm_epsilon * (old_width / new_width),
            GGUFValueType.FLOAT32,
        ),
    }
    changed = {f"{ARCHITECTURE}.{key}": value for key, value in changed.items()}
    # The writer sets the architecture itself; the size label would be wrong.
    dropped = {"general.architecture", "general.size_label", *changed}

    writer = GGUFWriter(path, ARCHITECTURE)
    writer.data_alignment = source.reader.alignment
    for key, field in source.reader.fields.items():
        if key.startswith("GGUF.") or key in dropped:
            continue
        value = field.contents()
        is_array = field.types[0] is GGUFValueType.ARRAY
        if is_array and not value:
            continue  # the writer cannot write an empty array
        writer.add_key_value(key, value, field.types[0], field.types[-1] if is_array else None)
    for key, (number, kind) in changed.items():
        writer.add_key_value(key, number, kind)
    for tensor in plan:
        writer.add_tensor_info(
            tensor.name, tensor.shape, np.dtype(np.float32), tensor.n_bytes, raw_dtype=tensor.type
        )
    try:
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_ti_data_to_file()
    finally:
        writer.close()
    return source.reader.alignment


def _write_weights(
    plan: Sequence[_Tensor], path: Path, alignment: int, seed: int, *, title: str | None
) -> None:
    """Append the weights; `title` names the progress bar, None shows none."""
    n_bytes = sum(tensor.n_bytes for tensor in plan)
    with (
        path.open("r+b") as file,
        tqdm(desc=title, total=n_bytes, unit="B", unit_scale=True, disable=title is None) as bar,
    ):
        file.seek(0, os.SEEK_END)
        file.write(bytes(-file.tell() % alignment))
        for tensor in plan:
            for chunk in tensor.chunks(seed):
                file.write(chunk.data)
                bar.update(chunk.nbytes)
            file.write(bytes(-file.tell() % alignment))


def scale(
    source: str | os.PathLike[str],
    destination: str | os.PathLike[str],
    *,
    n_embd: int | None = None,
    n_layer: int | None = None,
    n_head: int | None = None,
    n_head_kv: int | None = None,
    n_ff: int | None = None,
    seed: int = 0,
    force: bool = False,
    progress: bool = False,
) -> ScaleResult:
    """Write a bigger model that computes the same function as `source`.

    A dimension that is None stays as it is. The same arguments give the same file. `force`
    replaces an existing destination, which otherwise is an error; until the new file is complete
    nothing is replaced. `progress` shows a bar on standard error.

    Raises ScaleError for a shape, a model or a destination that does not do.
    """
    path = Path(destination)
    if path.exists() and not force:
        raise ScaleError(f"{path} exists; force (--force) replaces it")
    if not path.parent.is_dir():
        raise ScaleError(f"{path.parent}: no such directory")
    model = _Source(Path(source))
    asked = {
        "n_embd": n_embd,
        "n_layer": n_layer,
        "n_head": n_head,
        "n_head_kv": n_head_kv,
        "n_ff": n_ff,
    }
    given = {name: value for name, value in asked.items() if value is not None}
    shape = Shape(**(asdict(model.shape) | given))
    _check_shape(model.shape, shape)
    plan = _plan(model, shape)

    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        alignment = _write_metadata(model, shape, plan, temporary)
        _write_weights(plan, temporary, alignment, seed, title=path.name if progress else None)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    return ScaleResult(
        path=path,
        source_shape=model.shape,
        shape=shape,
        n_parameters=sum(tensor.n_elements for tensor in plan),
        n_bytes=path.stat().st_size,
        bit_exact=_is_bit_exact(model, shape),
    )


def scale_pair(
    preset: str,
    target: str | os.PathLike[str],
    draft: str | os.PathLike[str],
    out_dir: str | os.PathLike[str],
    *,
    seed: int = 0,
    force: bool = False,
    progress: bool = False,
) -> tuple[ScaleResult, ScaleResult]:
    """Scale a pair to a preset's shapes; the files are named `<name of the source>-<preset>`."""
    if preset not in PRESETS:
        raise ScaleError(f"no preset {preset!r}; there are {', '.join(PRESETS)}")
    folder = Path(out_dir)
    sources = (Path(target), Path(draft))
    paths = [folder / f"{path.stem}-{preset}.gguf" for path in sources]
    if paths[0] == paths[1]:
        raise ScaleError(f"target and draft would both be written to {paths[0]}")
    for path in paths:
        if path.exists() and not force:
            raise ScaleError(f"{path} exists; force (--force) replaces it")
    folder.mkdir(parents=True, exist_ok=True)
    shapes = (PRESETS[preset].target, PRESETS[preset].draft)
    first, second = (
        scale(source, path, **asdict(shape), seed=seed, force=force, progress=progress)
        for source, path, shape in zip(sources, paths, shapes, strict=True)
    )
    return first, second


# ------------------------------------------------------------------------------------------------
# The step-time ratio


@functools.cache
def _quiet_llama() -> tuple[Any, Any]:
    """llama-cpp-python's low-level module, imported when needed, and the callback that mutes it."""
    import llama_cpp

    mute = llama_cpp.llama_log_callback(lambda *_: None)
    llama_cpp.llama_log_set(mute, None)
    return llama_cpp, mute  # llama.cpp keeps a pointer to the callback: so do we


class _Stepper:
    """A model in llama.cpp that decodes one token again and again behind the same prompt."""

    def __init__(self, path: Path, n_prompt: int) -> None:
        self._api, _ = _quiet_llama()
        model_params = self._api.llama_model_default_params()
        model_params.n_gpu_layers = 0
        self._model = self._api.llama_model_load_from_file(os.fsencode(path), model_params)
        if not self._model:
            raise ScaleError(f"{path}: llama.cpp cannot load it")
        params = self._api.llama_context_default_params()
        params.n_ctx = n_prompt + 1
        params.n_threads = params.n_threads_batch = 1  # the calling one
        params.flash_attn_type = self._api.LLAMA_FLASH_ATTN_TYPE_ENABLED
        self._context = self._api.llama_init_from_model(self._model, params)
        if not self._context:
            self._api.llama_model_free(self._model)
            raise ScaleError(f"{path}: llama.cpp cannot create a context")
        self._n_prompt = n_prompt
        self._decode([1 + i % 100 for i in range(n_prompt)])

    def _decode(self, tokens: Sequence[int]) -> None:
        array = (self._api.llama_token * len(tokens))(*tokens)
        code = self._api.llama_decode(
            self._context, self._api.llama_batch_get_one(array, len(tokens))
        )
        if code != 0:
            raise ScaleError(f"llama_decode failed with {code}")
        self._api.llama_get_logits(self._context)  # waits for the result

    def step(self) -> float:
        """Decode one token and forget it; return the milliseconds that decoding took.

        Processor time, not wall time: equal on an idle machine, and on a shared one it does not
        count how long the thread waited for a core.
        """
        start = time.thread_time()
        self._decode([1])
        elapsed = time.thread_time() - start
        memory = self._api.llama_get_memory(self._context)
        self._api.llama_memory_seq_rm(memory, 0, self._n_prompt, -1)
        return elapsed * 1e3

    def close(self) -> None:
        self._api.llama_free(self._context)
        self._api.llama_model_free(self._model)


@dataclass(frozen=True)
class StepTimes:
    """Median milliseconds of a single-token step, alone and while the other model works too."""

    target: float
    draft: float
    target_together: float
    draft_together: float

    def __str__(self) -> str:
        def line(target: float, draft: float) -> str:
            return f"target {target:.2f} ms, draft {draft:.2f} ms, ratio 1/{target / draft:.1f}"

        return (
            f"one token, alone: {line(self.target, self.draft)}\n"
            f"both at work: {line(self.target_together, self.draft_together)}"
        )


def measure_step_times(
    target: Path, draft: Path, *, n_steps: int = 60, n_prompt: int = 64
) -> StepTimes:
    """Time single-token steps of a pair on the CPU, one thread each (needs llama-cpp-python).

    First the models take turns, so that whatever else the machine does hits both alike; then the
    draft steps in a thread of its own for as long as the target takes for its steps.
    """
    steppers: list[_Stepper] = []
    alone: tuple[list[float], list[float]] = ([], [])
    try:
        steppers.extend(_Stepper(path, n_prompt) for path in (target, draft))
        for _ in range(n_steps):
            for stepper, series in zip(steppers, alone, strict=True):
                series.append(stepper.step())

        done = threading.Event()

        def step_until_done() -> list[float]:
            times = [steppers[1].step()]
            while not done.is_set():
                times.append(steppers[1].step())
            return times

        with ThreadPoolExecutor(1) as executor:
            drafting = executor.submit(step_until_done)
            try:
                targets = [steppers[0].step() for _ in range(n_steps)]
            finally:
                done.set()
            drafts = drafting.result()
    finally:
        for stepper in steppers:
            stepper.close()
    return StepTimes(*(statistics.median(series) for series in (*alone, targets, drafts)))


# ------------------------------------------------------------------------------------------------
# The command


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="scale_model.py",
        description="Blow up a small GGUF into a big one that computes the same function.",
        epilog="Presets (target / draft):\n"
        + "\n".join(
            f"  {name}: {preset.target}\n  {' ' * len(name)}  {preset.draft}\n"
            f"  {' ' * len(name)}  a draft step takes about 1/{round(1 / preset.ratio)} "
            "of a target step"
            for name, preset in PRESETS.items()
        ),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    single = parser.add_argument_group("one model")
    single.add_argument("source", nargs="?", type=Path, help="the small GGUF")
    single.add_argument("destination", nargs="?", type=Path, help="the GGUF to write")
    for name, text in (
        ("n-embd", "hidden size; times a power of 4 keeps every bit of the scores"),
        ("n-layer", "blocks"),
        ("n-head", "query heads"),
        ("n-head-kv", "key-value heads"),
        ("n-ff", "feed-forward size"),
    ):
        single.add_argument(f"--{name}", type=int, metavar="N", help=f"{text} (default: as it is)")
    pair = parser.add_argument_group("a pair")
    pair.add_argument("--preset", choices=PRESETS, help="the shapes of target and draft")
    pair.add_argument("--target", type=Path, help="the small target")
    pair.add_argument("--draft", type=Path, help="the small draft")
    pair.add_argument("--out-dir", type=Path, help="where to write <name>-<preset>.gguf")
    pair.add_argument(
        "--measure",
        action="store_true",
        help="time the steps of the written pair, one thread per model (needs llama-cpp-python)",
    )
    parser.add_argument("--seed", type=int, default=0, help="of the weights that do not matter")
    parser.add_argument("--force", action="store_true", help="replace existing files")
    parser.add_argument("--quiet", action="store_true", help="no progress bar")
    return parser


def _report(result: ScaleResult) -> None:
    equality = "equal to the last bit" if result.bit_exact else "equal up to rounding"
    print(
        f"{result.path}: {result.n_parameters / 1e6:.1f} M parameters, "
        f"{result.n_bytes / 1e6:.1f} MB ({result.shape}); scores {equality}"
    )


def main(argv: Sequence[str] | None = None) -> int:
    parser = _parser()
    args = parser.parse_args(argv)
    dimensions = {name: getattr(args, name) for name in Shape.__dataclass_fields__}
    single = (args.source, args.destination)
    pair = (args.target, args.draft, args.out_dir)
    common: dict[str, Any] = {
        "seed": args.seed,
        "force": args.force,
        "progress": not args.quiet and sys.stderr.isatty(),
    }
    try:
        if args.preset is not None:
            if None in pair or any(single) or any(dimensions.values()):
                parser.error("--preset needs --target, --draft and --out-dir, and nothing else")
            target, draft = scale_pair(args.preset, *pair, **common)
            _report(target)
            _report(draft)
            if args.measure:
                print(measure_step_times(target.path, draft.path))
        else:
            if None in single or any(pair) or args.measure:
                parser.error("give SOURCE and DESTINATION, or a --preset with its options")
            _report(scale(args.source, args.destination, **dimensions, **common))
    except (ScaleError, OSError) as error:
        print(f"scale_model.py: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
