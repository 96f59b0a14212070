"""`auto` against every other mode at its best setting, over many pairs.

Runs `speed.py` on each draft and prints, per pair and temperature, the speed of every mode over
`autoregressive`, then the geometric means of `auto` over each mode tuned per pair.

    python -m benchmarks.grid TARGET DRAFT ... --temperatures 0 0.8 --json out.jsonl
"""

from __future__ import annotations

import argparse
import json
import math
from dataclasses import asdict
from pathlib import Path

from benchmarks import speed

MODES = ("autoregressive", "speculative", "pearl", "specbranch", "auto")


def best_speeds(rows: list[dict[str, object]]) -> dict[str, float]:
    """Tokens per second of each mode's best setting."""
    return {str(row["mode"]): speed.speed(row) for row in speed.best_of_each(rows)}


def measure(args: argparse.Namespace, draft: Path, temperature: float) -> dict[str, object]:
    run = argparse.Namespace(**vars(args))
    run.draft, run.temperature = draft, temperature
    with speed.open_engine(run) as engine:
        found = list(speed.samples(engine, run))
        costs = engine.costs
    rows = speed.summarize(found, speed.settings(run))
    return {
        "target": args.target.name,
        "draft": draft.name,
        "temperature": temperature,
        "step_ratio": speed.step_ratio(found),
        "costs": None if costs is None else asdict(costs),
        "rows": rows,
    }


def geomean(values: list[float]) -> float:
    return math.exp(sum(math.log(value) for value in values) / len(values))


def main() -> None:
    parser = speed.parser(__doc__, many_drafts=True)
    parser.add_argument("--temperatures", type=float, nargs="+", default=[0.0])
    args = parser.parse_args()
    print("| draft | T | c | " + " | ".join(MODES[1:]) + " | same tokens | auto decided |")
    print("| --- " * (5 + len(MODES)) + "|", flush=True)
    ratios: dict[str, list[float]] = {mode: [] for mode in MODES[:-1]}
    for draft in args.drafts:
        for temperature in args.temperatures:
            record = measure(args, draft, temperature)
            rows = record["rows"]
            assert isinstance(rows, list)
            best = best_speeds(rows)
            for mode, values in ratios.items():
                values.append(best["auto"] / best[mode])
            cells = [f"{best[mode] / best['autoregressive']:.2f}" for mode in MODES[1:]]
            same = all(row["same_tokens"] for row in rows)
            print(
                f"| {draft.name} | {temperature:g} | {1 / float(str(record['step_ratio'])):.1f} | "
                + " | ".join(cells)
                + f" | {'yes' if same else 'NO'} | {rows[-1]['why']} |",
                flush=True,
            )
            if args.json:
                with args.json.open("a") as file:
                    file.write(json.dumps(record) + "\n")
    print()
    for mode, values in ratios.items():
        print(f"auto / {mode}: geometric mean {geomean(values):.3f}, least {min(values):.3f}")


if __name__ == "__main__":
    main()
