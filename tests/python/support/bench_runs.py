"""Small runs of `specbranch bench` on the bundled pair, for tests."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from specbranch_cpp.bench import records, runner, session

PROMPTS = ("def add(a, b):\n", "import os\n", "class Stack:\n")


def write_prompts(folder: Path) -> Path:
    path = folder / "prompts.jsonl"
    path.write_text("".join(json.dumps({"prompt": text}) + "\n" for text in PROMPTS))
    return path


def small_request(pair: tuple[Path, Path], folder: Path) -> dict[str, Any]:
    """Arguments of a `session.BenchRequest` that takes a second: four variants, three prompts."""
    return {
        "pairs": (pair,),
        "prompts": (write_prompts(folder),),
        "modes": ("speculative", "auto"),
        "lengths": (2, 3),
        "placements": ("shared",),
        "tokens": 6,
        "n_ctx": 256,
    }


def measure(folder: Path, request: dict[str, Any]) -> list[records.Record]:
    prepared = session.prepare(session.BenchRequest(**request))
    with records.RecordFile(folder, prepared.header) as file:
        runner.run(prepared.plan, file)
    return records.read(folder)


def turns(found: Sequence[records.Record]) -> list[records.Record]:
    return [record for record in found if record["kind"] == "turn"]
