#!/usr/bin/env python3
"""Blow up a small GGUF into a big one that computes the same function.

    python benchmarks/scale_model.py --preset r8 --target t.gguf --draft d.gguf --out-dir DIR
    python benchmarks/scale_model.py small.gguf big.gguf --n-embd 1024 --n-layer 24 --n-head 16 \
        --n-head-kv 8 --n-ff 3072

How the function is kept, and when to the last bit, is told in `specbranch_cpp._scaling`.
"""

from __future__ import annotations

import sys
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

    from benchmarks.scaling.command import main

    sys.exit(main())
