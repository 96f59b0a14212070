"""The order of the demo: a pair is loaded, raced, measured and shown."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Protocol, cast

import typer
from rich.progress import BarColumn, Progress, TextColumn

from specbranch_cpp.bench import machine
from specbranch_cpp.bench.placements import Placement
from specbranch_cpp.cli import options, render
from specbranch_cpp.cli.demo import grown, page, race, runs
from specbranch_cpp.cli.demo.figures import figures
from specbranch_cpp.cli.demo.sizes import WEIGHT_TYPES
from specbranch_cpp.engine import Engine

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from contextlib import ExitStack
    from pathlib import Path
    from typing import Any

    from rich.console import Console

    from specbranch_cpp._engine.machine_keywords import PlaceKeywords
    from specbranch_cpp.cli.demo.grown import Grown
    from specbranch_cpp.results import Chunk, StepCosts

_RACE = 2  # times as many tokens as in the other texts
_PLACES = ("n_threads", "draft_n_threads", "cpus", "draft_cpus", "n_gpu_layers",
           "draft_n_gpu_layers")  # fmt: skip


class ShowRace(Protocol):
    """Runs a race and prints it; `start` begins the generation of each lane."""

    def __call__(
        self, console: Console, prompt: str, start: Sequence[Callable[[], Iterable[Chunk]]]
    ) -> None: ...


@dataclass(frozen=True)
class LoadedPair:
    """A loaded pair; `grown` tells how the bundled one was made larger."""

    engine: Engine
    files: tuple[str, str]
    grown: Grown | None
    sentence: str


def load_own(
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


def load_grown(stack: ExitStack, weights: str | None, settings: Mapping[str, Any]) -> LoadedPair:
    """The bundled pair, at a size that is found out."""
    if weights is not None and weights.upper() not in WEIGHT_TYPES:
        raise typer.BadParameter(
            f"{weights!r} is none of {', '.join(WEIGHT_TYPES)}", param_hint="--weights"
        )
    placed = {name: settings[name] for name in _PLACES if name in settings}
    if placed:  # a pair in memory uses a GPU only if the user asks for it
        placed = {"n_gpu_layers": 0} | placed
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
        own = load_own(stack, None, None, settings)
        return LoadedPair(own.engine, names, None, page.not_grown_sentence())
    sizes = (found.models[0].n_parameters, found.models[1].n_parameters)
    choice = found.best.choice
    sentence = page.grown_sentence(sizes, pair.bundled, choice.weight_type, choice.placement)
    return LoadedPair(found.engine, names, found, sentence)


def show(
    console: Console,
    pair: LoadedPair,
    rounds: Sequence[str],
    request: Mapping[str, Any],
    shown: str,
    show_race: ShowRace = race.show,
) -> None:
    """Prints the whole demo.

    Args:
        console: where.
        pair: with what.
        rounds: prompts, each of which every mode continues; the race begins with the first.
        request: keywords of `Engine.generate`.
        shown: the mode whose text is shown in colours.
        show_race: runs the race and prints it.
    """
    engine, costs = pair.engine, _costs(pair)
    heading = [pair.sentence] if pair.sentence else []
    heading += [page.step_sentence(costs)] if costs else []
    console.print(" ".join(heading) or " with ".join(pair.files), style="dim")
    console.print()

    prompt = rounds[0]
    long = {**request, "max_tokens": _RACE * request["max_tokens"]}
    engine.generate(prompt, **{**request, "max_tokens": runs.WARM_TOKENS}).result()
    start = [partial(engine.generate, prompt, mode=mode, **long) for mode in race.MODES]
    show_race(console, prompt, start)
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


def measured(pair: LoadedPair, rounds: Sequence[str], request: Mapping[str, Any]) -> dict[str, Any]:
    """Every mode on every prompt, as figures for scripts."""
    costs = _costs(pair)
    with _measuring() as progress:
        found = runs.measure(pair.engine, rounds, request, progress)
    reason = ""
    if runs.gaining(found) is None:
        reason = page.no_gain(found, costs, machine.describe().n_usable)
    return figures(pair.files, pair.grown, costs, request, found, reason)


def _costs(pair: LoadedPair) -> StepCosts | None:
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
