"""Runs all examinations of a pair."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from specbranch_cpp import _core
from specbranch_cpp._engine.machine_keywords import refuse_others
from specbranch_cpp._rpc.addresses import parse_addresses
from specbranch_cpp._support import checked
from specbranch_cpp._support.prompt_file import read_prompts
from specbranch_cpp._support.words import message
from specbranch_cpp.bench.machine import describe
from specbranch_cpp.bench.placements import Placement, place
from specbranch_cpp.bench.prompts import BUNDLED
from specbranch_cpp.check import files, settings
from specbranch_cpp.check.measuring import measure
from specbranch_cpp.check.report import Report, Verdict
from specbranch_cpp.check.sampling import Sample
from specbranch_cpp.check.settings import MAX_BRANCHES, MAX_DRAFT
from specbranch_cpp.errors import IncompatibleModels, InvalidArgument, ModelLoadError

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Sequence

    from typing_extensions import Unpack

    from specbranch_cpp._engine.machine_keywords import MachineKeywords

SECONDS = 20.0
_CODE_FOR_PROSE = 4  # number of code prompts for each prose prompt


def examine(
    target: str | os.PathLike[str],
    draft: str | os.PathLike[str] | None = None,
    *,
    prompts: Sequence[str] | None = None,
    seconds: float = SECONDS,
    temperature: float = 0.0,
    max_draft: int = MAX_DRAFT,
    max_branches: int = MAX_BRANCHES,
    measured: bool = True,
    placements: Sequence[str] | None = None,
    progress: Callable[[str, float], object] | None = None,
    **machine: Unpack[MachineKeywords],
) -> Report:
    """Finds out whether a pair works on this machine, and whether its draft helps.

    The function reads the files, estimates the memory, and tests the CPU in a child process. If it
    finds no obstacle, it loads both models and decodes short texts.

    Args:
        target: path of the target's GGUF file.
        draft: path of the draft's GGUF file. ``None``: the function examines only the target and
            measures nothing.
        prompts: texts to continue. ``None`` (default): built-in code and prose.
        seconds: approximate time for decoding texts, above 0, without the time for loading.
        temperature: temperature of the texts, 0 or more. Acceptance rates are higher at low
            temperatures.
        max_draft: the largest number of tokens to draft ahead, as in `Engine`.
        max_branches: the largest number of branches, as in `Engine`.
        measured: if False, the function does not load the models.
        placements: names of placements to compare, as in ``specbranch bench``, or ``["all"]``: the
            models are loaded and measured again in each. It needs a draft and ``measured``.
            ``None`` (default): only the placement that the engine chooses is measured.
        progress: a function that is called on this thread with the current step and the share of
            the time that has passed, 0 to 1.
        **machine: options of `Engine`: ``n_ctx``, threads, CPUs, GPUs and layers on them of both
            models, the LoRA adapters of the target (``lora``), and ``rpc_servers``.

    Raises:
        InvalidArgument: an argument is out of its range. Problems of the files or of the machine
            are not errors; the report contains them.
        TypeError: there is no such keyword.
    """
    refuse_others("examine", machine)
    checked.integer("max_draft", max_draft, 1, _core.MAX_DRAFT)
    checked.integer("max_branches", max_branches, 1, _core.MAX_BRANCHES)
    if not checked.real("seconds", seconds) > 0:
        raise InvalidArgument(f"seconds is {seconds}; it must be above 0")
    if prompts is not None and not prompts:
        raise InvalidArgument("prompts is empty; it must have at least one prompt, or be None")
    parse_addresses("rpc_servers", machine.get("rpc_servers"))
    possible = _possible(placements, machine, draft, measured=measured)
    target_path, draft_path = Path(target), None if draft is None else Path(draft)
    report = files.look_at_files(target_path, draft_path, machine, max_draft, max_branches)
    if not report.fits:
        report.verdict, report.reason = Verdict.UNUSABLE, "; ".join(report.reasons)
        return report
    if draft_path is None:
        report.verdict = Verdict.NO_DRAFT
        report.reason = (
            "there is no draft model; texts propose tokens, which gains speed where an answer "
            "repeats its prompt, itself or other texts (`specbranch bench run -m` measures it)"
        )
        report.advice = settings.without_draft(target_path, machine)
        return report
    if not measured:
        report.reason = "the measurement was turned off"
        return report
    sample = Sample(
        prompts=built_in_prompts() if prompts is None else prompts,
        seconds=seconds,
        temperature=temperature,
        max_draft=max_draft,
        max_branches=max_branches,
        progress=progress or (lambda _what, _share: None),
        placements=possible,
    )
    try:
        measure(report, target_path, draft_path, machine, sample)
    except (ModelLoadError, IncompatibleModels) as error:
        report.object_to(message(error))
        report.verdict, report.reason = Verdict.UNUSABLE, message(error)
    return report


def _possible(
    names: Sequence[str] | None,
    machine: MachineKeywords,
    draft: object | None,
    *,
    measured: bool,
) -> list[Placement]:
    """The placements to compare.

    Raises:
        InvalidArgument: a name is unknown, or there is nothing to compare.
    """
    if names is None:
        return []
    if draft is None or not measured or machine.get("rpc_servers"):
        raise InvalidArgument(
            f"placements is {list(names)}; it must be None without a draft, without a measurement "
            "and with rpc_servers"
        )
    return place(list(names), describe())[0]


def built_in_prompts() -> list[str]:
    """The prompts of `specbranch bench`: four of code, then one of prose, and so on."""
    pairs = list(zip(read_prompts(BUNDLED), read_prompts(BUNDLED, "kind"), strict=True))
    prose = [text for text, kind in pairs if kind == "english"]
    code = [text for text, kind in pairs if kind != "english"]
    mixed = []
    while code or prose:
        mixed += code[:_CODE_FOR_PROSE] + prose[:1]
        del code[:_CODE_FOR_PROSE], prose[:1]
    return mixed
