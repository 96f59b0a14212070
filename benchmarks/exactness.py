"""Do all modes give the tokens of `autoregressive`? Counts equal texts over a grid.

The grid: prompts x temperatures x seeds x modes. Every prompt has other samplers (none, top-k,
top-p, min-p, penalties, bias, a grammar, in turn). Where two texts differ, the two tokens' scores
after temperature, bias and noise are compared: a near-tie is what rounding can turn over.

    python benchmarks/exactness.py                                    # the bundled pair
    python benchmarks/exactness.py TARGET DRAFT --threads 2 --json out.jsonl
"""

from __future__ import annotations

import argparse
import hashlib
import json
import platform
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from specbranch_cpp import Completion, Engine, __version__, _core, demo

MODES = ("speculative", "pearl", "specbranch")
NAMES = ("parse_line", "read_config", "Stack", "merge_sort", "fetch_all")
SHAPES = (
    "def {0}(self, value, default=None):\n    ",
    "class {0}Test(unittest.TestCase):\n    def test_{0}(self):\n        ",
    "import os\nimport sys\n\n\ndef {0}(argv=None):\n    parser = argparse.ArgumentParser()\n    ",
    "for key, value in sorted({0}.items()):\n    if value is None:\n        ",
    "try:\n    result = {0}(path)\nexcept OSError as error:\n    ",
    "# Return the {0} of a list.\n",
    'def {0}(text):\n    """Return the text in quotes.\n\n    ',
    "while {0}:\n    line = file.readline()\n    if not line:\n        ",
)
PROMPTS = tuple(shape.format(name) for name in NAMES for shape in SHAPES)

WORDS = 'root ::= line+\nline ::= " "* [a-z_]+ ("(" [a-z_, ]* ")" | " = " [a-z0-9_]+)? "\\n"\n'
SAMPLERS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("none", {}),
    ("top-k 40", {"top_k": 40}),
    ("top-p 0.9", {"top_p": 0.9}),
    ("none", {}),
    ("min-p 0.05", {"min_p": 0.05}),
    (
        "penalties",
        {"repeat_penalty": 1.1, "presence_penalty": 0.2, "frequency_penalty": 0.1},
    ),
    ("bias", {"logit_bias": {200: -2.0, 260: 1.5, 261: float("-inf"), 300: 2.0}}),
    ("grammar", {"grammar": WORDS}),
    ("top-k 20, top-p 0.95, min-p 0.02", {"top_k": 20, "top_p": 0.95, "min_p": 0.02}),
)


@dataclass
class Count:
    """Of one mode."""

    runs: int = 0
    equal: int = 0
    tokens: int = 0
    accepted: int = 0
    drafted: int = 0
    differences: list[dict[str, Any]] = field(default_factory=list)


def gap(
    engine: Engine, prompt: str, index: int, one: Completion, other: Completion, seed: int,
    temperature: float, samplers: dict[str, Any],
) -> float | None:  # fmt: skip
    """How far apart the scores of the two tokens at the first difference are, noise included.

    None where they cannot be told from log-probabilities alone: penalties, or an end of the text.
    """
    if index >= min(len(one.tokens), len(other.tokens)) or "repeat_penalty" in samplers:
        return None
    context = [*engine.tokenize(prompt, special=True), *one.tokens[:index]]
    probe = engine.generate(
        context, max_tokens=1, logprobs=engine.vocab_size, mode="autoregressive"
    ).result()
    if not probe.logprobs:
        return None
    scores: list[float] = []
    for token in (one.tokens[index], other.tokens[index]):
        score = probe.logprobs[0].top[token] + samplers.get("logit_bias", {}).get(token, 0.0)
        if temperature > 0.0:
            score = score / temperature + _core._gumbel(seed, len(context), token)
        scores.append(score)
    return abs(scores[0] - scores[1])


def first_difference(one: Completion, other: Completion) -> int:
    pairs = enumerate(zip(one.tokens, other.tokens, strict=False))
    shorter = min(len(one.tokens), len(other.tokens))
    return next((index for index, (a, b) in pairs if a != b), shorter)


