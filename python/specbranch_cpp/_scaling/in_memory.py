"""Scaled models that an engine loads without a file of their size."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from specbranch_cpp._support.tensor_source import TensorSource

if TYPE_CHECKING:
    from types import TracebackType

    from specbranch_cpp._scaling.scaled_model import ScaledModel
    from specbranch_cpp._scaling.tensor import Bytes, PlannedTensor

_EMBEDDING, _OUTPUT = "token_embd.weight", "output.weight"


def all_tensors(model: ScaledModel) -> dict[str, PlannedTensor]:
    """The tensors in memory, by name.

    A tied output matrix becomes a copy of the embedding, because llama.cpp cannot share tensors of
    such a model.
    """
    tensors = {tensor.name: tensor for tensor in model.plan}
    if _OUTPUT not in tensors:
        tensors[_OUTPUT] = replace(tensors[_EMBEDDING], name=_OUTPUT)
    return tensors


def memory_needed(model: ScaledModel) -> int:
    """Bytes of the weights of a model in memory."""
    return sum(tensor.n_bytes for tensor in all_tensors(model).values())


class InMemoryModel(TensorSource):
    """A planned model in place of a path: its tensors are computed while an engine loads them.

    Loading takes the memory of one tensor in addition to the memory of the engine.

        with InMemoryModel(plan_model("small.gguf", n_embd=8192)) as model, Engine(model) as engine:
            ...
    """

    def __init__(self, model: ScaledModel, *, seed: int = 0) -> None:
        self._seed = seed
        self._tensors = all_tensors(model)
        self._folder = tempfile.TemporaryDirectory(prefix="scaled_model_")
        self._path = Path(self._folder.name, "metadata.gguf")
        replace(model, plan=tuple(self._tensors.values())).write_metadata(self._path)

    def __fspath__(self) -> str:
        return str(self._path)

    def fill(self, name: str) -> Bytes:
        tensor = self._tensors[name]
        data = np.empty(tensor.n_bytes, np.uint8)
        start = 0
        for chunk in tensor.chunks(self._seed):
            data[start : start + chunk.size] = chunk.ravel()
            start += chunk.size
        return data

    def close(self) -> None:
        """Removes the file with the metadata."""
        self._folder.cleanup()

    def __enter__(self) -> InMemoryModel:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()
