"""``specbranch check``: whether a pair works on this machine, and whether it is worth it."""

from __future__ import annotations

import contextlib
import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.progress import BarColumn, Progress, TextColumn

from specbranch_cpp.check.examine_pair import SECONDS, examine
from specbranch_cpp.check.report import Verdict
from specbranch_cpp.check.settings import MAX_BRANCHES, MAX_DRAFT
from specbranch_cpp.cli import check_text, options, render

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from specbranch_cpp.check import Report

NO_GAIN = 3
EPILOG = (
    "Exit codes: 0: it works, and the draft helps where it was measured; 1: it cannot be used; "
    "2: bad usage; 3: it works and no gain was found.\n\n"
    "Example: specbranch check target.gguf draft.gguf -f my-prompt.txt --temp 0.7"
)


@render.reporting(options.NAMES)
def check(
    target: Annotated[
        Path | None, options.gguf("TARGET", help="GGUF file of the target; default: bundled pair.")
    ] = None,
    draft: Annotated[Path | None, options.gguf("DRAFT", help="GGUF file of the draft.")] = None,
    prompt: Annotated[
        list[str] | None,
        options.sample("--prompt", "-p", metavar="TEXT", help="Decode this one; repeatable."),
    ] = None,
    file: Annotated[
        list[Path] | None,
        options.sample(
            "--file", "-f", metavar="FILE", help="Likewise, from a text file; repeatable."
        ),
    ] = None,
    temperature: Annotated[
        float, options.sample("--temp", metavar="T", help="Temperature; default 0: greedy.")
    ] = 0.0,
    seconds: Annotated[
        float, options.sample("--seconds", metavar="S", help="Time for texts; default 20.")
    ] = SECONDS,
    measure: Annotated[
        bool,
        options.sample("--measure/--no-measure", help="Load and time the pair; default: yes."),
    ] = True,
    draft_max: options.DraftMax = None,
    max_branches: options.MaxBranches = None,
    ctx_size: options.CtxSize = None,
    threads: options.Threads = None,
    draft_threads: options.DraftThreads = None,
    cpus: options.Cpus = None,
    draft_cpus: options.DraftCpus = None,
    n_gpu_layers: options.GpuLayers = None,
    draft_n_gpu_layers: options.DraftGpuLayers = None,
    json_output: options.Json = False,
) -> None:
    """Say whether a draft will help on this machine, why, and which settings to use.

    Looks at files, vocabularies, memory and CPU, then loads both models, decodes short texts, and
    compares what the simulator expects of every mode with what is measured.
    """
    machine = options.machine_keywords(
        ctx_size=ctx_size,
        threads=threads,
        draft_threads=draft_threads,
        cpus=cpus,
        draft_cpus=draft_cpus,
        n_gpu_layers=n_gpu_layers,
        draft_n_gpu_layers=draft_n_gpu_layers,
    )
    target, draft = options.pick_models(target, draft)
    texts = [*(prompt or []), *(options.read_text(each, "-f") for each in file or [])]
    with _progress(seconds) as progress:
        report = examine(
            target,
            draft,
            prompts=texts or None,
            seconds=seconds,
            temperature=temperature,
            measured=measure,
            max_draft=MAX_DRAFT if draft_max is None else draft_max,
            max_branches=MAX_BRANCHES if max_branches is None else max_branches,
            progress=progress,
            **machine,
        )
    if json_output:
        print(json.dumps(asdict(report)))
    else:
        check_text.show(render.stdout(), report)
    raise typer.Exit(exit_code(report))


def exit_code(report: Report) -> int:
    """0, 1 or 3, as the help says."""
    if not report.fits:
        return 1
    found_none = report.verdict.useless or report.verdict is Verdict.UNCLEAR
    return NO_GAIN if found_none else 0


@contextlib.contextmanager
def _progress(seconds: float) -> Iterator[Callable[[str, float], None]]:
    """What is being done, on a terminal only."""
    console = render.stderr()
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:.0f} %"),
    )
    with Progress(
        *columns, console=console, transient=True, disable=not console.is_terminal
    ) as progress:
        task = progress.add_task("looking at the files", total=1.0)

        def tell(what: str, share: float) -> None:
            about = "" if what == "loading" else f" (about {seconds:.0f} s)"
            progress.update(task, description=what + about, completed=share)

        yield tell
