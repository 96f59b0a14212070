"""The options of ``specbranch demo``, and the order of what it does."""

from __future__ import annotations

import contextlib
import json
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer
from rich.progress import BarColumn, Progress, TextColumn

from specbranch_cpp.cli import options, render
from specbranch_cpp.engine import Engine
from specbranch_cpp.simulation import MODES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from rich.console import Console

    from specbranch_cpp._engine.machine_keywords import PlaceKeywords
    from specbranch_cpp.cli.demo.grown import Grown

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
_RACE = 2  # times as many tokens as in the other texts
_GROWTH = "Bundled pair"


@dataclass(frozen=True)
class LoadedPair:
    """A loaded pair; `grown` tells how the bundled one was made larger."""

    engine: Engine
    files: tuple[str, str]
    grown: Grown | None
    sentence: str


@render.reporting(options.NAMES)
def demo(
    model: options.Model = None,
    draft: options.Draft = None,
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
            help="Weights of the grown pair: F32, F16 or Q8_0; default: the first that gains.",
            completion=None,
        ),
    ] = None,
    prompt: Annotated[
        str | None,
        typer.Option(
            "--prompt", "-p", metavar="TEXT", show_default=False,
            help="Decode this; default: three beginnings of Python functions.",
        ),
    ] = None,
    n_predict: Annotated[
        int,
        typer.Option(
            "--n-predict", "-n", metavar="N", min=1,
            help="Tokens of a text at most; twice as many in the race.",
        ),
    ] = 64,
    repeat: Annotated[
        int | None,
        typer.Option(
            "--repeat", metavar="N", min=1, show_default=False,
            help="Runs of every mode on every prompt; default 1, with -p 3. The median counts.",
        ),
    ] = None,
    temperature: Annotated[
        float, typer.Option("--temp", metavar="T", help="Temperature; 0: greedy.")
    ] = 0.7,
    seed: options.Seed = 1,
    show: Annotated[
        str, typer.Option("--show", metavar="MODE", help="The mode whose branches are shown.")
    ] = "specbranch",
    draft_max: options.DraftMax = None,
    k_max: options.KMax = None,
    warmup: options.Warmup = True,
    profile: options.Profile = None,
    ctx_size: options.CtxSize = None,
    threads: options.Threads = None,
    draft_threads: options.DraftThreads = None,
    cpus: options.Cpus = None,
    draft_cpus: options.DraftCpus = None,
    n_gpu_layers: options.GpuLayers = None,
    draft_n_gpu_layers: options.DraftGpuLayers = None,
    json_output: options.Json = False,
) -> None:  # fmt: skip
    """Race with and without speculation, then compare every mode: speed, branches, timeline.

    The bundled pair is grown in memory to a size at which speculation pays on this machine; it
    still computes the same function. With -m and -md your own files run as they are.
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
    keywords = options.engine_keywords(
        machine, draft_max=draft_max, k_max=k_max, warmup=warmup, profile=profile
    )
    settings = options.given(**keywords)
    if show not in MODES:
        raise typer.BadParameter(f"{show!r} is none of {', '.join(MODES)}", param_hint="--show")
    own = model is not None or draft is not None
    _check(own=own, grow=grow, weights=weights, warmup=warmup, profile=profile)
    request: dict[str, Any] = {"max_tokens": n_predict, "temperature": temperature, "seed": seed}
    prompts = PROMPTS if prompt is None else (prompt,)
    rounds = prompts * (repeat or (1 if prompt is None else 3))
    console = render.stdout()
    with ExitStack() as stack:
        if own or not grow:
            pair = _own_pair(stack, model, draft, settings)
        else:
            pair = _grown_pair(stack, weights, settings)
        if json_output:
            print(json.dumps(_measured(pair, rounds, request)))
        else:
            _show(console, pair, rounds, request, show)


def _check(
    *, own: bool, grow: bool, weights: str | None, warmup: bool, profile: Path | None
) -> None:
    """Refuses options that exclude each other."""
    if weights is not None and (own or not grow):
        raise typer.BadParameter("only the grown pair can have other ones", param_hint="--weights")
    if not own and grow:
        if not warmup:
            raise typer.BadParameter(
                "the size of the grown pair depends on what steps cost; use --no-grow with it",
                param_hint="--no-warmup",
            )
        if profile is not None:
            raise typer.BadParameter(
                "the grown pair exists in memory only; use -m and -md, or --no-grow, with it",
                param_hint="--profile",
            )


def _own_pair(
    stack: ExitStack, model: Path | None, draft: Path | None, settings: Mapping[str, Any]
) -> LoadedPair:
    """The user's files, or the bundled ones as they are."""
    target_path, draft_path = options.pick_models(model, draft)
    if draft_path is None:
        raise typer.BadParameter("the demo needs a draft: give one with -md", param_hint="-md")
    with render.loading(target_path.name) as progress:
        engine = stack.enter_context(
            Engine(target_path, draft_path, progress_callback=progress, **settings)
        )
    return LoadedPair(engine, (str(target_path), str(draft_path)), None, "")


