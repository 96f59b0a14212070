"""Which batches of a target agree with single tokens: the table of ``check --exact``."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from specbranch_cpp import _core
from specbranch_cpp._engine.adapters import adapter_options
from specbranch_cpp._engine.machine_keywords import refuse_others
from specbranch_cpp._engine.model_options import ModelArgument
from specbranch_cpp._llama import cpu_probe
from specbranch_cpp._placement import outcome
from specbranch_cpp._placement.planning import Side, plan
from specbranch_cpp._support import checked, logs
from specbranch_cpp.check.settings import MAX_BRANCHES, MAX_DRAFT
from specbranch_cpp.options import Model

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from specbranch_cpp._engine.machine_keywords import MachineKeywords

__all__ = ["ExactReport", "ExactTrial", "examine_rows"]


@dataclass(frozen=True)
class ExactTrial:
    """One way to pad the batches of a target.

    Attributes:
        multiple: dummy tokens fill each batch up to a multiple of this number.
        repacked: whether llama.cpp has repacked the weights (`Model.use_extra_bufts`).
        max_path: the longest verification whose logits agree with single tokens to the last bit, as
            do those of all shorter ones. 1: only single tokens agree; 0: not even they.
        single_ms: milliseconds of a step over one token with this padding.
        path_ms: milliseconds of a verification of 6 tokens, or of ``max_path`` if that is less.
    """

    multiple: int
    repacked: bool
    max_path: int
    single_ms: float
    path_ms: float


@dataclass(frozen=True)
class ExactReport:
    """What ``bit_exact=True`` does with a target on this machine.

    Attributes:
        target: path of the file.
        wanted: the longest verification of an engine with these settings.
        trials: all combinations that were tested.
        chosen: the trial that an engine uses. ``None``: no verification of two tokens agrees, and
            `Engine` refuses ``bit_exact=True``.
        price: the time of a step over one token with ``chosen``, divided by the shortest time of
            all trials. ``None`` without ``chosen``.
    """

    target: str
    wanted: int
    trials: tuple[ExactTrial, ...]
    chosen: ExactTrial | None
    price: float | None


def examine_rows(
    target: str | os.PathLike[str],
    *,
    max_draft: int = MAX_DRAFT,
    **machine: Unpack[MachineKeywords],
) -> ExactReport:
    """Tests which batches of a target have the logits of single tokens.

    The function loads the target twice, with and without repacked weights.

    Args:
        target: path of the target's GGUF file.
        max_draft: the largest number of tokens to draft ahead, as in `Engine`; it decides how long
            verifications can become.
        **machine: options of `Engine`: ``n_ctx``, threads, CPUs and layers on GPUs of the target,
            and its LoRA adapters (``lora``). Those of the draft have no effect.

    Raises:
        InvalidArgument: an argument is out of its range.
        ModelLoadError: the file is missing, damaged, or not a model that generates text.
        TypeError: there is no such keyword.
    """
    refuse_others("examine_rows", machine)
    checked.integer("max_draft", max_draft, 1, _core.MAX_DRAFT)
    model = Model(
        target,
        n_ctx=machine.get("n_ctx"),
        n_threads=machine.get("n_threads"),
        cpus=machine.get("cpus"),
        n_gpu_layers=machine.get("n_gpu_layers"),
        devices=machine.get("devices"),
    )
    options = ModelArgument(model, "target", "").core_options()
    options.adapters = adapter_options(machine.get("lora"))
    cpu_probe.ensure_safe_cpu([os.fsdecode(target)])
    side = Side("target", options, model.n_gpu_layers is None, max_draft, MAX_BRANCHES)
    layout = plan(side, None)
    outcome.check(layout, side, None)
    if layout.target is not None:
        options = layout.target.side.options
    wanted = _core.pair_sizes(max_draft, MAX_BRANCHES, options).max_verify
    found: list[_core.RowTrial] = []
    trials: list[ExactTrial] = []
    try:
        for repacked in (True, False):
            options.use_extra_bufts = repacked
            for trial in _core.test_rows(options, max_path=wanted):
                found.append(trial)
                trials.append(_trial(trial, repacked))
    finally:
        logs.forward()
    best = 0 if _core.needs_nothing(found[0], wanted) else _core.best_trial(found)
    chosen = None if best is None else trials[best]
    price = None
    if chosen is not None:
        price = chosen.single_ms / min(trial.single_ms for trial in trials)
    return ExactReport(os.fsdecode(target), wanted, tuple(trials), chosen, price)


def _trial(found: _core.RowTrial, repacked: bool) -> ExactTrial:
    padding = found.padding
    return ExactTrial(
        padding.multiple,
        repacked,
        padding.max_path,
        found.single_us / 1000.0,
        found.path_us / 1000.0,
    )
