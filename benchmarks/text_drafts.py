"""What texts that propose tokens bring: target alone, with texts, with a draft model.

The four kinds of prompts are those of `benchmarks.text_prompts`. All variants and other engines
take turns at the same prompts, as in ``specbranch bench``, whose records and report this script
writes. A run that was stopped continues with the same command.

    python -m benchmarks.text_drafts TARGET DRAFT -o DIR
    python -m benchmarks.text_drafts TARGET -o DIR --sets rename json --peers none

The target is twice in memory, with and without the draft model, and once more for each draft length
of another engine.
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.text_prompts import SETS, chatml, prompts

from specbranch_cpp.bench import runner, session
from specbranch_cpp.bench.records import RecordFile
from specbranch_cpp.bench.report import interval

if TYPE_CHECKING:
    from collections.abc import Sequence

    from specbranch_cpp.bench.summary import Comparison, Summary

PEERS = "llama-server-ngram,llama-cpp-python-lookup"
WITH_DRAFT = ("text", "draft", "all")


def make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.text_drafts", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("target", type=Path)
    parser.add_argument("draft", type=Path, nargs="?", help="default: no draft model")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="DIR")
    parser.add_argument("--sets", nargs="+", choices=SETS, default=list(SETS))
    parser.add_argument("--n-prompts", type=int, default=10, help="of each set")
    parser.add_argument("--tokens", type=int, default=512, help="of each answer, at most")
    parser.add_argument("--n-ctx", type=int, default=4096)
    parser.add_argument("--stretch", type=int, default=64, help="as in specbranch bench")
    parser.add_argument("--temperature", type=float, default=0.0)
    parser.add_argument("--placement", default="shared", help="as in specbranch bench")
    parser.add_argument("--peers", default=PEERS, help=f"default: {PEERS}; none: no other engine")
    parser.add_argument("--plain", action="store_true", help="send the prompts without ChatML")
    return parser


def write_sets(folder: Path, names: Sequence[str], *, plain: bool) -> tuple[Path, ...]:
    """Writes the sets as files of JSON lines, and returns the files."""
    folder.mkdir(parents=True, exist_ok=True)
    files = []
    for name in names:
        texts = prompts(name)
        lines = [json.dumps({"prompt": text if plain else chatml(text)}) for text in texts]
        files.append(folder / f"{name}.jsonl")
        files[-1].write_text("\n".join(lines) + "\n", encoding="utf-8")
    return tuple(files)


def run(args: argparse.Namespace, command: str = "") -> Summary:
    """Measures what is not yet measured, and writes the report."""
    request = session.BenchRequest(
        pairs=((args.target, args.draft),),
        prompts=write_sets(args.output / "prompts", args.sets, plain=args.plain),
        modes=("auto",),
        sources=("all",) if args.draft is None else WITH_DRAFT,
        placements=(args.placement,),
        temperatures=(args.temperature,),
        peers=args.peers,
        tokens=args.tokens,
        n_prompts=args.n_prompts,
        n_ctx=args.n_ctx,
        stretch=args.stretch,
    )
    prepared = session.prepare(request, command)
    with RecordFile(args.output, prepared.header) as file:
        runner.run(prepared.plan, file, _progress)
    summary, _, _ = session.write_report(args.output, pictures=False)
    return summary


def table(summary: Summary) -> str:
    """A row for each set: each source over the target alone."""
    own = list(dict.fromkeys(
        row.mode for group in summary.groups for row in group.rows if not row.is_peer
    ))  # fmt: skip
    others = list(dict.fromkeys(
        row.mode for group in summary.groups for row in group.rows if row.is_peer
    ))  # fmt: skip
    columns = [*own[1:], *others, "equal texts"]
    lines = [["prompts", *columns], ["---"] * (1 + len(columns))]
    for group in summary.groups:
        best = {row.mode: row for row in group.best}
        found = [best[mode].speedup if mode in best else None for mode in (*own[1:], *others)]
        rows = [row for row in group.rows if not row.is_peer]
        equal = f"{sum(row.n_equal for row in rows)} of {sum(row.n_texts for row in rows)}"
        lines.append([group.prompts, *map(_shown, found), equal])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _shown(one: Comparison | None) -> str:
    return "" if one is None else f"{one.total:.2f} ({interval(one)})"


def _progress(n_done: int, n_turns: int, what: str) -> None:
    print(f"\r{n_done} of {n_turns}: {what:<60}", end="", file=sys.stderr, flush=True)


def main(argv: Sequence[str] | None = None) -> None:
    args = make_parser().parse_args(argv)
    words = ["python", "-m", "benchmarks.text_drafts", *(sys.argv[1:] if argv is None else argv)]
    summary = run(args, shlex.join(words))
    print(file=sys.stderr)
    print("Speed over the target alone, with 95 % intervals:\n")
    print(table(summary))


if __name__ == "__main__":
    main()