def _grown_pair(stack: ExitStack, weights: str | None, settings: Mapping[str, Any]) -> LoadedPair:
    """The bundled pair, at a size that is found out."""
    from specbranch_cpp.bench.placements import Placement
    from specbranch_cpp.cli.demo import grown, page
    from specbranch_cpp.cli.demo.sizes import WEIGHT_TYPES

    if weights is not None and weights.upper() not in WEIGHT_TYPES:
        raise typer.BadParameter(
            f"{weights!r} is none of {', '.join(WEIGHT_TYPES)}", param_hint="--weights"
        )
    placed = {name: settings[name] for name in _PLACES if name in settings}
    with render.loading("the bundled pair at several sizes") as progress:
        pair = stack.enter_context(grown.GrownPair(progress, settings))
        found = grown.find(
            pair,
            weight_types=WEIGHT_TYPES if weights is None else (weights.upper(),),
            placement=Placement("given", cast("PlaceKeywords", placed)) if placed else None,
        )
    names = (str(pair.paths[0]), str(pair.paths[1]))
    if found is None:
        pair.close()
        own = _own_pair(stack, None, None, settings)
        return LoadedPair(own.engine, names, None, page.not_grown_sentence())
    sizes = (found.models[0].n_parameters, found.models[1].n_parameters)
    choice = found.best.choice
    sentence = page.grown_sentence(sizes, pair.bundled, choice.weight_type, choice.placement)
    return LoadedPair(found.engine, names, found, sentence)


_PLACES = ("n_threads", "draft_n_threads", "cpus", "draft_cpus", "n_gpu_layers",
           "draft_n_gpu_layers")  # fmt: skip


def _show(
    console: Console,
    pair: LoadedPair,
    rounds: Sequence[str],
    request: Mapping[str, Any],
    shown: str,
) -> None:
    from specbranch_cpp.bench import machine
    from specbranch_cpp.cli.demo import page, race, runs

    engine, costs = pair.engine, _costs(pair)
    heading = [pair.sentence] if pair.sentence else []
    heading += [page.step_sentence(costs)] if costs else []
    console.print(" ".join(heading) or " with ".join(pair.files), style="dim")
    console.print()

    prompt = rounds[0]
    long = {**request, "max_tokens": _RACE * request["max_tokens"]}
    engine.generate(prompt, **{**request, "max_tokens": runs.WARM_TOKENS}).result()
    start = [partial(engine.generate, prompt, mode=mode, **long) for mode in race.MODES]
    recordings = race.run(console, prompt, start)
    if not console.is_terminal:
        console.print(race.summary(prompt, recordings))
    console.print()

    with _measuring() as progress:
        found = runs.measure(engine, rounds, request, progress)
    console.print(page.comparison(found))
    console.print()
    traced = engine.generate(prompt, trace=True, mode=shown, **request).result()
    page.show_trace(console, engine, prompt, traced)
    console.print()
    if runs.gaining(found) is None:
        console.print(page.no_gain(found, costs, machine.describe().n_usable), style="yellow")
    console.print(page.speed_up(found), style="bold")
    console.print()
    console.print(page.OWN_FILES, style="dim", soft_wrap=True)


def _measured(
    pair: LoadedPair, rounds: Sequence[str], request: Mapping[str, Any]
) -> dict[str, Any]:
    from specbranch_cpp.bench import machine
    from specbranch_cpp.cli.demo import page, runs
    from specbranch_cpp.cli.demo.figures import figures

    costs = _costs(pair)
    with _measuring() as progress:
        found = runs.measure(pair.engine, rounds, request, progress)
    reason = ""
    if runs.gaining(found) is None:
        reason = page.no_gain(found, costs, machine.describe().n_usable)
    return figures(pair.files, pair.grown, costs, request, found, reason)


def _costs(pair: LoadedPair) -> Any:
    return pair.engine.costs if pair.grown is None else pair.grown.best.costs


@contextlib.contextmanager
def _measuring() -> Iterator[Callable[[float], object]]:
    """A bar while the modes take turns; on a terminal only."""
    console = render.stderr()
    columns = (TextColumn("every mode in turn"), BarColumn(), TextColumn("{task.percentage:.0f} %"))
    with Progress(
        *columns, console=console, transient=True, disable=not console.is_terminal
    ) as progress:
        task = progress.add_task("", total=1.0)
        yield lambda share: progress.update(task, completed=share)
