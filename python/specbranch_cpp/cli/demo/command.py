"""The options of ``specbranch demo``."""

from __future__ import annotations

import json
import math
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, Any

import typer

from specbranch_cpp._support import checked
from specbranch_cpp.cli import machine_options, options, render
from specbranch_cpp.simulation import MODES

PROMPTS = (
    '''def read_lines(path):
    """Return the lines of a text file, without their newlines."""
''',
    '''import os
import sys


def main(argv):
    """Print the size of every file in a folder."""
''',
    '''def find(self, name, default=None):
    """Return the value that is stored under a name."""
''',
)


@render.reporting(options.NAMES)
def demo(
    model: options.Model = None,
    draft: options.NeededDraft = None,
    grow: Annotated[
        bool,
        typer.Option(
            "--grow/--no-grow",
            rich_help_panel=options.MODELS,
            show_default=False,
            help="Grow the bundled pair to a size at which speculation pays; default: yes.",
        ),
    ] = True,
    weights: Annotated[
        str | None,
        options.models(
            "--weights", metavar="TYPE",
            help="Weight type of the grown pair: F32, F16 or Q8_0; default: the first type that "
            "gains.",
            completion=None,
        ),
    ] = None,
    prompt: Annotated[
        str | None,
        typer.Option(
            "--prompt", "-p", metavar="TEXT", show_default=False,
            help="Decode this prompt; default: three beginnings of Python functions.",
        ),
    ] = None,
    n_predict: Annotated[
        int,
        typer.Option(
            "--n-predict", "-n", metavar="N", min=1,
            help="Largest number of tokens in a text; the race has twice as many tokens.",
        ),
    ] = 64,
    repeat: Annotated[
        int | None,
        typer.Option(
            "--repeat", metavar="N", min=1, show_default=False,
            help="Number of runs of every mode on every prompt; default 1; with -p: 3. The "
            "result is their median.",
        ),
    ] = None,
    temperature: Annotated[
        float, typer.Option("--temp", metavar="T", help="Temperature; 0: greedy decoding.")
    ] = 0.7,
    seed: Annotated[
        int, options.sampling("--seed", "-s", metavar="N", help="Random seed; default 1.")
    ] = 1,
    show: Annotated[
        str, typer.Option("--show", metavar="MODE", help="Mode whose branches are shown.")
    ] = "specbranch",
    draft_max: options.DraftMax = None,
    max_branches: options.MaxBranches = None,
    measure_costs: options.MeasureCosts = True,
    profile: options.Profile = None,
    ctx_size: machine_options.CtxSize = None,
    threads: machine_options.Threads = None,
    draft_threads: machine_options.DraftThreads = None,
    cpus: machine_options.Cpus = None,
    draft_cpus: machine_options.DraftCpus = None,
    n_gpu_layers: machine_options.GpuLayers = None,
    draft_n_gpu_layers: machine_options.DraftGpuLayers = None,
    json_output: options.Json = False,
) -> None:  # fmt: skip
    """Race with and without speculation, then compare every mode: speed, branches, timeline.

    The demo grows the bundled pair in memory to a size at which speculation pays on this machine.
    The grown pair computes the same function. With -m and -md, your own files run without changes.
    """
    machine = machine_options.machine_keywords(
        has_draft=True,  # else the demo is refused
        ctx_size=ctx_size,
        threads=threads,
        draft_threads=draft_threads,
        cpus=cpus,
        draft_cpus=draft_cpus,
        n_gpu_layers=n_gpu_layers,
        draft_n_gpu_layers=draft_n_gpu_layers,
    )
    keywords = options.engine_keywords(
        machine,
        draft_max=draft_max,
        max_branches=max_branches,
        measure_costs=measure_costs,
        profile=profile,
    )
    # Several modes give the same answer, which must not help the next one.
    settings = options.given(**keywords, lookup_answers=False)
    if show not in MODES:
        raise typer.BadParameter(f"{show!r} is none of {', '.join(MODES)}", param_hint="--show")
    own = model is not None or draft is not None
    _check(own=own, grow=grow, weights=weights, measure_costs=measure_costs, profile=profile)
    # Check these before the search for a size, which takes long.
    if prompt == "":
        raise typer.BadParameter("the prompt is empty", param_hint="--prompt")
    if not 0.0 <= temperature < math.inf:
        raise typer.BadParameter(
            f"{temperature:g} is not a temperature; it must be at least 0 and finite",
            param_hint="--temp",
        )
    checked.integer("seed", seed, 0, 2**64 - 1)
    request: dict[str, Any] = {"max_tokens": n_predict, "temperature": temperature, "seed": seed}
    prompts = PROMPTS if prompt is None else (prompt,)
    rounds = prompts * (repeat or (1 if prompt is None else 3))

    from specbranch_cpp.cli.demo import session  # only here: it needs much

    with ExitStack() as stack:
        if own or not grow:
            pair = session.load_own(stack, model, draft, settings)
        else:
            pair = session.load_grown(stack, weights, settings)
        if json_output:
            print(json.dumps(session.measured(pair, rounds, request)))
        else:
            session.show(render.stdout(), pair, rounds, request, show)


def _check(
    *, own: bool, grow: bool, weights: str | None, measure_costs: bool, profile: Path | None
) -> None:
    """Refuses options that exclude each other."""
    if weights is not None and (own or not grow):
        raise typer.BadParameter(
            "only the grown pair can have another weight type", param_hint="--weights"
        )
    if not own and grow:
        if not measure_costs:
            raise typer.BadParameter(
                "the size of the grown pair depends on step costs; use --no-grow too",
                param_hint="--no-measure-costs",
            )
        if profile is not None:
            raise typer.BadParameter(
                "the grown pair exists only in memory; use -m and -md, or --no-grow, too",
                param_hint="--profile",
            )
