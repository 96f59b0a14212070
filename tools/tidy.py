#!/usr/bin/env python3
"""clang-tidy on every C++ source of ours; what passed before and has not changed is skipped.

    tools/tidy.py build/full

A source passed if clang-tidy said nothing about it with the same settings, compile command and
contents of everything it includes. What passed is kept in ``~/.cache/specbranch_cpp/tidy`` (or in
``$XDG_CACHE_HOME``), as names of empty files, for 30 days after the last use.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
KEPT_SECONDS = 30 * 24 * 3600
INCLUDE = re.compile(rb'^\s*#\s*include\s*["<]([^">]+)[">]', re.MULTILINE)


def default_cache() -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "specbranch_cpp" / "tidy"


def folders_of(command: Sequence[str], folder: Path) -> list[Path]:
    """Returns the folders in which a compile command looks for headers."""
    found = []
    for i, word in enumerate(command):
        if word in ("-I", "-isystem") and i + 1 < len(command):
            found.append(folder / command[i + 1])
        elif word.startswith("-I") and word != "-I":
            found.append(folder / word[2:])
    return found


def inputs_of(source: Path, folders: Sequence[Path]) -> list[Path]:
    """Returns the source and all that it includes from `folders` or from beside the includer."""
    seen: dict[Path, None] = {source: None}
    waiting = [source]
    while waiting:
        file = waiting.pop()
        for name in INCLUDE.findall(file.read_bytes()):
            for folder in (file.parent, *folders):
                header = folder / os.fsdecode(name)
                if header.is_file():
                    if header not in seen:
                        seen[header] = None
                        waiting.append(header)
                    break
    return list(seen)


def fingerprint(tool: str, settings: bytes, entry: dict[str, str]) -> str:
    """Returns a name for everything that clang-tidy's answer about a source depends on."""
    folder = Path(entry["directory"])
    command = entry.get("arguments") or shlex.split(entry["command"])
    # A compiler cache in front, or another place of the checkout, changes no answer.
    words = [word.replace(str(ROOT), "") for word in command if not word.endswith("ccache")]
    digest = hashlib.sha256(json.dumps([tool, words]).encode() + settings)
    for file in inputs_of(folder / entry["file"], folders_of(command, folder)):
        digest.update(hashlib.sha256(file.read_bytes()).digest())
    return digest.hexdigest()


def forget_old(cache: Path) -> None:
    """Removes what has not been used for long."""
    limit = time.time() - KEPT_SECONDS
    for file in cache.iterdir():
        if file.stat().st_mtime < limit:
            file.unlink()


def sources(root: Path) -> set[Path]:
    command = ["git", "ls-files", "-co", "--exclude-standard", "--", "cpp/**.cpp"]
    listed = subprocess.run(command, cwd=root, check=True, capture_output=True, text=True).stdout
    return {(root / line).resolve() for line in listed.splitlines()}


def check(build: Path, wanted: set[Path], cache: Path, program: str, settings: bytes) -> int:
    """Checks the sources of a compilation database; returns how many did not pass."""
    tool = subprocess.run([program, "--version"], check=True, capture_output=True, text=True).stdout
    cache.mkdir(parents=True, exist_ok=True)
    entries = {}
    for entry in json.loads((build / "compile_commands.json").read_text()):
        path = (Path(entry["directory"]) / entry["file"]).resolve()
        if path in wanted:
            entries[path] = entry
    missing = wanted - entries.keys()
    if missing:
        print(f"not in {build}: {', '.join(sorted(map(str, missing)))}", file=sys.stderr)
        return len(missing)

    def passes(path: Path) -> bool:
        mark = cache / fingerprint(tool, settings, entries[path])
        if mark.exists():
            mark.touch()
            return True
        command = [program, "--quiet", "-p", str(build), str(path)]
        run = subprocess.run(command, check=False, capture_output=True, text=True)
        if run.returncode == 0:
            mark.touch()
            return True
        print(run.stdout + run.stderr, file=sys.stderr, flush=True)
        return False

    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        # The largest first, so that none is left for one core at the end.
        by_size = sorted(entries, key=lambda path: path.stat().st_size, reverse=True)
        n_failed = sum(not passed for passed in pool.map(passes, by_size))
    forget_old(cache)
    return n_failed


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("build", type=Path, help="a build folder with compile_commands.json")
    parser.add_argument("--cache", type=Path, default=default_cache(), help="what passed before")
    given = parser.parse_args(arguments)
    settings = (ROOT / ".clang-tidy").read_bytes()
    n_failed = check(given.build, sources(ROOT), given.cache, "clang-tidy", settings)
    if n_failed:
        print(f"{n_failed} sources did not pass", file=sys.stderr)
    return min(n_failed, 1)


if __name__ == "__main__":
    sys.exit(main())
