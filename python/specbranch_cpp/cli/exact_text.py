"""The report of `check.examine_rows` as text."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from specbranch_cpp import _core
from specbranch_cpp._support.words import several
from specbranch_cpp.cli import render

if TYPE_CHECKING:
    from rich.console import Console

    from specbranch_cpp.check.exact_rows import ExactReport

_COLUMNS = (
    "weights",
    "rows padded\nto multiples of",
    "verifications\nthat agree",
    "one token",
    "verification\nof 6 tokens",
)


def show(console: Console, report: ExactReport) -> None:
    """The table of all trials, and what an engine with ``bit_exact=True`` uses."""
    rows = []
    for trial in report.trials:
        agreeing = f"up to {trial.max_path}" if trial.max_path >= 2 else "none"
        weights = "repacked" if trial.repacked else "as in the file"
        path = f"{trial.path_ms:.2f} ms" if trial.max_path >= _core.USEFUL_PATH else "-"
        single = f"{trial.single_ms:.2f} ms"
        rows.append([weights, str(trial.multiple), agreeing, single, path])
    console.print(f"{Path(report.target).name}: verifications of at most {report.wanted} tokens")
    console.print(render.table(_COLUMNS, rows))
    if report.chosen is None or report.price is None:
        console.print(
            "bit_exact=True cannot be used: no verification of two tokens has the logits of single "
            "tokens",
            soft_wrap=True,
        )
        return
    chosen = report.chosen
    words = [f"verifications of at most {chosen.max_path} tokens"]
    if chosen.multiple > 1:
        words.append(f"batches padded to multiples of {several(chosen.multiple, 'token')}")
    if not chosen.repacked and any(trial.repacked for trial in report.trials):
        words.append("no repacked weights")
    console.print(
        f"bit_exact=True uses {', '.join(words)}; a step over one token takes {report.price:.2f} "
        "times as long as the fastest",
        soft_wrap=True,
    )
