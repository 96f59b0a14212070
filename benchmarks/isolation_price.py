"""What ``isolate=True`` costs a token: the same texts with and without it, in turns.

    python benchmarks/isolation_price.py [TARGET [DRAFT]] [--rounds 40] [--tokens 128] [--json FILE]

One engine runs in this process, one in its own. Each round decodes one text with both, in an order
that changes, reads it token by token, and takes the time from the first token to the last. The
difference of the two, for one token, is the price. The interval is that of a mean of paired
differences, so disturbances that both engines have do not count.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import time
from pathlib import Path
from typing import Any

from specbranch_cpp import Engine, demo

PROMPT = "def add(a, b):\n    return a + b\n\n\ndef "
MODES = ("autoregressive", "speculative", "auto")
_Z = 1.96


def us_per_token(engine: Engine, n_tokens: int, seed: int, mode: str) -> float:
    """The time between two tokens, as the reader sees it, in microseconds."""
    options: Any = {"seed": seed, "temperature": 0.8, "mode": mode, "min_tokens": n_tokens}
    with engine.generate(PROMPT, max_tokens=n_tokens, **options) as text:
        next(text)
        begin = time.perf_counter()
        n_read = sum(chunk.token is not None for chunk in text)
        return (time.perf_counter() - begin) / n_read * 1e6


def measured(engines: dict[str, Engine], mode: str, n_rounds: int, n_tokens: int) -> dict[str, Any]:
    """The times of both engines, and their difference with its 95 % interval."""
    times: dict[str, list[float]] = {name: [] for name in engines}
    for round_number in range(-2, n_rounds):
        order = list(engines) if round_number % 2 else list(reversed(engines))
        for name in order:
            taken = us_per_token(engines[name], n_tokens, round_number + 2, mode)
            if round_number >= 0:
                times[name].append(taken)
    differences = [there - here for here, there in zip(*times.values(), strict=True)]
    half = _Z * statistics.stdev(differences) / math.sqrt(len(differences))
    return {
        "mode": mode,
        **{f"{name}_us": round(statistics.median(found), 1) for name, found in times.items()},
        "price_us": round(statistics.mean(differences), 1),
        "median_price_us": round(statistics.median(differences), 1),
        "interval_us": [round(statistics.mean(differences) + side * half, 1) for side in (-1, 1)],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("models", nargs="*", type=Path, help="target and draft")
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--tokens", type=int, default=128)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    models = arguments.models or demo.pair()
    with (
        Engine(*models, n_ctx=1024) as here,
        Engine(*models, n_ctx=1024, isolate=True) as there,
    ):
        engines = {"same_process": here, "own_process": there}
        found = [measured(engines, mode, arguments.rounds, arguments.tokens) for mode in MODES]
    for row in found:
        print(row)
    if arguments.json:
        arguments.json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
