"""The command line."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .presets import PRESETS
from .scale_file import ScaleResult, scale, scale_pair
from .shape import ScaleError, Shape
from .step_times import measure_step_times

if TYPE_CHECKING:
    from collections.abc import Sequence


def make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="scale_model.py",
        description="Blow up a small GGUF into a big one that computes the same function.",
        epilog="Presets (target / draft):\n"
        + "\n".join(
            f"  {name}: {preset.target}\n  {' ' * len(name)}  {preset.draft}\n"
            f"  {' ' * len(name)}  a draft step takes about 1/{round(1 / preset.ratio)} "
            "of a target step"
            for name, preset in PRESETS.items()
        ),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    single = parser.add_argument_group("one model")
    single.add_argument("source", nargs="?", type=Path, help="the small GGUF")
    single.add_argument("destination", nargs="?", type=Path, help="the GGUF to write")
    for name, text in (
        ("n-embd", "hidden size; times a power of 4 keeps every bit of the scores"),
        ("n-layer", "blocks"),
        ("n-head", "query heads"),
        ("n-head-kv", "key-value heads"),
        ("n-ff", "feed-forward size"),
    ):
        single.add_argument(f"--{name}", type=int, metavar="N", help=f"{text} (default: as it is)")
    pair = parser.add_argument_group("a pair")
    pair.add_argument("--preset", choices=PRESETS, help="the shapes of target and draft")
    pair.add_argument("--target", type=Path, help="the small target")
    pair.add_argument("--draft", type=Path, help="the small draft")
    pair.add_argument("--out-dir", type=Path, help="where to write <name>-<preset>.gguf")
    pair.add_argument(
        "--measure",
        action="store_true",
        help="time the steps of the written pair, one thread per model (needs llama-cpp-python)",
    )
    parser.add_argument("--seed", type=int, default=0, help="of the weights that do not matter")
    parser.add_argument("--force", action="store_true", help="replace existing files")
    parser.add_argument("--quiet", action="store_true", help="no progress bar")
    return parser


def _report(result: ScaleResult) -> None:
    equality = "equal to the last bit" if result.bit_exact else "equal up to rounding"
    print(
        f"{result.path}: {result.n_parameters / 1e6:.1f} M parameters, "
        f"{result.n_bytes / 1e6:.1f} MB ({result.shape}); scores {equality}"
    )


def main(argv: Sequence[str] | None = None) -> int:
    parser = make_parser()
    args = parser.parse_args(argv)
    dimensions = {name: getattr(args, name) for name in Shape.__dataclass_fields__}
    single = (args.source, args.destination)
    pair = (args.target, args.draft, args.out_dir)
    common: dict[str, Any] = {
        "seed": args.seed,
        "force": args.force,
        "progress": not args.quiet and sys.stderr.isatty(),
    }
    try:
        if args.preset is not None:
            if None in pair or any(single) or any(dimensions.values()):
                parser.error("--preset needs --target, --draft and --out-dir, and nothing else")
            target, draft = scale_pair(args.preset, *pair, **common)
            _report(target)
            _report(draft)
            if args.measure:
                print(measure_step_times(target.path, draft.path))
        else:
            if None in single or any(pair) or args.measure:
                parser.error("give SOURCE and DESTINATION, or a --preset with its options")
            _report(scale(args.source, args.destination, **dimensions, **common))
    except (ScaleError, OSError) as error:
        print(f"scale_model.py: {error}", file=sys.stderr)
        return 1
    return 0
