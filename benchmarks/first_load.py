"""What it costs to try a file that is new to the user in a child process first.

    python benchmarks/first_load.py MODEL [--rounds 5] [--from-disk] [--json FILE]

Each round loads the model three times, in an order that turns: as trusted, as new to the user, and
as known. With `--from-disk` the pages of the file leave the page cache before each load, as after a
restart of the machine; without it the file stays there, as right after a download. Reported are
the medians in seconds, and the ratios of `new` and `known` to `trusted` with their least and most.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from pathlib import Path

from specbranch_cpp import Engine

KINDS = ("trusted", "new", "known")


def drop_pages(path: Path) -> None:
    """The next reader of the file gets it from the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fdatasync(descriptor)  # pages that are not on the disk yet would stay
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    finally:
        os.close(descriptor)


def load_s(path: Path, kind: str, known: str, *, from_disk: bool) -> float:
    """Seconds until the engine is there. `known` is a cache folder that remembers the file."""
    if from_disk:
        drop_pages(path)
    with tempfile.TemporaryDirectory() as empty:
        os.environ["XDG_CACHE_HOME"] = known if kind == "known" else empty
        began = time.perf_counter()
        with Engine(path, n_ctx=512, trusted=kind == "trusted"):
            return time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("model", type=Path)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--from-disk", action="store_true")
    parser.add_argument("--json", type=Path, help="append one line with everything measured")
    args = parser.parse_args()
    found: dict[str, list[float]] = {kind: [] for kind in KINDS}
    with tempfile.TemporaryDirectory() as known:
        load_s(args.model, "known", known, from_disk=args.from_disk)  # now it is known
        for turn in range(args.rounds):
            for kind in KINDS[turn % 3 :] + KINDS[: turn % 3]:
                found[kind].append(load_s(args.model, kind, known, from_disk=args.from_disk))
    if args.json:
        record = {"model": args.model.name, "from_disk": args.from_disk, "seconds": found}
        with args.json.open("a") as file:
            file.write(json.dumps(record) + "\n")
    print("| load | s | to `trusted` | least | most |\n| --- | --- | --- | --- | --- |")
    for kind in KINDS:
        pairs = zip(found[kind], found["trusted"], strict=True)
        ratios = [one / trusted for one, trusted in pairs]
        print(
            f"| {kind} | {statistics.median(found[kind]):.2f} | {statistics.median(ratios):.2f} "
            f"| {min(ratios):.2f} | {max(ratios):.2f} |"
        )


if __name__ == "__main__":
    main()
