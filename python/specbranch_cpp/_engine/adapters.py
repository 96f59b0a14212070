"""LoRA adapters as arguments: the files of an engine, and the choice of a call."""

from __future__ import annotations

import numbers
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from specbranch_cpp._support import checked
from specbranch_cpp.errors import InvalidArgument
from specbranch_cpp.results import LoraAdapter

if TYPE_CHECKING:
    from specbranch_cpp import _core

__all__ = ["LoraChoice", "LoraFiles", "adapter_options", "chosen_adapters", "described_adapters"]

PathLike: TypeAlias = "str | os.PathLike[str]"
LoraFiles: TypeAlias = "PathLike | Sequence[PathLike | tuple[PathLike, float]]"
"""The argument ``lora`` of `Engine`: paths, or paths with scales."""
LoraChoice: TypeAlias = "str | int | Sequence[str | int | tuple[str | int, float]]"
"""The argument ``lora`` of `Engine.generate`: names or indexes, alone or with scales."""


def adapter_options(
    lora: LoraFiles | None,
    lora_path: PathLike | None = None,
    lora_scale: float | None = None,
) -> list[tuple[bytes, float]]:
    """The adapters of an engine as the core wants them. The core checks files and scales.

    Raises:
        InvalidArgument: an argument has the wrong type, or adapters are given in both ways.
    """
    if lora_path is None:
        if lora_scale is not None:
            raise InvalidArgument(f"lora_scale is {lora_scale!r}, but there is no lora_path")
        return [] if lora is None else _files(lora)
    if lora is not None:
        raise InvalidArgument(f"lora_path is {lora_path!r}, but lora is given too; give one")
    scale = 1.0 if lora_scale is None else checked.real("lora_scale", lora_scale)
    return [(checked.path("lora_path", lora_path), scale)]


def described_adapters(core: _core.Engine, options: _core.ModelOptions) -> tuple[LoraAdapter, ...]:
    """The adapters of a loaded engine, in their order."""
    scales = (scale for _, scale in options.adapters)
    return tuple(
        LoraAdapter(
            name=Path(path := os.fsdecode(file.path)).name.removesuffix(".gguf"),
            path=path,
            scale=scale,
            rank=file.rank,
            alpha=file.alpha,
            n_bytes=file.n_bytes,
            task_name=file.task_name,
            prompt_prefix=file.prompt_prefix,
        )
        for file, scale in zip(core.adapters, scales, strict=True)
    )


def chosen_adapters(lora: LoraChoice, loaded: Sequence[LoraAdapter]) -> list[tuple[int, float]]:
    """The indexes and scales of a call. The core checks the scales.

    Raises:
        InvalidArgument: an argument has the wrong type, or the engine has no such adapter.
    """
    return [
        (_index(name, each, loaded), scale)
        for name, each, scale in _scaled(
            "lora",
            lora,
            (str, numbers.Integral),
            "a sequence of names, indexes, or pairs with a scale",
        )
    ]


def _files(lora: LoraFiles) -> list[tuple[bytes, float]]:
    what = "a path, or a sequence of paths or (path, scale)"
    return [
        (checked.path(name, path), scale)
        for name, path, scale in _scaled("lora", lora, (str, os.PathLike), what)
    ]


def _scaled(
    argument: str, given: Any, single: tuple[type, ...], what: str
) -> Iterable[tuple[str, Any, float]]:
    """The name of each item in messages, the item, and its scale."""
    if isinstance(given, single) or _is_pair(given):
        given = [given]
    if isinstance(given, (bytes, Mapping)) or not isinstance(given, Iterable):
        raise InvalidArgument(f"{argument} is {given!r}; it must be {what}")
    for i, item in enumerate(given):
        name = f"{argument}[{i}]"
        if not isinstance(item, (tuple, list)):
            yield name, item, 1.0
        elif len(item) == 2:
            yield f"{name}[0]", item[0], checked.real(f"{name}[1]", item[1])
        else:
            raise InvalidArgument(f"{name} is {item!r}; it must have two elements")


def _is_pair(given: Any) -> bool:
    """Whether it is one adapter and its scale. A list has several adapters."""
    if not isinstance(given, tuple) or len(given) != 2:
        return False
    adapter, scale = given
    return isinstance(adapter, (str, os.PathLike)) and isinstance(scale, numbers.Real)


def _index(name: str, given: Any, loaded: Sequence[LoraAdapter]) -> int:
    if not loaded:
        raise InvalidArgument(f"{name} is {given!r}, but the engine was created without adapters")
    if not isinstance(given, str):
        return checked.integer(name, given, 0, len(loaded) - 1)
    found = [i for i, each in enumerate(loaded) if given in (each.name, each.path)]
    if len(found) == 1:
        return found[0]
    known = ", ".join(repr(each.name) for each in loaded)
    if found:
        raise InvalidArgument(
            f"{name} is {given!r}, but {len(found)} adapters have this name; give an index"
        )
    raise InvalidArgument(f"{name} is {given!r}; it must be one of {known}, or an index")
