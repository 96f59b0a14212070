"""Files: their digests, and writing them in one piece."""

from __future__ import annotations

import hashlib
import os
import threading
from pathlib import Path

from specbranch_cpp.errors import InvalidArgument

_BLOCK = 1 << 20


def file_sha256(path: str) -> str:
    """The SHA-256 of a file, in hexadecimal digits.

    Raises:
        InvalidArgument: the file cannot be read.
    """
    digest = hashlib.sha256()
    try:
        with Path(path).open("rb") as file:
            while block := file.read(_BLOCK):
                digest.update(block)
    except OSError as error:
        raise InvalidArgument(f"{path!r} cannot be read: {error.strerror or error}") from error
    return digest.hexdigest()


def replace_file(path: Path, data: bytes) -> None:
    """Writes a file in one piece: after a crash, the old file or the new file exists.

    A link stays a link; the file behind the link is replaced. Readers see the old file or the new
    file, never a mixture.

    Raises:
        OSError: the file cannot be written.
    """
    path = path.resolve()
    part = path.with_name(f".{path.name}.{os.getpid()}-{threading.get_ident()}.part")
    try:
        with part.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
