"""Speed of every mode on one pair, each model on a core of its own.

Runs the modes in turn, prompt by prompt (so that a drifting machine hits all alike), checks that
all give the same tokens, and prints medians of the ratio to `autoregressive` of the same prompt and
repeat. Also measures s: how much each model slows down while the other one runs.

    python benchmarks/speed.py TARGET DRAFT --cpus 0 --draft-cpus 1 --json out.jsonl
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from specbranch_cpp import Engine, GenerationStats, policies

PROMPTS = (
    "def fibonacci(n):\n    ",
    "import os\nimport sys\n\n\ndef main(argv=None):\n    ",
    "class Stack:\n    def __init__(self):\n        self.items = []\n\n    def push(self, item):\n",
    "def read_lines(path):\n    with open(path) as file:\n        ",
    "for key, value in sorted(mapping.items()):\n    ",
    "def test_parser(self):\n        parser = Parser()\n        self.assertEqual(",
    "try:\n    value = int(text)\nexcept ValueError:\n    ",
    'def quote(text):\n    """Return text in quotes.',
)


UNTUNED = ("autoregressive", "auto")


@dataclass(frozen=True)
class Setting:
    """A mode with its draft length (0: none)."""

    mode: str
    draft_length: int
    epsilon: float | None = None
    k_max: int = 1

    @property
    def name(self) -> str:
        if self.mode in UNTUNED:
            return self.mode
        extra = "" if self.epsilon is None else f", epsilon {self.epsilon:g}, k {self.k_max}"
        return f"{self.mode} ({self.draft_length}{extra})"


@dataclass(frozen=True)
class Sample:
    setting: Setting
    prompt: int
    tokens: tuple[int, ...]
    stats: GenerationStats


def settings(args: argparse.Namespace) -> list[Setting]:
    chosen = [Setting("autoregressive", 0)]
    for mode in ("speculative", "pearl"):
        chosen += [Setting(mode, length) for length in args.lengths]
    chosen += [
        Setting("specbranch", length, epsilon, k_max)
        for length in args.lengths
        for epsilon in args.epsilons
        for k_max in args.k_maxes
    ]
    return [*chosen, Setting("auto", 0)]


def run(engine: Engine, setting: Setting, prompt: int, args: argparse.Namespace) -> Sample:
    common = {
        "max_tokens": args.tokens,
        "temperature": args.temperature,
        "seed": prompt,
        "mode": setting.mode,
    }
    if setting.mode in UNTUNED:
        done = engine.generate(PROMPTS[prompt], **common).result()
    else:
        policy: policies.BuiltIn = policies.Fixed(setting.draft_length)
        if setting.epsilon is not None:
            policy = policies.Confidence(setting.epsilon)
        done = engine.generate(
            PROMPTS[prompt],
            **common,
            policy=policy,
            max_draft=setting.draft_length,
            k_max=setting.k_max,
        ).result()
    return Sample(setting, prompt, tuple(done.tokens), done.stats)


def samples(engine: Engine, args: argparse.Namespace) -> Iterator[Sample]:
    chosen = settings(args)
    for setting in chosen:  # not counted: the first run of a shape builds its graph
        run(engine, setting, 0, args)
    for repeat in range(args.repeats):
        for prompt in range(len(PROMPTS)):
            order = chosen if (repeat + prompt) % 2 == 0 else chosen[::-1]
            for setting in order:
                yield run(engine, setting, prompt, args)


def tokens_per_second(engine: Engine, seconds: float) -> float:
    """Autoregressive speed, counted for about so many seconds."""
    tokens = 0
    begin = time.perf_counter()
    while time.perf_counter() - begin < seconds:
        stats = engine.generate(PROMPTS[0], max_tokens=48, mode="autoregressive").result().stats
        tokens += stats.n_generated
    return tokens / (time.perf_counter() - begin)


def slowdown(args: argparse.Namespace) -> dict[str, float]:
    """s of each model: its speed alone over its speed while the other one runs."""
    with (
        Engine(args.target, n_ctx=args.n_ctx, n_threads=args.threads, cpus=args.cpus) as target,
        Engine(args.draft, n_ctx=args.n_ctx, n_threads=args.threads, cpus=args.draft_cpus) as draft,
    ):
        ratios: dict[str, list[float]] = {"target": [], "draft": []}
        for _ in range(3):
            for name, one, other in (("target", target, draft), ("draft", draft, target)):
                alone = tokens_per_second(one, 1.0)
                busy = threading.Thread(target=tokens_per_second, args=(other, 1.6))
                busy.start()
                both = tokens_per_second(one, 1.0)
                busy.join()
                ratios[name].append(alone / both)
    return {name: statistics.median(values) for name, values in ratios.items()}


def step_ratio(found: list[Sample]) -> float:
    """Draft step over target step, both alone: from `speculative` and `autoregressive`."""
    target = [
        s.stats.target_busy_ms / s.stats.n_target_steps
        for s in found
        if s.setting.mode == "autoregressive"
    ]
    draft = [
        s.stats.draft_busy_ms / s.stats.n_draft_steps
        for s in found
        if s.setting.mode == "speculative"
    ]
    return statistics.median(draft) / statistics.median(target)


