"""Models whose weights come from Python instead of a file; for benchmarks."""

from __future__ import annotations

import os
from abc import abstractmethod
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt


class TensorSource(os.PathLike[str]):
    """Stands for a model's path where `Engine` takes one; the file there lacks the weights.

    The architecture must be llama, and the file must name every tensor, the output matrix
    included. The scores are those of the same model in a file, but a step costs more: llama.cpp
    does not map, lock or repack such weights, and gives each block biases and factors that the
    file does not name, up to 14 small operations.
    """

    @abstractmethod
    def __fspath__(self) -> str:
        """The path of a GGUF file with metadata and tensor descriptions; it must stay."""

    @abstractmethod
    def fill(self, name: str) -> npt.NDArray[np.generic]:
        """The bytes of a tensor, row after row in the type that the file says.

        Called on the thread that makes the engine, once or more for each tensor. An exception
        becomes a `ModelLoadError`.
        """


def source_of(path: Any) -> TensorSource | None:
    """The source that an argument of `Engine` is, or None for a plain path."""
    return path if isinstance(path, TensorSource) else None
