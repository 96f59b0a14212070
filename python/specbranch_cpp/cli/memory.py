"""How much memory a process can still get. Standard library only."""

from __future__ import annotations

import math
from pathlib import Path

_UNITS = ("KiB", "MiB", "GiB", "TiB")


def available(proc: Path = Path("/proc"), cgroups: Path = Path("/sys/fs/cgroup")) -> int | None:
    """Bytes: what the system has, or what the process's control groups leave if that is less.

    None where the system does not tell.
    """
    amounts = [_system(proc)]
    for line in _read(proc / "self/cgroup").splitlines():
        _, _, rest = line.partition(":")
        controllers, _, group = rest.partition(":")
        if not controllers:
            amounts += _groups(cgroups, group, "memory.max", "memory.current", "inactive_file")
        elif "memory" in controllers.split(","):
            amounts += _groups(
                cgroups / "memory",
                group,
                "memory.limit_in_bytes",
                "memory.usage_in_bytes",
                "total_inactive_file",
            )
    return min((amount for amount in amounts if amount is not None), default=None)


def _system(proc: Path) -> int | None:
    kilobytes = _entry(_read(proc / "meminfo"), "MemAvailable:")
    return None if kilobytes is None else 1024 * kilobytes


def _groups(root: Path, group: str, limit: str, usage: str, cache: str) -> list[int | None]:
    """What the group and each of those around it have left."""
    inner = root / group.strip("/")
    return [
        _left(folder, limit, usage, cache)
        for folder in (inner, *inner.parents)
        if folder.is_relative_to(root)
    ]


def _left(folder: Path, limit: str, usage: str, cache: str) -> int | None:
    try:
        # Cached files count as used, but give way.
        reclaimable = _entry(_read(folder / "memory.stat"), cache) or 0
        used = int(_read(folder / usage)) - reclaimable
        return max(0, int(_read(folder / limit)) - used)
    except ValueError:  # no such file, or "max"
        return None


def _entry(text: str, name: str) -> int | None:
    for line in text.splitlines():
        words = line.split()
        if len(words) >= 2 and words[0] == name:
            return int(words[1])
    return None


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def readable(n_bytes: int) -> str:
    """Such as ``12.3 MiB``."""
    if n_bytes < 1024:
        return f"{n_bytes} bytes"
    power = min(int(math.log2(n_bytes)) // 10, len(_UNITS))
    number = n_bytes / 1024**power
    return f"{number:.{0 if number >= 100 else 1}f} {_UNITS[power - 1]}"
