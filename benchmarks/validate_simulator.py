"""Does the simulator tell the truth? Simulated against measured speed-ups of one pair, by mode.

Runs every mode on the pair, prompt by prompt and in turn, with traces. Takes from them what steps
cost (each model alone, by batch length), how much the models slow each other down, what
coordination costs, and what the draft proposed at every place; simulates the same generations from
that alone, and compares. Needs a quiet machine, as every measurement of speed.

    python benchmarks/validate_simulator.py TARGET DRAFT --cpus 0 --draft-cpus 1 --json out.jsonl

The exit code is 1 if a mode's simulated speed-up is off by more than the tolerance.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import sys
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

from specbranch_cpp import Completion, Engine, Span, policies, simulation
from specbranch_cpp.simulation import Setting

PROMPTS = (
    "import os\n\n\ndef read_lines(path):\n    ",
    "class Stack:\n    def __init__(self):\n        ",
    "def fibonacci(n):\n    ",
    "for key, value in sorted(mapping.items()):\n    ",
    "def test_parser(self):\n        parser = Parser()\n        self.assertEqual(",
    'def quote(text):\n    """Return text in quotes.',
)
_ALONE = 0.05  # share of a span in which the other model works: it counts as alone below,
_SHARED = 0.9  # as disturbed all the time above
_OUTLIER = 3.0  # times the median


@dataclass(frozen=True)
class Run:
    setting: Setting
    prompt: int
    completion: Completion
    verified_branches: int  # of the engine


@dataclass(frozen=True)
class Measured:
    """What the simulator is told of the machine."""

    target_us: tuple[float, ...]
    draft_us: tuple[float, ...]
    target_slowdown: float
    draft_slowdown: float
    hop_us: float
    rebuild_us: float


@dataclass(frozen=True)
class Step:
    """A pass of a model."""

    n: int
    """Tokens, padding included."""
    us: float
    share: float
    """How much of it the other model was at work."""
    rebuilt: bool
    """The batch before it had another length."""


def chosen_settings(args: argparse.Namespace) -> list[Setting]:
    found = [Setting("autoregressive")]
    for gamma in args.lengths:
        found += [
            Setting("speculative", gamma),
            Setting("pearl", gamma),
            Setting("specbranch", gamma, args.epsilon, args.max_branches),
        ]
    if args.auto:
        found.append(Setting("auto", max(args.lengths), None, args.max_branches))
    return found


def generate(engine: Engine, setting: Setting, prompt: int, args: argparse.Namespace) -> Run:
    policy: policies.BuiltIn = policies.Fixed(setting.gamma)
    if setting.epsilon is not None:
        policy = policies.Confidence(setting.epsilon)
    done = engine.generate(
        PROMPTS[prompt],
        max_tokens=args.tokens,
        temperature=args.temperature,
        seed=prompt,
        mode=setting.mode,
        policy=policy if setting.mode not in ("autoregressive", "auto") else None,
        max_draft=setting.gamma if setting.mode != "autoregressive" else None,
        max_branches=setting.max_branches if setting.mode in ("specbranch", "auto") else None,
        trace=True,
    ).result()
    return Run(setting, prompt, done, engine.verified_branches)


def measure(engine: Engine, args: argparse.Namespace) -> tuple[list[Run], list[Run]]:
    """The runs to explain, and chains of every length, which tell what steps cost alone."""
    chosen = chosen_settings(args)
    longest = max(args.lengths) + 1
    chains = [Setting("speculative", gamma) for gamma in range(1, longest)]
    for setting in (*chosen, *chains):  # not counted: the first run of a shape builds its graph
        generate(engine, setting, 0, args)
    runs: list[Run] = []
    for repeat in range(args.repeats):
        for prompt in range(args.prompts):
            order = chosen if (repeat + prompt) % 2 == 0 else chosen[::-1]
            runs += [generate(engine, setting, prompt, args) for setting in order]
    probes = [generate(engine, setting, prompt, args) for prompt in (0, 1) for setting in chains]
    return runs, probes


def overlap_share(span: Span, others: Sequence[Span]) -> float:
    shared = sum(
        max(0.0, min(span.end_ms, other.end_ms) - max(span.begin_ms, other.begin_ms))
        for other in others
    )
    return shared / max(span.end_ms - span.begin_ms, 1e-9)


def steps_of(runs: Iterable[Run], kind: str) -> Iterable[Step]:
    """All complete passes of one kind."""
    for run in runs:
        trace = run.completion.trace
        assert trace is not None
        mine = [span for span in trace.spans if span.kind == kind]
        others = [span for span in trace.spans if span.kind not in (kind, "prefill")]
        last = 0
        for span in mine:
            n = span.n_tokens + span.n_padding
            if span.end == "done":
                near = [o for o in others if o.end_ms > span.begin_ms and o.begin_ms < span.end_ms]
                us = 1000.0 * (span.end_ms - span.begin_ms)
                yield Step(n, us, overlap_share(span, near), n != last)
            last = n


