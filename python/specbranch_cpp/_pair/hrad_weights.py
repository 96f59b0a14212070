"""Reads a file with the weights of H-RAD, and checks that they fit a pair of models."""

from __future__ import annotations

import functools
from dataclasses import dataclass

from specbranch_cpp import _core
from specbranch_cpp._support import safetensors
from specbranch_cpp._support.model_parts import model_sha256
from specbranch_cpp.errors import InvalidArgument

FORMAT = "specbranch-hrad-1"
_TENSORS = ("mean", "scale", "w1", "b1", "w2", "b2", "w3", "b3")


@dataclass(frozen=True)
class HradFile:
    """The content of a file."""

    path: str
    weights: _core.HradWeights
    target_sha256: str
    draft_sha256: str


@dataclass(frozen=True)
class PairFiles:
    """The files of an engine's models. Their hashes are computed once, at the first use."""

    target: str
    draft: str

    @functools.cached_property
    def target_sha256(self) -> str:
        return model_sha256(self.target)

    @functools.cached_property
    def draft_sha256(self) -> str:
        return model_sha256(self.draft)


def read(path: str) -> HradFile:
    """Reads a file that ``specbranch hrad train`` wrote.

    Raises:
        InvalidArgument: the file cannot be read, or has another format.
    """
    import numpy as np

    tensors = safetensors.read(path)
    metadata, arrays = tensors.metadata, tensors.arrays
    if metadata.get("format") != FORMAT:
        raise InvalidArgument(
            f"{path!r} has the format {metadata.get('format')!r}; it must be {FORMAT!r}"
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
            raise InvalidArgument(f"{path!r} has a tensor {name!r} with values that are not finite")
    try:
        weights = _core.HradWeights(**sizes, **{name: arrays[name] for name in _TENSORS})
    except InvalidArgument as error:
        raise InvalidArgument(f"{path!r} has tensors that do not fit together: {error}") from None
    return HradFile(path, weights, metadata["target_sha256"], metadata["draft_sha256"])


def check_pair(file: HradFile, core: _core.Engine, pair: PairFiles | None) -> None:
    """Checks that the file is for this pair. ``pair`` is ``None`` for models without files.

    Raises:
        InvalidArgument: the file is for another pair.
    """
    weights = file.weights
    if core.n_feature_layers < weights.n_layers:
        raise InvalidArgument(
            f"policies.HRAD({file.path!r}) needs the features of {weights.n_layers} layers, but "
            f"this target gives the features of {core.n_feature_layers} layers"
        )
    if core.n_embd != weights.n_embd:
        raise InvalidArgument(
            f"policies.HRAD({file.path!r}) is for a target of width {weights.n_embd}; this target "
            f"has the width {core.n_embd}"
        )
    if pair is None:
        return
    for side in ("target", "draft"):
        trained, given = getattr(file, f"{side}_sha256"), getattr(pair, f"{side}_sha256")
        if trained != given:
            raise InvalidArgument(
                f"policies.HRAD({file.path!r}) was trained for another {side}, with the SHA-256 "
                f"{trained[:16]}...; {getattr(pair, side)!r} has {given[:16]}..."
            )
