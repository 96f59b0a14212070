"""The matrix as a page of the documentation.

python -m tests.python.matrix.report docs/architectures.md [ARCHITECTURE ...]
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING

from tests.python.matrix.cells import MODES, N_TOKENS, ROLES, SETTINGS, SEVERAL, WINDOWS, Cell
from tests.python.matrix.table import ARCHITECTURES
from tests.python.support.tiny_gguf import N_VOCAB

from specbranch_cpp import _core

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

MARKS = {"equal": "=", "near-tie": "~", "refused": "r", "fault": "X"}
ROOT = Path(__file__).resolve().parents[3]

HEAD = Path(__file__).with_name("page.md")


def run_row(label: str, *, quick: bool = False, timeout: float = 900) -> list[Cell]:
    """Runs a row in a process of its own. If it dies, its last cell says so."""
    command = [sys.executable, "-m", "tests.python.matrix.cells", label]
    done = subprocess.run(
        [*command, "--quick"] if quick else command,
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
        env=os.environ | {"GGML_NO_BACKTRACE": "1", "PYTHONPATH": os.pathsep.join(sys.path)},
        timeout=timeout,
    )
    known = {one.name for one in fields(Cell)}
    cells = []
    for line in done.stdout.splitlines():
        values = json.loads(line)
        cells.append(Cell(**{name: values[name] for name in known}))
    if done.returncode != 0:
        words = f"exit status {done.returncode}: {done.stderr[-500:]}"
        cells.append(Cell(label, "", "", found="fault", words=words))
    return cells


def page(rows: Sequence[Sequence[Cell]]) -> str:
    """The document, of the cells of each row."""
    text = HEAD.read_text().format(
        version=_core.library_info().llama_version,
        n_vocab=N_VOCAB,
        n_tokens=N_TOKENS,
        modes=", ".join(f"`{mode}`" for mode in MODES),
        n_settings=len(SETTINGS),
        settings="; ".join(SETTINGS),
        n_texts=3 * len(MODES),
        n_near=3 * len(MODES) + 3,
    )
    kinds = {one.label: one.kind for one in ARCHITECTURES}
    lines = [
        "| architecture | what is special | " + " | ".join(ROLES) + " | drafted | rolled back |",
        "| --- | --- |" + " --- |" * len(ROLES) + " ---: | ---: |",
    ]
    for cells in rows:
        label = cells[0].architecture
        marks = (f"`{_marks(cells, role)}`" for role in ROLES)
        lines.append(
            f"| {label} | {kinds[label]} | {' | '.join(marks)} "
            f"| {sum(cell.n_drafted for cell in cells):,} "
            f"| {sum(cell.n_rolled_back for cell in cells):,} |"
        )
    return text + "\n".join(lines) + "\n\n" + _summary(rows)


def _marks(cells: Iterable[Cell], role: str) -> str:
    """A mark for every setting. Not every row has cells with windows."""
    found = {cell.settings: MARKS[cell.found] for cell in cells if cell.role == role}
    extra = "".join(found.get(settings, "") for settings in (SEVERAL, WINDOWS))
    return "".join(found.get(settings, "X") for settings in SETTINGS) + extra


def _summary(rows: Sequence[Sequence[Cell]]) -> str:
    cells = [cell for row in rows for cell in row]
    count = Counter(cell.found for cell in cells)
    n_texts = sum(
        3 * (len(MODES) + (one.role == "near"))
        for one in cells
        if one.found in {"equal", "near-tie"}
    )
    n_ties = sum(len(cell.gaps) for cell in cells)
    return (
        f"{len(rows)} rows, {len(cells):,} cells: {count['equal']:,} equal, "
        f"{count['near-tie']:,} with near-ties, {count['refused']:,} refused, "
        f"{count['fault']:,} faults. Of {n_texts:,} texts, {n_ties:,} differ at a near-tie.\n"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("output", type=Path)
    parser.add_argument("architectures", nargs="*", help="all, if none is named")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--cells", type=Path, help="keep rows here, and run none a second time")
    args = parser.parse_args()
    labels = [one.label for one in ARCHITECTURES]
    if args.architectures:
        labels = [label for label in labels if label in args.architectures]
    known = _kept_rows(args.cells)
    missing = [label for label in labels if label not in known]
    with ThreadPoolExecutor(args.jobs) as pool:
        for label, cells in zip(missing, pool.map(run_row, missing), strict=True):
            known[label] = cells
            print(label, *(_marks(cells, role) for role in ROLES), flush=True)
            for cell in cells:
                if cell.found == "fault":
                    print("   ", cell.role, cell.settings, cell.words, flush=True)
            if args.cells:
                with args.cells.open("a") as file:
                    file.writelines(json.dumps(vars(cell)) + "\n" for cell in cells)
    args.output.write_text(page([known[label] for label in labels]))


def _kept_rows(path: Path | None) -> dict[str, list[Cell]]:
    rows: dict[str, list[Cell]] = {}
    if path is not None and path.exists():
        for line in path.read_text().splitlines():
            cell = Cell(**json.loads(line))
            rows.setdefault(cell.architecture, []).append(cell)
    return rows


if __name__ == "__main__":
    main()
