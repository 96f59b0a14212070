"""What the engine costs besides llama.cpp, as shares of one decoding step of a pair.

Takes hops (from the end of a step to the begin of the one it leads to) and coordination (neither
model computing) from traces of the pair and of fake models, and forks, rollbacks and choices from
the C++ program of the same name, if it was built. Writes a table; with --json a line per figure.

    cmake --preset llama && cmake --build --preset llama --target specbranch_overhead
    python -m benchmarks.overhead TARGET DRAFT --cpus 0 --draft-cpus 1 --json overhead.jsonl
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path

from specbranch_cpp import Completion, Engine, Span, _core, policies

PROMPTS = (
    "def fibonacci(n):\n    ",
    "import os\nimport sys\n\n\ndef main(argv=None):\n    ",
    "class Stack:\n    def __init__(self):\n        self.items = []\n\n    def push(self, item):\n",
)
MODES = ("autoregressive", "speculative", "pearl", "specbranch", "auto")
PROGRAM = Path(__file__).resolve().parent.parent / "build/llama/specbranch_overhead"
DRAFT_LENGTH = 4


@dataclass(frozen=True)
class Figure:
    """One cost.

    Attributes:
        source: what was measured: ``"pair"``, ``"fakes"`` or ``"program"``.
        figure: its name.
        us: microseconds, a median: of steps, or of what a token costs in one generation.
        ratio: to one step of the pair's target that decodes one token.
        n: how many steps or generations it is the median of; None where that is not told.
    """

    source: str
    figure: str
    us: float
    ratio: float
    n: int | None


def hops(spans: Iterable[Span]) -> dict[tuple[str, str], list[float]]:
    """Microseconds between two steps, by the sides of both, where one model works at a time.

    Only of what follows the prefill, and not of a step that began before the last one ended.
    """
    found: dict[tuple[str, str], list[float]] = defaultdict(list)
    steps = sorted((s for s in spans if s.kind != "prefill"), key=lambda s: (s.begin_ms, s.end_ms))
    for before, after in pairwise(steps):
        if after.begin_ms >= before.end_ms:
            found[before.side, after.side].append(1000.0 * (after.begin_ms - before.end_ms))
    return dict(found)


def run(engine: Engine, mode: str, prompt: str | Sequence[int], tokens: int) -> Completion:
    """Drafts in the modes that draft are of a fixed length, so that nothing depends on chance."""
    fixed = mode in ("speculative", "pearl", "specbranch")
    return engine.generate(
        prompt,
        max_tokens=tokens,
        seed=1,
        mode=mode,
        policy=policies.Fixed(DRAFT_LENGTH) if fixed else None,
        max_draft=DRAFT_LENGTH if fixed else None,
        trace=True,
    ).result()


def collect(
    engine: Engine, prompts: Sequence[str | Sequence[int]], tokens: int, repeats: int
) -> dict[str, list[Completion]]:
    """Every mode in turn, prompt by prompt; the first of each mode is not counted."""
    found: dict[str, list[Completion]] = {mode: [] for mode in MODES}
    for mode in MODES:
        run(engine, mode, prompts[0], tokens)
    for repeat in range(repeats):
        for i, prompt in enumerate(prompts):
            for mode in MODES if (repeat + i) % 2 == 0 else MODES[::-1]:
                found[mode].append(run(engine, mode, prompt, tokens))
    return found


def spans(completions: Iterable[Completion]) -> list[list[Span]]:
    return [list(done.trace.spans) for done in completions if done.trace is not None]


def step_us(plain: Iterable[Completion]) -> float:
    """The target's step for one token, the median."""
    return statistics.median(
        1000.0 * (span.end_ms - span.begin_ms)
        for one in spans(plain)
        for span in one
        if span.kind == "verify" and span.n_tokens == 1
    )


