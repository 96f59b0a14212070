#!/usr/bin/env python3
"""Did a commit make something slower? Builds two commits and runs a benchmark of both in turn.

The benchmark is a program that CMake builds in both commits and that prints a line of JSON per
figure, ``{"figure": NAME, "us": MICROSECONDS}``; other lines are ignored. Each commit is checked
out and built in a temporary folder, with ccache where there is one. A figure is worse when the
ratio of its medians exceeds the threshold and the whole interval of that ratio lies above 1: then
the exit code is 1. It is 2 when something failed.

    tools/compare_commits.py HEAD~1 HEAD --target specbranch_overhead --runs 15 -- \\
        python/specbranch_cpp/models/demo-draft.gguf 1024

Arguments after ``--`` go to the benchmark, which runs in the root of this checkout.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
N_RESAMPLES = 4000
LEVEL = 0.95
MIN_RUNS = 5  # fewer say nothing about how much the ratio scatters


class CompareError(Exception):
    """A commit could not be built, or its benchmark failed."""


@dataclass(frozen=True)
class Verdict:
    """One figure of two commits.

    Attributes:
        figure: its name.
        before_us: median of the first commit, microseconds.
        after_us: of the second.
        ratio: after over before.
        low: lower end of the 95 % interval of the ratio.
        high: upper end.
        worse: beyond the threshold, and the interval lies above 1.
    """

    figure: str
    before_us: float
    after_us: float
    ratio: float
    low: float
    high: float
    worse: bool


def interval(before: Sequence[float], after: Sequence[float], seed: int = 1) -> tuple[float, float]:
    """Bootstrap percentile interval (Efron, 1979) of the ratio of medians, after over before.

    Rounds are drawn with replacement, both values of a round together: what slows the machine down
    for a while slows both.

    Raises:
        ValueError: not one value of each per round, or fewer rounds than 5.
    """
    if len(before) != len(after):
        raise ValueError(f"{len(before)} values before and {len(after)} after; one each a round")
    if len(before) < MIN_RUNS:
        raise ValueError(f"{len(before)} rounds; at least {MIN_RUNS}")
    rounds = np.random.default_rng(seed).integers(0, len(before), (N_RESAMPLES, len(before)))
    medians = [np.median(np.asarray(values)[rounds], axis=1) for values in (before, after)]
    tail = (1.0 - LEVEL) / 2.0
    low, high = np.quantile(medians[1] / medians[0], (tail, 1.0 - tail))
    return float(low), float(high)


def judge(
    figure: str, before: Sequence[float], after: Sequence[float], threshold: float
) -> Verdict:
    """Whether a figure became worse by more than the threshold (1.1: 10 %)."""
    low, high = interval(before, after)
    before_us, after_us = float(np.median(before)), float(np.median(after))
    ratio = after_us / before_us
    return Verdict(figure, before_us, after_us, ratio, low, high, ratio > threshold and low > 1.0)


def figures(output: str) -> dict[str, float]:
    """What a benchmark printed, in microseconds by name; every one above 0, none twice."""
    found: dict[str, float] = {}
    for line in output.splitlines():
        if not line.startswith("{"):
            continue
        row = json.loads(line)
        name, us = str(row["figure"]), float(row["us"])
        if name in found:
            raise CompareError(f"the benchmark printed the figure {name!r} twice")
        if not us > 0:
            raise CompareError(f"the figure {name!r} is {us} us; above 0 is needed for a ratio")
        found[name] = us
    if not found:
        raise CompareError("the benchmark printed no figures")
    return found


def common(runs: Mapping[str, Sequence[Mapping[str, float]]]) -> list[str]:
    """The figures that every run of both commits has, in the order of the second commit."""
    every = [run for sequence in runs.values() for run in sequence]
    return [name for name in list(runs.values())[-1][0] if all(name in run for run in every)]


def call(command: Sequence[str | Path], cwd: Path, environment: Mapping[str, str]) -> str:
    result = subprocess.run(
        command, cwd=cwd, env=environment, capture_output=True, text=True, check=False
    )
    if result.returncode != 0:
        last = "\n".join((result.stdout + result.stderr).strip().splitlines()[-20:])
        raise CompareError(
            f"{' '.join(str(word) for word in command)} ended with {result.returncode}:\n{last}"
        )
    return result.stdout


@contextmanager
def worktree(root: Path, commit: str, folder: Path) -> Iterator[Path]:
    """A checkout of the commit, removed at the end."""
    environment = dict(os.environ)
    call(["git", "worktree", "add", "--detach", folder, commit], root, environment)
    try:
        yield folder
    finally:
        call(["git", "worktree", "remove", "--force", folder], root, environment)


def build(source: Path, folder: Path, preset: str, target: str) -> Path:
    """The program that the target makes; it lies at the top of the build folder."""
    environment = dict(os.environ)
    if shutil.which("ccache"):
        environment.setdefault("CMAKE_CXX_COMPILER_LAUNCHER", "ccache")
        # The same source in another folder is the same source.
        environment.setdefault("CCACHE_BASEDIR", str(source.parent))
        environment.setdefault("CCACHE_NOHASHDIR", "1")
    call(["cmake", "--preset", preset, "-B", folder], source, environment)
    call(["cmake", "--build", folder, "--target", target], source, environment)
    program = folder / target
    if not program.is_file():
        raise CompareError(f"the target {target} did not make {program}")
    return program


def compare(
    root: Path,
    commits: tuple[str, str],
    preset: str,
    target: str,
    arguments: Sequence[str],
    runs: int,
    threshold: float,
) -> list[Verdict]:
    """Builds both commits of the repository `root` and runs their benchmarks in turn.

    Raises:
        CompareError: a build or a run failed, or they have no figure in common.
    """
    with tempfile.TemporaryDirectory(prefix="compare-") as name:
        folder = Path(name)
        programs: dict[str, Path] = {}
        for side, commit in zip(("before", "after"), commits, strict=True):
            with worktree(root, commit, folder / side) as source:
                print(f"building {commit}", file=sys.stderr)
                programs[side] = build(source, folder / f"build-{side}", preset, target)
        found: dict[str, list[dict[str, float]]] = {side: [] for side in programs}
        for repeat in range(runs):
            print(f"round {repeat + 1} of {runs}", file=sys.stderr)
            # The first one of a round may find the machine in another state than the second.
            for side in programs if repeat % 2 == 0 else reversed(programs):
                output = call([programs[side], *arguments], root, os.environ)
                found[side].append(figures(output))
    names = common(found)
    if not names:
        raise CompareError("the two commits have no figure in common")
    return [
        judge(
            name,
            [run[name] for run in found["before"]],
            [run[name] for run in found["after"]],
            threshold,
        )
        for name in names
    ]


def table(verdicts: Sequence[Verdict]) -> str:
    lines = ["| figure | before, us | after, us | ratio | 95 % | |", "| --- " * 6 + "|"]
    lines += [
        f"| {v.figure} | {v.before_us:.4g} | {v.after_us:.4g} | {v.ratio:.3f} "
        f"| {v.low:.3f} .. {v.high:.3f} | {'WORSE' if v.worse else ''} |"
        for v in verdicts
    ]
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None, root: Path = ROOT) -> int:
    parser = argparse.ArgumentParser(
        usage="%(prog)s BEFORE AFTER [options] [-- ARGUMENT ...]",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("before")
    parser.add_argument("after")
    parser.add_argument("--target", default="specbranch_overhead", help="of CMake")
    parser.add_argument("--preset", default="llama", help="of CMake, in both commits")
    parser.add_argument("--runs", type=int, default=15, help="of each commit; at least 5")
    parser.add_argument(
        "--threshold", type=float, default=1.1, help="ratio that is still no matter"
    )
    words = list(sys.argv[1:] if argv is None else argv)
    end = words.index("--") if "--" in words else len(words)
    args = parser.parse_args(words[:end])
    if args.runs < MIN_RUNS:
        parser.error(f"--runs is {args.runs}; at least {MIN_RUNS}")
    if args.threshold < 1.0:
        parser.error(f"--threshold is {args.threshold}; at least 1")
    commits = (args.before, args.after)
    try:
        verdicts = compare(
            root, commits, args.preset, args.target, words[end + 1 :], args.runs, args.threshold
        )
    except CompareError as error:
        print(error, file=sys.stderr)
        return 2
    print(table(verdicts))
    return 1 if any(verdict.worse for verdict in verdicts) else 0


if __name__ == "__main__":
    sys.exit(main())
