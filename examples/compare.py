"""The same text with and without speculation: equal tokens, another speed."""

from __future__ import annotations

import sys

from specbranch_cpp import Engine, demo

models = sys.argv[1:3] or demo.pair()
# Every mode gives the same answer, so earlier answers must not help later ones here.
with Engine(*models, n_ctx=2048, lookup_answers=False) as engine:
    tokens = {}
    for mode in ("autoregressive", "speculative", "pearl", "specbranch", "auto"):
        done = engine.complete("import os\n\n", max_tokens=128, mode=mode)
        tokens[mode] = done.tokens
        print(f"{mode:<15}{done.stats.tokens_per_second:8.1f} tokens/s  {done.stats.mode_reason}")
    print("equal texts:", len(set(tokens.values())) == 1)