def run(engine: Engine, args: argparse.Namespace, prompts: list[str]) -> dict[str, Count]:
    counts = {mode: Count() for mode in args.modes}
    for number, prompt in enumerate(prompts):
        name, samplers = SAMPLERS[number % len(SAMPLERS)]
        for temperature in args.temperatures:
            for seed in args.seeds:
                settings: dict[str, Any] = {
                    "max_tokens": args.tokens,
                    "temperature": temperature,
                    "seed": seed,
                    **samplers,
                }
                want = engine.generate(prompt, mode="autoregressive", **settings).result()
                for mode, count in counts.items():
                    got = engine.generate(prompt, mode=mode, **settings).result()
                    count.runs += 1
                    count.tokens += len(got.tokens)
                    count.drafted += got.stats.n_drafted
                    count.accepted += got.stats.n_accepted
                    if (got.tokens, got.text) == (want.tokens, want.text):
                        count.equal += 1
                        continue
                    index = first_difference(want, got)
                    difference = {
                        "prompt": number,
                        "samplers": name,
                        "temperature": temperature,
                        "seed": seed,
                        "index": index,
                        "gap": gap(engine, prompt, index, want, got, seed, temperature, samplers),
                    }
                    count.differences.append(difference)
                    print(f"{mode}: {difference}", file=sys.stderr)
        if sys.stderr.isatty():
            print(f"\r{number + 1} of {len(prompts)} prompts", end="", file=sys.stderr)
    return counts


def table(counts: dict[str, Count]) -> str:
    lines = [
        "| mode | texts | equal | tokens | acceptance | largest gap of a difference |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for mode, count in counts.items():
        gaps = [d["gap"] for d in count.differences]
        known = [gap for gap in gaps if gap is not None]
        shown = f"{max(known):.3g}" if known else ""
        if len(known) < len(gaps):
            shown += f" ({len(gaps) - len(known)} not known)"
        lines.append(
            f"| {mode} | {count.runs} | {count.equal} ({count.equal / max(count.runs, 1):.1%}) "
            f"| {count.tokens} | {count.accepted / max(count.drafted, 1):.2f} | {shown} |"
        )
    return "\n".join(lines)


def load_prompts(args: argparse.Namespace) -> list[str]:
    if args.prompts is None:
        return list(PROMPTS[: args.n_prompts])
    lines = args.prompts.read_text(encoding="utf-8").splitlines()
    return [json.loads(line)["prompt"] for line in lines if line.strip()][: args.n_prompts]


def commit() -> str | None:
    command = ["git", "rev-parse", "HEAD"]
    folder = Path(__file__).parent
    result = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    return result.stdout.strip() or None


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("target", type=Path, nargs="?")
    parser.add_argument("draft", type=Path, nargs="?")
    parser.add_argument("--prompts", type=Path, help='JSON lines with a "prompt"')
    parser.add_argument("--n-prompts", type=int, default=40)
    parser.add_argument("--temperatures", type=float, nargs="+", default=[0.0, 0.7, 1.0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--tokens", type=int, default=128)
    parser.add_argument("--modes", nargs="+", default=list(MODES))
    parser.add_argument("--threads", type=int, default=1, help="threads of each model")
    parser.add_argument("--bit-exact", action="store_true", help="as the engine's option")
    parser.add_argument("--n-ctx", type=int, default=2048)
    parser.add_argument("--max-branches", type=int, default=4)
    parser.add_argument("--max-draft", type=int, default=8)
    parser.add_argument("--n-gpu-layers", type=int, default=0)
    parser.add_argument("--json", type=Path, help="append one line with everything found")
    args = parser.parse_args(argv)
    if args.target is None:
        args.target, args.draft = demo.pair()
    elif args.draft is None:
        parser.error("a target needs a draft")
    return args


def main(argv: list[str] | None = None) -> int:
    args = parse(argv)
    prompts = load_prompts(args)
    begin = time.monotonic()
    with Engine(
        args.target,
        args.draft,
        n_ctx=args.n_ctx,
        n_threads=args.threads,
        draft_n_threads=args.threads,
        n_gpu_layers=args.n_gpu_layers,
        max_branches=args.max_branches,
        max_draft=args.max_draft,
        bit_exact=args.bit_exact,
    ) as engine:
        counts = run(engine, args, prompts)
    used = Counter(SAMPLERS[number % len(SAMPLERS)][0] for number in range(len(prompts)))
    print(f"{len(prompts)} prompts x temperatures {args.temperatures} x seeds {args.seeds}")
    print("prompts by samplers: " + "; ".join(f"{name}: {n}" for name, n in used.items()))
    print(table(counts))
    if args.json:
        record = {
            "version": __version__,
            "commit": commit(),
            "machine": platform.processor() or platform.machine(),
            "models": {
                path.name: hashlib.sha256(path.read_bytes()).hexdigest()
                for path in (args.target, args.draft)
            },
            "temperatures": args.temperatures,
            "seeds": args.seeds,
            "tokens": args.tokens,
            "threads": args.threads,
            "bit_exact": args.bit_exact,
            "n_gpu_layers": args.n_gpu_layers,
            "seconds": round(time.monotonic() - begin, 1),
            "modes": {mode: vars(count) for mode, count in counts.items()},
        }
        with args.json.open("a", encoding="utf-8") as file:
            file.write(json.dumps(record) + "\n")
    return 0 if all(count.equal == count.runs for count in counts.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
