"""Models whose weights come from Python instead of a file, for benchmarks."""

from __future__ import annotations

import os
from abc import abstractmethod
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt


class TensorSource(os.PathLike[str]):
    """Replaces the path of a model for `Engine`, with a file that has no weights.

    The architecture must be llama, and the file must name every tensor, including the output
    matrix. The logits are those of the same model in a file, but a step costs more: llama.cpp does
    not map, lock or repack such weights. It also adds biases and factors to each block, which
    are up to 14 small operations. The file does not name them.
    """

    @abstractmethod
    def __fspath__(self) -> str:
        """The path of a GGUF file with metadata and tensor descriptions.

        The file must exist as long as the engine.
        """

    @abstractmethod
    def fill(self, name: str) -> npt.NDArray[np.generic]:
        """The bytes of a tensor, row by row, in the type that the file gives.

        The engine calls this on the thread that creates it, at least once for each tensor. An
        exception becomes a `ModelLoadError`.
        """


def source_of(path: Any) -> TensorSource | None:
    """The tensor source that an argument of `Engine` is. ``None``: the argument is a path."""
    return path if isinstance(path, TensorSource) else None
