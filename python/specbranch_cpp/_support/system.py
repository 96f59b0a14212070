"""What differs between operating systems. A system without a facility does without it.

Written for Linux, macOS and Windows; only Linux has run it (see "Other systems" in
docs/guide/install.md).
"""

from __future__ import annotations

import contextlib
import getpass
import importlib
import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from typing import BinaryIO

__all__ = [
    "NOT_WAITING",
    "QUIET",
    "can_pass_sockets",
    "load_average",
    "lock_file",
    "no_core_dumps",
    "physical_memory",
    "set_mode",
    "usable_cpus",
    "user_key",
]


def _flag(name: str) -> int:
    return int(getattr(os, name, 0))


QUIET = _flag("O_CLOEXEC") | _flag("O_NOINHERIT") | _flag("O_NOCTTY") | _flag("O_BINARY")
"""Flags of `os.open`: programs that this process starts do not inherit the file, a terminal does
not become that of the process, and bytes stay as they are."""
NOT_WAITING = _flag("O_NONBLOCK")
"""A flag of `os.open` that does not wait for the other end of a FIFO."""


def usable_cpus() -> list[int]:
    """The numbers of the CPUs that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


def physical_memory() -> int | None:
    """The bytes of main memory. ``None``: the system does not tell."""
    with contextlib.suppress(ValueError, OSError, AttributeError):
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return _windows_memory()


def load_average() -> float | None:
    """The mean number of processes that wanted to compute in the last minute. ``None``: the system
    does not tell."""
    with contextlib.suppress(OSError, AttributeError):
        return os.getloadavg()[0]
    return None


def lock_file(file: BinaryIO) -> bool:
    """Locks a file for this process until it is closed. ``False``: another process has the lock."""
    try:
        import fcntl
    except ImportError:
        return _lock_on_windows(file) if os.name == "nt" else True
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def no_core_dumps() -> None:
    """A crash of this process leaves no file with its memory."""
    try:
        import resource
    except ImportError:
        return
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def set_mode(file: BinaryIO, mode: int) -> None:
    """Sets the permissions of an open file."""
    if hasattr(os, "fchmod"):
        os.fchmod(file.fileno(), mode)


def user_key() -> str:
    """A text that differs between the users of the machine."""
    return str(os.getuid()) if hasattr(os, "getuid") else getpass.getuser()


def can_pass_sockets() -> bool:
    """Whether a program that this process starts can inherit a socket by its number."""
    return os.name == "posix"


def _lock_on_windows(file: BinaryIO) -> bool:
    msvcrt: Any = importlib.import_module("msvcrt")
    place = file.tell()
    try:
        # A byte beyond the end of any file, since Windows keeps others from reading a locked one.
        file.seek(1 << 62)
        msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
    except OSError:
        return False
    finally:
        file.seek(place)
    return True


def _windows_memory() -> int | None:
    import ctypes

    class MemoryStatus(ctypes.Structure):
        """MEMORYSTATUSEX."""

        _fields_ = (
            ("length", ctypes.c_uint32),
            ("load", ctypes.c_uint32),
            *((name, ctypes.c_uint64) for name in
              ("total", "free", "pages", "free_pages", "space", "free_space", "extended")),
        )  # fmt: skip

    status = MemoryStatus(length=ctypes.sizeof(MemoryStatus))
    kernel = getattr(ctypes, "windll", None)
    if kernel is None or not kernel.kernel32.GlobalMemoryStatusEx(ctypes.byref(status)):
        return None
    return int(status.total)
