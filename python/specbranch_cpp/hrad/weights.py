"""The file of a trained classifier: safetensors, which needs no package to be written or read."""

from __future__ import annotations

import json
import math
import struct
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from specbranch_cpp.errors import InvalidArgument
from specbranch_cpp.hrad.records import replace_file

if TYPE_CHECKING:
    import os

FORMAT = "specbranch-hrad-1"
TENSORS = ("mean", "scale", "w1", "b1", "w2", "b2", "w3", "b3")
_MAX_HEADER = 1 << 20


@dataclass(frozen=True)
class HradFile:
    """A classifier: inputs x' = (x - mean) * scale, then three layers with ReLU between.

    Attributes:
        tensors: float32 by the names of `TENSORS`; matrices are [outputs, inputs].
        metadata: among others ``n_layers``, ``n_embd``, ``target_sha256``, ``draft_sha256``.
    """

    tensors: dict[str, npt.NDArray[np.float32]]
    metadata: dict[str, str] = field(default_factory=dict)

    @property
    def n_layers(self) -> int:
        return int(self.metadata["n_layers"])

    @property
    def n_embd(self) -> int:
        return int(self.metadata["n_embd"])

    def save(self, path: str | os.PathLike[str]) -> None:
        header: dict[str, Any] = {"__metadata__": {**self.metadata, "format": FORMAT}}
        data = b""
        for name in TENSORS:
            tensor = np.ascontiguousarray(self.tensors[name], dtype="<f4")
            begin, data = len(data), data + tensor.tobytes()
            header[name] = {
                "dtype": "F32",
                "shape": list(tensor.shape),
                "data_offsets": [begin, len(data)],
            }
        text = json.dumps(header, separators=(",", ":")).encode()
        text += b" " * (-len(text) % 8)
        replace_file(Path(path), struct.pack("<Q", len(text)) + text + data)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> HradFile:
        """Reads a file and checks that it is whole.

        Raises:
            InvalidArgument: it cannot be read, or is no classifier of this format.
        """
        try:
            raw = Path(path).read_bytes()
            (length,) = struct.unpack_from("<Q", raw)
            if length > min(_MAX_HEADER, len(raw) - 8):
                raise ValueError("the header is cut off")
            header = json.loads(raw[8 : 8 + length])
            metadata = header.pop("__metadata__", {})
            if metadata.get("format") != FORMAT:
                raise ValueError(f"the format is {metadata.get('format')!r}, not {FORMAT!r}")
            tensors = {name: _tensor(header[name], raw[8 + length :]) for name in TENSORS}
            for name in ("n_layers", "n_embd"):
                int(metadata[name])
        except (OSError, ValueError, KeyError, TypeError, AttributeError, struct.error) as error:
            reason = f"{error} is missing" if isinstance(error, KeyError) else error
            raise InvalidArgument(f"{path} is no classifier of H-RAD: {reason}") from None
        return cls(tensors, metadata)

    def probabilities(self, features: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """Chances of the three labels for every row of features. The engine's own is in C++."""
        tensors = {name: tensor.astype(np.float64) for name, tensor in self.tensors.items()}
        x = (np.atleast_2d(np.asarray(features, np.float64)) - tensors["mean"]) * tensors["scale"]
        x = np.maximum(x @ tensors["w1"].T + tensors["b1"], 0.0)
        x = np.maximum(x @ tensors["w2"].T + tensors["b2"], 0.0)
        x = x @ tensors["w3"].T + tensors["b3"]
        x = np.exp(x - x.max(axis=1, keepdims=True))
        return np.asarray(x / x.sum(axis=1, keepdims=True))


def _tensor(entry: dict[str, Any], data: bytes) -> npt.NDArray[np.float32]:
    begin, end = entry["data_offsets"]
    if entry["dtype"] != "F32" or not 0 <= begin <= end <= len(data):
        raise ValueError("a tensor is cut off or of another type than F32")
    if 4 * math.prod(entry["shape"]) != end - begin:
        raise ValueError("a tensor's shape does not fit its size")
    return np.frombuffer(data[begin:end], "<f4").reshape(entry["shape"])
