"""A model file that passes all rules, and on which llama.cpp ends its process."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from tests.python.matrix.random_model import write_random_model
from tests.python.matrix.table import ARCHITECTURES

from fuzz.gguf_bytes import Gguf

if TYPE_CHECKING:
    from pathlib import Path

_KEY = b"bailingmoe3.kda.gate_lower_bound"


def write_killer(path: Path) -> Path:
    """llama.cpp asserts while loading that a bound of this model is negative."""
    write_random_model(path, next(one for one in ARCHITECTURES if one.label == "bailingmoe3"))
    file = Gguf.read(path.read_bytes())
    file.entries = [replace(one, value=5.0) if one.key == _KEY else one for one in file.entries]
    path.write_bytes(file.packed())
    return path
