"""Loads a model file that is new to this user in a child process first.

llama.cpp ends the process on many faults of a file, while it loads or when it computes the first
graph. The engine refuses the faults that it knows (`shape_rules.h`); this finds the others. The
child loads the file on the CPU and decodes a few tokens. A file that passed is remembered by its
size, its time and its header, so that this costs time once.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from specbranch_cpp._llama import cpu_probe
from specbranch_cpp._llama.child import can_start, child_environment, run_child
from specbranch_cpp._support.files import open_file
from specbranch_cpp._support.split_files import PartName
from specbranch_cpp.errors import ModelLoadError

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["ensure_files_load", "time_limit_s"]

LOGGER = logging.getLogger("specbranch_cpp")
SWITCH = "SPECBRANCH_FILE_TRIAL"
"""Environment variable; ``0``: trust all files. The child gets ``0``: it must not try again."""

_ANYWAY = f"trusted=True or {SWITCH}=0 loads it without this trial"
_CHILD = "import sys; from specbranch_cpp._llama.file_trial import load; load(*sys.argv[1:])"
_HEADER_BYTES = 1 << 20
# A slow disk reads so many bytes per second; the time to start and to compute comes on top.
_SLOW_DISK = 40e6
_START_S = 20.0
# Above this share of the memory only the layout is tried: the child would drive other programs out.
_MEMORY_SHARE = 0.5
_ASSERTION = re.compile(r"GGML_ASSERT.*|.*\bassert.*failed.*|terminate called.*", re.IGNORECASE)
_LONGEST_REASON = 200
_MOST_THREADS = 8
_PROMPT = "a b c d"  # a batch of a few tokens; single tokens follow


@dataclass(frozen=True)
class _File:
    """A model file: the given path, and all of its parts."""

    path: str
    parts: tuple[Path, ...]

    @property
    def n_bytes(self) -> int:
        return sum(part.stat().st_size for part in self.parts)

    def digest(self) -> str:
        """A key that changes with the file, and with the libraries of llama.cpp."""
        found = hashlib.sha256(cpu_probe.libraries_key().encode())
        for part in self.parts:
            status = part.stat()
            found.update(f"{part.resolve()}\n{status.st_size}\n{status.st_mtime_ns}\n".encode())
            with open_file(part) as file:
                found.update(file.read(_HEADER_BYTES))
        return found.hexdigest()[:32]


def ensure_files_load(paths: Sequence[str]) -> None:
    """Tries each file that is new to this user in a child process.

    A file that cannot be read, or that a child refuses with an error, is left to the caller, who
    loads it next and gets the error.

    Raises:
        ModelLoadError: llama.cpp ends the process that loads the file, or does not come to an end.
    """
    if os.environ.get(SWITCH) == "0" or not can_start():
        return
    for path in dict.fromkeys(paths):
        file = _file_of(path)
        try:
            marker = cpu_probe.cache_folder() / "files" / file.digest()
            known = _is_bundled(file) or marker.exists()
        except (OSError, ValueError):  # loading says what is wrong
            continue
        if known or not _loads(file):
            continue
        with contextlib.suppress(OSError):  # without a cache, the next process tries again
            marker.parent.mkdir(parents=True, exist_ok=True)
            marker.touch()


def time_limit_s(n_bytes: int) -> float:
    """Seconds that a file of this size may take."""
    return _START_S + n_bytes / _SLOW_DISK


def _file_of(path: str) -> _File:
    name = PartName.read(Path(path).name)
    folder = Path(path).parent
    names = [Path(path).name] if name is None else name.names
    return _File(path, tuple(folder / each for each in names))


def _is_bundled(file: _File) -> bool:
    return (
        file.parts[0].resolve(strict=True).parent
        == Path(__file__).resolve().parent.parent / "models"
    )


def _loads(file: _File) -> bool:
    LOGGER.info("%s is new: a child process loads it first", file.path)
    n_bytes = file.n_bytes
    compute = n_bytes <= _MEMORY_SHARE * _memory_bytes()
    return _runs(file.path, compute=compute, limit_s=time_limit_s(n_bytes))


def _memory_bytes() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _runs(path: str, *, compute: bool, limit_s: float) -> bool:
    """Whether a child loads the file. ``False``: it fails in a way that the caller will see."""
    command = [sys.executable, "-c", _CHILD, str(Path(path).absolute())]
    if not compute:
        command.append("layout")
    try:
        end = run_child(command, limit_s, child_environment(**{cpu_probe.SWITCH: "0", SWITCH: "0"}))
    except OSError as error:
        LOGGER.warning("no child process could be started to try %s: %s", path, error)
        return False
    if end.code is None:
        raise ModelLoadError(
            f"[Engine] a process that loads this file did not come to an end within {limit_s:.0f} "
            f"s, so it was not loaded; {_ANYWAY}; {path}"
        )
    if name := end.fatal_signal:
        raise ModelLoadError(
            f"[Engine] llama.cpp ends the process ({name}) that loads this file, so it was not "
            f"loaded{_reason(end.stderr)}; {_ANYWAY}; {path}"
        )
    if end.code < 0:  # the system may have been short of memory
        LOGGER.warning("%s was not tried: the child process ended by signal %d", path, -end.code)
    return end.code == 0


def _reason(stderr: bytes) -> str:
    """What llama.cpp said last, as printable text."""
    lines = stderr.decode(errors="replace").splitlines()
    found = [match.group() for line in lines if (match := _ASSERTION.search(line))]
    if not found:
        return ""
    words = "".join(letter if letter.isprintable() else "?" for letter in found[-1])
    return f" ({words[:_LONGEST_REASON]})"


def load(path: str, what: str = "all") -> None:
    """The program of the child. ``what``: ``"layout"`` allocates no weights."""
    import resource

    from specbranch_cpp import _core

    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    options = _core.ModelOptions(os.fsencode(path))
    options.n_ctx = 256
    # The engine lays the model out before it loads weights. A file with bad weights must pass this,
    # too: the child would refuse the file with an error, and the engine would go on.
    _core.target_footprint(options, max_draft=1, max_branches=1)
    if what != "layout":
        n_threads = min(os.cpu_count() or 1, _MOST_THREADS)
        cpu_probe.compute(path, n_threads, _PROMPT)
