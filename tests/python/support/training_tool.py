"""Runs of the tool that trains pairs, in processes of their own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Sequence

TOOL = Path(__file__).resolve().parents[3] / "tools" / "train_demo_pair.py"


def run_python(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


def run_tool(*arguments: str, python: Sequence[str] = ()) -> subprocess.CompletedProcess[str]:
    return run_python(*python, str(TOOL), *arguments)


def needs_training_packages() -> None:
    for name in ("torch", "tokenizers", "gguf"):
        pytest.importorskip(name, reason=f"training needs {name}")


def write_text(folder: Path) -> Path:
    """Python files whose names put some of them into the held-out part."""
    body = Path(os.__file__).read_text(encoding="utf-8")
    size = len(body) // 80
    for number in range(80):
        piece = body[number * size : (number + 1) * size]
        (folder / f"module_{number}.py").write_text(piece, encoding="utf-8")
    return folder


def metadata(reader: Any, key: str) -> Any:
    field = reader.get_field(key)
    assert field is not None, key
    return field.contents()
