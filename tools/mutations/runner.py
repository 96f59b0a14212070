"""Builds and tests copies of the tree with one mutation after another."""

from __future__ import annotations

import argparse
import json
import os
import queue
import tempfile
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import mutations
from mutations.mutation import StaleMutationError
from mutations.working_copy import WorkingCopy

if TYPE_CHECKING:
    from mutations.mutation import Mutation

CAUGHT_BY = Path(__file__).with_name("caught_by.json")
"""The test case that caught each mutation last. It runs first: a hint, and no verdict."""


class Report:
    """What became of the mutations, from several threads.

    Args:
        hints: the test case that caught each mutation last.
        remember: whether `CAUGHT_BY` is written after each mutation.
    """

    def __init__(self, n_chosen: int, hints: dict[str, str], *, remember: bool) -> None:
        self.n_chosen = n_chosen
        self.hints = hints
        self.remember = remember
        self.bad: list[str] = []
        self._lock = threading.Lock()
        self.n_tried = 0

    def add(self, name: str, verdict: str, seconds: float, note: str, caught_by: str) -> None:
        with self._lock:
            self.n_tried += 1
            if verdict != "caught":
                self.bad.append(name)
            if caught_by:
                self.hints[name] = caught_by
            if self.remember:
                CAUGHT_BY.write_text(json.dumps(self.hints, indent=1, sort_keys=True) + "\n")
            number = f"{self.n_tried}/{self.n_chosen}"
            print(f"{number:>9} {name:30} {verdict:10} {seconds:5.1f} s  {note}", flush=True)

    def summary(self) -> str:
        bad = f"; not caught: {', '.join(sorted(self.bad))}" if self.bad else ""
        return f"{self.n_tried - len(self.bad)} of {self.n_chosen} mutations caught{bad}"


def try_one(mutation: Mutation, copy: WorkingCopy, hint: str | None, report: Report) -> None:
    begin = time.monotonic()
    with copy.broken(mutation):
        error = copy.build()
        if error is not None:
            verdict, note, caught_by = "NO BUILD", error, ""
        else:
            result = copy.test(hint)
            verdict = "caught" if result.caught else "SURVIVED"
            note = result.how if result.caught else mutation.breaks
            caught_by = result.caught_by
    report.add(mutation.name, verdict, time.monotonic() - begin, note, caught_by)


def run(chosen: list[Mutation], args: argparse.Namespace, folder: Path) -> int:
    known = {mutation.name for mutation in mutations.MUTATIONS}
    noted = json.loads(CAUGHT_BY.read_text()) if CAUGHT_BY.exists() else {}
    hints = {name: test for name, test in noted.items() if name in known}
    first = WorkingCopy(folder / "0", scale=args.scale, timeout_s=args.timeout)
    for mutation in chosen:
        mutation.read(first.tree)
    seconds = first.prepare(jobs=args.jobs)
    print(f"{'unchanged':40} {'passes':10} {seconds:5.1f} s", flush=True)
    more = range(1, min(args.jobs, len(chosen)))
    copies = [first, *(first.again(folder / str(i), jobs=args.jobs) for i in more)]

    waiting: queue.SimpleQueue[Mutation] = queue.SimpleQueue()
    for mutation in chosen:
        waiting.put(mutation)
    report = Report(len(chosen), dict(hints), remember=args.remember)

    def work(copy: WorkingCopy) -> None:
        while True:
            try:
                mutation = waiting.get_nowait()
            except queue.Empty:
                return
            hint = None if args.no_hints else hints.get(mutation.name)
            try_one(mutation, copy, hint, report)

    threads = [threading.Thread(target=work, args=(copy,)) for copy in copies]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    print(report.summary())
    return 1 if report.bad or report.n_tried < len(chosen) else 0


def make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="mutations", description=(mutations.__doc__ or "").splitlines()[0]
    )
    parser.add_argument("--list", action="store_true", help="print the mutations and stop")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="these mutations only")
    parser.add_argument(
        "--jobs", type=int, default=os.cpu_count() or 1, help="mutations that are tried at once"
    )
    parser.add_argument("--scale", type=float, default=0.1, help="share of the repetitions run")
    parser.add_argument(
        "--timeout", type=float, help="seconds until a run hangs; default: from the unchanged tree"
    )
    parser.add_argument(
        "--no-hints", action="store_true",
        help="run all tests in their order, not first the one that caught the mutation last",
    )  # fmt: skip
    parser.add_argument(
        "--remember", action="store_true", help=f"note in {CAUGHT_BY.name} what caught them"
    )
    return parser


def main() -> int:
    args = make_parser().parse_args()
    names = {mutation.name for mutation in mutations.MUTATIONS}
    if args.only and (unknown := set(args.only) - names):
        raise SystemExit(f"no such mutation: {', '.join(sorted(unknown))}")
    chosen = [m for m in mutations.MUTATIONS if not args.only or m.name in args.only]
    if args.list:
        for mutation in chosen:
            print(f"{mutation.name:30} {mutation.breaks}")
        return 0
    with tempfile.TemporaryDirectory(prefix="specbranch-mutations-") as folder:
        try:
            return run(chosen, args, Path(folder))
        except StaleMutationError as error:
            raise SystemExit(str(error)) from None
