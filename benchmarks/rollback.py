"""Rolled back tokens and speed of `specbranch` with H-RAD, its ablations, and `pearl`.

All in one run, prompt by prompt in turn, the same tokens everywhere. The floor of the rollback rate
is 1 - alpha: what a draft that is wrong so often must lose if every position is drafted once.

    python -m benchmarks.rollback TARGET DRAFT --hrad WEIGHTS.safetensors --prompts FILE.jsonl
"""

from __future__ import annotations

import argparse
import json
import statistics
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks import common

from specbranch_cpp import policies
from specbranch_cpp._support.prompt_file import read_prompts

if TYPE_CHECKING:
    from specbranch_cpp import Completion, Engine


@dataclass(frozen=True)
class Variant:
    name: str
    mode: str
    policy: policies.BuiltIn | None = None
    max_branches: int = 1


def variants(args: argparse.Namespace) -> list[Variant]:
    hrad = policies.HRAD(args.hrad, epsilon=args.epsilon)
    always = policies.HRAD(args.hrad, epsilon=args.epsilon, min_probability=0.0)
    confidence = policies.Confidence(args.epsilon)
    fixed = policies.Fixed(args.max_draft)
    return [
        Variant("autoregressive", "autoregressive"),
        Variant("speculative, fixed 1 (gives alpha)", "speculative", policies.Fixed(1)),
        Variant("speculative, fixed", "speculative", fixed),
        Variant("speculative, confidence", "speculative", confidence),
        Variant("pearl, fixed", "pearl", fixed),
        Variant("pearl, confidence", "pearl", confidence),
        Variant("specbranch, fixed, no branches", "specbranch", fixed),
        Variant("specbranch, confidence, no branches", "specbranch", confidence),
        Variant("specbranch, confidence", "specbranch", confidence, args.max_branches),
        Variant("specbranch, H-RAD, no branches", "specbranch", hrad),
        Variant("specbranch, H-RAD", "specbranch", hrad, args.max_branches),
        Variant("specbranch, H-RAD, however unsure", "specbranch", always, args.max_branches),
    ]


def texts(args: argparse.Namespace) -> list[str]:
    if args.prompts is None:
        return list(common.PROMPTS)
    return read_prompts(args.prompts)[: args.n_prompts]


def run(engine: Engine, variant: Variant, prompt: str, args: argparse.Namespace) -> Completion:
    if variant.policy is None:
        return engine.generate(
            prompt, max_tokens=args.tokens, temperature=args.temperature, seed=1, mode=variant.mode
        ).result()
    return engine.generate(
        prompt,
        max_tokens=args.tokens,
        temperature=args.temperature,
        seed=1,
        mode=variant.mode,
        policy=variant.policy,
        max_draft=args.max_draft,
        max_branches=variant.max_branches,
    ).result()


def main() -> None:
    parser = common.parser(__doc__)
    parser.add_argument("--hrad", type=Path, required=True, help="weights for this pair")
    parser.add_argument("--prompts", type=Path, help='JSON lines with "prompt"')
    parser.add_argument("--n-prompts", type=int, default=12)
    parser.add_argument("--max-draft", type=int, default=6)
    parser.add_argument("--epsilon", type=float, default=0.4)
    parser.add_argument("--max-branches", type=int, default=4)
    args = parser.parse_args()
    prompts, chosen = texts(args), variants(args)
    found: dict[str, list[Completion]] = {variant.name: [] for variant in chosen}
    with common.open_engine(
        args, args.draft, max_draft=args.max_draft, max_branches=args.max_branches
    ) as engine:
        for variant in chosen:
            run(engine, variant, prompts[0], args)  # builds the graphs
        for i, prompt in enumerate(prompts):
            for variant in chosen if i % 2 == 0 else chosen[::-1]:
                found[variant.name].append(run(engine, variant, prompt, args))
    base = found["autoregressive"]
    print("| variant | speed | median | RB | RB per token | waste | M | same tokens |")
    print("| --- " * 8 + "|")
    for name, group in found.items():
        per_token = [done.stats.decode_ms / max(done.stats.n_generated, 1) for done in group]
        of_base = [done.stats.decode_ms / max(done.stats.n_generated, 1) for done in base]
        total = {
            key: sum(getattr(done.stats, key) for done in group)
            for key in (
                "decode_ms", "n_generated", "n_target_steps", "n_drafted", "n_accepted",
                "n_rolled_back",
            )
        }  # fmt: skip
        base_rate = sum(d.stats.decode_ms for d in base) / sum(d.stats.n_generated for d in base)
        row = {
            "variant": name,
            "speed": base_rate / (total["decode_ms"] / total["n_generated"]),
            "median": statistics.median(
                b / p for b, p in zip(of_base, per_token, strict=True) if p > 0.0
            ),
            "rollback_rate": total["n_rolled_back"] / max(total["n_drafted"], 1),
            "rollback_per_token": total["n_rolled_back"] / total["n_generated"],
            "draft_waste": statistics.mean(done.stats.draft_waste for done in group),
            "mean_accepted_length": total["n_generated"] / total["n_target_steps"],
            "same": all(a.tokens == b.tokens for a, b in zip(group, base, strict=True)),
        }
        if "alpha" in name:
            alpha = total["n_accepted"] / (total["n_accepted"] + total["n_rolled_back"])
            print(f"(alpha {alpha:.3f}, floor of the rollback rate {1 - alpha:.3f})")
        print(
            f"| {name} | {row['speed']:.2f} | {row['median']:.2f} | {row['rollback_rate']:.2f} "
            f"| {row['rollback_per_token']:.2f} | {row['draft_waste']:.2f} "
            f"| {row['mean_accepted_length']:.2f} | {'yes' if row['same'] else 'NO'} |"
        )
        if args.json:
            with args.json.open("a") as file:
                file.write(json.dumps({"draft": args.draft.name, **row}) + "\n")


if __name__ == "__main__":
    main()
