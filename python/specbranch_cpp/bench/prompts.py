"""Prompt sets: files with one JSON object per line. Only the field ``prompt`` is read."""

from __future__ import annotations

import hashlib
import json
import random
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from specbranch_cpp._support.prompt_file import read_prompts
from specbranch_cpp.errors import InvalidArgument

if TYPE_CHECKING:
    from collections.abc import Sequence

BUNDLED = Path(__file__).with_name("prompts.jsonl")


@dataclass(frozen=True)
class PromptSet:
    """Prompts of one file.

    Attributes:
        name: name of the file without its ending, unique in a run.
        texts: the texts by their number in the file, from 0.
        sha256: digest of all texts of the file.
    """

    name: str
    texts: dict[int, str]
    sha256: str


def load(files: Sequence[Path], n_prompts: int | None, seed: int) -> list[PromptSet]:
    """The prompt sets of these files; without files, the bundled set.

    Args:
        files: files of JSON lines.
        n_prompts: the largest number of prompts from each file, drawn by the seed. ``None``
            (default): all prompts.
        seed: seed of the drawing.

    Raises:
        InvalidArgument: a file cannot be read, it has no prompts, or two files have the same name.
    """
    sets: dict[str, PromptSet] = {}
    for file in files or [BUNDLED]:
        name = "bundled" if file == BUNDLED else file.stem
        if name in sets:
            raise InvalidArgument(
                f"{file}: another prompt set has the name {name!r} too; rename the file"
            )
        texts = read_prompts(file)
        numbers = list(range(len(texts)))
        if n_prompts is not None and n_prompts < len(texts):
            numbers = sorted(random.Random(seed).sample(numbers, n_prompts))
        digest = hashlib.sha256(json.dumps(texts).encode()).hexdigest()
        sets[name] = PromptSet(name, {number: texts[number] for number in numbers}, digest)
    return list(sets.values())
