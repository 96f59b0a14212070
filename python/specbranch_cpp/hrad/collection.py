"""Runs the engine over prompts and keeps what every round saw."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from specbranch_cpp._support.files import file_sha256, replace_file
from specbranch_cpp.errors import ContextOverflow, InvalidArgument
from specbranch_cpp.hrad.records import (
    SETTINGS,
    load_records,
    read_settings,
    rounds_of,
    save_records,
)
from specbranch_cpp.policies import Confidence

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from specbranch_cpp.engine import Engine

_VERSION = 1


@dataclass(frozen=True)
class TraceSettings:
    """How traces are made; those of one folder are all made alike, but for the temperature.

    Attributes:
        n_layers: K, layers of the target whose inputs are recorded.
        mode: how it decodes.
        max_tokens: of every text, at most.
        seed: of the first prompt at temperatures above 0; each prompt has its own.
        epsilon: the confidence rule's limit while collecting.
        max_draft: tokens drafted ahead at most; the windows are so long.
        max_branches: branches at most.
    """

    n_layers: int = 4
    mode: str = "specbranch"
    max_tokens: int = 128
    seed: int = 1
    epsilon: float = 0.4
    max_draft: int = 8
    max_branches: int = 4


@dataclass(frozen=True)
class Collected:
    """What is in a folder now: rounds, texts, and texts left out as too long for the context."""

    n_rounds: int
    n_texts: int
    n_skipped: int


def collect(
    engine: Engine,
    target: Path,
    draft: Path,
    prompts: Sequence[str],
    folder: Path,
    *,
    settings: TraceSettings | None = None,
    temperatures: Sequence[float] = (0.0,),
    progress: Callable[[int, int, int], object] | None = None,
) -> Collected:
    """Writes one file for each prompt and temperature that has none yet.

    What is on the disk is complete at any moment: after a crash, the same call goes on where it
    was.

    Args:
        engine: of these two models, with at least the settings' ``max_draft`` and ``max_branches``.
        target: its file, of which the digest is kept.
        draft: likewise.
        prompts: texts; one that is there twice is done once.
        folder: made if it is not there.
        settings: None: the defaults.
        temperatures: each prompt is done at every one.
        progress: called after each text with the texts done, those wanted, and the rounds so far.

    Raises:
        InvalidArgument: the folder holds traces of other settings or models, or the target has
            too few layers, or gives none.
    """
    settings = settings or TraceSettings()
    _check_layers(engine, settings.n_layers)
    folder.mkdir(parents=True, exist_ok=True)
    about = {
        **asdict(settings),
        "version": _VERSION,
        "target_name": target.name,
        "draft_name": draft.name,
        "target_sha256": file_sha256(os.fspath(target)),
        "draft_sha256": file_sha256(os.fspath(draft)),
    }
    _adopt(folder, about, engine)
    texts = list(dict.fromkeys(prompts))
    jobs = [(text, temperature) for temperature in temperatures for text in texts]
    n_rounds = n_skipped = 0
    for n_done, (text, temperature) in enumerate(jobs, 1):
        try:
            n_rounds += _one(engine, text, temperature, folder, settings)
        except ContextOverflow:
            n_skipped += 1
        if progress is not None:
            progress(n_done, len(jobs), n_rounds)
    return Collected(n_rounds, len(jobs) - n_skipped, n_skipped)


def _check_layers(engine: Engine, n_layers: int) -> None:
    most = engine.n_feature_layers
    if most == 0:
        raise InvalidArgument(
            "llama.cpp gives no hidden states of this target's architecture, which H-RAD needs"
        )
    if not 1 <= n_layers <= most:
        raise InvalidArgument(f"n_layers is {n_layers}; it must be in 1 .. {most} for this target")


def _adopt(folder: Path, about: dict[str, Any], engine: Engine) -> None:
    """Writes the folder's settings, or checks that they are these."""
    about["n_embd"] = engine._core.n_embd
    if not (folder / SETTINGS).exists():
        replace_file(folder / SETTINGS, json.dumps(about, indent=1).encode())
        return
    old = read_settings(folder)
    for name, value in about.items():
        if old.get(name) != value:
            raise InvalidArgument(
                f"{folder} has traces with another {name}: {old.get(name)!r}, not {value!r}; "
                "take another folder"
            )


def _one(
    engine: Engine, text: str, temperature: float, folder: Path, settings: TraceSettings
) -> int:
    digest = hashlib.sha256(text.encode()).hexdigest()[:16]
    path = folder / f"{digest}-t{temperature:g}.npz"
    if path.exists():
        return len(load_records(path)[0])
    seed = (settings.seed + int(digest[:8], 16)) % 2**32
    generation = engine.generate(
        text,
        max_tokens=settings.max_tokens,
        temperature=temperature,
        seed=seed,
        mode=settings.mode,
        policy=Confidence(settings.epsilon),
        max_draft=settings.max_draft,
        max_branches=settings.max_branches,
        trace=True,
        n_feature_layers=settings.n_layers,
    )
    with generation:
        trace = generation.result().trace
    records = rounds_of(trace.rounds if trace else (), temperature=temperature)
    save_records(path, records, {"prompt": digest, "temperature": temperature, "seed": seed})
    return len(records)
