"""``specbranch hrad``: traces of a pair of models, and the classifier learned from them."""

from __future__ import annotations

import json
import math
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from specbranch_cpp._support.prompt_file import read_prompts
from specbranch_cpp.cli import options, render
from specbranch_cpp.cli.lazy_group import typer_app
from specbranch_cpp.engine import Engine
from specbranch_cpp.errors import InvalidArgument
from specbranch_cpp.hrad import LABELS, TraceSettings, load_traces
from specbranch_cpp.hrad import collect as collecting

if TYPE_CHECKING:
    from rich.console import Console

    from specbranch_cpp.hrad.scores import Score

app = typer_app(no_args_is_help=True, help="Learn to foretell what the target will accept.")


@app.command()
@render.reporting()
def collect(
    prompts: Annotated[
        Path, typer.Option("--prompts", metavar="JSONL", help="JSON lines, each with a text.")
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="FOLDER", help="Where the traces go.")
    ],
    model: options.Model = None,
    draft: options.Draft = None,
    field: Annotated[
        str, typer.Option("--field", help="The name of the text in a line.")
    ] = "prompt",
    temperature: Annotated[
        list[float] | None,
        options.sampling("--temp", metavar="T", help="Repeatable; default 0: greedy."),
    ] = None,
    n_predict: Annotated[
        int, typer.Option("--n-predict", "-n", metavar="N", help="Tokens of a text at most.")
    ] = 128,
    seed: Annotated[
        int, options.sampling("--seed", "-s", metavar="N", help="Random seed; default 1.")
    ] = 1,
    n_layers: Annotated[
        int, typer.Option("--layers", metavar="K", help="The target's last layers to record.")
    ] = 4,
    mode: Annotated[
        str, options.speculation("--mode", metavar="MODE", help="Default specbranch.")
    ] = "specbranch",
    draft_max: Annotated[
        int, options.speculation("--draft-max", help="Tokens drafted ahead at most; default 8.")
    ] = 8,
    draft_p_min: Annotated[
        float,
        options.speculation(
            "--draft-p-min",
            metavar="P",
            help="Confidence below which the draft stops or branches; default 0.4.",
        ),
    ] = 0.4,
    k_max: Annotated[int, options.speculation("--k-max", help="Branches at most; default 4.")] = 4,
    ctx_size: options.CtxSize = None,
    threads: options.Threads = None,
    draft_threads: options.DraftThreads = None,
    n_gpu_layers: options.GpuLayers = None,
    draft_n_gpu_layers: options.DraftGpuLayers = None,
    json_output: options.Json = False,
) -> None:
    """Run the engine over prompts and keep what every round saw.

    Can be stopped at any moment; the same command goes on where it was.
    """
    texts = read_prompts(prompts, field)
    target_path, draft_path = options.pick_models(model, draft)
    if draft_path is None:
        raise typer.BadParameter("H-RAD is about a pair: give a draft", param_hint="-md")
    settings = TraceSettings(
        n_layers=n_layers, mode=mode, max_tokens=n_predict, seed=seed, epsilon=draft_p_min,
        max_draft=draft_max, k_max=k_max,
    )  # fmt: skip
    machine = options.machine_keywords(
        ctx_size=ctx_size,
        threads=threads,
        draft_threads=draft_threads,
        n_gpu_layers=n_gpu_layers,
        draft_n_gpu_layers=draft_n_gpu_layers,
    )
    console = render.stderr()
    columns = (
        TextColumn("texts"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rounds]} rounds"),
        TimeRemainingColumn(),
    )
    with (
        Engine(target_path, draft_path, max_draft=draft_max, k_max=k_max, **machine) as engine,
        Progress(*columns, console=console, disable=not console.is_terminal) as bar,
    ):
        task = bar.add_task("", total=None, rounds=0)
        done = collecting(
            engine, target_path, draft_path, texts, output,
            settings=settings, temperatures=temperature or [0.0],
            progress=lambda n, of, rounds: bar.update(
                task, completed=n, total=of, rounds=rounds
            ),
        )  # fmt: skip
    if json_output:
        print(json.dumps({"folder": str(output), **asdict(done)}))
        return
    skipped = f"; {done.n_skipped} too long for the context" if done.n_skipped else ""
    print(f"{done.n_rounds} rounds of {done.n_texts} texts in {output}{skipped}")


