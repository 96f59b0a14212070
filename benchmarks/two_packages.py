"""Is one text as fast as it was? Two builds of the package decode the same texts in turn.

    python benchmarks/two_packages.py BEFORE AFTER TARGET DRAFT [--loads 10] [--json FILE]

BEFORE and AFTER are folders to import specbranch_cpp from, such as those of
`pip install --no-deps --target FOLDER CHECKOUT`. Each build has a process. In each round both
decode one text in each mode, in an order that changes; the drafts have a fixed length, so that both
do the same work. Where the pages of a model lie in memory makes a process faster or slower by some
percent as long as it lives, so both start again for every load. Printed are the ratio of the times
of decoding, AFTER to BEFORE, its 95 % interval over the loads, and whether the tokens are the same.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

MODES = ("autoregressive", "speculative", "specbranch")
PROMPTS = (
    "def fibonacci(n):\n    ",
    "import os\nimport sys\n\n\ndef main(argv=None):\n    ",
    "class Stack:\n    def __init__(self):\n        self.items = []\n\n    def push(self, item):\n",
)
N_RESAMPLES = 4000
# Only what both builds know: one of them may be old.
WORKER = """
import json, sys
sys.path.insert(0, sys.argv[1])
from specbranch_cpp import Engine, policies
with Engine(sys.argv[2], sys.argv[3], n_ctx=1024, n_threads=1, draft_n_threads=1, cpus=[0],
            draft_cpus=[1], policy=policies.Fixed(4), lookup=False) as engine:
    for line in sys.stdin:
        options = json.loads(line)
        done = engine.generate(options.pop("prompt"), **options).result()
        print(json.dumps({"ms": done.stats.decode_ms, "tokens": list(done.tokens)}), flush=True)
"""


class Build:
    """A process that decodes with one build of the package."""

    def __init__(self, folder: Path, target: Path, draft: Path) -> None:
        command = [sys.executable, "-c", WORKER, str(folder), str(target), str(draft)]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def decode(self, **options: Any) -> dict[str, Any]:
        """Milliseconds of decoding, and the tokens."""
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None
        assert stdout is not None
        stdin.write(json.dumps(options) + "\n")
        stdin.flush()
        return dict(json.loads(stdout.readline()))

    def close(self) -> None:
        """Ends the process."""
        self._process.communicate()


def interval(ratios: list[float]) -> tuple[float, float]:
    """95 % of the geometric means of resampled loads."""
    draws = np.random.default_rng(0).choice(np.log(ratios), (N_RESAMPLES, len(ratios)))
    low, high = np.exp(np.quantile(draws.mean(axis=1), (0.025, 0.975)))
    return float(low), float(high)


def one_load(builds: Sequence[Build], args: argparse.Namespace) -> tuple[dict[str, float], bool]:
    """The geometric mean of the ratios of each mode, and whether the tokens are the same."""
    logs: dict[str, list[float]] = {mode: [] for mode in MODES}
    equal = True
    for turn in range(-1, args.rounds):  # the first round warms up
        prompt = PROMPTS[turn % len(PROMPTS)]
        for mode in MODES:
            options = {"prompt": prompt, "max_tokens": args.tokens, "mode": mode, "seed": 1}
            order = (0, 1) if turn % 2 else (1, 0)
            done = {each: builds[each].decode(**options, temperature=0.0) for each in order}
            equal &= done[0]["tokens"] == done[1]["tokens"]
            if turn >= 0:
                logs[mode].append(math.log(done[1]["ms"] / done[0]["ms"]))
    return {mode: math.exp(statistics.fmean(each)) for mode, each in logs.items()}, equal


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    for name in ("before", "after", "target", "draft"):
        parser.add_argument(name, type=Path)
    parser.add_argument("--loads", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=6, help="of each load")
    parser.add_argument("--tokens", type=int, default=96)
    parser.add_argument("--json", type=Path, help="append one line with everything measured")
    args = parser.parse_args()
    found: dict[str, list[float]] = {mode: [] for mode in MODES}
    all_equal = True
    for _ in range(args.loads):
        builds = [Build(folder, args.target, args.draft) for folder in (args.before, args.after)]
        ratios, equal = one_load(builds, args)
        for mode, ratio in ratios.items():
            found[mode].append(ratio)
        all_equal &= equal
        for build in builds:
            build.close()
    if args.json:
        with args.json.open("a") as file:
            file.write(json.dumps({"target": args.target.name, "ratios": found}) + "\n")
    print("| mode | time, after to before | 95 % |\n| --- | --- | --- |")
    for mode, means in found.items():
        low, high = interval(means)
        print(f"| {mode} | {statistics.geometric_mean(means):.3f} | {low:.3f} .. {high:.3f} |")
    print(f"the tokens are {'the same' if all_equal else 'NOT the same'}")


if __name__ == "__main__":
    main()
