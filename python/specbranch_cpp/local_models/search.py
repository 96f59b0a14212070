"""Finds the models on this machine, and the pairs among them."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING

from specbranch_cpp import _core, simulation
from specbranch_cpp._support import checked
from specbranch_cpp._support.files import kind_of
from specbranch_cpp.errors import InvalidArgument
from specbranch_cpp.local_models.pairs import find_pairs, usual_machine
from specbranch_cpp.local_models.places import FOLDER, ModelFolder, Surroundings, known_places
from specbranch_cpp.local_models.reading import (
    ReadModel,
    by_file,
    missing_first_parts,
    read_file,
)
from specbranch_cpp.local_models.report import (
    Assumptions,
    Catalog,
    FoundPlace,
    OtherFile,
    UnusableFile,
)
from specbranch_cpp.local_models.walk import Walk

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

__all__ = ["ALPHA", "find"]

ALPHA = 0.7
"""A typical acceptance rate; drafts of the same family have 0.5 to 0.9."""
_SPREAD = (0.5, 0.85)


def find(
    folders: Iterable[str | os.PathLike[str]] = (),
    *,
    known: bool = True,
    alpha: float = ALPHA,
    machine: str | None = None,
    around: Surroundings | None = None,
    progress: Callable[[int, int], object] | None = None,
) -> Catalog:
    """Finds GGUF files, reads their headers, and tells which models can draft for which.

    No weights are read. A file with several paths is one model, and so are the parts of a split
    model. Files and folders that cannot be read are in ``Catalog.unusable``.

    Args:
        folders: more folders to search, with their subfolders, or single files.
        known: search also where programs keep models: the cache of the Hugging Face Hub, LM Studio,
            Ollama, llama.cpp's cache, the folder ``models`` and the working directory.
        alpha: the acceptance rate of the estimates, 0 to 1. The low and the high rate are 0.5 and
            0.85, or ``alpha`` if it is beyond them.
        machine: a name in `simulation.MACHINES`. ``None`` (default): ``"one-gpu"`` if llama.cpp
            finds a GPU, otherwise ``"two-cores"``, or ``"shared-cores"`` if the process may use one
            CPU only.
        around: home, environment and working directory. ``None`` (default): those of this process.
        progress: called with the number of files read and the number of all files.

    Raises:
        InvalidArgument: a folder does not exist or is something else, or an argument is out of its
            range.
    """
    if machine is not None:
        simulation.find_machine(machine)
    alpha = checked.share("alpha", alpha)
    low, high = _SPREAD
    assumptions = Assumptions(machine or usual_machine(), alpha, min(low, alpha), max(high, alpha))
    places = known_places(around or Surroundings()) if known else []
    places += [ModelFolder(FOLDER, _existing(folder)) for folder in folders]

    catalog = Catalog(
        assumptions,
        [FoundPlace(place.source, str(place.path)) for place in places],
        memory_available=_core.available_memory(),
    )
    walk = Walk(lambda path, reason: catalog.unusable.append(UnusableFile(str(path), reason)))
    candidates = [one for place in places for one in walk.candidates(place)]
    catalog.unusable.extend(missing_first_parts(candidates))
    files = by_file(candidates)
    models = []
    for i, paths in enumerate(files):
        if progress is not None:
            progress(i, len(files))
        found = read_file(paths)
        if isinstance(found, ReadModel):
            models.append(found)
        elif isinstance(found, OtherFile):
            catalog.others.append(found)
        else:
            catalog.unusable.append(found)
    catalog.models.extend(each.model for each in models)
    catalog.pairs.extend(find_pairs(models, assumptions))
    return catalog


def _existing(folder: str | os.PathLike[str]) -> Path:
    path = Path(os.fsdecode(checked.path("folder", folder)))
    try:
        path = path.absolute()  # fails in a working directory that was deleted
        found = path.stat()
    except OSError as error:
        raise InvalidArgument(f"folder is {str(path)!r}: {error.strerror or error}") from None
    if not (stat.S_ISDIR(found.st_mode) or stat.S_ISREG(found.st_mode)):
        raise InvalidArgument(
            f"folder is {str(path)!r}, which is {kind_of(found)}; it must be a folder or a GGUF "
            "file"
        )
    return path
