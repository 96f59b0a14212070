"""Scaling one model, or a pair to a preset."""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass
from pathlib import Path

from . import writer
from .plan import is_bit_exact, make_plan
from .presets import PRESETS
from .shape import ScaleError, Shape, check_shape
from .source import Source


@dataclass(frozen=True)
class ScaleResult:
    """What was written, and whether its scores are promised to equal the source's bit by bit."""

    path: Path
    source_shape: Shape
    shape: Shape
    n_parameters: int
    n_bytes: int
    bit_exact: bool


def scale(
    source: str | os.PathLike[str],
    destination: str | os.PathLike[str],
    *,
    n_embd: int | None = None,
    n_layer: int | None = None,
    n_head: int | None = None,
    n_head_kv: int | None = None,
    n_ff: int | None = None,
    seed: int = 0,
    force: bool = False,
    progress: bool = False,
) -> ScaleResult:
    """Write a bigger model that computes the same function as `source`.

    A dimension that is None stays as it is. The same arguments give the same file. `force`
    replaces an existing destination, which otherwise is an error; until the new file is complete
    nothing is replaced. `progress` shows a bar on standard error.

    Raises ScaleError for a shape, a model or a destination that does not do.
    """
    path = Path(destination)
    if path.exists() and not force:
        raise ScaleError(f"{path} exists; force (--force) replaces it")
    if not path.parent.is_dir():
        raise ScaleError(f"{path.parent}: no such directory")
    model = Source(Path(source))
    asked = {
        "n_embd": n_embd,
        "n_layer": n_layer,
        "n_head": n_head,
        "n_head_kv": n_head_kv,
        "n_ff": n_ff,
    }
    given = {name: value for name, value in asked.items() if value is not None}
    shape = Shape(**(asdict(model.shape) | given))
    check_shape(model.shape, shape)
    plan = make_plan(model, shape)

    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        alignment = writer.write_metadata(model, shape, plan, temporary)
        writer.write_weights(
            plan, temporary, alignment, seed, title=path.name if progress else None
        )
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    return ScaleResult(
        path=path,
        source_shape=model.shape,
        shape=shape,
        n_parameters=sum(tensor.n_elements for tensor in plan),
        n_bytes=path.stat().st_size,
        bit_exact=is_bit_exact(model, shape),
    )


def scale_pair(
    preset: str,
    target: str | os.PathLike[str],
    draft: str | os.PathLike[str],
    out_dir: str | os.PathLike[str],
    *,
    seed: int = 0,
    force: bool = False,
    progress: bool = False,
) -> tuple[ScaleResult, ScaleResult]:
    """Scale a pair to a preset's shapes; the files are named `<name of the source>-<preset>`."""
    if preset not in PRESETS:
        raise ScaleError(f"no preset {preset!r}; there are {', '.join(PRESETS)}")
    folder = Path(out_dir)
    sources = (Path(target), Path(draft))
    paths = [folder / f"{path.stem}-{preset}.gguf" for path in sources]
    if paths[0] == paths[1]:
        raise ScaleError(f"target and draft would both be written to {paths[0]}")
    for path in paths:
        if path.exists() and not force:
            raise ScaleError(f"{path} exists; force (--force) replaces it")
    folder.mkdir(parents=True, exist_ok=True)
    shapes = (PRESETS[preset].target, PRESETS[preset].draft)
    first, second = (
        scale(source, path, **asdict(shape), seed=seed, force=force, progress=progress)
        for source, path, shape in zip(sources, paths, shapes, strict=True)
    )
    return first, second
