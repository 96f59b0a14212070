"""The command line."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gguf import GGML_QUANT_SIZES, GGMLQuantizationType

from specbranch_cpp._scaling.equality import judge_text
from specbranch_cpp._scaling.shape import ScaleError, Shape
from specbranch_cpp._scaling.source import Source

from .presets import PRESETS, SHAPES
from .scale_file import ScaleResult, scale, scale_pair
from .step_times import measure_step_times

if TYPE_CHECKING:
    from collections.abc import Sequence

_LISTED_TYPES = ("F16", "Q8_0", "Q6_K", "Q4_K", "Q4_0")
_BUNDLED_VOCABULARY = 4096
_DIMENSIONS = (
    ("n-embd", "hidden size; times a power of 4 keeps every bit of the scores"),
    ("n-layer", "blocks"),
    ("n-head", "query heads"),
    ("n-head-kv", "key-value heads"),
    ("n-ff", "feed-forward size"),
    ("head-size", "values of a head"),
)


def make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="scale_model.py",
        description="Blow up a small GGUF into a big one that computes the same function.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    single = parser.add_argument_group("one model")
    single.add_argument("source", nargs="?", type=Path, help="the small GGUF")
    single.add_argument("destination", nargs="?", type=Path, help="the GGUF to write")
    for name, text in _DIMENSIONS:
        single.add_argument(f"--{name}", type=int, metavar="N", help=f"{text} (default: as it is)")
    pair = parser.add_argument_group("a pair")
    pair.add_argument("--preset", choices=PRESETS, help="the shapes of target and draft")
    pair.add_argument("--target", type=Path, help="the small target")
    pair.add_argument("--draft", type=Path, help="the small draft")
    pair.add_argument("--out-dir", type=Path, help="where to write <name>-<preset>.gguf")
    pair.add_argument(
        "--layers", type=int, metavar="N", help="blocks of both models, to try a preset small"
    )
    pair.add_argument(
        "--measure",
        action="store_true",
        help="time the steps of the written pair, one thread per model (needs llama-cpp-python)",
    )
    pair.add_argument(
        "--list-presets",
        action="store_true",
        help="print their shapes and sizes (with the vocabulary of --target, if given)",
    )
    parser.add_argument(
        "--type",
        default="same",
        metavar="TYPE",
        help="the type of all matrices: F32, F16, BF16, Q8_0, Q4_0, Q4_K, Q6_K ... or same, which "
        "copies the source's quantized blocks (default)",
    )
    parser.add_argument("--seed", type=int, default=0, help="of the weights that do not matter")
    parser.add_argument("--force", action="store_true", help="replace existing files")
    parser.add_argument("--quiet", action="store_true", help="no progress bar")
    return parser


def list_presets(n_vocab: int) -> str:
    """A table of every preset: shapes, parameters, bytes by weight type."""
    heading = (
        f"Sizes with a vocabulary of {n_vocab} tokens (the source's stays) and a matrix of its own "
        "for the output;\nin r4, r8 and r12 heads keep the source's size, here 64 values in the "
        "target and 32 in the draft."
    )
    lines = [
        heading,
        "preset    model                width layers heads  kv head    ff  parameters  GB: "
        + " ".join(f"{name:>6}" for name in _LISTED_TYPES),
    ]
    names = {shape: name for name, shape in SHAPES.items()}
    for preset, pair in PRESETS.items():
        for role, shape in (("target", pair.target), ("draft", pair.draft)):
            size = shape.head_size or (64 if role == "target" else 32)
            dimensions = (shape.n_embd, shape.n_layer, shape.n_head, shape.n_head_kv)
            whole = Shape(*dimensions, shape.n_ff, size)
            n_parameters = whole.n_parameters(n_vocab)
            sizes = (n_parameters * bytes_per_weight(name) / 1e9 for name in _LISTED_TYPES)
            lines.append(
                f"{preset:9} {names.get(shape, role):20} {shape.n_embd:5} {shape.n_layer:6} "
                f"{shape.n_head:5} {shape.n_head_kv:3} {size:4} {shape.n_ff:5} "
                f"{n_parameters / 1e6:9.0f} M      " + " ".join(f"{gb:6.2f}" for gb in sizes)
            )
    return "\n".join(lines)


def bytes_per_weight(name: str) -> float:
    block, block_bytes = GGML_QUANT_SIZES[GGMLQuantizationType[name]]
    return block_bytes / block


def _report(result: ScaleResult) -> None:
    equality = judge_text(result.equality, result.weight_change)
    print(
        f"{result.path}: {result.n_parameters / 1e6:.1f} M parameters, "
        f"{result.n_bytes / 1e6:.1f} MB ({result.shape}); scores {equality}"
    )
    for deviation in result.deviations:
        print(f"  not the preset's: {deviation}")


def main(argv: Sequence[str] | None = None) -> int:
    parser = make_parser()
    args = parser.parse_args(argv)
    dimensions = {name: getattr(args, name) for name in Shape.__dataclass_fields__}
    single = (args.source, args.destination)
    pair = (args.target, args.draft, args.out_dir)
    common: dict[str, Any] = {
        "weight_type": args.type,
        "seed": args.seed,
        "force": args.force,
        "progress": not args.quiet and sys.stderr.isatty(),
    }
    try:
        if args.list_presets:
            n_vocab = Source(args.target).n_vocab if args.target else _BUNDLED_VOCABULARY
            print(list_presets(n_vocab))
        elif args.preset is not None:
            if None in pair or any(single) or any(dimensions.values()):
                parser.error("--preset needs --target, --draft and --out-dir, and nothing else")
            target, draft = scale_pair(args.preset, *pair, n_layer=args.layers, **common)
            _report(target)
            _report(draft)
            if args.measure:
                print(measure_step_times(target.path, draft.path))
        else:
            if None in single or any(pair) or args.measure or args.layers is not None:
                parser.error("give SOURCE and DESTINATION, or a --preset with its options")
            _report(scale(args.source, args.destination, **dimensions, **common))
    except (ScaleError, OSError) as error:
        print(f"scale_model.py: {error}", file=sys.stderr)
        return 1
    return 0
