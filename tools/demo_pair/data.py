"""The training text: the running Python's own standard library."""

from __future__ import annotations

import hashlib
import sysconfig
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from demo_pair.tokenizer import END_OF_TEXT_ID

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from tokenizers import Tokenizer

#: Folders that hold tests, generated tables, or code that is not the standard library's own.
EXCLUDED_FOLDERS = frozenset(
    {
        "__pycache__",
        "_bundled",
        "dist-packages",
        "encodings",
        "idle_test",
        "lib-dynload",
        "pydoc_data",
        "site-packages",
        "test",
        "tests",
    }
)

#: One file in this many is held out for validation.
HELD_OUT_ONE_IN = 33

Tokens = npt.NDArray[np.uint16]


@dataclass(frozen=True)
class Corpus:
    """File contents, split into training and held-out files."""

    train: tuple[str, ...]
    held_out: tuple[str, ...]
    names: tuple[str, ...]
    held_out_names: tuple[str, ...]


def standard_library() -> Path:
    """The folder of the running interpreter's standard library."""
    return Path(sysconfig.get_path("stdlib"))


def source_files(root: Path) -> list[Path]:
    """All Python files under ``root`` that are worth learning from, in a fixed order."""
    files = (
        path
        for path in root.rglob("*.py")
        if not EXCLUDED_FOLDERS.intersection(path.relative_to(root).parts[:-1])
    )
    return sorted(files, key=lambda path: path.relative_to(root).as_posix())


def is_held_out(name: str) -> bool:
    """Whether the file called ``name`` is for validation: a function of the name alone."""
    digest = hashlib.sha256(name.encode()).digest()
    return int.from_bytes(digest[:8], "big") % HELD_OUT_ONE_IN == 0


def read_corpus(root: Path, max_files: int | None = None) -> Corpus:
    """Read the text under ``root``; files that are not UTF-8 are left out."""
    train: dict[str, str] = {}
    held_out: dict[str, str] = {}
    for path in source_files(root)[:max_files]:
        name = path.relative_to(root).as_posix()
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
        if text.strip():
            (held_out if is_held_out(name) else train)[name] = text
    if not train or not held_out:
        raise ValueError(f"{root} holds too few Python files for training and validation")
    return Corpus(tuple(train.values()), tuple(held_out.values()), tuple(train), tuple(held_out))


def encode(tokenizer: Tokenizer, texts: Iterable[str]) -> Tokens:
    """One stream of tokens, with the end-of-text token after every file."""
    stream: list[int] = []
    for encoding in tokenizer.encode_batch(list(texts)):
        stream.extend(encoding.ids)
        stream.append(END_OF_TEXT_ID)
    return np.asarray(stream, dtype=np.uint16)


def cut(stream: Tokens, starts: Sequence[int] | npt.NDArray[np.int64], length: int) -> Tokens:
    """Windows of ``length`` tokens, each behind a begin-of-text token."""
    first = np.full((len(starts), 1), END_OF_TEXT_ID, dtype=np.uint16)
    offsets = np.asarray(starts, dtype=np.int64)[:, None] + np.arange(length)
    return np.concatenate([first, stream[offsets]], axis=1)


def random_windows(stream: Tokens, count: int, length: int, seed: Sequence[int]) -> Tokens:
    """``count`` windows at random places; the same ``seed`` gives the same windows."""
    generator = np.random.default_rng(list(seed))
    starts = generator.integers(0, len(stream) - length + 1, size=count)
    return cut(stream, starts, length)


def even_windows(stream: Tokens, count: int, length: int) -> Tokens:
    """Up to ``count`` windows spread evenly over the stream, without overlap."""
    count = max(1, min(count, len(stream) // length))
    starts = np.linspace(0, len(stream) - length, count).astype(np.int64)
    return cut(stream, starts, length)
