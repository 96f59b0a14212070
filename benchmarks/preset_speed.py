"""Speed of the modes on a pair of a published shape, which is scaled straight into memory.

For sizes that should not be written to a disk. The weights are computed while they are loaded (see
`specbranch_cpp._scaling`), so no file is larger than the small pair's. A step costs more than from
a file: weights are not repacked for the CPU, and llama.cpp adds small operations to each block.

    python -m benchmarks.preset_speed 8b-70b TARGET DRAFT --type Q4_K --n-gpu-layers -1
    python -m benchmarks.preset_speed 68m-7b TARGET DRAFT --type Q4_0 --layers 8
"""

from __future__ import annotations

import argparse
import sys
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path

from benchmarks.common import PROMPTS
from benchmarks.scaling import PRESETS, judge_text
from benchmarks.scaling.scale_file import fit_to_source
from tqdm import tqdm  # type: ignore[import-untyped]

from specbranch_cpp import Engine, GenerationStats
from specbranch_cpp._scaling.in_memory import InMemoryModel
from specbranch_cpp._scaling.scaled_model import ScaledModel, plan_model

MODES = ("autoregressive", "speculative", "pearl", "specbranch", "auto")


def planned(source: Path, role: str, args: argparse.Namespace) -> ScaledModel:
    """One model of the preset, as this source can have it; prints what is different."""
    shape = getattr(PRESETS[args.preset], role)
    fitted, deviations = fit_to_source(source, shape, args.type, args.layers)
    model = plan_model(source, **asdict(fitted), weight_type=args.type)
    print(
        f"{role}: {model.n_parameters / 1e6:.0f} M parameters, {model.n_bytes / 1e9:.2f} GB "
        f"({model.shape})"
    )
    for deviation in deviations:
        print(f"  not the preset's: {deviation}")
    return model


def table(found: dict[str, list[GenerationStats]], same: dict[str, bool]) -> str:
    """A row for each mode: all tokens over all time, and the ratio to the first."""
    lines = ["| mode | tokens/s | ratio | target step, ms | tokens a step | same tokens |"]
    lines.append("| --- | --- | --- | --- | --- | --- |")
    base = 0.0
    for mode, stats in found.items():
        n_tokens = sum(one.n_generated for one in stats)
        n_steps = sum(one.n_target_steps for one in stats)
        speed = 1000 * n_tokens / sum(one.decode_ms for one in stats)
        base = base or speed
        step = sum(one.target_busy_ms for one in stats) / n_steps
        lines.append(
            f"| {mode} | {speed:.2f} | {speed / base:.2f} | {step:.2f} | {n_tokens / n_steps:.2f} "
            f"| {'yes' if same[mode] else 'NO'} |"
        )
    return "\n".join(lines)


def make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="preset_speed.py",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("preset", choices=PRESETS)
    parser.add_argument("target", type=Path, help="the small target")
    parser.add_argument("draft", type=Path, help="the small draft")
    parser.add_argument("--type", default="same", help="the type of all matrices (default: same)")
    parser.add_argument("--layers", type=int, metavar="N", help="blocks of both models")
    parser.add_argument("--modes", nargs="+", choices=MODES, default=list(MODES))
    parser.add_argument("--prompts", type=int, default=len(PROMPTS), help="how many")
    parser.add_argument("--tokens", type=int, default=64, help="of each text")
    parser.add_argument("--n-ctx", type=int, default=1024)
    parser.add_argument("--n-gpu-layers", type=int, default=0)
    parser.add_argument("--threads", type=int, help="of each model (default: the engine's choice)")
    return parser


def main(argv: list[str] | None = None) -> None:
    args = make_parser().parse_args(argv)
    with ExitStack() as stack:
        models = {
            role: planned(source, role, args)
            for role, source in (("target", args.target), ("draft", args.draft))
        }
        paths = {role: stack.enter_context(InMemoryModel(model)) for role, model in models.items()}
        with tqdm(desc="loading", total=1.0, disable=not sys.stderr.isatty()) as bar:
            engine = Engine(
                paths["target"],
                paths["draft"],
                n_ctx=args.n_ctx,
                n_gpu_layers=args.n_gpu_layers,
                n_threads=args.threads,
                draft_n_threads=args.threads,
                lookup_answers=False,  # every mode gives the same answer
                progress_callback=lambda share: bar.update(share - bar.n),
            )
        stack.enter_context(engine)
        for role, model in models.items():
            print(f"{role}: scores {judge_text(*model.judge())}")
        found: dict[str, list[GenerationStats]] = {mode: [] for mode in args.modes}
        same = dict.fromkeys(args.modes, True)
        for prompt in PROMPTS[: args.prompts]:
            first: list[int] | None = None
            for mode, stats in found.items():
                done = engine.generate(prompt, max_tokens=args.tokens, mode=mode).result()
                first = first or list(done.tokens)
                same[mode] &= list(done.tokens) == first
                stats.append(done.stats)
    print(table(found, same))


if __name__ == "__main__":
    main()
