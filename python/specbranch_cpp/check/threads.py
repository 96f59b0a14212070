"""How many threads the engine gives each model."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from specbranch_cpp import _core

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path
    from typing import Any


def beside(target: Path, draft: Path, options: Mapping[str, Any]) -> tuple[int, int]:
    """Threads of target and draft with these options of `Engine`."""
    of_target = _options(target, options)
    layers = {"draft_n_gpu_layers": options.get("n_gpu_layers", 0)}
    of_draft = _options(draft, layers | dict(options), "draft_")
    _core.plan_threads(of_target, of_draft)
    return of_target.n_threads, of_draft.n_threads


def alone(target: Path, options: Mapping[str, Any]) -> int:
    """Threads that the target may have without a draft: all cores, unless options say otherwise."""
    if "n_threads" in options:
        return int(options["n_threads"])
    if "cpus" in options:
        return len(options["cpus"])
    if options.get("n_gpu_layers", 0) < 0:
        return 1
    n_target, n_draft = beside(target, target, {"n_gpu_layers": options.get("n_gpu_layers", 0)})
    return n_target + n_draft


def _options(path: Path, options: Mapping[str, Any], prefix: str = "") -> _core.ModelOptions:
    made = _core.ModelOptions(os.fsencode(path))
    for name in ("n_threads", "cpus", "n_gpu_layers"):
        if prefix + name in options:
            setattr(made, name, options[prefix + name])
    return made
