"""What steps of a pair cost, by how many tokens they decode and where the models run.

Measures T_target(n), a verification of n tokens, and T_draft(k), a draft pass over k sequences,
each model alone and while the other one decodes token after token, and the hop: what a step takes
between the engine's threads besides the step itself. Starts the program that does it
(`step_cost.cpp`; build/llama/specbranch_step_cost unless told):

    cmake --preset llama && cmake --build --preset llama --target specbranch_step_cost
    python benchmarks/cost_curves.py TARGET DRAFT --placement gpu --json curves.json
    specbranch simulate --profile curves.json --hop-us 12

The file's `costs` are what an engine's warm-up would measure, with more lengths. "Changed" is a
step after one of another length, as while speculating; "steady" one after its like, for which
llama.cpp reuses its graph. Exit code 2: there is no such device here.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from specbranch_cpp import __version__, _core
from specbranch_cpp._engine.machine_keywords import PlaceKeywords
from specbranch_cpp._llama import native
from specbranch_cpp.bench import machine, placements
from specbranch_cpp.errors import InvalidArgument

ROOT = Path(__file__).resolve().parent.parent
PROGRAM = ROOT / "build/llama/specbranch_step_cost"
# Those of `specbranch bench`; `cpu` is `shared`.
PLACEMENTS = ("cpu", *(name for name in placements.NAMES if name not in ("split", "shared")))
LENGTHS = (1, 2, 3, 4, 5, 6, 8, 12, 16, 24, 32)
WIDTHS = tuple(range(1, 9))
FORMAT = "specbranch-cost-curves-1"


@dataclass(frozen=True)
class Point:
    """A step of one model over n tokens; medians in microseconds.

    Attributes:
        side: ``"target"`` (n: tokens verified) or ``"draft"`` (n: sequences).
        n: how many.
        steady_us: alone, after a step of the same length.
        changed_us: alone, after a step of another length; None: not measured.
        beside_us: while the other model decodes single tokens, after a step of the same length.
        slowdown: mean period of a step, waiting included, beside the other model over the median
            one alone; at least 1. As an engine's warm-up tells it.
        hop_us: alone, from the command to its event, the step left out.
        n_samples: steady steps alone.
    """

    side: str
    n: int
    steady_us: float
    changed_us: float | None
    beside_us: float
    slowdown: float
    hop_us: float
    n_samples: int

    @property
    def cost_us(self) -> float:
        """What a planner should expect: single tokens follow their like, longer steps do not."""
        return self.steady_us if self.n == 1 or self.changed_us is None else self.changed_us


def points(lines: Iterable[Mapping[str, Any]]) -> list[Point]:
    """From what the program prints: one line a side, length and neighbourhood."""
    found = {(line["side"], line["n"], line["beside"]): line for line in lines if "side" in line}
    made = []
    for (side, n, beside), alone in found.items():
        if beside or not alone["steady_us"]:
            continue
        other = found[side, n, True]
        if not other["steady_us"]:
            continue
        period = statistics.median(_periods(alone))
        made.append(
            Point(
                side=side,
                n=n,
                steady_us=statistics.median(alone["steady_us"]),
                changed_us=statistics.median(alone["changed_us"]) if alone["changed_us"] else None,
                beside_us=statistics.median(other["steady_us"]),
                slowdown=max(1.0, statistics.fmean(_periods(other)) / period),
                hop_us=statistics.median(alone["hop_us"]),
                n_samples=len(alone["steady_us"]),
            )
        )
    return made


def _periods(line: Mapping[str, Any]) -> list[float]:
    return [us + hop for us, hop in zip(line["steady_us"], line["hop_us"], strict=True)]


def costs(found: Sequence[Point]) -> dict[str, Any]:
    """The form of an engine's profile: [n - 1] in microseconds, straight lines in between."""
    made: dict[str, Any] = {}
    for side in ("target", "draft"):
        curve = sorted((point.n, point.cost_us) for point in found if point.side == side)
        if not curve or curve[0][0] != 1:
            raise ValueError(f"a step of one token was not measured: the {side}")
        lengths, us = zip(*curve, strict=True)
        every = np.arange(1, lengths[-1] + 1)
        made[f"{side}_us"] = np.interp(every, lengths, us).tolist()
        slowdowns = [point.slowdown for point in found if point.side == side]
        made[f"{side}_slowdown"] = statistics.median(slowdowns)
    return made


