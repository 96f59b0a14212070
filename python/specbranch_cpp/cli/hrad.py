"""``specbranch hrad``: records traces of a pair of models, and trains the H-RAD classifier."""

from __future__ import annotations

import json
import math
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from specbranch_cpp._support.files import check_output
from specbranch_cpp._support.prompt_file import read_prompts
from specbranch_cpp.cli import machine_options, options, render
from specbranch_cpp.cli.lazy_group import typer_app
from specbranch_cpp.engine import Engine
from specbranch_cpp.errors import InvalidArgument
from specbranch_cpp.hrad import LABELS, TraceSettings, load_traces
from specbranch_cpp.hrad import collect as collecting

if TYPE_CHECKING:
    from rich.console import Console

    from specbranch_cpp.hrad.scores import Score

_NAMES = options.NAMES | {"n_layers": "--layers"}

app = typer_app(
    no_args_is_help=True,
    help="Record traces and train a classifier that predicts what the target will accept.",
)


@app.command()
@render.reporting(_NAMES)
def collect(
    prompts: Annotated[
        Path,
        typer.Option("--prompts", metavar="JSONL", help="File of JSON lines, each with a text."),
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="FOLDER", help="Folder for the traces.")
    ],
    model: options.Model = None,
    draft: options.NeededDraft = None,
    field: Annotated[
        str, typer.Option("--field", help="Name of the field that contains the text.")
    ] = "prompt",
    temperature: Annotated[
        list[float] | None,
        options.sampling(
            "--temp", metavar="T", help="Temperature; repeatable; default 0 (greedy)."
        ),
    ] = None,
    n_predict: Annotated[
        int,
        typer.Option("--n-predict", "-n", metavar="N", help="Largest number of tokens in a text."),
    ] = 128,
    seed: Annotated[
        int, options.sampling("--seed", "-s", metavar="N", help="Random seed; default 1.")
    ] = 1,
    n_layers: Annotated[
        int,
        typer.Option("--layers", metavar="K", help="Number of the target's last layers to record."),
    ] = 4,
    mode: Annotated[
        str, options.speculation("--mode", metavar="MODE", help="Mode; default specbranch.")
    ] = "specbranch",
    draft_max: Annotated[
        int,
        options.speculation(
            "--draft-max", help="Largest number of tokens to draft ahead; default 8."
        ),
    ] = 8,
    draft_p_min: Annotated[
        float,
        options.speculation(
            "--draft-p-min",
            metavar="P",
            help="The draft stops or branches at confidences below this value; default 0.4.",
        ),
    ] = 0.4,
    max_branches: Annotated[
        int, options.speculation("--max-branches", help="Largest number of branches; default 4.")
    ] = 4,
    ctx_size: machine_options.CtxSize = None,
    threads: machine_options.Threads = None,
    draft_threads: machine_options.DraftThreads = None,
    n_gpu_layers: machine_options.GpuLayers = None,
    draft_n_gpu_layers: machine_options.DraftGpuLayers = None,
    json_output: options.Json = False,
) -> None:
    """Run the engine on prompts and record the features of every round.

    You can stop the command at any time; the same command continues the run.
    """
    texts = read_prompts(prompts, field)
    target_path, draft_path = options.pick_models(model, draft)
    if draft_path is None:
        raise typer.BadParameter(
            "H-RAD needs a draft model; give a draft with -md", param_hint="-md"
        )
    settings = TraceSettings(
        n_layers=n_layers, mode=mode, max_tokens=n_predict, seed=seed, epsilon=draft_p_min,
        max_draft=draft_max, max_branches=max_branches,
    )  # fmt: skip
    machine = machine_options.machine_keywords(
        has_draft=True,
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
        Engine(
            target_path,
            draft_path,
            max_draft=draft_max,
            max_branches=max_branches,
            lookup=False,
            **machine,
        ) as engine,
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
    skipped = f"; {done.n_skipped} prompts are too long for the context" if done.n_skipped else ""
    words = f"{done.n_rounds} rounds of {done.n_texts} texts in {output}{skipped}"
    render.stdout().print(words, soft_wrap=True)


@app.command()
@render.reporting()
def train(
    traces: Annotated[list[Path], typer.Argument(metavar="FOLDER", help="Folder of `collect`.")],
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="FILE", help="File for the weights.")
    ],
    test: Annotated[
        list[Path] | None,
        typer.Option(
            "--test", metavar="FOLDER", show_default=False,
            help="Folder with traces of other prompts for a further test; repeatable.",
        ),
    ] = None,
    epochs: Annotated[int, typer.Option(min=1, help="Number of passes over the rounds.")] = 20,
    balance: Annotated[
        float,
        typer.Option(
            min=0.0, max=1.0,
            help="Weight of rare labels; 0: labels count as often as they occur; 1: all labels "
            "count the same.",
        ),
    ] = 0.0,
    seed: Annotated[int, typer.Option(help="Seed of the split and of the training.")] = 1,
    json_output: options.Json = False,
) -> None:  # fmt: skip
    """Train the classifier, and test it on held-out prompts."""
    from specbranch_cpp.hrad.train import Recipe, policy_score, rule_score, score
    from specbranch_cpp.hrad.train import train as learn

    check_output(output)
    tests = [(folder, load_traces([folder])) for folder in test or []]
    records, settings, prompts = load_traces(traces)
    for folder, (_, others, _) in tests:
        for name in ("target_sha256", "draft_sha256", "n_layers"):
            if others[name] != settings[name]:
                raise InvalidArgument(f"{folder} has traces with another {name}")
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
    """The figures of a score. ``None``: the recall of a label that did not occur."""
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
    console.print(f"\n{title}: {score.n} rounds (row: true label, column: predicted label)")
    console.print(render.table(("", *LABELS), rows))
