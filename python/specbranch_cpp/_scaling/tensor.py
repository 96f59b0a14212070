"""One tensor of the new file, which is computed in chunks of rows."""

from __future__ import annotations

import math
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType, ReaderTensor

from specbranch_cpp._scaling.rules import Fill

if TYPE_CHECKING:
    from collections.abc import Iterator

    from specbranch_cpp._scaling.axes import Axis

Bytes = npt.NDArray[np.uint8]

CHUNK_BYTES = 8 << 20
POOL_BYTES = 4 << 20


@dataclass(frozen=True)
class PlannedTensor:
    """One tensor of the new file, before its computation. The axes are in elements.

    The type is that of the source, and whole quantization blocks of the source are copied.
    """

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
        """The shape in NumPy's order."""
        is_vector = len(self.source.shape) == 1
        return (self.cols.new_size,) if is_vector else (self.rows.new_size, self.cols.new_size)

    @property
    def n_elements(self) -> int:
        return math.prod(self.shape)

    @property
    def n_bytes(self) -> int:
        block, block_bytes = GGML_QUANT_SIZES[self.type]
        return self.n_elements // block * block_bytes

    @property
    def _row_memory(self) -> int:
        """The bytes that the computation of a row takes."""
        return self.n_bytes // self.rows.new_size

    def chunks(self, seed: int) -> Iterator[Bytes]:
        """The tensor's bytes, [row][byte], in chunks of rows. `seed` draws the added weights."""
        row_bytes = self.n_bytes // self.rows.new_size
        rng = np.random.default_rng((seed, zlib.crc32(self.name.encode())))
        is_filled = self.fill is Fill.RANDOM and not (self.rows.covered and self.cols.covered)
        pool = self._pool() if is_filled else None
        step = max(1, CHUNK_BYTES // self._row_memory)
        for start in range(0, self.rows.new_size, step):
            stop = min(start + step, self.rows.new_size)
            shape = (stop - start, row_bytes)
            if pool is None:
                chunk = np.zeros(shape, np.uint8)
            else:
                n_units = math.prod(shape) // pool.shape[1]
                chunk = pool[rng.integers(len(pool), size=n_units, dtype=np.int32)].reshape(shape)
            for row in self.rows.copies:
                first, last = max(start, row.new), min(stop, row.new + row.length)
                if first < last:
                    origin = row.old + first - row.new
                    lines = self._source_rows()[origin : origin + last - first]
                    self._place(lines, chunk[first - start : last - start])
            if self.factor != 1.0:
                scaled = chunk.view(np.float32).astype(np.float64) * self.factor
                chunk = scaled.astype(np.float32).view(np.uint8)
            yield chunk

    def _source_rows(self) -> Bytes:
        """The source's bytes, [row][byte]."""
        data: Bytes = self.source.data.view(np.uint8)
        return data.reshape(self.source.n_elements // int(self.source.shape[0]), -1)

    def _place(self, lines: Bytes, chunk: Bytes) -> None:
        """Puts rows of the source into their places."""
        cols = self.cols.in_bytes(*GGML_QUANT_SIZES[self.type])
        assert cols is not None  # `plan` has checked this
        for col in cols.copies:
            chunk[:, col.new : col.new + col.length] = lines[:, col.old : col.old + col.length]

    def _pool(self) -> Bytes:
        """The parts for random rows: whole quantization blocks of the source."""
        block, block_bytes = GGML_QUANT_SIZES[self.type]
        if block == 1:  # plain floats: the length of a part divides the old and the new rows
            block_bytes *= math.gcd(int(self.source.shape[0]), self.cols.new_size, 32)
        data = self._source_rows()
        rows = data[: max(1, POOL_BYTES // data.shape[1])]
        return rows.reshape(-1, block_bytes)
