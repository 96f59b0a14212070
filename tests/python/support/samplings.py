"""Samplings in which texts of drafting modes are compared."""

from __future__ import annotations

from typing import Any

_LINES = 'root ::= line+\nline ::= " "* [a-z_]+ ("(" [a-z_, ]* ")")? "\\n"\n'

SAMPLINGS: dict[str, dict[str, Any]] = {
    "greedy": {},
    "hot": {"temperature": 1.2},
    "truncations": {"temperature": 1.0, "top_k": 20, "top_p": 0.8, "min_p": 0.05},
    "penalties": {"temperature": 0.7, "repeat_penalty": 1.2, "frequency_penalty": 0.2},
    "dry": {"temperature": 0.8, "dry_multiplier": 0.8},
    "mirostat": {"temperature": 0.8, "mirostat_mode": 2},
    "grammar": {"temperature": 0.7, "grammar": _LINES},
}
