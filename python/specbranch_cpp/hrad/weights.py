"""The file of a trained classifier, and its computation."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from specbranch_cpp._pair import hrad_weights
from specbranch_cpp._support import safetensors
from specbranch_cpp._support.files import replace_file

if TYPE_CHECKING:
    import numpy.typing as npt

TENSORS = ("mean", "scale", "w1", "b1", "w2", "b2", "w3", "b3")


@dataclass(frozen=True, eq=False)
class Classifier:
    """Inputs x' = (x - mean) * scale, then three layers with ReLU between.

    Attributes:
        tensors: float32 by the names of `TENSORS`; matrices are [outputs, inputs].
        metadata: among others ``n_layers``, ``n_embd``, ``target_sha256``, ``draft_sha256``.
    """

    tensors: dict[str, npt.NDArray[np.float32]]
    metadata: dict[str, str] = field(default_factory=dict)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes a safetensors file, which `policies.HRAD` reads."""
        # Not with the library, which writes the metadata in a random order: the same weights are
        # to be the same file.
        header: dict[str, Any] = {"__metadata__": {**self.metadata, "format": hrad_weights.FORMAT}}
        blocks, end = [], 0
        for name in TENSORS:
            tensor = np.ascontiguousarray(self.tensors[name], dtype="<f4")
            begin, end = end, end + tensor.nbytes
            blocks.append(tensor.tobytes())
            place = [begin, end]
            header[name] = {"dtype": "F32", "shape": list(tensor.shape), "data_offsets": place}
        text = json.dumps(header, separators=(",", ":")).encode()
        text += b" " * (-len(text) % 8)
        replace_file(path, b"".join([len(text).to_bytes(8, "little"), text, *blocks]))

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Classifier:
        """Reads a file of `save`.

        Raises:
            InvalidArgument: the file cannot be read, or it is not a classifier of this format.
        """
        name = os.fsdecode(path)
        hrad_weights.read(name)  # checks that it fits together
        read = safetensors.read(name)
        return cls({tensor: read.arrays[tensor] for tensor in TENSORS}, read.metadata)

    def probabilities(self, features: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """The probabilities of the three labels for every row of features, as in the engine."""
        t = {name: tensor.astype(np.float64) for name, tensor in self.tensors.items()}
        x = (np.atleast_2d(np.asarray(features, np.float64)) - t["mean"]) * t["scale"]
        x = np.maximum(x @ t["w1"].T + t["b1"], 0.0)
        x = np.maximum(x @ t["w2"].T + t["b2"], 0.0)
        x = x @ t["w3"].T + t["b3"]
        x = np.exp(x - x.max(axis=1, keepdims=True))
        return np.asarray(x / x.sum(axis=1, keepdims=True))
