"""Blow up a small GGUF into a big one that computes the same function.

Speculative decoding is judged by two things: how often the target accepts the draft's tokens, and
what a step of either model costs. A small *trained* pair has realistic acceptance but no realistic
cost; a big random one has the cost but accepts nothing. This tool joins the two: it enlarges a
trained model (llama or LFM2) without changing a single score.

    python benchmarks/scale_model.py --preset r8 --target t.gguf --draft d.gguf --out-dir DIR
    python benchmarks/scale_model.py small.gguf big.gguf --n-embd 1024 --n-layer 24 --n-head 16 \
        --n-head-kv 8 --n-ff 3072

How the function is kept, and when the scores are equal to the last bit, is told in the package
`specbranch_cpp._scaling`, which does it. The presets r4, r8 and r12 are bit-exact for the sources
they were made for: a target 256 wide with two query heads per key-value head, and a draft 192 wide
with three.

The file is written in chunks of a few MiB under a temporary name that is renamed at the end:
memory use does not depend on the size of the model.
"""

from __future__ import annotations

from specbranch_cpp._scaling.equality import Equality, judge_text
from specbranch_cpp._scaling.shape import ScaleError, Shape

from .presets import PRESETS, Preset
from .scale_file import ScaleResult, scale, scale_pair
from .step_times import StepTimes, measure_step_times

__all__ = [
    "PRESETS",
    "Equality",
    "Preset",
    "ScaleError",
    "ScaleResult",
    "Shape",
    "StepTimes",
    "judge_text",
    "measure_step_times",
    "scale",
    "scale_pair",
]
