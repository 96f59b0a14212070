"""The weights of the new file, appended chunk by chunk."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from tqdm import tqdm  # type: ignore[import-untyped]

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from specbranch_cpp._scaling.tensor import PlannedTensor


def write_weights(
    plan: Sequence[PlannedTensor], path: Path, alignment: int, seed: int, *, title: str | None
) -> None:
    """Append the weights to the metadata; `title` names the progress bar, None shows none."""
    n_bytes = sum(tensor.n_bytes for tensor in plan)
    with (
        path.open("r+b") as file,
        tqdm(desc=title, total=n_bytes, unit="B", unit_scale=True, disable=title is None) as bar,
    ):
        file.seek(0, os.SEEK_END)
        for tensor in plan:
            for chunk in tensor.chunks(seed):
                file.write(chunk.data)
                bar.update(chunk.nbytes)
            file.write(bytes(-file.tell() % alignment))