@app.command()
@render.reporting()
def train(
    traces: Annotated[list[Path], typer.Argument(metavar="FOLDER...", help="From `collect`.")],
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="FILE", help="Where the weights go.")
    ],
    test: Annotated[
        list[Path] | None,
        typer.Option(
            "--test", metavar="FOLDER", show_default=False,
            help="Traces of other prompts, to be scored too; repeatable.",
        ),
    ] = None,
    epochs: Annotated[int, typer.Option(min=1, help="Passes over the rounds.")] = 20,
    balance: Annotated[
        float,
        typer.Option(min=0.0, max=1.0, help="0: fates count as often as they occur; 1: alike."),
    ] = 0.0,
    seed: Annotated[int, typer.Option(help="Of the split and of the learning.")] = 1,
    json_output: options.Json = False,
) -> None:  # fmt: skip
    """Learn the classifier, and score it on prompts that it has not seen."""
    from specbranch_cpp.hrad.train import Recipe, policy_score, rule_score, score
    from specbranch_cpp.hrad.train import train as learn

    if output.is_dir():
        raise typer.BadParameter(f"{output} is a folder", param_hint="-o")
    tests = [(folder, load_traces([folder])) for folder in test or []]
    records, settings, prompts = load_traces(traces)
    for folder, (_, others, _) in tests:
        for name in ("target_sha256", "draft_sha256", "n_layers"):
            if others[name] != settings[name]:
                raise InvalidArgument(f"{folder} was made with another {name}")
    console = render.stderr() if json_output else render.stdout()
    console.print(f"{len(records)} rounds of {len(prompts)} prompts")
    done = learn(
        records, settings, prompts, Recipe(epochs=epochs, balance=balance, seed=seed),
        progress=lambda epoch, loss, held_out: console.print(
            f"epoch {epoch:3}: loss {loss:.3f}, held out {held_out:.3f}", style="dim"
        ),
    )  # fmt: skip
    done.file.save(output)
    _show(console, "held-out prompts", done.held_out)
    console.print(
        render.table(
            _COLUMNS,
            [
                _row("H-RAD", done.held_out),
                _row("H-RAD, the rule for some", done.policy),
                _row(f"confidence, epsilon {settings['epsilon']:g}", done.rule),
                _row(f"confidence, epsilon {done.best_epsilon:.3g} (best)", done.best_rule),
            ],
        )
    )
    scores = {
        "held_out": done.held_out,
        "policy": done.policy,
        "rule": done.rule,
        "best_rule": done.best_rule,
    }
    for folder, (unseen, other_settings, _) in tests:
        result = score(done.file, unseen)
        scores[str(folder)] = result
        _show(console, str(folder), result)
        rows = [
            _row("H-RAD", result),
            _row("H-RAD, the rule for some", policy_score(done.file, unseen, other_settings)),
            _row("confidence", rule_score(unseen, other_settings)),
        ]
        console.print(render.table(_COLUMNS, rows))
    console.print(f"\n{output}: {output.stat().st_size} bytes")
    if json_output:
        found = {name: as_json(each) for name, each in scores.items()}
        print(json.dumps({"file": str(output), "best_epsilon": done.best_epsilon, **found}))


def as_json(score: Score) -> dict[str, Any]:
    """Its figures; None for the recall of what did not occur."""
    return {
        "n": score.n,
        "accuracy": score.accuracy,
        "recalls": [None if math.isnan(share) else share for share in score.recalls],
        "confusion": score.confusion.tolist(),
    }


_COLUMNS = ("", "right", "balanced", *(f"of {name}" for name in LABELS))


def _row(name: str, score: Score) -> list[str]:
    shares = (score.accuracy, score.balanced_accuracy, *score.recalls)
    return [name, *(render.percent(share) if share == share else "-" for share in shares)]  # noqa: PLR0124


def _show(console: Console, title: str, score: Score) -> None:
    rows = [
        [name, *map(str, row)] for name, row in zip(LABELS, score.confusion.tolist(), strict=True)
    ]
    console.print(f"\n{title}: {score.n} rounds (row: what happened, column: foretold)")
    console.print(render.table(("", *LABELS), rows))
