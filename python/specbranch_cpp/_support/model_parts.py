"""The files of a model that is split into several."""

from __future__ import annotations

import hashlib
import os

from specbranch_cpp import _core
from specbranch_cpp._support.files import file_sha256, open_file


def model_parts(path: str) -> list[str]:
    """The paths of all files of a model, in order.

    If the model is not split, or the file is no GGUF file or cannot be read, it is one path.

    Raises:
        ModelLoadError: the header is damaged, or a part is missing.
    """
    try:
        with open_file(path) as file:
            if file.read(4) != b"GGUF":
                return [path]
    except OSError:
        return [path]
    return [os.fsdecode(part) for part in _core.model_parts(os.fsencode(path))]


def model_sha256(path: str) -> str:
    """The SHA-256 of a model's file; of a split model, that of the hashes of its files.

    Raises:
        InvalidArgument: a file cannot be read.
        ModelLoadError: the header is damaged, or a part is missing.
    """
    hashes = [file_sha256(part) for part in model_parts(path)]
    return hashes[0] if len(hashes) == 1 else hashlib.sha256("".join(hashes).encode()).hexdigest()
