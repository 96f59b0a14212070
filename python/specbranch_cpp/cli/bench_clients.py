"""``specbranch bench run --clients``: several clients at once."""

from __future__ import annotations

import json
import shlex
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import typer

from specbranch_cpp._support.files import replace_file
from specbranch_cpp._support.program import INTERRUPTED
from specbranch_cpp.bench import clients, clients_report
from specbranch_cpp.cli import render

if TYPE_CHECKING:
    from contextlib import AbstractContextManager
    from pathlib import Path

    from specbranch_cpp.bench.runner import ProgressListener

__all__ = ["measure"]

# The columns of the report that a terminal shows, by their place there.
_SHOWN = {
    0: "clients", 1: "at\nonce", 2: "mode", 3: "tokens\nper s", 4: "ratio",
    5: "first token\nms, p50 / p95", 6: "next token\nms, p50 / p95",
}  # fmt: skip


def measure(
    settings: dict[str, Any],
    folder: Path,
    progress: AbstractContextManager[ProgressListener],
    *,
    json_output: bool,
) -> None:
    """Measures, writes records and report, and prints the figures.

    Args:
        settings: fields of `clients.ClientsRequest`.
        folder: gets the records and the report.
        progress: shows how far the run is.
        json_output: whether to print one JSON object instead of a table.
    """
    command = shlex.join(["specbranch", *sys.argv[1:]])
    plan, header = clients.prepare(clients.ClientsRequest(**settings), command)
    runs: list[clients.ClientsRun] = []
    with clients_report.ClientsFile(folder, header) as file:

        def put(run: clients.ClientsRun) -> None:
            file.add(run)
            runs.append(run)

        try:
            with progress as told:
                clients.measure(plan, put, told)
        except KeyboardInterrupt:
            n_loads = len(plan.loads) * plan.repeat
            render.fail(f"stopped; {file.path} has {len(runs)} of {n_loads} measurements")
            raise typer.Exit(INTERRUPTED) from None
    rows = clients_report.rows(plan, runs)
    report = folder / clients_report.REPORT
    replace_file(report, clients_report.markdown(header, rows).encode())
    if json_output:
        print(json.dumps({"header": header, "rows": [asdict(row) for row in rows]}))
        return
    shown = [[clients_report.cells(row)[n] for n in _SHOWN] for row in rows]
    render.stdout().print(render.table(_SHOWN.values(), shown))
    render.stdout().print(
        f"\n{report} has all figures; {file.path} has the records", soft_wrap=True
    )