def rebuild_us(steps: Sequence[Step]) -> float:
    """How much longer a pass takes after one of another length: by length, then weighted."""
    same: dict[int, list[float]] = defaultdict(list)
    rebuilt: dict[int, list[float]] = defaultdict(list)
    for step in steps:
        if step.share < _ALONE:
            (rebuilt if step.rebuilt else same)[step.n].append(step.us)
    both = [n for n in rebuilt if len(same[n]) >= 3 and len(rebuilt[n]) >= 3]
    if not both:
        return 0.0
    weights = [len(rebuilt[n]) for n in both]
    more = [statistics.median(rebuilt[n]) - statistics.median(same[n]) for n in both]
    return max(0.0, sum(m * w for m, w in zip(more, weights, strict=True)) / sum(weights))


def mean(values: Sequence[float]) -> float:
    """Without what a disturbance of the machine did to single steps."""
    limit = _OUTLIER * statistics.median(values)
    return statistics.fmean(value for value in values if value <= limit)


def step_times(steps: Sequence[Step]) -> tuple[tuple[float, ...], float]:
    """The curve of one model alone, and how much slower it is while the other one works."""
    alone: dict[int, list[float]] = defaultdict(list)
    shared: dict[int, list[float]] = defaultdict(list)
    for step in steps:
        if step.share < _ALONE:
            alone[step.n].append(step.us)
        elif step.share > _SHARED:
            shared[step.n].append(step.us)
    both = [n for n in shared if len(alone[n]) >= 3 and len(shared[n]) >= 3]
    weights = [len(shared[n]) for n in both]
    ratios = [mean(shared[n]) / mean(alone[n]) for n in both]
    slowdown = 1.0
    if both:
        slowdown = sum(r * w for r, w in zip(ratios, weights, strict=True)) / sum(weights)
    slowdown = max(1.0, slowdown)
    # Lengths that never ran alone: with the slow-down taken out.
    cleaned: dict[int, list[float]] = defaultdict(list)
    for step in steps:
        cleaned[step.n].append(step.us * (1.0 - step.share + step.share / slowdown))
    points = {n: mean(alone[n] if len(alone[n]) >= 3 else cleaned[n]) for n in cleaned}
    return through(points), slowdown


def through(points: dict[int, float]) -> tuple[float, ...]:
    """Straight lines between the lengths that occurred; constant before the first."""
    lengths = sorted(points)
    curve = [points[lengths[0]]] * (lengths[0] - 1)
    for low, high in pairwise(lengths):
        slope = (points[high] - points[low]) / (high - low)
        curve += [points[low] + slope * (n - low) for n in range(low, high)]
    return (*curve, points[lengths[-1]])


def understand(runs: Sequence[Run], probes: Sequence[Run]) -> Measured:
    verifications = list(steps_of([*runs, *probes], "verify"))
    rebuilding = rebuild_us(verifications)
    target_us, target_slowdown = step_times(
        [replace(step, us=step.us - rebuilding * step.rebuilt) for step in verifications]
    )
    draft_us, draft_slowdown = step_times(list(steps_of([*runs, *probes], "draft")))
    plain = [r.completion.stats for r in runs if r.setting.mode == "autoregressive"]
    hop_ms = sum(s.coordination_ms for s in plain) / sum(s.n_target_steps for s in plain)
    return Measured(
        target_us, draft_us, target_slowdown, draft_slowdown, max(0.0, 1000.0 * hop_ms), rebuilding
    )


Proposals = tuple[tuple[tuple[float, ...], int], ...]


def proposals_of(run: Run) -> Proposals:
    """What the draft proposed at every place of the text; without candidates where it did not."""
    trace = run.completion.trace
    assert trace is not None
    return tuple(proposal for one in trace.rounds for proposal in one.proposals)


def all_proposals(run: Run, runs: Sequence[Run]) -> Proposals:
    """The same; where the draft was not asked, what it said there in another run of the text.

    `auto` asks it at few places, which need not be like the others.
    """
    found = list(proposals_of(run))
    for other in runs:
        if other.prompt != run.prompt or other.completion.tokens != run.completion.tokens:
            continue
        for i, proposal in enumerate(proposals_of(other)[: len(found)]):
            if not found[i][0]:
                found[i] = proposal
    return tuple(found)


def pair_of(run: Run, measured: Measured, runs: Sequence[Run]) -> simulation.Pair:
    """What the draft would propose in a generation, and measured step times."""
    pair = simulation.Pair(
        target_us=measured.target_us,
        draft_us=measured.draft_us,
        verified_branches=run.verified_branches,
    )
    if run.setting.mode == "autoregressive":
        return pair
    return replace(pair, proposals=all_proposals(run, runs))


