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
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from specbranch_cpp._llama import cpu_probe, trial_program
from specbranch_cpp._llama.child import (
    NO_GPU,
    can_start,
    child_environment,
    interpreter,
    run_child,
)
from specbranch_cpp._support.files import open_file
from specbranch_cpp._support.split_files import PartName
from specbranch_cpp._support.system import physical_memory
from specbranch_cpp.errors import ModelLoadError

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["ensure_adapters_load", "ensure_files_load", "memory_limit_bytes", "time_limit_s"]

LOGGER = logging.getLogger("specbranch_cpp")
SWITCH = "SPECBRANCH_FILE_TRIAL"
"""Environment variable; ``0``: trust all files. The child gets ``0``: it must not try again."""

_ANYWAY = f"trusted=True or {SWITCH}=0 loads it without this trial"
_CHILD = "from specbranch_cpp._llama.trial_program import main; main()"
_HEADER_BYTES = 1 << 20
# A slow disk reads so many bytes per second; the time to start and to compute comes on top.
_SLOW_DISK = 40e6
_START_S = 20.0
# Above this share of the memory only the layout is tried: the child would drive other programs out.
_MEMORY_SHARE = 0.5
_ASSERTION = re.compile(r"GGML_ASSERT.*|.*\bassert.*failed.*|terminate called.*", re.IGNORECASE)
_LONGEST_REASON = 200
# The weights may be read and repacked, and a tensor converted meanwhile. The vocabulary, caches and
# buffers of 256 positions, Python and libraries take less than the rest.
_COPIES = 3
_ROOM_BYTES = 2 << 30


@dataclass(frozen=True)
class _File:
    """A model file: the given path, and all of its parts."""

    path: str
    parts: tuple[Path, ...]

    adapter: Path | None = None
    """A LoRA adapter that is tried with the model."""

    @property
    def new(self) -> str:
        """The path of what is tried: the adapter, or the model."""
        return self.path if self.adapter is None else str(self.adapter)

    @property
    def n_bytes(self) -> int:
        return sum(part.stat().st_size for part in self._all)

    @property
    def _all(self) -> tuple[Path, ...]:
        return self.parts if self.adapter is None else (*self.parts, self.adapter)

    def digest(self) -> str:
        """A key that changes with the file, and with the libraries of llama.cpp."""
        found = hashlib.sha256(cpu_probe.libraries_key().encode())
        for part in self._all:
            status = part.stat()
            found.update(f"{part.resolve()}\n{status.st_size}\n{status.st_mtime_ns}\n".encode())
            with open_file(part) as file:
                found.update(file.read(_HEADER_BYTES))
        return found.hexdigest()[:32]


def ensure_files_load(paths: Sequence[str]) -> None:
    """Tries each model that is new to this user in a child process.

    A file that cannot be read, or that a child refuses with an error, is left to the caller, who
    loads it next and gets the error.

    Raises:
        ModelLoadError: llama.cpp ends the process that loads the file, does not come to an end, or
            takes far more memory than a file of this size needs.
    """
    for path in dict.fromkeys(paths):
        _ensure_loads(path, None)


def ensure_adapters_load(model: str, adapters: Sequence[str]) -> None:
    """Tries each LoRA adapter that is new to this user, with its model, as `ensure_files_load`."""
    for adapter in dict.fromkeys(adapters):
        _ensure_loads(model, Path(adapter))


def _ensure_loads(path: str, adapter: Path | None) -> None:
    if os.environ.get(SWITCH) == "0" or not can_start():
        return
    file = _file_of(path, adapter)
    try:
        marker = cpu_probe.cache_folder() / "files" / file.digest()
        is_bundled = adapter is None and _is_bundled(file)
    except (OSError, ValueError):  # loading says what is wrong
        return
    if is_bundled or cpu_probe.is_remembered(marker) or not _loads(file):
        return
    with contextlib.suppress(OSError):  # without a cache, the next process tries again
        marker.parent.mkdir(parents=True, exist_ok=True)
        marker.touch()


def time_limit_s(n_bytes: int) -> float:
    """Seconds that a file of this size may take."""
    return _START_S + n_bytes / _SLOW_DISK


def memory_limit_bytes(n_bytes: int) -> int:
    """The memory that a child may take for a file of this size."""
    return _ROOM_BYTES + _COPIES * n_bytes


def _file_of(path: str, adapter: Path | None) -> _File:
    name = PartName.read(Path(path).name)
    folder = Path(path).parent
    names = [Path(path).name] if name is None else name.names
    return _File(path, tuple(folder / each for each in names), adapter)


def _is_bundled(file: _File) -> bool:
    return (
        file.parts[0].resolve(strict=True).parent
        == Path(__file__).resolve().parent.parent / "models"
    )


def _loads(file: _File) -> bool:
    LOGGER.info("%s is new: a child process loads it first", file.new)
    n_bytes = file.n_bytes
    compute = n_bytes <= _MEMORY_SHARE * _memory_bytes()
    return _runs(file, compute=compute, limit_s=time_limit_s(n_bytes))


def _memory_bytes() -> int:
    # A system that does not tell: the file counts as small enough to compute with.
    return physical_memory() or 1 << 62


def _runs(file: _File, *, compute: bool, limit_s: float) -> bool:
    """Whether a child loads the file. ``False``: it fails in a way that the caller will see."""
    most_bytes = memory_limit_bytes(file.n_bytes)
    command = [
        interpreter(), "-c", _CHILD, str(Path(file.path).absolute()),
        "" if file.adapter is None else str(file.adapter.absolute()),
        "compute" if compute else "layout", str(most_bytes),
    ]  # fmt: skip
    try:
        environment = child_environment(**NO_GPU, **{cpu_probe.SWITCH: "0", SWITCH: "0"})
        end = run_child(command, limit_s, environment, most_bytes)
    except OSError as error:
        LOGGER.warning("no child process could be started to try %s: %s", file.new, error)
        return False
    if end.used_too_much or end.code == trial_program.TOO_MUCH:
        raise _refused(
            file,
            f"loading this file takes more than {most_bytes / 1e9:.1f} GB of memory, which no "
            f"correct file of {file.n_bytes / 1e6:.1f} MB does",
        )
    if end.code is None:
        raise _refused(
            file,
            f"a process that loads this file did not come to an end within {limit_s:.0f} s",
        )
    if name := end.fatal_signal:
        raise _refused(
            file, f"llama.cpp ends the process ({name}) that loads this file", _reason(end.stderr)
        )
    if end.lost:
        raise _refused(
            file,
            "nobody knows how a process that loads this file has ended, because this program "
            "ignores SIGCHLD or waits for all of its processes",
            f" (the last line of that process: {_printable(end.lost)})",
        )
    if end.code < 0:  # the system may have been short of memory
        LOGGER.warning(
            "%s was not tried: the child process ended by signal %d", file.new, -end.code
        )
    return end.succeeded


def _refused(file: _File, what: str, reason: str = "") -> ModelLoadError:
    with_model = "" if file.adapter is None else f", with the model {file.path}"
    return ModelLoadError(
        f"[Engine] {what}, so it was not loaded{reason}; {_ANYWAY}; {file.new}{with_model}"
    )


def _reason(stderr: bytes) -> str:
    """What llama.cpp said last, as printable text."""
    lines = stderr.decode(errors="replace").splitlines()
    found = [match.group() for line in lines if (match := _ASSERTION.search(line))]
    return f" ({_printable(found[-1])})" if found else ""


def _printable(line: str) -> str:
    words = "".join(letter if letter.isprintable() else "?" for letter in line)
    return words[:_LONGEST_REASON]
