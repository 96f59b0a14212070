"""The modes at the settings of the SpecBranch paper (arXiv:2506.01979), simulated.

The paper reports 1.8 to 4.5 times the speed of autoregressive decoding and 1.09 to 1.19 times that
of PEARL. Two devices that share nothing, every mode with its best settings; the acceptances and
ratios are a grid over what the paper's pairs span, not its measurements.

    python benchmarks/simulate_paper.py --json out.jsonl
"""

from __future__ import annotations

import argparse
import json
import statistics
from dataclasses import asdict
from pathlib import Path

from specbranch_cpp import simulation

RATIOS = (4.0, 5.0, 8.0, 10.0, 15.0)
ALPHAS = (0.5, 0.6, 0.7, 0.8, 0.9)
MODES = ("speculative", "pearl", "specbranch", "auto")


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--machine", default="ideal", choices=simulation.MACHINES)
    parser.add_argument("--ratios", type=float, nargs="+", default=RATIOS, help="the paper's c")
    parser.add_argument("--alphas", type=float, nargs="+", default=ALPHAS)
    parser.add_argument("--tokens", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", type=Path, help="append one line a cell")
    args = parser.parse_args(argv)

    found = simulation.sweep(
        simulation.Pair(), args.machine, args.ratios, args.alphas, MODES,
        n_tokens=args.tokens, seed=args.seed,
    )  # fmt: skip
    print("| c | alpha | " + " | ".join(MODES) + " | specbranch / pearl |")
    print("| --- | --- |" + " --- |" * (len(MODES) + 1))
    gains = []
    for (c, alpha), results in found.items():
        speed = {one.setting.mode: one.speedup for one in results}
        gains.append(speed["specbranch"] / speed["pearl"])
        cells = " | ".join(f"{speed[mode]:.2f}" for mode in MODES)
        print(f"| {c:g} | {alpha:g} | {cells} | {gains[-1]:.2f} |")
        if args.json:
            line = {"c": c, "alpha": alpha, "results": [asdict(one) for one in results]}
            with args.json.open("a") as file:
                file.write(json.dumps(line) + "\n")
    best = [one.speedup for results in found.values() for one in results
            if one.setting.mode == "specbranch"]  # fmt: skip
    print(
        f"\nspecbranch over pearl: {min(gains):.2f} to {max(gains):.2f}, "
        f"geometric mean {statistics.geometric_mean(gains):.2f} (paper: 1.09 to 1.19)"
        f"\nspecbranch over autoregressive: {min(best):.2f} to {max(best):.2f} "
        "(paper: 1.8 to 4.5)"
    )


if __name__ == "__main__":
    main()
