"""How long the package takes to import, and the command line to show its help.

Each program is started anew, in turn with the others, so that all see the same machine. CPU time
(user and system) tells most on a machine that others use too; ``python`` is an interpreter that
does nothing.

    python -m benchmarks.start_up
    python -m benchmarks.start_up --path OTHER/python   # the package of another clone
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

PROGRAMS = {
    "python": ("-c", "pass"),
    "import specbranch_cpp": ("-c", "import specbranch_cpp"),
    "from specbranch_cpp import Engine": ("-c", "from specbranch_cpp import Engine"),
    "specbranch --help": ("-m", "specbranch_cpp", "--help"),
    "specbranch generate --help": ("-m", "specbranch_cpp", "generate", "--help"),
}


def run(arguments: tuple[str, ...], environment: dict[str, str]) -> tuple[float, float]:
    """Seconds of CPU and of the clock that an interpreter takes."""
    begin = time.perf_counter()
    with subprocess.Popen(
        [sys.executable, *arguments], env=environment, stdout=subprocess.DEVNULL
    ) as child:
        _, status, used = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode != 0:
        raise SystemExit(f"{' '.join(arguments)} failed")
    return used.ru_utime + used.ru_stime, time.perf_counter() - begin


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=10)
    parser.add_argument("--path", type=Path, help="folder of the package to measure")
    args = parser.parse_args()
    environment = dict(os.environ)
    if args.path is not None:
        environment["PYTHONPATH"] = str(args.path.resolve())
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in PROGRAMS}
    for _ in range(args.runs):
        for name, arguments in PROGRAMS.items():
            found[name].append(run(arguments, environment))
    print("| program | CPU s, least | median | clock s, least | median |")
    print("| --- | --- | --- | --- | --- |")
    for name, times in found.items():
        cells = [f"{stat(each):.3f}" for each in zip(*times, strict=True)
                 for stat in (min, statistics.median)]  # fmt: skip
        print(f"| `{name}` | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
