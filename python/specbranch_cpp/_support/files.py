"""Files: reading and writing them. Everything that the package opens by name goes through here.

Only regular files are read and replaced. A device, a FIFO or a socket may have no end, and a file
in its place would break what others use it for. Reading has a limit; a file is written beside its
place, so that a failure leaves the old file and nothing else.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from specbranch_cpp._support.system import NOT_WAITING, QUIET, set_mode
from specbranch_cpp.errors import InvalidArgument

if TYPE_CHECKING:
    from collections.abc import Iterator
    from io import FileIO

    AnyPath = str | bytes | os.PathLike[str]

LARGEST_TEXT = 1 << 26
"""Bytes of the largest text that is read from a file: a prompt, a grammar, a profile."""

_BLOCK = 1 << 20
_KINDS = (
    (stat.S_ISREG, "a regular file"),
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a FIFO"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


class FileRefused(InvalidArgument, OSError):  # noqa: N818
    """A path does not lead to a file that the package reads or writes.

    It is an `OSError` too, so that it gets the words of the errors of the system.

    Attributes:
        strerror: what is wrong with the file.
        filename: the path.
    """

    def __init__(self, path: AnyPath, reason: str) -> None:
        super().__init__(path, reason)
        self.filename = os.fsdecode(path)
        self.strerror = reason

    def __str__(self) -> str:
        return f"{self.filename!r} cannot be used: {self.strerror}"

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.filename, self.strerror)


def check_output(path: AnyPath) -> None:
    """Checks that `replacing` may write this file, for example before a long computation.

    Raises:
        FileRefused: there is something else than a regular file.
        OSError: the file or its folder is write-protected, or the folder does not exist.
    """
    _place_of(path)


@contextlib.contextmanager
def replacing(path: AnyPath) -> Iterator[BinaryIO]:
    """Writes a file in one piece: the block gets an empty file, which replaces the file at its end.

    Readers see the old file or the new file, never a mixture, also after a crash. If the block or
    the disk fails, the old file stays, and nothing else. A link stays a link; the file behind the
    link is replaced. Its permissions stay the same.

    Raises:
        FileRefused: there is something else than a regular file.
        OSError: the file cannot be written.
    """
    place, mode = _place_of(path)
    part = place.parent / f".specbranch-{os.urandom(8).hex()}.part"
    try:
        # A new name, so that no link of another user is followed in a folder of all users.
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | QUIET
        created = os.open(part, flags, 0o666 if mode is None else 0o600)
        try:
            with os.fdopen(created, "wb") as file:
                if mode is not None:
                    set_mode(file, mode)
                yield file
                file.flush()
                os.fsync(file.fileno())
            _place_of(path)  # somebody may have made a FIFO there meanwhile
            part.replace(place)
        except BaseException:
            with contextlib.suppress(OSError):
                part.unlink()
            raise
    except OSError as error:
        if error.filename not in (None, str(part)):
            raise
        raise OSError(error.errno, error.strerror or str(error), os.fsdecode(path)) from None


def replace_file(path: AnyPath, data: bytes) -> None:
    """Writes a file in one piece, as `replacing` does.

    Raises:
        FileRefused: there is something else than a regular file.
        OSError: the file cannot be written.
    """
    with replacing(path) as file:
        file.write(data)


def open_file(path: AnyPath) -> BinaryIO:
    """Opens a regular file for reading.

    Raises:
        FileRefused: there is something else.
        OSError: the file cannot be read.
    """
    _check_regular(path, _status(path))  # before opening, which does something to some devices
    return os.fdopen(_opened(path, os.O_RDONLY), "rb")


def create_file(path: AnyPath) -> FileIO:
    """A new file, open for writing at its end, without a buffer.

    Raises:
        FileExistsError: there is something already.
        OSError: the file cannot be created.
    """
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL | QUIET
    return os.fdopen(os.open(path, flags, 0o666), "wb", buffering=0)


def open_log(path: AnyPath, mode: int = 0o666) -> int:
    """Opens a regular file for reading and for writing at its end, and creates it if needed.

    Args:
        path: the file.
        mode: permissions of a new file.

    Raises:
        FileRefused: there is something else.
        OSError: the file cannot be written.
    """
    with contextlib.suppress(FileNotFoundError):
        _check_regular(path, _status(path))
    return _opened(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, mode)


def read_file(path: AnyPath, limit: int = LARGEST_TEXT) -> bytes:
    """The content of a regular file.

    Args:
        path: the file.
        limit: the largest number of bytes.

    Raises:
        FileRefused: there is something else, or the file is larger.
        OSError: the file cannot be read.
    """
    with open_file(path) as file:
        if os.fstat(file.fileno()).st_size > limit:  # at once, without reading so much
            raise _too_large(path, limit)
        return _at_most(file, limit, path)


def read_stream(file: BinaryIO, name: str, limit: int = LARGEST_TEXT) -> bytes:
    """All that comes from an open file, such as standard input.

    Raises:
        FileRefused: more than ``limit`` bytes come.
        OSError: the file cannot be read.
    """
    return _at_most(file, limit, name)


def read_input(path: AnyPath, limit: int = LARGEST_TEXT) -> bytes:
    """The content of a file that a person names: also of a FIFO, such as ``<(command)`` in a shell,
    and of a terminal.

    Raises:
        FileRefused: there is something else, or the file is larger.
        OSError: the file cannot be read.
    """
    found = _status(path)
    if stat.S_ISFIFO(found.st_mode) or (stat.S_ISCHR(found.st_mode) and _is_terminal(found)):
        with os.fdopen(os.open(path, os.O_RDONLY | QUIET), "rb") as file:
            return _at_most(file, limit, path)
    return read_file(path, limit)


def from_json(text: str | bytes) -> Any:
    """The value of JSON text.

    Raises:
        ValueError: the text is not JSON, or it is nested too deeply.
    """
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def file_sha256(path: str) -> str:
    """The SHA-256 of a file, in hexadecimal digits.

    Raises:
        InvalidArgument: the file cannot be read.
    """
    digest = hashlib.sha256()
    try:
        with open_file(path) as file:
            while block := file.read(_BLOCK):
                digest.update(block)
    except OSError as error:
        raise InvalidArgument(f"{path!r} cannot be read: {error.strerror or error}") from error
    return digest.hexdigest()


def _status(path: AnyPath) -> os.stat_result:
    try:
        return Path(os.fsdecode(path)).stat()
    except ValueError as error:  # a zero byte, or text that no name of a file can have
        raise FileRefused(path, f"this is no path ({error})") from None


def kind_of(status: os.stat_result) -> str:
    """The words for what has this status, such as ``"a folder"`` or ``"a FIFO"``."""
    return next((kind for matches, kind in _KINDS if matches(status.st_mode)), "something else")


def _check_regular(path: AnyPath, status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise FileRefused(path, f"it is {kind_of(status)}; it must be a regular file")


def _opened(path: AnyPath, flags: int, mode: int = 0o666) -> int:
    """A descriptor of a regular file."""
    # Without O_NONBLOCK, a FIFO that has come there meanwhile would wait for its other end.
    opened = os.open(path, flags | NOT_WAITING | QUIET, mode)
    try:
        _check_regular(path, os.fstat(opened))
        if NOT_WAITING:
            os.set_blocking(opened, True)
    except BaseException:
        os.close(opened)
        raise
    return opened


def _place_of(path: AnyPath) -> tuple[Path, int | None]:
    """Where a file is behind its links, and its permissions if it exists."""
    try:
        status = _status(path)
    except FileNotFoundError:
        place = Path(os.path.realpath(os.fsdecode(path)))
        place.parent.stat()
        _check_writable(place.parent, path)
        return place, None
    _check_regular(path, status)
    _check_writable(Path(os.fsdecode(path)), path)
    place = Path(os.path.realpath(os.fsdecode(path)))
    _check_writable(place.parent, path)  # the new file is written there
    return place, stat.S_IMODE(status.st_mode) & 0o777


def _check_writable(place: Path, path: AnyPath) -> None:
    if not os.access(place, os.W_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), os.fsdecode(path))


def _at_most(file: BinaryIO, limit: int, name: AnyPath) -> bytes:
    """All bytes up to the end. Blocks, because one large read would take its memory at once."""
    blocks: list[bytes] = []
    left = limit
    while block := file.read(min(_BLOCK, left + 1)):
        blocks.append(block)
        left -= len(block)
        if left < 0:
            raise _too_large(name, limit)
    return b"".join(blocks)


def _too_large(name: AnyPath, limit: int) -> FileRefused:
    return FileRefused(name, f"it has more than {limit:,} bytes")


def _is_terminal(status: os.stat_result) -> bool:
    """Whether this is the terminal of standard input. No other device is opened to find out."""
    try:
        return os.isatty(0) and os.fstat(0).st_rdev == status.st_rdev
    except OSError:
        return False
