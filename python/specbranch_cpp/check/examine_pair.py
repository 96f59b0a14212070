"""Everything that can be found out about a pair."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from specbranch_cpp import _core
from specbranch_cpp._support import checked
from specbranch_cpp._support.prompt_file import read_prompts
from specbranch_cpp._support.words import message
from specbranch_cpp.bench.prompts import BUNDLED
from specbranch_cpp.check import files, settings
from specbranch_cpp.check.measuring import Sample, measure
from specbranch_cpp.check.report import Report, Verdict
from specbranch_cpp.check.settings import MAX_BRANCHES, MAX_DRAFT
from specbranch_cpp.errors import IncompatibleModels, InvalidArgument, ModelLoadError

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Sequence

    from typing_extensions import Unpack

    from specbranch_cpp._engine.machine_keywords import MachineKeywords

SECONDS = 20.0
_CODE_FOR_PROSE = 4  # pieces of code among the built-in prompts for one of prose


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
    progress: Callable[[str, float], object] | None = None,
    **machine: Unpack[MachineKeywords],
) -> Report:
    """Says whether a pair works on this machine, and whether its draft is worth having.

    The files are read, the memory is weighed, and a child process tries the CPU. If nothing speaks
    against it, both models are loaded and decode short texts.

    Args:
        target: path of a GGUF file.
        draft: likewise; None: the target alone is looked at, and nothing is measured.
        prompts: what to decode; None: built-in ones, code and prose.
        seconds: about so long texts are decoded, above 0; loading comes on top.
        temperature: of the texts, 0 or more: drafts are right more often at low ones.
        max_draft: tokens drafted ahead at most, as in `Engine`.
        max_branches: branches at most, as in `Engine`.
        measured: False: the models are not loaded.
        progress: called on this thread with what is being done and a share of it, 0 to 1.
        **machine: of `Engine`: ``n_ctx``, threads, CPUs and layers on GPUs of both models.

    Raises:
        InvalidArgument: an argument is out of its range. What is wrong with the files or the
            machine is no error but in the report.
    """
    checked.integer("max_draft", max_draft, 1, _core.MAX_DRAFT)
    checked.integer("max_branches", max_branches, 1, _core.MAX_BRANCHES)
    if not checked.real("seconds", seconds) > 0:
        raise InvalidArgument(f"seconds is {seconds}; it must be above 0")
    if prompts is not None and not prompts:
        raise InvalidArgument("prompts is empty; give at least one, or None")
    target_path, draft_path = Path(target), None if draft is None else Path(draft)
    report = files.look_at_files(target_path, draft_path, machine, max_draft, max_branches)
    if not report.fits:
        report.verdict, report.reason = Verdict.UNUSABLE, "; ".join(report.reasons)
        return report
    if draft_path is None:
        report.verdict = Verdict.NO_DRAFT
        report.reason = "without a draft there is nothing to speculate with"
        report.advice = settings.without_draft(target_path, machine)
        return report
    if not measured:
        report.reason = "measuring was not asked for"
        return report
    sample = Sample(
        prompts=built_in_prompts() if prompts is None else prompts,
        seconds=seconds,
        temperature=temperature,
        max_draft=max_draft,
        max_branches=max_branches,
        progress=progress or (lambda _what, _share: None),
    )
    try:
        measure(report, target_path, draft_path, machine, sample)
    except (ModelLoadError, IncompatibleModels) as error:
        report.object_to(message(error))
        report.verdict, report.reason = Verdict.UNUSABLE, message(error)
    return report


def built_in_prompts() -> list[str]:
    """Those of `specbranch bench`: four pieces of code, then one of prose, and so on."""
    pairs = list(zip(read_prompts(BUNDLED), read_prompts(BUNDLED, "kind"), strict=True))
    prose = [text for text, kind in pairs if kind == "english"]
    code = [text for text, kind in pairs if kind != "english"]
    mixed = []
    while code or prose:
        mixed += code[:_CODE_FOR_PROSE] + prose[:1]
        del code[:_CODE_FOR_PROSE], prose[:1]
    return mixed
