"""Streams a text: the draft's tokens green, those of its branches blue, the target's plain."""

from __future__ import annotations

import sys

from specbranch_cpp import Engine, demo

COLOURS = {"draft": "\033[32m", "branch": "\033[34m", "target": ""}

models = sys.argv[1:3] or demo.pair()
with Engine(*models, n_ctx=2048) as engine:
    generation = engine.generate("def read_config(path):\n", max_tokens=64, temperature=0.7, seed=1)
    for chunk in generation:
        colour = COLOURS[chunk.origin] if sys.stdout.isatty() else ""
        print(f"{colour}{chunk.text}{colour and chr(27) + '[0m'}", end="", flush=True)
    print()
    print(generation.stats)
