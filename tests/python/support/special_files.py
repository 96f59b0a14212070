"""Files that are no regular files, made by a test in a folder of its own, and a small disk."""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import socket
import stat
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

WORDS = {"folder": "a folder", "fifo": "a FIFO", "socket": "a socket", "device": "a device"}
"""The kinds, and what the messages call them."""

_NULL = (1, 3)


def make_special(path: Path, kind: str) -> None:
    """Makes a file of this kind. Skips the test where the user may not make a device."""
    if kind == "folder":
        path.mkdir()
    elif kind == "fifo":
        os.mkfifo(path)
    elif kind == "socket":
        before = Path.cwd()
        os.chdir(path.parent)  # the whole path may be too long
        try:
            with socket.socket(socket.AF_UNIX) as made:
                made.bind(path.name)
        finally:
            os.chdir(before)
    else:
        try:
            os.mknod(path, 0o666 | stat.S_IFCHR, os.makedev(*_NULL))
        except PermissionError:
            pytest.skip("this user cannot make devices")


def identity(path: Path) -> tuple[int, int, int]:
    """What stays the same as long as nobody replaces the file."""
    found = path.lstat()
    return found.st_ino, found.st_mode, found.st_rdev


@contextlib.contextmanager
def no_hang(seconds: int = 60) -> Iterator[None]:
    """Raises TimeoutError in a block that waits for a FIFO. The time says nothing about speed."""

    def ring(*_: object) -> None:
        raise TimeoutError("the block waits for ever")

    before = signal.signal(signal.SIGALRM, ring)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


@contextlib.contextmanager
def small_disk(n_bytes: int) -> Iterator[None]:
    """No file can become larger in the block: writing fails in the middle, as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (n_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
