"""Finds the GGUF files below a folder."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from specbranch_cpp._support.files import kind_of
from specbranch_cpp.local_models import ollama
from specbranch_cpp.local_models.places import OLLAMA, ModelFolder

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["Candidate", "Walk"]

_ABSENT = ".no_exist"
"""Where a cache of the Hugging Face Hub keeps empty files for names that a repository lacks."""


@dataclass(frozen=True)
class Candidate:
    """A file that may be a model.

    Attributes:
        path: the path by which the file was found; a link is not resolved, because the parts of a
            split model are found by their names.
        name: the user's name for the file.
        source: the program that keeps the file.
        identity: equal for two paths of one file.
        size: in bytes.
    """

    path: Path
    name: str
    source: str
    identity: tuple[int, int]
    size: int


class Walk:
    """Walks over places. A folder that several links or places reach is read once.

    Args:
        object_to: called with the path of a file or folder that cannot be read, and the reason.
    """

    def __init__(self, object_to: Callable[[Path, str], None]) -> None:
        self._object_to = object_to
        self._seen: set[tuple[int, int]] = set()

    def candidates(self, place: ModelFolder) -> Iterator[Candidate]:
        """The files of a place, in the order of their names."""
        found = _stat(place.path)
        single = place.source != OLLAMA and found is not None and stat.S_ISREG(found.st_mode)
        if not single and found is not None and not stat.S_ISDIR(found.st_mode):
            self._object_to(place.path, f"this is {kind_of(found)}, not a folder")
            return
        if place.source == OLLAMA:
            for path, name in ollama.blobs(place.path, self._object_to):
                yield from self._candidate(path, name, place.source)
            return
        if single:
            yield from self._candidate(place.path, place.path.name, place.source)
            return
        for path in self._files(place.path, recursive=place.recursive):
            yield from self._candidate(path, _name(path, place.path), place.source)

    def _candidate(self, path: Path, name: str, source: str) -> Iterator[Candidate]:
        try:
            found = path.stat()
        except FileNotFoundError:
            links = path.is_symlink()
            self._object_to(
                path,
                "this link leads to no file" if links else f"the file of {name} does not exist",
            )
            return
        except OSError as error:
            self._object_to(path, error.strerror or str(error))
            return
        if not stat.S_ISREG(found.st_mode):
            self._object_to(path, f"this is {kind_of(found)}, not a regular file")
            return
        yield Candidate(path, name, source, (found.st_dev, found.st_ino), found.st_size)

    def _files(self, root: Path, *, recursive: bool) -> Iterator[Path]:
        folders = [root]
        while folders:
            folder = folders.pop()
            try:
                if recursive and not self._is_new(folder):
                    continue
                with os.scandir(folder) as entries:
                    found = sorted(entries, key=lambda entry: entry.name)
            except OSError as error:
                self._object_to(folder, error.strerror or str(error))
                continue
            inner = []
            for entry in found:
                if _is_folder(entry):
                    if entry.name != _ABSENT:
                        inner.append(Path(entry.path))
                elif entry.name.lower().endswith(".gguf"):
                    yield Path(entry.path)
            if recursive:
                folders += reversed(inner)

    def _is_new(self, folder: Path) -> bool:
        found = folder.stat()
        identity = (found.st_dev, found.st_ino)
        if identity in self._seen:
            return False
        self._seen.add(identity)
        return True


def _stat(path: Path) -> os.stat_result | None:
    """What the path leads to. ``None``: this cannot be seen, and the walk gives the reason."""
    try:
        return path.stat()
    except OSError:
        return None


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a circle of links, which `stat` reports if the name is that of a model
        return False


def _name(path: Path, root: Path) -> str:
    """The name of a file: ``owner/repository/file`` in a cache of the Hugging Face Hub.

    Elsewhere: the path below the folder.
    """
    parts = path.parts
    for i, part in enumerate(parts[:-3]):
        if part.startswith("models--") and parts[i + 1] == "snapshots":
            return "/".join([*part.split("--")[1:], *parts[i + 3 :]])
    return path.relative_to(root).as_posix()