def figures(
    source: str, found: Mapping[str, Sequence[Completion]], one_step_us: float
) -> list[Figure]:
    """Hops where the models take turns, and coordination per token in every mode."""
    rows = []
    by_sides: dict[tuple[str, str], list[float]] = defaultdict(list)
    for one in spans(found["speculative"]):
        for sides, times in hops(one).items():
            by_sides[sides] += times
    # Here a target's step never follows another: take that from plain decoding.
    for one in spans(found["autoregressive"]):
        by_sides["target", "target"] += hops(one).get(("target", "target"), [])
    for (before, after), times in sorted(by_sides.items()):
        us = statistics.median(times)
        rows.append(Figure(source, f"hop, {before} to {after}", us, us / one_step_us, len(times)))
    for mode, completions in found.items():
        # The median leaves out what the system did to single generations.
        us = statistics.median(
            1000.0 * done.stats.coordination_ms / done.stats.n_generated for done in completions
        )
        rows.append(
            Figure(source, f"coordination a token, {mode}", us, us / one_step_us, len(completions))
        )
    return rows


def coordination_shares(found: Mapping[str, Sequence[Completion]]) -> dict[str, float]:
    """Of the wall time, by mode: the median of the generations."""
    return {
        mode: statistics.median(
            done.stats.coordination_ms / done.stats.decode_ms for done in completions
        )
        for mode, completions in found.items()
    }


def fake_engine() -> Engine:
    """Models that compute next to nothing: what remains is the engine."""
    sides = (_core._FakeOptions(), _core._FakeOptions())
    for fake in sides:
        fake.n_ctx = 2048
    pieces = [bytes([byte]) for byte in range(97, 97 + sides[0].n_vocab)]
    return Engine._from_core(_core._fake_engine(*sides, pieces))


def run_program(program: Path, model: Path, one_step_us: float) -> list[Figure]:
    result = subprocess.run(
        [program, model], capture_output=True, text=True, check=False, timeout=600
    )
    if result.returncode != 0:
        raise RuntimeError(f"{program} ended with {result.returncode}: {result.stderr.strip()}")
    rows = [json.loads(line) for line in result.stdout.splitlines()]
    return [
        Figure("program", row["figure"], row["us"], row["us"] / one_step_us, None) for row in rows
    ]


def table(rows: Iterable[Figure], shares: Mapping[str, float]) -> str:
    lines = ["| measured on | what | us | of one step |", "| --- | --- | --- | --- |"]
    lines += [f"| {r.source} | {r.figure} | {r.us:.3g} | {r.ratio:.2%} |" for r in rows]
    lines += ["", "Neither model computing, of the wall time of the pair:", ""]
    lines += [f"- `{mode}`: {share:.1%}" for mode, share in shares.items()]
    return "\n".join(lines)


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("target", type=Path)
    parser.add_argument("draft", type=Path)
    parser.add_argument("--cpus", type=int, nargs="+")
    parser.add_argument("--draft-cpus", type=int, nargs="+")
    parser.add_argument("--threads", type=int, default=1, help="of each model")
    parser.add_argument("--tokens", type=int, default=96)
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--program", type=Path, default=PROGRAM)
    parser.add_argument("--json", type=Path, help="append a line per figure")
    args = parser.parse_args(argv)
    with Engine(
        args.target,
        args.draft,
        n_ctx=1024,
        n_threads=args.threads,
        draft_n_threads=args.threads,
        cpus=args.cpus,
        draft_cpus=args.draft_cpus,
        lookup=False,
    ) as engine:
        found = collect(engine, PROMPTS, args.tokens, args.repeats)
    one_step_us = step_us(found["autoregressive"])
    rows = [Figure("pair", "one step of the target", one_step_us, 1.0, None)]
    rows += figures("pair", found, one_step_us)
    with fake_engine() as engine:
        fakes = collect(engine, [[1, 2, 3], [4, 5]], args.tokens, 5 * args.repeats)
    rows += figures("fakes", fakes, one_step_us)
    if args.program.exists():
        rows += run_program(args.program, args.draft, one_step_us)
    print(table(rows, coordination_shares(found)))
    if not args.program.exists():
        print(f"\n{args.program} was not built: no forks, rollbacks and choices")
    if args.json:
        with args.json.open("a") as file:
            for row in rows:
                line = {"target": args.target.name, "draft": args.draft.name, **asdict(row)}
                line |= {"us": round(row.us, 4), "ratio": round(row.ratio, 6)}
                file.write(json.dumps(line) + "\n")


if __name__ == "__main__":
    main()
