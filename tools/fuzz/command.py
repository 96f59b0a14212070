"""The command line of the fuzzers."""

from __future__ import annotations

import argparse
import random
import signal
import sys
import tempfile
import time
from pathlib import Path

from fuzz.findings import Findings

__all__ = ["main"]


def main(arguments: list[str] | None = None) -> int:
    """Runs a fuzzer. Returns 1 if it has found a failure."""
    options = _parser().parse_args(arguments)
    seed = random.SystemRandom().randrange(2**32) if options.seed is None else options.seed
    last = options.first + options.count - 1
    print(f"{options.what}: seed {seed}, cases {options.first} to {last}", flush=True)
    if options.out is not None:
        options.out.mkdir(parents=True, exist_ok=True)
    findings = Findings(options.out)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored in the background
    begin = time.monotonic()
    until = begin + 60 * options.minutes
    try:
        _run(options, seed, findings, until)
    except KeyboardInterrupt:
        print("interrupted")
    print(findings.report(time.monotonic() - begin), flush=True)
    return 1 if findings.failures else 0


def _run(options: argparse.Namespace, seed: int, findings: Findings, until: float) -> None:
    if options.what == "files":
        _files(options, seed, findings, until)
    elif options.what == "adapters":
        _adapters(options, seed, findings, until)
    elif options.what == "requests":
        from fuzz.fuzz_requests import fuzz_requests

        fuzz_requests(seed, options.first, options.count, findings, until)
    else:
        from fuzz.fuzz_schemas import fuzz_schemas

        fuzz_schemas(seed, options.first, options.count, findings, until)


def _files(options: argparse.Namespace, seed: int, findings: Findings, until: float) -> None:
    from fuzz.base_files import LABELS, QUICK_LABELS, base_files
    from fuzz.fuzz_files import FileFuzzer, check_bases, write_cases

    with tempfile.TemporaryDirectory(prefix="specbranch-fuzz-") as folder:
        bases = base_files(Path(folder), QUICK_LABELS if options.quick else LABELS)
    indices = range(options.first, options.first + options.count)
    if options.write:
        write_cases(bases, seed, indices, options.out or Path())
        return
    if bad := check_bases(bases):
        sys.exit(f"these files do not work before they are changed: {', '.join(bad)}")
    n_names = len({file.architecture for file in bases.values()})
    print(f"{len(bases)} correct files of {n_names} architectures", flush=True)
    FileFuzzer(bases, seed, findings).run(indices, until)


def _adapters(options: argparse.Namespace, seed: int, findings: Findings, until: float) -> None:
    from fuzz.base_files import base_adapters
    from fuzz.fuzz_files import FileFuzzer, check_bases

    indices = range(options.first, options.first + options.count)
    with tempfile.TemporaryDirectory(prefix="specbranch-fuzz-") as folder:
        model, bases = base_adapters(Path(folder))
        if bad := check_bases(bases, model=model):
            sys.exit(f"these adapters do not work before they are changed: {', '.join(bad)}")
        FileFuzzer(bases, seed, findings, model=model).run(indices, until)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tools.fuzz", description=__doc__)
    parser.add_argument("what", choices=["files", "adapters", "requests", "schemas"])
    parser.add_argument("--seed", type=int, help="default: a random seed, which is printed")
    parser.add_argument("--count", type=int, default=1000, help="number of cases")
    parser.add_argument("--first", type=int, default=0, help="index of the first case")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="time limit")
    parser.add_argument("--out", type=Path, help="folder for records and for files that failed")
    parser.add_argument("--quick", action="store_true", help="few architectures, for short runs")
    parser.add_argument("--write", action="store_true", help="only write the files of the cases")
    return parser
