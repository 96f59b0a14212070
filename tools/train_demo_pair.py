#!/usr/bin/env python3
"""Train a pair of small code models from nothing: the one that specbranch_cpp ships, or a hybrid.

A target of about 7 million parameters learns the running Python's own standard library; a draft
of about 2 million learns the target. Both become GGUF files (llama architecture, Q8_0) that
llama.cpp loads.

    pip install "specbranch_cpp[train]"
    python tools/train_demo_pair.py --wall-minutes 80

A smaller pair with short convolutions besides attention, for measurements of recurrent models:

    python tools/train_demo_pair.py --architecture lfm2 --work hybrid-pair --cpu-minutes 35

Only the draft learns, if the target is there already:

    python tools/train_demo_pair.py --keep-target demo-target.gguf --wall-minutes 60

Everything is kept in a work folder: an interrupted run goes on with --resume, and the stages can
be run one by one. Where other work shares the cores, OMP_WAIT_POLICY=passive and GOMP_SPINCOUNT=0
in the environment keep the threads from spinning: fewer processor seconds for every step.
"""

from __future__ import annotations

import argparse
import importlib.util
import math
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

REQUIRED = ("torch", "numpy", "tokenizers", "gguf")
STAGES = ("all", "train", "export", "evaluate")
ARCHITECTURES = ("llama", "lfm2")


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(
        description="Train, export and measure a small target/draft pair.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    add = made.add_argument
    add("stage", nargs="?", choices=STAGES, default="all", help="what to run")
    add("--architecture", choices=ARCHITECTURES, default="llama", help="of what is trained")
    add("--work", type=Path, default=Path("demo-pair"), help="folder of checkpoints and figures")
    add("--output", type=Path, help="folder of the GGUF files (default: the work folder)")
    add("--text", type=Path, help="folder of Python files (default: the standard library)")
    add("--resume", action="store_true", help="go on from the checkpoint in the work folder")
    add("--toy", action="store_true", help="tiny models and few steps: to try the tool out")
    add("--keep-target", type=Path, metavar="GGUF", help="train a new draft for this target alone")
    add("--start-draft", type=Path, metavar="GGUF", help="a draft to go on from, with its shape")
    add("--joint-steps", type=int, help="steps in which both models learn (default: recipe)")
    add("--distil-steps", type=int, help="steps in which only the draft learns (default: recipe)")
    add("--cpu-minutes", type=float, default=math.inf, help="limit in time of all threads")
    add("--wall-minutes", type=float, default=math.inf, help="limit in time on the clock")
    add("--rate", type=float, default=1.0, help="factor of the learning rates")
    add("--device", default="cpu", help="PyTorch device to train on")
    add("--threads", type=int, help="threads on the CPU (default: PyTorch's choice)")
    add("--no-compile", action="store_true", help="do without torch.compile (slower)")
    add("--seed", type=int, default=20, help="decides weights and batches")
    add("--context-length", type=int, default=4096, help="context length in the metadata")
    add("--prompts", type=Path, action="append", default=[], help="JSON Lines file with prompts")
    return made


def main(arguments: Sequence[str] | None = None) -> int:
    options = parser().parse_args(arguments)
    missing = [name for name in REQUIRED if importlib.util.find_spec(name) is None]
    if missing:
        names = ", ".join(missing)
        print(f'needs {names}: pip install "specbranch_cpp[train]"', file=sys.stderr)
        return 2
    from demo_pair import pipeline

    try:
        pipeline.run(options)
    except (OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("stopped; --resume goes on from the last checkpoint", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
