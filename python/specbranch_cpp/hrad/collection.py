"""Runs the engine on prompts and records the features of every round."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from specbranch_cpp._support import checked
from specbranch_cpp._support.files import replace_file
from specbranch_cpp._support.model_parts import model_sha256
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
_MODES = ("speculative", "pearl", "specbranch")
_INTEGERS = {"n_layers": 1, "max_tokens": 1, "max_draft": 1, "max_branches": 1}


@dataclass(frozen=True)
class TraceSettings:
    """The settings of a collection.

    All traces in a folder have the same settings, except the temperature.

    Attributes:
        n_layers: K, the number of target layers whose inputs are recorded.
        mode: the mode of the engine: ``"speculative"``, ``"pearl"`` or ``"specbranch"``.
        max_tokens: the largest number of tokens of a text.
        seed: seed of the first prompt at temperatures above 0; each prompt has its own seed.
        epsilon: the confidence limit while collecting.
        max_draft: the largest number of tokens to draft ahead, which is the length of the windows.
        max_branches: the largest number of branches.

    Raises:
        InvalidArgument: a setting has the wrong type or is out of its range.
    """

    n_layers: int = 4
    mode: str = "specbranch"
    max_tokens: int = 128
    seed: int = 1
    epsilon: float = 0.4
    max_draft: int = 8
    max_branches: int = 4

    def __post_init__(self) -> None:
        if self.mode not in _MODES:
            raise InvalidArgument(
                f"mode is {self.mode!r}; it must be one of {', '.join(_MODES)}, whose drafts have "
                "windows"
            )
        # As `int` and `float`, because the settings become JSON.
        for name, least in _INTEGERS.items():
            object.__setattr__(self, name, checked.integer(name, getattr(self, name), least))
        object.__setattr__(self, "seed", checked.integer("seed", self.seed, 0, 2**63 - 1))
        object.__setattr__(self, "epsilon", checked.share("epsilon", self.epsilon))


@dataclass(frozen=True)
class Collected:
    """The content of a folder: numbers of rounds, of texts, and of prompts that do not fit into the
    context.
    """

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
    """Writes a file for each prompt and temperature that has no file yet.

    All files on the disk are complete at any time. After a crash, the same call continues.

    Args:
        engine: an engine with these two models, with at least the ``max_draft`` and
            ``max_branches`` of the settings.
        target: the target's file, whose digest is stored.
        draft: the draft's file, whose digest is stored.
        prompts: texts; equal texts are decoded once.
        folder: folder for the files; it is created if needed.
        settings: the settings. ``None`` (default): the default settings.
        temperatures: temperatures at which each prompt is decoded.
        progress: a function that is called after each text with the number of finished texts, the
            number of all texts, and the number of rounds.

    Raises:
        InvalidArgument: the folder has traces of other settings or models, the target has too few
            layers or gives no features, or a prompt or a temperature is not usable.
    """
    settings = settings or TraceSettings()
    _check_layers(engine, settings.n_layers)
    texts = list(dict.fromkeys(_checked_prompts(prompts)))
    temperatures = checked.reals("temperatures", temperatures)
    for temperature in temperatures:  # before the folder keeps the settings
        request = _request(settings, temperature, settings.seed)
        engine.generate([0], **{**request, "max_tokens": 0}).result()
    folder.mkdir(parents=True, exist_ok=True)
    about = {
        **asdict(settings),
        "version": _VERSION,
        "target_name": target.name,
        "draft_name": draft.name,
        "target_sha256": model_sha256(os.fspath(target)),
        "draft_sha256": model_sha256(os.fspath(draft)),
    }
    _adopt(folder, about, engine)
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


def _checked_prompts(prompts: Sequence[str]) -> list[str]:
    texts = checked.texts("prompts", prompts)
    if "" in texts:
        raise InvalidArgument(
            f"prompts[{texts.index('')}] is empty; it must have at least one character"
        )
    return texts


def _check_layers(engine: Engine, n_layers: int) -> None:
    most = engine.n_feature_layers
    if most == 0:
        raise InvalidArgument(
            "H-RAD needs hidden states of the target, but llama.cpp does not give them for this "
            "architecture"
        )
    if not 1 <= n_layers <= most:
        raise InvalidArgument(f"n_layers is {n_layers}; it must be in 1 .. {most} for this target")


def _adopt(folder: Path, about: dict[str, Any], engine: Engine) -> None:
    """Writes the settings of the folder, or checks that those of its traces are equal."""
    about["n_embd"] = engine._core.n_embd
    old = read_settings(folder) if (folder / SETTINGS).exists() else about
    # A call that failed at its first text leaves settings without traces.
    is_left = about.keys() <= old.keys() and not any(folder.glob("*.npz"))
    if is_left:
        replace_file(folder / SETTINGS, json.dumps(about, indent=1).encode())
        return
    for name, value in about.items():
        if old.get(name) != value:
            raise InvalidArgument(
                f"{folder} has traces with another {name}: {old.get(name)!r}, not {value!r}; use "
                "another folder"
            )


def _request(settings: TraceSettings, temperature: float, seed: int) -> dict[str, Any]:
    """The keywords of `Engine.generate` for one text."""
    return {
        "max_tokens": settings.max_tokens,
        "temperature": temperature,
        "seed": seed,
        "mode": settings.mode,
        "policy": Confidence(settings.epsilon),
        "max_draft": settings.max_draft,
        "max_branches": settings.max_branches,
        "trace": True,
        "n_feature_layers": settings.n_layers,
    }


def _short(temperature: float) -> str:
    """The temperature in a file's name: 0.8, 1; with as many digits as it needs."""
    short = f"{temperature:g}"
    return short if float(short) == temperature else repr(temperature)


def _one(
    engine: Engine, text: str, temperature: float, folder: Path, settings: TraceSettings
) -> int:
    digest = hashlib.sha256(text.encode()).hexdigest()[:16]
    path = folder / f"{digest}-t{_short(temperature)}.npz"
    if path.exists():
        return len(load_records(path)[0])
    seed = (settings.seed + int(digest[:8], 16)) % 2**32
    with engine.generate(text, **_request(settings, temperature, seed)) as generation:
        trace = generation.result().trace
    records = rounds_of(trace.rounds if trace else (), temperature=temperature)
    save_records(path, records, {"prompt": digest, "temperature": temperature, "seed": seed})
    return len(records)
