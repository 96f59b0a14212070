"""``specbranch check``: finds out whether a pair works here and whether its draft helps."""

from __future__ import annotations

import contextlib
import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.progress import BarColumn, Progress, TextColumn

from specbranch_cpp.bench import placements
from specbranch_cpp.check.exact_rows import examine_rows
from specbranch_cpp.check.examine_pair import SECONDS, examine
from specbranch_cpp.check.report import Verdict
from specbranch_cpp.check.settings import MAX_BRANCHES, MAX_DRAFT
from specbranch_cpp.cli import check_text, exact_text, machine_options, options, render
from specbranch_cpp.cli.lists import comma_list, refuse

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from specbranch_cpp.check import Report

NO_GAIN = 3
_EXACT_WITHOUT_DRAFT = "--exact tests the target without a draft"
EPILOG = (
    "Exit codes: 0: the models work, and the draft helps if it was measured; 1: the models cannot "
    "be used; 2: bad usage; 3: the models work, but no gain was found (with --exact: "
    "bit_exact=True cannot be used).\n\n"
    "Example: specbranch check target.gguf draft.gguf -f my-prompt.txt --temp 0.7"
)


@render.reporting(options.NAMES)
def check(
    target: Annotated[
        Path | None,
        options.gguf("TARGET", help="GGUF file of the target model; default: the bundled pair."),
    ] = None,
    draft: Annotated[
        Path | None, options.gguf("DRAFT", help="GGUF file of the draft model.")
    ] = None,
    lora: options.Lora = None,
    lora_scaled: options.LoraScaled = None,
    prompt: Annotated[
        list[str] | None,
        options.sample("--prompt", "-p", metavar="TEXT", help="Decode this prompt; repeatable."),
    ] = None,
    file: Annotated[
        list[Path] | None,
        options.sample(
            "--file", "-f", metavar="FILE", help="Decode the prompt in this text file; repeatable."
        ),
    ] = None,
    temperature: Annotated[
        float, options.sample("--temp", metavar="T", help="Temperature; default 0: greedy.")
    ] = 0.0,
    seconds: Annotated[
        float,
        options.sample(
            "--seconds", metavar="S", help="Time for decoding texts, in seconds; default 20."
        ),
    ] = SECONDS,
    measure: Annotated[
        bool,
        options.sample(
            "--measure/--no-measure", help="Load the models and measure them; default: yes."
        ),
    ] = True,
    exact: Annotated[
        bool,
        options.sample(
            "--exact", help="Only test what bit_exact=True does with the target; default: no."
        ),
    ] = False,
    where: Annotated[
        str | None,
        options.sample(
            "--placements",
            metavar="LIST",
            help=f"Compare places for both models, out of {', '.join(placements.NAMES)}; all: "
            "those that exist here; default: only the place that the engine chooses.",
        ),
    ] = None,
    draft_max: Annotated[
        int | None,
        options.speculation(
            "--draft-max", help="Largest number of tokens to draft ahead; default 16."
        ),
    ] = None,
    max_branches: options.MaxBranches = None,
    ctx_size: machine_options.CtxSize = None,
    threads: machine_options.Threads = None,
    draft_threads: machine_options.DraftThreads = None,
    cpus: machine_options.Cpus = None,
    draft_cpus: machine_options.DraftCpus = None,
    n_gpu_layers: machine_options.GpuLayers = None,
    draft_n_gpu_layers: machine_options.DraftGpuLayers = None,
    device: machine_options.Device = None,
    draft_device: machine_options.DraftDevice = None,
    rpc: machine_options.Rpc = None,
    json_output: options.Json = False,
) -> None:
    """Find out whether a draft will help on this machine, why, and which settings to use.

    The command examines files, vocabularies, memory and CPU. Then it loads both models, decodes
    short texts, and compares the predicted speed-up of every mode with measured speed-ups.

    With --placements it also loads and measures the models in other places, and predicts the speed
    there.

    With --exact it tests which batch sizes give the target's tokens the same logits to the last
    bit, and prints what bit_exact=True would use and what it costs.
    """
    if exact:
        refuse({"DRAFT": draft}, _EXACT_WITHOUT_DRAFT)
    target, draft = options.pick_models(target, draft)
    sample = {
        "--prompt": prompt or None,
        "--file": file or None,
        "--temp": None if temperature == 0.0 else temperature,
        "--seconds": None if seconds == SECONDS else seconds,
        "--placements": where,
    }
    if exact:
        why = "--exact decodes no texts and compares no places"
        refuse({**sample, "--no-measure": not measure}, why)
        refuse({"--max-branches": max_branches}, _EXACT_WITHOUT_DRAFT)
    elif not measure:
        refuse(sample, "it has no effect with --no-measure")
    elif draft is None:
        refuse(sample, "it has no effect without a draft; give one as the second file")
    machine = machine_options.machine_keywords(
        has_draft=draft is not None and not exact,
        why_no_draft=_EXACT_WITHOUT_DRAFT if exact else machine_options.WITHOUT_DRAFT,
        ctx_size=ctx_size,
        threads=threads,
        draft_threads=draft_threads,
        cpus=cpus,
        draft_cpus=draft_cpus,
        n_gpu_layers=n_gpu_layers,
        draft_n_gpu_layers=draft_n_gpu_layers,
        device=device,
        draft_device=draft_device,
        max_branches=max_branches,
        rpc=rpc,
        lora=options.lora_files(lora, lora_scaled),
    )
    max_draft = MAX_DRAFT if draft_max is None else draft_max
    if exact:
        if rpc:
            raise typer.BadParameter("--exact examines this machine only", param_hint="--rpc")
        found = examine_rows(target, max_draft=max_draft, **machine)
        if json_output:
            print(json.dumps(asdict(found)))
        else:
            exact_text.show(render.stdout(), found)
        raise typer.Exit(0 if found.chosen is not None else NO_GAIN)
    texts = [*(prompt or []), *(options.read_text(each, "-f") for each in file or [])]
    with _progress(seconds) as progress:
        report = examine(
            target,
            draft,
            prompts=texts or None,
            seconds=seconds,
            temperature=temperature,
            measured=measure,
            placements=comma_list(where, str, "--placements"),
            max_draft=max_draft,
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
    """The exit code: 0, 1 or 3."""
    if not report.fits:
        return 1
    found_none = report.verdict.useless or report.verdict is Verdict.UNCLEAR
    return NO_GAIN if found_none else 0


@contextlib.contextmanager
def _progress(seconds: float) -> Iterator[Callable[[str, float], None]]:
    """Shows the current step, on a terminal only."""
    console = render.stderr()
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:.0f} %"),
    )
    with Progress(
        *columns, console=console, transient=True, disable=not console.is_terminal
    ) as progress:
        task = progress.add_task("examining the files", total=1.0)

        def tell(what: str, share: float) -> None:
            about = "" if what == "loading" else f" (about {seconds:.0f} s)"
            progress.update(task, description=what + about, completed=share)

        yield tell
