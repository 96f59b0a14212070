"""Several clients at once: tokens per second of all of them, and how long each waits.

    python -m benchmarks.clients TARGET DRAFT [--clients 1,2,4,8] [--rounds 2] [--json FILE]

Each client sends its next request when it has the answer to the last one. The contenders take turns
in every round: the queue of an engine that runs one generation at a time, and an engine that runs
as many as there are clients (at most --parallel), both without speculation and with ``auto``. Texts
have --max-tokens tokens at temperature 0.
"""

from __future__ import annotations

import argparse
import json
import statistics
import threading
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.common import PROMPTS

from specbranch_cpp import Engine

if TYPE_CHECKING:
    from collections.abc import Sequence

CONTENDERS = (
    ("queue, plain", False, "autoregressive"),
    ("queue, auto", False, "auto"),
    ("parallel, plain", True, "autoregressive"),
    ("parallel, auto", True, "auto"),
)


@dataclass(frozen=True)
class Run:
    """What one contender did in one round.

    Attributes:
        n_clients: clients at once.
        contender: its name.
        tokens_per_s: tokens of all texts per second.
        first_s: seconds from a request to its first token, of every request.
        between_s: the longest wait between two chunks of each text, in seconds.
        acceptance: share of the drafted tokens that became text; None: nothing was drafted.
    """

    n_clients: int
    contender: str
    tokens_per_s: float
    first_s: list[float]
    between_s: list[float]
    acceptance: float | None


def measure(
    engine: Engine, name: str, mode: str, n_clients: int, prompts: Sequence[str], max_tokens: int
) -> Run:
    """All prompts, by so many clients."""
    waiting = list(reversed(prompts))
    lock = threading.Lock()
    first: list[float] = []
    between: list[float] = []
    counts = {"tokens": 0, "drafted": 0, "accepted": 0}

    def client() -> None:
        while True:
            with lock:
                if not waiting:
                    return
                prompt = waiting.pop()
            begin = last = time.monotonic()
            longest = 0.0
            generation = engine.generate(
                prompt, max_tokens=max_tokens, mode=mode, lookup_answers=False,
                logit_bias={engine.eos_token or 0: float("-inf")},
            )  # fmt: skip
            for index, _ in enumerate(generation):
                now = time.monotonic()
                if index == 0:
                    arrived = now - begin
                else:
                    longest = max(longest, now - last)
                last = now
            stats = generation.result().stats
            with lock:
                first.append(arrived)
                between.append(longest)
                counts["tokens"] += stats.n_generated
                counts["drafted"] += stats.n_drafted
                counts["accepted"] += stats.n_accepted

    clients = [threading.Thread(target=client) for _ in range(n_clients)]
    begin = time.monotonic()
    for one in clients:
        one.start()
    for one in clients:
        one.join()
    seconds = time.monotonic() - begin
    share = counts["accepted"] / counts["drafted"] if counts["drafted"] else None
    return Run(n_clients, name, counts["tokens"] / seconds, first, between, share)


def percentile(values: Sequence[float], share: float) -> float:
    """The value below which this share of the values lies."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def table(runs: Sequence[Run]) -> str:
    """A row for each number of clients and contender; ratios are to the queue without speculation
    in the same round.
    """
    columns = (
        "clients", "contender", "tokens/s", "ratio (each round)", "first token p50, p95",
        "longest wait p50, p95", "accepted",
    )  # fmt: skip
    lines = [f"| {' | '.join(columns)} |", "| --- " * len(columns) + "|"]
    for n in sorted({run.n_clients for run in runs}):
        of_n = [run for run in runs if run.n_clients == n]
        base = [run.tokens_per_s for run in of_n if run.contender == CONTENDERS[0][0]]
        for name, _, _ in CONTENDERS:
            mine = [run for run in of_n if run.contender == name]
            if not mine:
                continue
            rates = [run.tokens_per_s for run in mine]
            ratios = [rate / plain for rate, plain in zip(rates, base, strict=True)]
            first = [value for run in mine for value in run.first_s]
            between = [value for run in mine for value in run.between_s]
            shares = [run.acceptance for run in mine if run.acceptance is not None]
            accepted = f"{statistics.mean(shares):.0%}" if shares else ""
            lines.append(
                f"| {n} | {name} | {statistics.median(rates):.1f} | "
                f"{', '.join(f'{ratio:.2f}' for ratio in ratios)} | "
                f"{percentile(first, 0.5):.2f}, {percentile(first, 0.95):.2f} s | "
                f"{percentile(between, 0.5):.2f}, {percentile(between, 0.95):.2f} s | {accepted} |"
            )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("target")
    parser.add_argument("draft")
    parser.add_argument("--clients", default="1,2,4,8", help="numbers of clients")
    parser.add_argument("--parallel", type=int, default=8, help="generations at once, at most")
    parser.add_argument("--prompts", type=int, default=8, help="requests of a contender in a round")
    parser.add_argument("--max-tokens", type=int, default=48)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--threads", type=int, default=2, help="threads of each model")
    parser.add_argument("--json", type=Path, help="file for all figures")
    args = parser.parse_args()
    options = {"n_ctx": 1024, "n_threads": args.threads, "draft_n_threads": args.threads}
    runs: list[Run] = []
    with (
        Engine(args.target, args.draft, **options) as single,
        Engine(args.target, args.draft, **options, n_parallel=args.parallel) as several,
    ):
        for index in range(args.rounds + 1):
            first = index * args.prompts
            prompts = [PROMPTS[(first + i) % len(PROMPTS)] for i in range(args.prompts)]
            for n in map(int, args.clients.split(",")):
                for name, parallel, mode in CONTENDERS:
                    engine = several if parallel else single
                    run = measure(engine, name, mode, n, prompts, args.max_tokens)
                    if index > 0:  # the first round warms up
                        runs.append(run)
                        print(f"{n} {name}: {run.tokens_per_s:.1f} tokens/s", flush=True)
                if index == 0:
                    break
    print(table(runs))
    if args.json:
        with args.json.open("w") as file:
            for run in runs:
                file.write(json.dumps(asdict(run)) + "\n")


if __name__ == "__main__":
    main()
