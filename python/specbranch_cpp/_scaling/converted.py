"""A tensor of the new file with another weight type than the source."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType

from specbranch_cpp._scaling import tensor
from specbranch_cpp._scaling.shape import ScaleError
from specbranch_cpp._scaling.tensor import Bytes, PlannedTensor
from specbranch_cpp._scaling.weight_types import decode, encode

if TYPE_CHECKING:
    from specbranch_cpp._scaling.weight_types import Floats


@dataclass
class Deviation:
    """The difference between the converted weights of the source and the original weights."""

    n_changed: int = 0
    squared_error: float = 0.0
    squared_sum: float = 0.0

    def add(self, before: Floats, after: Floats) -> None:
        self.n_changed += int(np.count_nonzero(before != after))
        self.squared_error += float(np.square(after - before, dtype=np.float64).sum())
        self.squared_sum += float(np.square(before, dtype=np.float64).sum())

    @property
    def relative(self) -> float:
        """The root mean square of the changes, divided by that of the weights."""
        return math.sqrt(self.squared_error / self.squared_sum) if self.squared_sum else 0.0


@dataclass(frozen=True)
class ConvertedTensor(PlannedTensor):
    """Decodes the source's rows, places their values, and encodes the rows in the new type.

    Added rows are composed of encoded blocks, so that the encoder sees only the real rows.
    """

    new_type: GGMLQuantizationType = GGMLQuantizationType.F32
    deviation: Deviation = field(default_factory=Deviation)

    @property
    def type(self) -> GGMLQuantizationType:
        return self.new_type

    @property
    def _row_memory(self) -> int:
        return 4 * self.cols.new_size

    def _place(self, lines: Bytes, chunk: Bytes) -> None:
        """Puts rows of the source into their places.

        Added columns keep their values. An added column that shares a block with real weights is
        zero, so that the seed does not affect the rounding of real weights.
        """
        block, block_bytes = GGML_QUANT_SIZES[self.type]
        values = np.zeros((len(lines), self.cols.new_size), np.float32)
        old = decode(lines, self.source.tensor_type)
        for col in self.cols.copies:
            values[:, col.new : col.new + col.length] = old[:, col.old : col.old + col.length]
        encoded = encode(values, self.type).reshape(len(lines), -1)
        decoded = decode(encoded, self.type)
        if not np.isfinite(decoded).all():
            raise ScaleError(f"{self.name}: its weights are too large for {self.type.name}")
        for col in self.cols.copies:
            old_part = old[:, col.old : col.old + col.length]
            self.deviation.add(old_part, decoded[:, col.new : col.new + col.length])
            first = col.new // block * block_bytes
            last = -(-(col.new + col.length) // block) * block_bytes
            chunk[:, first:last] = encoded[:, first:last]

    def _pool(self) -> Bytes:
        block = GGML_QUANT_SIZES[self.type][0]
        unit = math.gcd(self.cols.new_size, 32) if block == 1 else block
        data = self._source_rows()
        rows = data[: max(1, tensor.POOL_BYTES // (4 * int(self.source.shape[0])))]
        values = decode(rows, self.source.tensor_type).ravel()
        values = np.resize(values, (max(1, values.size // unit), unit))
        return encode(values, self.type).reshape(len(values), -1)
