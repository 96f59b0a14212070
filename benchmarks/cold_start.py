"""Does `auto` ever lose? A new engine, one text with `auto`, the same text autoregressive.

Per draft and repeat an engine is made anew, so that nothing is known but what the warm-up measures;
the two texts take turns in going first. The ratio counts prefill too. With `--profile` a second
engine starts from what the first has learned.

    python -m benchmarks.cold_start TARGET DRAFT ... --tokens 500
    python -m benchmarks.cold_start TARGET DRAFT ... --tokens 100 --profile
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
from pathlib import Path

from benchmarks import common

from specbranch_cpp import Completion, Engine


def wall_ms(done: Completion) -> float:
    return done.stats.prefill_ms + done.stats.decode_ms


def one(engine: Engine, mode: str, prompt: str, args: argparse.Namespace) -> Completion:
    return engine.generate(
        prompt, max_tokens=args.tokens, temperature=args.temperature, seed=1, mode=mode
    ).result()


def ratio(args: argparse.Namespace, draft: Path, repeat: int, profile: Path | None) -> float:
    """Time of `autoregressive` over time of `auto`."""
    prompt = common.PROMPTS[repeat % len(common.PROMPTS)]
    with common.open_engine(args, draft, profile=profile) as engine:
        order = ["auto", "autoregressive"] if repeat % 2 else ["autoregressive", "auto"]
        # Another prompt first: pages of the models are in memory then, and no prefix is shared.
        engine.generate(common.PROMPTS[-1], max_tokens=4, mode="autoregressive").result()
        done = {}
        for mode in order:
            done[mode] = one(engine, mode, prompt, args)
            engine.generate(common.PROMPTS[-1], max_tokens=1, mode="autoregressive").result()
    if done["auto"].tokens != done["autoregressive"].tokens:
        print(f"{draft.name}: the tokens differ")
    print(f"  {draft.name}: {done['auto'].stats.mode_reason}", flush=True)
    return wall_ms(done["autoregressive"]) / wall_ms(done["auto"])


def main() -> None:
    parser = common.parser(__doc__, many_drafts=True)
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--profile", action="store_true", help="start from a saved profile")
    args = parser.parse_args()
    rows = []
    for draft in args.drafts:
        with tempfile.TemporaryDirectory() as folder:
            profile = Path(folder) / "pair.json" if args.profile else None
            if profile is not None:
                learn = argparse.Namespace(**{**vars(args), "tokens": 500})
                ratio(learn, draft, 0, profile)
            found = [ratio(args, draft, repeat, profile) for repeat in range(args.repeats)]
        rows.append((draft.name, statistics.median(found), min(found)))
        if args.json:
            record = {"draft": draft.name, "tokens": args.tokens, "ratios": found}
            record |= {"target": args.target.name, "profile": args.profile}
            with args.json.open("a") as file:
                file.write(json.dumps(record) + "\n")
    print("| draft | auto / autoregressive | least |\n| --- | --- | --- |")
    for name, median, least in rows:
        print(f"| {name} | {median:.3f} | {least:.3f} |")


if __name__ == "__main__":
    main()