def simulated_ms(group: Sequence[Run], measured: Measured, runs: Sequence[Run]) -> float:
    """The same generations of one setting: as many tokens, in the same order."""
    machine = simulation.Machine(
        target_slowdown=measured.target_slowdown,
        draft_slowdown=measured.draft_slowdown,
        hop_us=measured.hop_us,
        rebuild_us=measured.rebuild_us,
        abort_us=1500.0,
    )
    setting = group[0].setting
    pairs = [pair_of(run, measured, runs) for run in group]
    lengths = [run.completion.stats.n_generated for run in group]
    if setting.mode != "auto":
        each = zip(group, pairs, lengths, strict=True)
        return 0.001 * sum(
            n
            * simulation.simulate(pair, machine, setting, n_tokens=n, seed=run.prompt).us_per_token
            for run, pair, n in each
        )
    # The engine had learned from the same texts before, and learns from one after another.
    n_tokens = round(statistics.fmean(lengths))
    found = simulation.simulate_texts(2 * pairs, machine, setting, n_tokens=n_tokens)
    return 0.001 * sum(
        n * result.us_per_token for n, result in zip(lengths, found[len(pairs) :], strict=True)
    )


def rows(runs: Sequence[Run], measured: Measured) -> list[dict[str, object]]:
    by_setting: dict[Setting, list[Run]] = defaultdict(list)
    for run in runs:
        if run.completion.stats.n_generated:
            by_setting[run.setting].append(run)

    def per_token(group: Sequence[Run], total_ms: float) -> float:
        return total_ms / sum(run.completion.stats.n_generated for run in group)

    real = {
        s: per_token(g, sum(r.completion.stats.decode_ms for r in g)) for s, g in by_setting.items()
    }
    virtual = {s: per_token(g, simulated_ms(g, measured, runs)) for s, g in by_setting.items()}
    plain = Setting("autoregressive")
    return [
        {
            "setting": str(setting),
            "mode": setting.mode,
            "measured_ms_per_token": real[setting],
            "simulated_ms_per_token": virtual[setting],
            "measured_speedup": real[plain] / real[setting],
            "simulated_speedup": virtual[plain] / virtual[setting],
            "ratio": virtual[plain] / virtual[setting] * real[setting] / real[plain],
        }
        for setting in by_setting
    ]


def table(found: Sequence[dict[str, object]]) -> str:
    lines = [
        "| setting | measured | simulated | simulated / measured |",
        "| --- | --- | --- | --- |",
    ]
    lines += [
        f"| {row['setting']} | {row['measured_speedup']:.2f} | {row['simulated_speedup']:.2f} "
        f"| {row['ratio']:.3f} |"
        for row in found
    ]
    return "\n".join(lines)


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("target", type=Path)
    parser.add_argument("draft", type=Path)
    parser.add_argument("--cpus", type=int, nargs="+")
    parser.add_argument("--draft-cpus", type=int, nargs="+")
    parser.add_argument("--threads", type=int, default=1, help="threads of each model")
    parser.add_argument("--tokens", type=int, default=96)
    parser.add_argument("--prompts", type=int, default=len(PROMPTS))
    parser.add_argument("--temperature", type=float, default=0.0)
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--lengths", type=int, nargs="+", default=[3, 6])
    parser.add_argument("--epsilon", type=float, default=0.4)
    parser.add_argument("--max-branches", type=int, default=4)
    parser.add_argument("--auto", action="store_true", help="the mode `auto` too")
    parser.add_argument("--n-ctx", type=int, default=1024)
    parser.add_argument("--tolerance", type=float, default=0.1)
    parser.add_argument("--json", type=Path, help="append what was measured and every row")
    return parser.parse_args(argv)


def new_engine(args: argparse.Namespace, **more: Any) -> Engine:
    """The engine of these options, where only the draft proposes tokens, as in the simulator.

    ``more`` are further keywords of `Engine`.
    """
    return Engine(
        args.target,
        args.draft,
        n_ctx=args.n_ctx,
        n_threads=args.threads,
        draft_n_threads=args.threads,
        cpus=args.cpus,
        draft_cpus=args.draft_cpus,
        max_draft=max(args.lengths),
        max_branches=args.max_branches,
        lookup=False,
        **more,
    )


def main(argv: list[str] | None = None) -> int:
    args = parse(argv)
    with new_engine(args) as engine:
        runs, probes = measure(engine, args)
    measured = understand(runs, probes)
    found = rows(runs, measured)
    print(f"target, us by tokens: {', '.join(f'{us:.0f}' for us in measured.target_us)}")
    print(f"draft, us by tokens:  {', '.join(f'{us:.0f}' for us in measured.draft_us)}")
    print(
        f"s: target {measured.target_slowdown:.2f}, draft {measured.draft_slowdown:.2f}; "
        f"coordination {measured.hop_us:.0f} us a step, "
        f"{measured.rebuild_us:.0f} us more after another length\n"
    )
    print(table(found))
    if args.json:
        head = {
            "target": args.target.name,
            "draft": args.draft.name,
            "machine": platform.processor() or platform.machine(),
            "threads": args.threads,
            "tokens": args.tokens,
            "temperature": args.temperature,
            **measured.__dict__,
        }
        with args.json.open("a") as file:
            for line in (head, *found):
                file.write(json.dumps(line) + "\n")
    off = [row for row in found if abs(float(str(row["ratio"])) - 1.0) > args.tolerance]
    for row in off:
        print(f"off by more than {args.tolerance:.0%}: {row['setting']}")
    return 1 if off else 0


if __name__ == "__main__":
    sys.exit(main())