def table(found: Sequence[Point]) -> str:
    lines = [
        "| model | tokens | steady | changed | x of one | beside | slow-down | hop |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    single = {point.side: point.cost_us for point in found if point.n == 1}
    for point in found:
        changed = "" if point.changed_us is None else f"{point.changed_us:.0f}"
        ratio = f"{point.cost_us / single[point.side]:.2f}" if point.side in single else ""
        lines.append(
            f"| {point.side} | {point.n} | {point.steady_us:.0f} | {changed} | {ratio} "
            f"| {point.beside_us:.0f} | {point.slowdown:.2f} | {point.hop_us:.0f} |"
        )
    return "\n".join(lines)


def place(name: str) -> PlaceKeywords:
    """The layers on GPUs of both models, and the GPUs where there are several.

    Raises:
        InvalidArgument: this machine does not have the placement.
    """
    if name == "cpu":
        return {"n_gpu_layers": 0, "draft_n_gpu_layers": 0}
    (found,), _ = placements.place([name], machine.describe())
    return found.options


def command(args: argparse.Namespace, placed: PlaceKeywords) -> list[str]:
    layers = (placed["n_gpu_layers"], placed["draft_n_gpu_layers"])
    devices = args.devices or placed.get("devices")
    draft_devices = args.draft_devices or placed.get("draft_devices")
    made = [str(args.program), str(args.target), str(args.draft)]
    for name, value in (
        ("--target-gpu-layers", layers[0]),
        ("--draft-gpu-layers", layers[1]),
        ("--lengths", args.lengths),
        ("--widths", args.widths),
        ("--start", args.start),
        ("--repeats", args.repeats),
        ("--seconds", args.seconds),
        ("--n-ctx", args.n_ctx),
        ("--target-devices", devices if layers[0] else None),
        ("--draft-devices", draft_devices if layers[1] else None),
        ("--target-threads", args.threads),
        ("--draft-threads", args.draft_threads),
        ("--target-cpus", args.cpus),
        ("--draft-cpus", args.draft_cpus),
    ):
        if value is not None:
            parts = value if isinstance(value, (list, tuple)) else [value]
            made += [name, ",".join(str(part) for part in parts)]
    return made


def measure(args: argparse.Namespace, placed: PlaceKeywords) -> list[dict[str, Any]]:
    """Runs the program; what it prints, a dictionary a line."""
    environment = os.environ | native.waits(os.environ)
    done = subprocess.run(
        command(args, placed), env=environment, stdout=subprocess.PIPE, text=True, check=False
    )
    if done.returncode != 0:
        sys.exit(f"cost_curves: {args.program} failed ({done.returncode})")
    return [json.loads(line) for line in done.stdout.splitlines()]


def gpus() -> list[str]:
    return [f"{one.name}: {one.description}" for one in _core.list_devices() if one.is_gpu]


def parse(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("target", type=Path)
    parser.add_argument("draft", type=Path)
    parser.add_argument("--placement", choices=PLACEMENTS, default="cpu")
    parser.add_argument("--lengths", type=int, nargs="+", default=LENGTHS)
    parser.add_argument("--widths", type=int, nargs="+", default=WIDTHS)
    parser.add_argument("--start", type=int, default=64, help="tokens before the first step")
    parser.add_argument("--repeats", type=int, default=9, help="groups of steps of every length")
    parser.add_argument("--seconds", type=int, default=10, help="of each of the four curves, about")
    parser.add_argument("--n-ctx", type=int, default=1024)
    parser.add_argument("--threads", type=int, help="of the target; default as an engine's")
    parser.add_argument("--draft-threads", type=int)
    parser.add_argument("--cpus", type=int, nargs="+", help="that the target is pinned to")
    parser.add_argument("--draft-cpus", type=int, nargs="+")
    parser.add_argument("--devices", nargs="+", help="of the target, such as CUDA0")
    parser.add_argument("--draft-devices", nargs="+")
    parser.add_argument("--program", type=Path, default=PROGRAM)
    parser.add_argument("--json", type=Path, help="write everything measured to this file")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    args = parse(argv)
    if not args.program.is_file():
        print(f"cost_curves: there is no {args.program}; build it first (--help)", file=sys.stderr)
        return 1
    try:
        placed = place(args.placement)
    except InvalidArgument as error:
        print(f"cost_curves: {error}", file=sys.stderr)
        return 2
    lines = measure(args, placed)
    found = points(lines)
    measured = costs(found)
    hop_us = statistics.median(point.hop_us for point in found)
    print(f"{args.target.name} and {args.draft.name}, placement {args.placement}; microseconds\n")
    print(table(found))
    print(
        f"\nslow-downs: target {measured['target_slowdown']:.2f}, "
        f"draft {measured['draft_slowdown']:.2f}; hop {hop_us:.0f} us"
    )
    if args.json:
        library = _core.library_info()
        content = {
            "format": FORMAT,
            "version": __version__,
            "llama.cpp": f"{library.llama_version} ({library.ggml_commit})",
            "target": args.target.name,
            "draft": args.draft.name,
            "placement": args.placement,
            "gpus": gpus(),
            "machine": platform.processor() or platform.machine(),
            **lines[0],
            "start": args.start,
            "hop_us": hop_us,
            "costs": measured,
            "points": [asdict(point) for point in found],
        }
        args.json.write_text(json.dumps(content, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
