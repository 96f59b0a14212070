"""Sets of prompts: a file with one JSON object a line, of which ``prompt`` is read."""

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
        name: of the file, without its ending; tells the set from the others of a run.
        texts: by their number in the file, from 0 on.
        sha256: of all texts of the file.
    """

    name: str
    texts: dict[int, str]
    sha256: str


def load(files: Sequence[Path], n_prompts: int | None, seed: int) -> list[PromptSet]:
    """The sets of these files, the bundled one if there are none.

    Args:
        files: JSON lines.
        n_prompts: so many of each at most, drawn by the seed; None: all.
        seed: see above.

    Raises:
        InvalidArgument: a file cannot be read, has no prompts, or its name is there twice.
    """
    sets: dict[str, PromptSet] = {}
    for file in files or [BUNDLED]:
        name = "bundled" if file == BUNDLED else file.stem
        if name in sets:
            raise InvalidArgument(f"{file}: there is another set of prompts with the name {name!r}")
        texts = read_prompts(file)
        numbers = list(range(len(texts)))
        if n_prompts is not None and n_prompts < len(texts):
            numbers = sorted(random.Random(seed).sample(numbers, n_prompts))
        digest = hashlib.sha256(json.dumps(texts).encode()).hexdigest()
        sets[name] = PromptSet(name, {number: texts[number] for number in numbers}, digest)
    return list(sets.values())
