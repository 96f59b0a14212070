"""Prompts whose answers repeat much, something or nothing of the prompt: four sets of ten.

    python -m benchmarks.text_prompts DIR [--chatml]

writes one file of JSON lines for each set, for ``specbranch bench run --prompts``.
"""

from __future__ import annotations

from benchmarks.text_prompts.sets import SETS, chatml, prompts

__all__ = ["SETS", "chatml", "prompts"]
