"""The folders in which programs keep models."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ["FOLDER", "OLLAMA", "ModelFolder", "Surroundings", "known_places"]

HUGGING_FACE = "Hugging Face cache"
LM_STUDIO = "LM Studio"
OLLAMA = "Ollama"
LLAMA_CPP = "llama.cpp's cache"
HERE = "current folder"
FOLDER = "given folder"


def _home() -> Path | None:
    try:
        return Path.home()
    except RuntimeError:  # HOME is not set, and the system does not know the user
        return None


def _working_directory() -> Path | None:
    try:
        return Path.cwd()
    except FileNotFoundError:
        return None


@dataclass(frozen=True)
class ModelFolder:
    """A folder with models.

    Attributes:
        source: the program that keeps models there.
        path: the folder.
        recursive: whether its folders belong to the place, too.
    """

    source: str
    path: Path
    recursive: bool = True


@dataclass(frozen=True)
class Surroundings:
    """The user's home, environment and working directory.

    Attributes:
        home: the home folder. ``None``: the user has no home folder.
        environ: the environment variables.
        here: the working directory. ``None``: it was deleted.
        platform: as `sys.platform`.
        root: the folder that contains ``usr``.
    """

    home: Path | None = field(default_factory=_home)
    environ: Mapping[str, str] = field(default_factory=lambda: os.environ)
    here: Path | None = field(default_factory=_working_directory)
    platform: str = sys.platform
    root: Path = Path("/")

    def named(self, *variables: str) -> Path | None:
        """The folder that the first of these variables names; an empty variable names none."""
        for variable in variables:
            if value := self.environ.get(variable):
                if value.startswith("~/") and self.home is not None:
                    return self.home / value[2:]
                return Path(value) if self.here is None else self.here / value
        return None

    def at_home(self, *folders: str) -> Iterator[Path]:
        """These folders below the home folder."""
        if self.home is not None:
            yield from map(self.home.joinpath, folders)


def known_places(around: Surroundings) -> list[ModelFolder]:
    """The folders of this user that exist. A program's variable replaces its default folders."""
    places = (
        ModelFolder(source, path, recursive)
        for source, path, recursive in (
            *((HUGGING_FACE, path, True) for path in _hugging_face(around)),
            *((LM_STUDIO, path, True) for path in _lm_studio(around)),
            *((OLLAMA, path, True) for path in _ollama(around)),
            *((LLAMA_CPP, path, True) for path in _llama_cpp(around)),
            *((HERE, path, path != around.here) for path in _here(around)),
        )
    )
    return [place for place in places if _exists(place.path)]


def _exists(folder: Path) -> bool:
    """Whether the folder may exist. Where this cannot be seen, the walk gives the reason."""
    try:
        folder.stat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:
        pass
    return True


def _caches(around: Surroundings) -> Iterator[Path]:
    if named := around.named("XDG_CACHE_HOME"):
        yield named
    else:
        yield from around.at_home(".cache")


def _hugging_face(around: Surroundings) -> Iterator[Path]:
    if cache := around.named("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"):
        yield cache
    elif home := around.named("HF_HOME"):
        yield home / "hub"
    else:
        yield from (each / "huggingface" / "hub" for each in _caches(around))


def _lm_studio(around: Surroundings) -> Iterator[Path]:
    yield from around.at_home(".lmstudio/models", ".cache/lm-studio/models")


def _ollama(around: Surroundings) -> Iterator[Path]:
    if named := around.named("OLLAMA_MODELS"):
        yield named
        return
    yield from around.at_home(".ollama/models")
    yield around.root / "usr/share/ollama/.ollama/models"  # of the service on Linux


def _llama_cpp(around: Surroundings) -> Iterator[Path]:
    if named := around.named("LLAMA_CACHE"):
        yield named
    elif around.platform == "darwin":
        yield from around.at_home("Library/Caches/llama.cpp")
    else:
        yield from (each / "llama.cpp" for each in _caches(around))


def _here(around: Surroundings) -> Iterator[Path]:
    if around.here is not None:
        yield around.here / "models"  # where llama-cpp-python's examples keep models
        yield around.here
