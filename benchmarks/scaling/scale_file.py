"""Scaling one model, or a pair to a preset."""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from gguf import GGML_QUANT_SIZES, GGMLQuantizationType

from specbranch_cpp._scaling.equality import Equality
from specbranch_cpp._scaling.scaled_model import plan_model
from specbranch_cpp._scaling.shape import ScaleError, Shape
from specbranch_cpp._scaling.source import Source
from specbranch_cpp._scaling.weight_types import parse_weight_type

from . import writer
from .presets import PRESETS, fit


@dataclass(frozen=True)
class ScaleResult:
    """What was written, and how equal its scores are to the source's.

    Attributes:
        weight_change: by how much another weight type changed the source's weights, relative (the
            root mean square of the worst tensor); 0: not at all.
        deviations: where the shape is not the preset's, and why.
    """

    path: Path
    source_shape: Shape
    shape: Shape
    n_parameters: int
    n_bytes: int
    equality: Equality
    weight_change: float = 0.0
    deviations: tuple[str, ...] = ()

    @property
    def bit_exact(self) -> bool:
        """Whether the scores are promised to equal the source's to the last bit."""
        return self.equality is Equality.BITS


def scale(
    source: str | os.PathLike[str],
    destination: str | os.PathLike[str],
    *,
    n_embd: int | None = None,
    n_layer: int | None = None,
    n_head: int | None = None,
    n_head_kv: int | None = None,
    n_ff: int | None = None,
    head_size: int | None = None,
    weight_type: str = "same",
    seed: int = 0,
    force: bool = False,
    progress: bool = False,
) -> ScaleResult:
    """Write a bigger model that computes the same function as `source`.

    A dimension that is None stays as it is. `weight_type` is GGUF's name of the type of all
    matrices (`weight_types.writable_types`), or `"same"`. The same arguments give the same file.
    `force` replaces an existing destination, which otherwise is an error; until the new file is
    complete nothing is replaced. `progress` shows a bar on standard error.

    Raises ScaleError for a shape, a model, a type or a destination that does not do.
    """
    path = Path(destination)
    if path.exists() and not force:
        raise ScaleError(f"{path} exists; force (--force) replaces it")
    if not path.parent.is_dir():
        raise ScaleError(f"{path.parent}: no such directory")
    model = plan_model(
        source,
        n_embd=n_embd,
        n_layer=n_layer,
        n_head=n_head,
        n_head_kv=n_head_kv,
        n_ff=n_ff,
        head_size=head_size,
        weight_type=weight_type,
    )
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        model.write_metadata(temporary)
        title = path.name if progress else None
        writer.write_weights(
            model.plan, temporary, model.source.reader.alignment, seed, title=title
        )
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    equality, weight_change = model.judge()
    return ScaleResult(
        path=path,
        source_shape=model.source.shape,
        shape=model.shape,
        n_parameters=model.n_parameters,
        n_bytes=path.stat().st_size,
        equality=equality,
        weight_change=weight_change,
    )


def scale_pair(
    preset: str,
    target: str | os.PathLike[str],
    draft: str | os.PathLike[str],
    out_dir: str | os.PathLike[str],
    *,
    n_layer: int | None = None,
    weight_type: str = "same",
    seed: int = 0,
    force: bool = False,
    progress: bool = False,
) -> tuple[ScaleResult, ScaleResult]:
    """Scale a pair to a preset's shapes; the files are named `<name of the source>-<preset>`.

    `n_layer` is the number of blocks of both models in place of the preset's.
    """
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
    shapes = (PRESETS[preset].target, PRESETS[preset].draft)
    fitted = [
        fit_to_source(source, shape, weight_type, n_layer)
        for source, shape in zip(sources, shapes, strict=True)
    ]
    folder.mkdir(parents=True, exist_ok=True)
    results = []
    for source, path, (shape, deviations) in zip(sources, paths, fitted, strict=True):
        result = scale(
            source,
            path,
            **asdict(shape),
            weight_type=weight_type,
            seed=seed,
            force=force,
            progress=progress,
        )
        results.append(replace(result, deviations=tuple(deviations)))
    return results[0], results[1]


def fit_to_source(
    source: Path, shape: Shape, weight_type: str, n_layer: int | None
) -> tuple[Shape, list[str]]:
    """A preset's shape as this source can have it in that type, and what is different."""
    kind = parse_weight_type(weight_type)
    model = Source(source)
    deviations = []
    reason = "as asked"
    if n_layer is None:
        n_layer = max(shape.n_layer, model.shape.n_layer)
        reason = "the source has as many"
    if n_layer != shape.n_layer:
        deviations.append(f"n_layer {n_layer}, not {shape.n_layer}: {reason}")
        shape = replace(shape, n_layer=n_layer)
    shape = replace(shape, head_size=shape.head_size or model.shape.head_size)
    shape, more = fit(shape, _coarsest_type(model) if kind is None else kind)
    return shape, deviations + more


def _coarsest_type(source: Source) -> GGMLQuantizationType:
    """The type of the source's matrices with the longest blocks."""
    kinds = {tensor.tensor_type for tensor in source.reader.tensors if len(tensor.shape) > 1}
    return max(kinds, key=lambda kind: GGML_QUANT_SIZES[kind][0])
