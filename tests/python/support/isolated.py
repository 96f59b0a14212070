"""Isolated engines for tests, and their processes."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from specbranch_cpp import Engine, demo

PROMPT = "def add(a, b):\n    return a + b\n\ndef "
LONG: dict[str, Any] = {"max_tokens": 7500, "min_tokens": 7500}
"""No text is whole before the strike, however late the thread that strikes runs."""


def new_engine(**options: Any) -> Engine:
    options = {"n_ctx": 512, "measure_costs": False, "n_parallel": 2, **options}
    return Engine(*demo.pair(), isolate=True, **options)


def process_of(engine: Engine) -> int:
    number = engine._core.process_id  # type: ignore[attr-defined]
    assert isinstance(number, int)
    return number


def is_gone(number: int) -> bool:
    """Whether there is no such process, not even one that nobody has waited for."""
    for _ in range(1200):
        if not Path(f"/proc/{number}").exists():
            return True
        time.sleep(0.05)
    return False
