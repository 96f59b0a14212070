"""``specbranch demo``: every mode side by side."""

from __future__ import annotations

import os
import statistics
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.text import Text

from specbranch_cpp.cli import options, render, trace
from specbranch_cpp.engine import Engine

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console
    from rich.table import Table

    from specbranch_cpp.results import Completion

MODES = ("autoregressive", "speculative", "pearl", "specbranch", "auto")
PROMPT = '''def read_lines(path):
    """Return the lines of a text file, without their newlines."""
'''
_COLUMNS = (
    "mode",
    "tokens\nper s",
    "ratio",
    *render.STATS_COLUMNS[3:],
    "same\ntokens",
)
_LABEL = 8


@render.reporting(options.NAMES)
def demo(
    model: options.Model = None,
    draft: options.Draft = None,
    prompt: Annotated[
        str, typer.Option("--prompt", "-p", metavar="TEXT", show_default="a Python function")
    ] = PROMPT,
    n_predict: Annotated[
        int, typer.Option("--n-predict", "-n", metavar="N", min=1, help="Tokens at most.")
    ] = 96,
    repeat: Annotated[
        int, typer.Option("--repeat", metavar="N", min=1, help="Runs a mode; the median counts.")
    ] = 3,
    temperature: Annotated[
        float, typer.Option("--temp", metavar="T", help="Temperature; 0: greedy.")
    ] = 0.7,
    seed: options.Seed = 1,
    show: Annotated[
        str, typer.Option("--show", metavar="MODE", help="The mode whose tokens are shown.")
    ] = "specbranch",
    draft_max: options.DraftMax = None,
    k_max: options.KMax = None,
    warmup: options.Warmup = True,
    profile: options.Profile = None,
    ctx_size: options.CtxSize = None,
) -> None:
    """Decode one prompt in every mode: speed, tokens in colour, and what both models did when.

    Each model gets a core of its own where there are two.
    """
    if show not in MODES:
        raise typer.BadParameter(f"{show!r} is none of {', '.join(MODES)}", param_hint="--show")
    target_path, draft_path = options.pick_models(model, draft)
    if draft_path is None:
        raise typer.BadParameter("the demo needs a draft: give one with -md", param_hint="-md")
    placement = placements(_usable_cpus())
    settings = options.given(
        max_draft=draft_max,
        k_max=k_max,
        n_ctx=ctx_size,
        warmup=None if warmup else False,
        profile=profile,
    )
    request: dict[str, Any] = {"max_tokens": n_predict, "temperature": temperature, "seed": seed}
    console = render.stdout()
    with render.loading(target_path.name) as progress:
        engine = Engine(
            target_path, draft_path, progress_callback=progress, **placement, **settings
        )
    with engine:
        runs = measure(engine, prompt, repeat, request)
        console.print(_setup(target_path, draft_path, placement, request), style="dim")
        console.print()
        console.print(comparison(runs))
        if note := speed_note(runs):
            console.print(note, style="dim")
        traced = engine.generate(prompt, trace=True, mode=show, **request).result()
        _show_trace(console, engine, prompt, traced)


def placements(cpus: Sequence[int]) -> dict[str, Any]:
    """Engine settings that keep the models out of each other's way: a thread and a core each."""
    settings: dict[str, Any] = {"n_threads": 1, "draft_n_threads": 1}
    if len(cpus) >= 2:
        others = [cpu for cpu in cpus[1:] if cpu not in _siblings(cpus[0])] or cpus[1:]
        settings |= {"cpus": [cpus[0]], "draft_cpus": [others[0]]}
    return settings


def _usable_cpus() -> list[int]:
    return sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []


def _siblings(cpu: int) -> list[int]:
    """The hyper-threads of the same core."""
    path = Path(f"/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list")
    try:
        return options.parse_cpus(path.read_text().strip(), "cpus") or []
    except (OSError, typer.BadParameter):
        return []


def measure(
    engine: Engine, prompt: str, repeat: int, request: dict[str, Any]
) -> dict[str, list[Completion]]:
    """The runs of each mode; in turns, so that a slow moment of the machine hits all of them."""
    engine.generate(prompt, **request | {"max_tokens": 8}).result()  # caches get warm
    runs: dict[str, list[Completion]] = {mode: [] for mode in MODES}
    for _ in range(repeat):
        for mode, completions in runs.items():
            completions.append(engine.generate(prompt, mode=mode, **request).result())
    return runs


def speed(completions: Sequence[Completion]) -> float:
    return statistics.median(run.stats.tokens_per_second for run in completions)


def comparison(runs: dict[str, list[Completion]]) -> Table:
    """One row a mode; the first is what the others are compared with."""
    plain = next(iter(runs.values()))
    rows = []
    for mode, completions in runs.items():
        stats = completions[0].stats
        same = all(run.tokens == plain[0].tokens for run in completions)
        cells = render.stats_cells(stats)[3:]
        ratio = render.ratio(speed(completions), speed(plain))
        rows.append(
            [mode, f"{speed(completions):.0f}", f"{ratio:.2f}x", *cells,
             Text("yes", "green") if same else Text("no", "bold red")]
        )  # fmt: skip
    return render.table(_COLUMNS, rows)


def speed_note(runs: dict[str, list[Completion]]) -> str:
    """Why there is nothing to gain, where that is so."""
    plain, *others = runs.values()
    if max(map(speed, others)) > speed(plain):
        return ""
    step_ms = render.ratio(plain[0].stats.target_busy_ms, plain[0].stats.n_target_steps)
    return (
        f"One step of this target takes {step_ms:.2f} ms. With a model this small there is little "
        "to gain: what counts for a large one are the tokens per step and the overlap."
    )


def _setup(target: Path, draft: Path, placement: dict[str, Any], request: dict[str, Any]) -> str:
    where = "both models on any core"
    if "cpus" in placement:
        where = f"target on CPU {placement['cpus'][0]}, draft on CPU {placement['draft_cpus'][0]}"
    return (
        f"{target.name} with {draft.name} · {where} · "
        f"temperature {request['temperature']:g}, seed {request['seed']}"
    )


def _show_trace(console: Console, engine: Engine, prompt: str, completion: Completion) -> None:
    record = completion.trace
    assert record is not None
    marks = console.color_system is None
    heading = Text(completion.stats.mode, "bold").append("  ")
    text = Text(prompt, trace.PROMPT)
    text.append(trace.story(record.rounds, engine.detokenize, marks=marks))
    console.print()
    console.print(heading.append(trace.story_legend(marks=marks)))
    console.print()
    console.print(text, soft_wrap=marks)
    console.print()
    window = trace.choose_window(record.spans, console.width - _LABEL)
    for side in trace.SIDES:
        console.print(Text(side.ljust(_LABEL)).append(trace.timeline(record.spans, window, side)))
    begin, end = f"{window.begin_ms:.1f} ms", f"{window.end_ms:.1f} ms"
    console.print(" " * _LABEL + begin + end.rjust(window.n_cells - len(begin)), style="dim")
    console.print(Text(" " * _LABEL).append(trace.timeline_legend()))
