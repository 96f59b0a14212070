"""Does the simulator tell the truth about drafts from texts? Simulated against measured speed-ups.

Decodes prompts of `benchmarks.text_prompts` with the target alone, in turn without and with texts
that propose tokens. Takes from the traces what verifications cost, by their length, and simulates
the same texts from that alone. Needs a quiet machine.

    python -m benchmarks.validate_texts TARGET --sets rename json --n-prompts 2

The exit code is 1 if the simulated speed-up of all texts of a set is off by more than the
tolerance.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

from benchmarks.text_prompts import SETS, chatml, prompts
from benchmarks.validate_simulator import mean, through

from specbranch_cpp import Completion, Engine, simulation

MODES = ("autoregressive", "auto")


@dataclass(frozen=True)
class Text:
    set_name: str
    prompt: tuple[int, ...]
    done: dict[str, Completion]
    """By mode."""


def measure(engine: Engine, args: argparse.Namespace) -> list[Text]:
    found = []
    for name in args.sets:
        for i, text in enumerate(prompts(name)[: args.n_prompts]):
            prompt = tuple(engine.tokenize(chatml(text), special=True))
            done = {}
            for mode in MODES if i % 2 == 0 else MODES[::-1]:
                print(f"{name} {i + 1}: {mode}", file=sys.stderr)
                done[mode] = engine.generate(
                    list(prompt), max_tokens=args.tokens, temperature=0.0, mode=mode, trace=True
                ).result()
            found.append(Text(name, prompt, done))
    return found


def step_us(texts: list[Text]) -> tuple[float, ...]:
    """Microseconds of verifications of 1, 2, .. tokens."""
    times: dict[int, list[float]] = defaultdict(list)
    for text in texts:
        for done in text.done.values():
            assert done.trace is not None
            for span in done.trace.spans:
                if span.kind == "verify" and span.end == "done":
                    n_tokens = span.n_tokens + span.n_padding
                    times[n_tokens].append(1000.0 * (span.end_ms - span.begin_ms))
    return through({n: mean(values) for n, values in times.items()})


def simulated_speedup(text: Text, target_us: tuple[float, ...]) -> float:
    tokens = text.done["auto"].tokens
    pair = simulation.Pair(target_us=target_us, text=tokens, prompt=text.prompt)
    machine = simulation.Machine(hop_us=0.0)
    return simulation.simulate(pair, machine, "auto", n_tokens=len(tokens), draft=False).speedup


def decode_ms(text: Text, mode: str) -> float:
    return text.done[mode].stats.decode_ms


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("target", type=Path)
    parser.add_argument("--sets", nargs="+", choices=SETS, default=list(SETS))
    parser.add_argument("--n-prompts", type=int, default=3, help="of each set")
    parser.add_argument("--tokens", type=int, default=128, help="of each answer, at most")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--n-ctx", type=int, default=4096)
    parser.add_argument("--tolerance", type=float, default=0.1)
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    args = parse(argv)
    with Engine(
        args.target, n_ctx=args.n_ctx, n_threads=args.threads, lookup_answers=False
    ) as engine:
        texts = measure(engine, args)
    target_us = step_us(texts)
    simulated = [simulated_speedup(text, target_us) for text in texts]
    print(f"target, us by tokens: {', '.join(f'{us:.0f}' for us in target_us)}\n")
    print("| prompts | measured | simulated | simulated / measured |")
    print("| --- | --- | --- | --- |")
    worst = 0.0
    for name in args.sets:
        group = [one for one in zip(texts, simulated, strict=True) if one[0].set_name == name]
        plain = sum(decode_ms(text, "autoregressive") for text, _ in group)
        real = plain / sum(decode_ms(text, "auto") for text, _ in group)
        virtual = plain / sum(decode_ms(text, "autoregressive") / gain for text, gain in group)
        print(f"| {name} | {real:.2f} | {virtual:.2f} | {virtual / real:.3f} |")
        worst = max(worst, abs(virtual / real - 1.0))
    ratios = [
        gain * decode_ms(text, "auto") / decode_ms(text, "autoregressive")
        for text, gain in zip(texts, simulated, strict=True)
    ]
    print(f"\nmedian ratio of a text: {statistics.median(ratios):.3f}")
    return 1 if worst > args.tolerance else 0


if __name__ == "__main__":
    sys.exit(main())
