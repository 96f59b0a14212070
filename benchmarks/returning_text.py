"""How long a conversation waits for its first token after another text had its sequence.

    python benchmarks/returning_text.py TARGET [DRAFT] [--lengths 250 1000] [--rounds 5]

Two engines take turns: one keeps texts that leave the KV cache in main memory (`cache_ram`), one
does not. In each round an engine continues the conversation, after a short request of another kind
has taken the sequence. Reported are medians of the seconds to the first token, with least and most:
of a conversation that was still there, one that came back, and one that was read anew; and of the
short request, which first copies the conversation away.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from pathlib import Path
from typing import Any

from specbranch_cpp import Engine

CONVERSATION = "def total(rows):\n    return sum(row.price for row in rows)\n\n"
OTHER = "# A title for this conversation, in at most five words:\n" * 8
KINDS = ("still there", "came back", "read anew", "the other request")


def first_token_s(engine: Engine, prompt: list[int]) -> float:
    began = time.perf_counter()
    engine.complete(prompt, max_tokens=1, temperature=0.0)
    return time.perf_counter() - began


def measure(target: Path, draft: Path | None, n: int, rounds: int) -> dict[str, list[float]]:
    """Seconds, by kind, of a conversation of `n` tokens."""
    found: dict[str, list[float]] = {kind: [] for kind in KINDS}
    options: dict[str, Any] = {"n_ctx": n + 512, "prefix_reuse": "fast", "measure_costs": False}
    with (
        Engine(target, draft, **options) as keeps,
        Engine(target, draft, cache_ram=0, **options) as loses,
    ):
        tokens = keeps.tokenize(CONVERSATION * (1 + n // 10))[:n]
        other = keeps.tokenize(OTHER)
        for engine in (keeps, loses):
            first_token_s(engine, tokens)
        for _ in range(rounds):
            # Both differ from round to round, so that both have to be copied.
            tokens = [*tokens[: n // 2], *tokens[n // 2 + 1 :], tokens[n // 2]]
            other = [*other[1:], other[0]]
            first_token_s(keeps, tokens)
            found["the other request"].append(first_token_s(keeps, other))
            found["came back"].append(first_token_s(keeps, tokens))
            found["still there"].append(first_token_s(keeps, tokens))
            first_token_s(loses, other)
            found["read anew"].append(first_token_s(loses, tokens))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("target", type=Path)
    parser.add_argument("draft", type=Path, nargs="?")
    parser.add_argument("--lengths", type=int, nargs="+", default=[250, 1000])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path, help="append one line for each length")
    args = parser.parse_args()
    print("| tokens | conversation | s | least | most |\n| --- | --- | --- | --- | --- |")
    for n in args.lengths:
        found = measure(args.target, args.draft, n, args.rounds)
        for kind, seconds in found.items():
            print(
                f"| {n} | {kind} | {statistics.median(seconds):.3f} | {min(seconds):.3f} | "
                f"{max(seconds):.3f} |"
            )
        if args.json:
            models = [each.name for each in (args.target, args.draft) if each]
            record = {"models": models, "tokens": n, "seconds": found}
            with args.json.open("a") as file:
                file.write(json.dumps(record) + "\n")


if __name__ == "__main__":
    main()
