"""Acceptance with a draft whose context is shorter than the text, beside one that reads all of it.

    python -m benchmarks.draft_window TARGET DRAFT --text FILE --draft-n-ctx 256 512 1024

Mode ``specbranch``, so that the counts do not depend on times. All texts must be equal.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from specbranch_cpp import Engine


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("target", type=Path)
    parser.add_argument("draft", type=Path)
    parser.add_argument("--text", type=Path, required=True, help="the prompt is its beginning")
    parser.add_argument("--n-prompt", type=int, default=1200, help="tokens of the prompt")
    parser.add_argument("--tokens", type=int, default=160)
    parser.add_argument("--n-ctx", type=int, default=4096)
    parser.add_argument("--draft-n-ctx", type=int, nargs="+", default=[256, 512, 1024])
    parser.add_argument("--temperatures", type=float, nargs="+", default=[0.0, 0.8])
    args = parser.parse_args()
    print("| temperature | draft's context | tokens per step | accepted of drafted | same text |")
    print("| --- | --- | --- | --- | --- |")
    for temperature in args.temperatures:
        expected = None
        for draft_n_ctx in [args.n_ctx, *args.draft_n_ctx]:
            with Engine(
                args.target,
                args.draft,
                n_ctx=args.n_ctx,
                draft_n_ctx=draft_n_ctx,
                measure_costs=False,
            ) as engine:
                prompt = engine.tokenize(args.text.read_text(encoding="utf-8"))[: args.n_prompt]
                done = engine.complete(
                    prompt,
                    max_tokens=args.tokens,
                    temperature=temperature,
                    seed=3,
                    mode="specbranch",
                )
            expected = expected or done.tokens
            stats = done.stats
            print(
                f"| {temperature:g} | {draft_n_ctx} | "
                f"{stats.n_generated / stats.n_target_steps:.2f} | "
                f"{stats.n_accepted / max(1, stats.n_drafted):.2f} | "
                f"{'yes' if done.tokens == expected else 'NO'} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
