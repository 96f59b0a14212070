"""Weights of H-RAD from a file, and whether they are for a pair of models."""

from __future__ import annotations

import functools
from dataclasses import dataclass

from specbranch_cpp import _core
from specbranch_cpp._support import safetensors
from specbranch_cpp._support.files import file_sha256
from specbranch_cpp.errors import InvalidArgument

FORMAT = "specbranch-hrad-1"
_TENSORS = ("mean", "scale", "w1", "b1", "w2", "b2", "w3", "b3")


@dataclass(frozen=True)
class HradFile:
    """A file as it was read."""

    path: str
    weights: _core.HradWeights
    target_sha256: str
    draft_sha256: str


@dataclass(frozen=True)
class PairFiles:
    """The files of an engine's models, whose hashes are taken once, when they are needed."""

    target: str
    draft: str

    @functools.cached_property
    def target_sha256(self) -> str:
        return file_sha256(self.target)

    @functools.cached_property
    def draft_sha256(self) -> str:
        return file_sha256(self.draft)


def read(path: str) -> HradFile:
    """Reads the file that ``specbranch hrad train`` makes.

    Raises:
        InvalidArgument: it cannot be read, or is not such a file.
    """
    import numpy as np

    tensors = safetensors.read(path)
    metadata, arrays = tensors.metadata, tensors.arrays
    if metadata.get("format") != FORMAT:
        raise InvalidArgument(
            f"{path!r} has format {metadata.get('format')!r}; H-RAD needs {FORMAT!r}"
        )
    needed = ("n_layers", "n_embd", "target_sha256", "draft_sha256")
    missing = [name for name in needed if name not in metadata]
    missing += [name for name in _TENSORS if name not in arrays]
    if missing:
        raise InvalidArgument(f"{path!r} lacks {', '.join(missing)}")
    sizes = {}
    for name in ("n_layers", "n_embd"):
        text = metadata[name]
        if not (text.isascii() and text.isdigit() and 0 < int(text[:10]) < 2**20):
            raise InvalidArgument(f"{path!r} has {name} {text!r}; it must be a positive integer")
        sizes[name] = int(text)
    for name in _TENSORS:
        if not np.isfinite(arrays[name]).all():
            raise InvalidArgument(f"{path!r} has a tensor {name!r} that is not finite everywhere")
    try:
        weights = _core.HradWeights(**sizes, **{name: arrays[name] for name in _TENSORS})
    except InvalidArgument as error:
        raise InvalidArgument(f"{path!r} does not fit together: {error}") from None
    return HradFile(path, weights, metadata["target_sha256"], metadata["draft_sha256"])


def check_pair(file: HradFile, core: _core.Engine, pair: PairFiles | None) -> None:
    """Refuses a file that is not for this pair; ``pair`` is None for models without files."""
    weights = file.weights
    if core.n_feature_layers < weights.n_layers:
        raise InvalidArgument(
            f"policies.HRAD({file.path!r}) needs the states of {weights.n_layers} layers; this "
            f"target gives {core.n_feature_layers}"
        )
    if core.n_embd != weights.n_embd:
        raise InvalidArgument(
            f"policies.HRAD({file.path!r}) is for a target of width {weights.n_embd}; this one "
            f"has {core.n_embd}"
        )
    if pair is None:
        return
    for side in ("target", "draft"):
        trained, given = getattr(file, f"{side}_sha256"), getattr(pair, f"{side}_sha256")
        if trained != given:
            raise InvalidArgument(
                f"policies.HRAD({file.path!r}) was trained for another {side}: its SHA-256 is "
                f"{trained[:16]}..., that of {getattr(pair, side)!r} {given[:16]}..."
            )
