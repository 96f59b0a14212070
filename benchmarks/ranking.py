"""How often the target accepts what the draft proposes, by temperature and truncation.

    python -m benchmarks.ranking TARGET DRAFT --tokens 64 --prompts 4

Mode `speculative` with 4 tokens ahead: the share of drafted tokens that are accepted, and of
positions whose token the draft had among its first three. The figures depend on no clock, so that
two builds can be compared one after the other.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from specbranch_cpp import Engine, policies
from specbranch_cpp._support.prompt_file import read_prompts
from specbranch_cpp.bench.prompts import BUNDLED

TEMPERATURES = (0.7, 0.8, 1.0)
SAMPLERS: dict[str, dict[str, Any]] = {
    "none": {},
    "top-k 40": {"top_k": 40},
    "top-p 0.95": {"top_p": 0.95},
    "min-p 0.05": {"min_p": 0.05},
}
LENGTH = 4


def measure(engine: Engine, prompts: list[str], n_tokens: int, **sampling: Any) -> dict[str, float]:
    """Acceptance and rejections of all texts together."""
    n_drafted = n_accepted = n_rolled_back = n_target_steps = n_generated = 0
    for seed, prompt in enumerate(prompts):
        stats = (
            engine.generate(
                prompt,
                max_tokens=n_tokens,
                seed=seed,
                mode="speculative",
                policy=policies.Fixed(LENGTH),
                **sampling,
            )
            .result()
            .stats
        )
        n_drafted += stats.n_drafted
        n_accepted += stats.n_accepted
        n_rolled_back += stats.n_rolled_back
        n_target_steps += stats.n_target_steps
        n_generated += stats.n_generated
    return {
        "drafted": n_drafted,
        "rolled back": n_rolled_back,
        "acceptance": n_accepted / max(1, n_drafted),
        "tokens per step": n_generated / max(1, n_target_steps),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("target", type=Path)
    parser.add_argument("draft", type=Path)
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--prompts", type=int, default=4)
    parser.add_argument("--temperatures", type=float, nargs="*", default=TEMPERATURES)
    given = parser.parse_args()
    prompts = read_prompts(BUNDLED)[:: max(1, 24 // given.prompts)][: given.prompts]
    with Engine(given.target, given.draft, n_ctx=1024, measure_costs=False, lookup=False) as engine:
        for temperature in given.temperatures:
            for name, sampler in SAMPLERS.items():
                found = measure(engine, prompts, given.tokens, temperature=temperature, **sampler)
                row = {"temperature": temperature, "sampler": name} | found
                print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
