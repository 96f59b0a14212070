"""What the benchmarks of whole generations share: prompts, options, the engine."""

from __future__ import annotations

import argparse
from pathlib import Path

from specbranch_cpp import Engine
from specbranch_cpp._support.prompt_file import read_prompts

PROMPTS = tuple(read_prompts(Path(__file__).with_name("prompts.jsonl")))


def parser(description: str | None, *, many_drafts: bool = False) -> argparse.ArgumentParser:
    """The options that they share."""
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
    parser.add_argument("--temperature", type=float, default=0.0)
    parser.add_argument("--n-ctx", type=int, default=1024)
    parser.add_argument("--json", type=Path, help="append one line with everything measured")
    return parser


def open_engine(
    args: argparse.Namespace,
    draft: Path,
    *,
    max_draft: int = 16,
    max_branches: int = 4,
    profile: Path | None = None,
) -> Engine:
    """The engine of these options, where only the draft proposes tokens; room for so long and so
    many branches.
    """
    return Engine(
        args.target,
        draft,
        n_ctx=args.n_ctx,
        n_threads=args.threads,
        draft_n_threads=args.threads,
        cpus=args.cpus,
        draft_cpus=args.draft_cpus,
        max_draft=max_draft,
        max_branches=max_branches,
        profile=profile,
        lookup=False,  # these figures are about the draft model
    )
