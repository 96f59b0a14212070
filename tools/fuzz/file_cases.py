"""Changed model files: each follows from the seed and an index."""

from __future__ import annotations

import random
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from fuzz import byte_changes, metadata_changes, tensor_changes
from fuzz.gguf_bytes import Entry, Gguf

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from fuzz.gguf_bytes import TensorInfo

__all__ = ["FileCase", "FileCases"]


@dataclass(frozen=True)
class FileCase:
    """A file: what it was made of, what was changed, and its bytes."""

    index: int
    label: str
    changes: tuple[str, ...]
    data: bytes

    @property
    def description(self) -> str:
        return f"{self.label}: {'; '.join(self.changes)}"


class FileCases:
    """The cases of a seed.

    Args:
        bases: correct files, by their labels.
        seed: with the index of a case, decides everything.
    """

    def __init__(self, bases: Mapping[str, Gguf], seed: int) -> None:
        from gguf import GGML_QUANT_SIZES

        self._bases = bases
        self._labels = sorted(bases)
        self._seed = seed
        self._sizes = {int(kind): sizes for kind, sizes in GGML_QUANT_SIZES.items()}
        self._names = sorted({file.architecture for file in bases.values()})
        self._settings = _settings_of(bases)
        self._tensors = _tensors_of(bases)

    def case(self, index: int) -> FileCase:
        rng = random.Random(f"{self._seed}/{index}")
        label = rng.choice(self._labels)
        file = self._bases[label].copy()
        changes = []
        for _ in range(rng.choices((1, 2, 3), (60, 25, 15))[0]):
            (change,) = rng.choices(_CHANGES, _WEIGHTS)
            changes.append(change(self, rng, file))
        data = file.packed()
        if not any(changes) or rng.random() < 0.06:
            data, words = byte_changes.change_bytes(rng, data)
            changes.append(words)
        return FileCase(index, label, tuple(filter(None, changes)), data)

    def _add_key(self, rng: random.Random, file: Gguf) -> str:
        return metadata_changes.add_key(rng, file, self._settings)

    def _rename(self, rng: random.Random, file: Gguf) -> str:
        return metadata_changes.rename_architecture(rng, file, self._names)

    def _add_tensor(self, rng: random.Random, file: Gguf) -> str:
        return tensor_changes.add_tensor(rng, file, self._sizes, self._tensors)


def _of_metadata(change: Callable[[random.Random, Gguf], str]) -> Callable[..., str]:
    return lambda _, rng, file: change(rng, file)


def _of_tensors(change: Callable[..., str]) -> Callable[..., str]:
    return lambda cases, rng, file: change(rng, file, cases._sizes)


_WEIGHED: tuple[tuple[Callable[..., str], int], ...] = (
    (_of_metadata(metadata_changes.change_setting), 32),
    (_of_metadata(metadata_changes.change_tokenizer), 10),
    (_of_metadata(metadata_changes.change_key), 7),
    (_of_metadata(metadata_changes.change_kind), 4),
    (_of_metadata(metadata_changes.change_alignment), 3),
    (FileCases._add_key, 11),
    (FileCases._rename, 2),
    (_of_tensors(tensor_changes.change_shape), 7),
    (_of_tensors(tensor_changes.change_type), 5),
    (_of_tensors(tensor_changes.change_place), 2),
    (_of_tensors(tensor_changes.rename_tensor), 3),
    (_of_tensors(tensor_changes.remove_tensors), 7),
    (_of_tensors(tensor_changes.change_weights), 3),
    (FileCases._add_tensor, 4),
    (_of_metadata(byte_changes.change_head), 1),
)
_CHANGES = [change for change, _ in _WEIGHED]
_WEIGHTS = [weight for _, weight in _WEIGHED]


def _settings_of(bases: Mapping[str, Gguf]) -> list[Entry]:
    """The settings of all files, each once, without the name of the architecture."""
    found: dict[bytes, Entry] = {}
    for file in bases.values():
        head = file.architecture.encode()
        for entry in file.entries:
            if entry.key.startswith(head + b"."):
                name = entry.key.removeprefix(head)
                found.setdefault(name, replace(entry, key=name))
    return [found[name] for name in sorted(found)]


def _tensors_of(bases: Mapping[str, Gguf]) -> list[TensorInfo]:
    """The tensors of all files, each name once."""
    found: dict[bytes, TensorInfo] = {}
    for file in bases.values():
        for tensor in file.tensors:
            if len(tensor.data) < 1 << 17:
                found.setdefault(tensor.name, tensor)
    return [found[name] for name in sorted(found)]
