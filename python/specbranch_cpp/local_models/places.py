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
        home: the home folder.
        environ: the environment variables.
        here: the working directory.
        platform: as `sys.platform`.
        root: the folder that contains ``usr``.
    """

    home: Path = field(default_factory=Path.home)
    environ: Mapping[str, str] = field(default_factory=lambda: os.environ)
    here: Path = field(default_factory=Path.cwd)
    platform: str = sys.platform
    root: Path = Path("/")

    def named(self, *variables: str) -> Path | None:
        """The folder that the first of these variables names; an empty variable names none."""
        for variable in variables:
            if value := self.environ.get(variable):
                if value.startswith("~/"):
                    return self.home / value[2:]
                return self.here / value
        return None


def known_places(around: Surroundings) -> list[ModelFolder]:
    """The folders of this user that exist. A program's variable replaces its default folders."""
    places = (
        ModelFolder(source, path, recursive)
        for source, path, recursive in (
            *((HUGGING_FACE, path, True) for path in _hugging_face(around)),
            *((LM_STUDIO, path, True) for path in _lm_studio(around)),
            *((OLLAMA, path, True) for path in _ollama(around)),
            *((LLAMA_CPP, path, True) for path in _llama_cpp(around)),
            # llama-cpp-python's examples keep models in ./models.
            (HERE, around.here / "models", True),
            (HERE, around.here, False),
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


def _cache(around: Surroundings) -> Path:
    return around.named("XDG_CACHE_HOME") or around.home / ".cache"


def _hugging_face(around: Surroundings) -> Iterator[Path]:
    cache = around.named("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE")
    home = around.named("HF_HOME") or _cache(around) / "huggingface"
    yield cache or home / "hub"


def _lm_studio(around: Surroundings) -> Iterator[Path]:
    yield around.home / ".lmstudio" / "models"
    yield around.home / ".cache" / "lm-studio" / "models"


def _ollama(around: Surroundings) -> Iterator[Path]:
    if named := around.named("OLLAMA_MODELS"):
        yield named
        return
    yield around.home / ".ollama" / "models"
    yield around.root / "usr/share/ollama/.ollama/models"  # of the service on Linux


def _llama_cpp(around: Surroundings) -> Iterator[Path]:
    if named := around.named("LLAMA_CACHE"):
        yield named
    elif around.platform == "darwin":
        yield around.home / "Library" / "Caches" / "llama.cpp"
    else:
        yield _cache(around) / "llama.cpp"
