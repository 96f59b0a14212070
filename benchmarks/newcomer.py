"""What running texts notice of a long prompt that arrives beside them.

    python benchmarks/newcomer.py TARGET [DRAFT] [--running 3] [--prompt-tokens 8000] [--json FILE]

Some texts run; then a request with a long prompt comes. Between two batches of the texts the engine
reads one chunk of that prompt, so the texts should wait for one chunk at most. Reported are the
waits of the running texts for their next tokens, before the newcomer and beside its prompt; the
time of the last chunk and a step, the dearest, measured alone several times before; and the
newcomer's own wait for its first token. The last lines say by how many such times (the median) the
waits grew, and how many grew by more than the longest.
"""

from __future__ import annotations

import argparse
import json
import statistics
import threading
import time
from pathlib import Path
from typing import Any

from specbranch_cpp import Engine

CHUNK = 128  # tokens, on a CPU
N_CHUNKS = 9  # measured alone
WORDS = ("the", "quick", "brown", "fox", "jumps", "over", "one", "lazy", "dog", "while", "rain",
         "falls", "on", "an", "old", "stone", "bridge")  # fmt: skip


def long_prompt(engine: Engine, n_tokens: int, seed: int) -> list[int]:
    """Token ids of words in an order that is not the same for two seeds."""
    words = [WORDS[(i * (7 + 2 * seed) + i // len(WORDS)) % len(WORDS)] for i in range(n_tokens)]
    return engine.tokenize(" ".join(words))[:n_tokens]


class Reader(threading.Thread):
    """Reads a text, and notes when each token came."""

    def __init__(self, engine: Engine, prompt: str, n_tokens: int, mode: str) -> None:
        super().__init__()
        self.text = engine.generate(
            prompt, max_tokens=n_tokens, min_tokens=n_tokens, mode=mode, temperature=0.8, seed=1
        )
        self.times: list[float] = []
        self.start()

    def run(self) -> None:
        for chunk in self.text:
            if chunk.token is not None:
                self.times.append(time.perf_counter())

    def waits(self, begin: float, end: float) -> list[float]:
        """Seconds between tokens, of the waits that lie in that time."""
        pairs = zip(self.times, self.times[1:], strict=False)
        return [after - before for before, after in pairs if before >= begin and after <= end]


def measure(engine: Engine, args: argparse.Namespace) -> dict[str, Any]:
    """One newcomer beside texts that run."""
    n_tokens = args.prompt_tokens // CHUNK * CHUNK + 1  # whole chunks; a step reads the last token
    prompt = long_prompt(engine, n_tokens, 0)
    probe = long_prompt(engine, n_tokens, 1)
    # The cells of the text before are kept, so that this reads the last chunk of the prompt alone.
    engine.generate(probe[:-CHUNK], max_tokens=1, mode="autoregressive").result()
    chunks = []
    for i in range(N_CHUNKS):
        begin = time.perf_counter()
        last = probe[i : i + CHUNK]
        engine.generate(probe[:-CHUNK] + last, max_tokens=1, mode="autoregressive").result()
        chunks.append(time.perf_counter() - begin)
    chunk_s = statistics.median(chunks)

    readers = [Reader(engine, f"Item {i}: ", args.tokens, args.mode) for i in range(args.running)]
    while any(len(reader.times) < args.before for reader in readers):
        time.sleep(0.01)
    arrival = time.perf_counter()
    newcomer = engine.generate(prompt, max_tokens=1, mode=args.mode)
    next(iter(newcomer))
    first = time.perf_counter()
    for reader in readers:
        reader.text.cancel()
    for reader in readers:
        reader.join()
    newcomer.result()
    before = [wait for reader in readers for wait in reader.waits(0.0, arrival)]
    beside = [wait for reader in readers for wait in reader.waits(arrival, first)]
    usual = statistics.median(before)
    more = [wait - usual for wait in beside]
    ended = sum(len(reader.times) >= args.tokens for reader in readers)
    return {
        "mode": args.mode,
        "n_running": args.running,
        "n_prompt": len(prompt),
        "chunk_ms": {"median": _ms(chunk_s), "longest": _ms(max(chunks))},
        "before_ms": {"median": _ms(usual), "longest": _ms(max(before))},
        "beside_ms": {
            "median": _ms(statistics.median(beside)), "longest": _ms(max(beside)),
            "n": len(beside),
        },
        "first_token_s": round(first - arrival, 2),
        "ended_before": ended,
        "chunks_more": {
            "median": round(statistics.median(more) / chunk_s, 2),
            "longest": round(max(more) / chunk_s, 2),
        },
        "n_longer": sum(each > max(chunks) for each in more),
    }  # fmt: skip


def _ms(seconds: float) -> float:
    return round(1000 * seconds, 1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("models", nargs="+", type=Path, help="target and draft")
    parser.add_argument("--running", type=int, default=3)
    parser.add_argument("--prompt-tokens", type=int, default=8000)
    parser.add_argument("--tokens", type=int, default=2000, help="of each running text, at most")
    parser.add_argument("--before", type=int, default=24, help="tokens before the newcomer comes")
    parser.add_argument("--mode", default="auto")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    with Engine(
        *args.models,
        n_ctx=args.prompt_tokens + 64,
        n_ctx_total=args.prompt_tokens + 64 + args.running * (args.tokens + 64),
        n_parallel=args.running + 1,
        lookup=False,
    ) as engine:
        found = measure(engine, args)
    print(json.dumps(found, indent=2))
    if args.json is not None:
        with args.json.open("a", encoding="utf-8") as file:
            file.write(json.dumps(found) + "\n")


if __name__ == "__main__":
    main()