def summarize(found: list[Sample], chosen: list[Setting]) -> list[dict[str, object]]:
    """One row a setting: medians over prompts and repeats, ratios taken pair by pair."""
    by_setting = {setting: [s for s in found if s.setting == setting] for setting in chosen}
    base = by_setting[chosen[0]]
    rows: list[dict[str, object]] = []
    for setting, group in by_setting.items():
        ratios = [
            b.stats.decode_ms / b.stats.n_generated / (s.stats.decode_ms / s.stats.n_generated)
            for s, b in zip(group, base, strict=True)
        ]
        same = all(s.tokens == b.tokens for s, b in zip(group, base, strict=True))
        total = {
            name: sum(getattr(s.stats, name) for s in group)
            for name in (
                "n_generated", "n_target_steps", "n_drafted", "n_accepted", "n_rolled_back",
                "target_busy_ms", "draft_busy_ms", "overlap_ms", "coordination_ms", "decode_ms",
            )
        }  # fmt: skip
        shorter = min(total["target_busy_ms"], total["draft_busy_ms"])
        rows.append(
            {
                "setting": setting.name,
                "mode": setting.mode,
                "tokens_per_second": total["n_generated"] / total["decode_ms"] * 1000,
                "median_ratio": statistics.median(ratios),
                "mean_accepted_length": total["n_generated"] / total["n_target_steps"],
                "rollback_rate": total["n_rolled_back"] / max(total["n_drafted"], 1),
                "overlap_share": total["overlap_ms"] / shorter if shorter else 0.0,
                "coordination_share": total["coordination_ms"] / total["decode_ms"],
                "same_tokens": same,
                "why": group[-1].stats.why,
            }
        )
    return rows


def table(rows: list[dict[str, object]]) -> str:
    base = speed(rows[0])
    lines = [
        (
            "| setting | tokens/s | ratio | median ratio | M | RB "
            "| overlap | coordination | same tokens |"
        ),
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    lines += [
        f"| {r['setting']} | {r['tokens_per_second']:.1f} "
        f"| {speed(r) / base:.2f} | {r['median_ratio']:.2f} "
        f"| {r['mean_accepted_length']:.2f} | {r['rollback_rate']:.2f} "
        f"| {r['overlap_share']:.0%} | {r['coordination_share']:.1%} "
        f"| {'yes' if r['same_tokens'] else 'NO'} |"
        for r in rows
    ]
    return "\n".join(lines)


def speed(row: dict[str, object]) -> float:
    return float(str(row["tokens_per_second"]))


def best_of_each(rows: list[dict[str, object]]) -> list[dict[str, object]]:
    best: dict[object, dict[str, object]] = {}
    for row in rows:
        known = best.get(row["mode"])
        if known is None or speed(row) > speed(known):
            best[row["mode"]] = row
    return list(best.values())


def parser(description: str | None, *, many_drafts: bool = False) -> argparse.ArgumentParser:
    """The options that the benchmarks of whole generations share."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("target", type=Path)
    if many_drafts:
        parser.add_argument("drafts", type=Path, nargs="+")
    else:
        parser.add_argument("draft", type=Path)
    parser.add_argument("--cpus", type=int, nargs="+", default=[0])
    parser.add_argument("--draft-cpus", type=int, nargs="+", default=[1])
    parser.add_argument("--threads", type=int, default=1, help="threads of each model")
    parser.add_argument("--tokens", type=int, default=96)
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--lengths", type=int, nargs="+", default=[2, 4, 6])
    parser.add_argument("--epsilons", type=float, nargs="+", default=[0.2, 0.4])
    parser.add_argument("--k-maxes", type=int, nargs="+", default=[2])
    parser.add_argument("--n-ctx", type=int, default=1024)
    parser.add_argument("--json", type=Path, help="append one line with everything measured")
    return parser


def open_engine(args: argparse.Namespace, profile: Path | None = None) -> Engine:
    return Engine(
        args.target,
        args.draft,
        n_ctx=args.n_ctx,
        n_threads=args.threads,
        draft_n_threads=args.threads,
        cpus=args.cpus,
        draft_cpus=args.draft_cpus,
        max_draft=max(16, *args.lengths),
        k_max=max(4, *args.k_maxes),
        profile=profile,
    )


def main(argv: list[str] | None = None) -> None:
    options = parser(__doc__)
    options.add_argument("--temperature", type=float, default=0.0)
    args = options.parse_args(argv)
    s = slowdown(args)
    with open_engine(args) as engine:
        found = list(samples(engine, args))
    rows = summarize(found, settings(args))
    ratio = step_ratio(found)
    print(f"draft step / target step: {ratio:.3f} (1/{1 / ratio:.1f})")
    print(f"s: target {s['target']:.2f}, draft {s['draft']:.2f}\n")
    print(table(rows))
    print("\nthe best of each mode:\n")
    print(table(best_of_each(rows)))
    print(f"\nauto, the last time: {rows[-1]['why']}")
    if args.json:
        record = {
            "target": args.target.name,
            "draft": args.draft.name,
            "machine": platform.processor() or platform.machine(),
            "threads": args.threads,
            "tokens": args.tokens,
            "temperature": args.temperature,
            "step_ratio": ratio,
            "slowdown": s,
            "rows": rows,
        }
        with args.json.open("a") as file:
            file.write(json.dumps(record) + "\n")


if __name__ == "__main__":
    main()
