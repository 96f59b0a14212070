"""``specbranch bench``: measures the speed of every mode, and writes a report."""

from __future__ import annotations

import contextlib
import json
import shlex
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from specbranch_cpp import demo
from specbranch_cpp._support.program import INTERRUPTED
from specbranch_cpp.bench import (
    machine,
    near_ties,
    placements,
    report,
    runner,
    session,
    turns,
    variants,
)
from specbranch_cpp.bench.records import NAME, RecordFile
from specbranch_cpp.cli import bench_clients, options, render
from specbranch_cpp.cli.lazy_group import typer_app
from specbranch_cpp.cli.lists import comma_list, refuse

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from specbranch_cpp.bench.records import Record
    from specbranch_cpp.bench.summary import Summary

app = typer_app(no_args_is_help=True, help="Measure the speed of every mode, and write a report.")

_WHAT = "What is measured"
_HOW = "How"
_OUTPUT = "Output"
# The columns of the report that a terminal shows.
_SHOWN = {0: "variant", 1: "speed-up", 2: "95 % interval", 5: "quartiles", 12: "equal"}

_QUICK: dict[str, Any] = {"n_prompts": 12, "tokens": 64, "lengths": (4,)}

_NAMES = {
    "mode": "--modes",
    "policy": "--policies",
    "draft length": "--lengths",
    "a draft length of peers": "--peer-lengths",
    "epsilon": "--epsilons",
    "max_branches": "--max-branches",
    "source": "--sources",
    "temperature": "--temperatures",
    "placement": "--placements",
    "peer": "--peers",
    "tokens": "--tokens",
    "number of tokens": "--tokens",
    "repeat": "--repeat",
    "number of repeats": "--repeat",
    "stretch": "--stretch",
    "ctx_size": "--ctx-size",
    "seed": "--seed",
    "number of clients": "--clients",
    "the number of clients": "--clients",
    "n_parallel": "--parallel",
}
"""For `render.reporting`: the option of each argument of a run."""

_Value = TypeVar("_Value")


def _one(values: tuple[_Value, ...] | None, option: str) -> _Value | None:
    """The value of an option of which a run takes one."""
    if values is None:
        return None
    if len(values) > 1:
        raise typer.BadParameter(
            f"a run with --clients takes one value, and there are {len(values)}", param_hint=option
        )
    return values[0]


def _settled(usual: dict[str, Any], chosen: dict[str, Any]) -> dict[str, Any]:
    """The values that the user chose, and the usual ones of the others. 0 prompts are all."""
    settings = usual | {name: value for name, value in chosen.items() if value is not None}
    n_prompts = settings.get("n_prompts")
    if n_prompts is not None and n_prompts < 0:
        raise typer.BadParameter(
            f"{n_prompts} is below 0; 0: all prompts", param_hint="--n-prompts"
        )
    if n_prompts == 0:
        settings["n_prompts"] = None
    return settings


@app.command()
@render.reporting(_NAMES)
def run(
    model: options.Model = None,
    draft: Annotated[
        list[Path] | None,
        options.models("--model-draft", "-md",
                       help="Draft model; repeatable: each draft makes a pair with the target; "
                       "default: no draft.",
                       parser=options.model_file),
    ] = None,
    pair: Annotated[
        list[str] | None,
        options.models("--pair", metavar="TARGET,DRAFT",
                       help="Another pair of models; repeatable."),
    ] = None,
    prompts: Annotated[
        list[Path] | None,
        options.option("--prompts", panel=_WHAT, metavar="JSONL",
                       help='File of JSON lines with a "prompt"; repeatable; default: the '
                       "bundled prompts."),
    ] = None,
    n_prompts: Annotated[
        int | None,
        options.option("--n-prompts", panel=_WHAT, metavar="N",
                       help="Largest number of prompts from each file; default 16; 0: all."),
    ] = None,
    tokens: Annotated[
        int | None,
        options.option("--tokens", "-n", panel=_WHAT, metavar="N",
                       help="Largest number of tokens in a text; default 128."),
    ] = None,
    modes: Annotated[
        str | None,
        options.option("--modes", panel=_WHAT, metavar="LIST",
                       help=f"Modes; default: {','.join(variants.MODES)}; without a draft "
                       f"{','.join(variants.WITHOUT_DRAFT)}."),
    ] = None,
    policies: Annotated[
        str | None,
        options.option("--policies", panel=_WHAT, metavar="LIST",
                       help=f"Policies, out of {','.join(variants.POLICIES)}; default: confidence "
                       "for specbranch, fixed for speculative and pearl."),
    ] = None,
    lengths: Annotated[
        str | None,
        options.option("--lengths", panel=_WHAT, metavar="LIST",
                       help="Numbers of tokens to draft ahead; default 4,8."),
    ] = None,
    epsilons: Annotated[
        str | None,
        options.option("--epsilons", panel=_WHAT, metavar="LIST",
                       help="Confidence limits of the policies confidence and hrad; default 0.4."),
    ] = None,
    branch_limits: Annotated[
        str | None,
        options.option("--max-branches", panel=_WHAT, metavar="LIST",
                       help="Largest numbers of branches in specbranch; default 4."),
    ] = None,
    sources: Annotated[
        str | None,
        options.option("--sources", panel=_WHAT, metavar="LIST",
                       help="Who proposes tokens in speculative and auto, out of "
                       f"{','.join(variants.SOURCES)}; default: all that the pair has."),
    ] = None,
    hrad: Annotated[
        Path | None,
        options.option("--hrad", panel=_WHAT, metavar="FILE",
                       help="File with the weights of the policy hrad."),
    ] = None,
    temperatures: Annotated[
        str | None,
        options.option("--temperatures", panel=_WHAT, metavar="LIST",
                       help="Temperatures of the texts; default 0."),
    ] = None,
    n_clients: Annotated[
        str | None,
        options.option("--clients", panel=_WHAT, metavar="LIST",
                       help="Measure so many clients at once instead, for example 1,2,4,8: the "
                       "tokens per second of all of them, and their waits."),
    ] = None,
    parallel: Annotated[
        str | None,
        options.option("--parallel", "-np", panel=_WHAT, metavar="LIST",
                       help="With --clients: generations that run at once; default: the largest "
                       "number of clients, at most 16."),
    ] = None,
    peers: Annotated[
        str,
        options.option("--peers", panel=_WHAT, metavar="LIST",
                       help="Other engines to measure at temperature 0: all (that are installed), "
                       "none (default), or names."),
    ] = "none",
    peer_lengths: Annotated[
        str | None,
        options.option("--peer-lengths", panel=_WHAT, metavar="LIST",
                       help="Draft lengths of the other engines, besides 0; default: a sweep of "
                       "each engine's own."),
    ] = None,
    where: Annotated[
        str | None,
        options.option("--placements", panel=_HOW, metavar="LIST",
                       help=f"Placements, out of {','.join(placements.NAMES)}; all: those that "
                       "exist here; default: the first possible one of gpus, gpu, split, shared."),
    ] = None,
    repeat: Annotated[
        int,
        options.option("--repeat", panel=_HOW, metavar="N",
                       help="Number of repeats of every prompt; default 1."),
    ] = 1,
    stretch: Annotated[
        int,
        options.option("--stretch", panel=_HOW, metavar="N",
                       help="Tokens of a text that a variant decodes before the next variant; "
                       f"default {turns.STRETCH}, at least {turns.SHORTEST}; 0: whole texts."),
    ] = turns.STRETCH,
    target_precision: Annotated[
        float | None,
        options.option("--target-precision", panel=_HOW, metavar="P",
                       help="Skip the remaining prompts when all intervals are as narrow as this "
                       "share of the speed-up, for example 0.02; default: measure all prompts."),
    ] = None,
    ctx_size: Annotated[
        int,
        options.option("--ctx-size", "-c", panel=_HOW, metavar="N",
                       help="Context length in tokens; default 2048."),
    ] = 2048,
    seed: Annotated[
        int,
        options.option("--seed", "-s", panel=_HOW, metavar="N",
                       help="Seed of prompts, orders and texts; default 1."),
    ] = 1,
    bit_exact: Annotated[
        bool,
        options.option("--bit-exact", panel=_HOW,
                       help="Make the logits independent of the batch size; this is slower."),
    ] = False,
    allow_near_ties: Annotated[
        bool,
        options.option("--allow-near-ties", panel=_HOW,
                       help="Accept texts that diverge where two scores differ by at most "
                       f"{near_ties.LIMIT:g}."),
    ] = False,
    quick: Annotated[
        bool,
        options.option("--quick", panel=_HOW,
                       help="Use few prompts and short texts, unless other options set them: a "
                       "minute for the bundled pair."),
    ] = False,
    output: Annotated[
        Path | None,
        options.option("--output", "-o", panel=_OUTPUT, metavar="FOLDER",
                       help="Folder for records and report; an existing run continues. Default: "
                       "a new folder."),
    ] = None,
    json_output: Annotated[
        bool,
        options.option("--json", panel=_OUTPUT, help="Print the figures as one JSON object."),
    ] = False,
) -> None:  # fmt: skip
    """Measure every mode and setting, in turns within each text, and write a report.

    You can stop the command at any time; the same command with the same folder continues the run.
    The exit code is 1 if the texts of two modes differ.

    With --clients, several clients ask one engine at the same time.
    """
    folder = output or Path(time.strftime("bench-%Y%m%d-%H%M%S"))
    if n_clients is not None:
        not_theirs = {
            "--pair": pair or None,
            "--policies": policies,
            "--lengths": lengths,
            "--epsilons": epsilons,
            "--max-branches": branch_limits,
            "--sources": sources,
            "--hrad": hrad,
            "--peers": None if peers == "none" else peers,
            "--peer-lengths": peer_lengths,
            "--stretch": None if stretch == turns.STRETCH else stretch,
            "--target-precision": target_precision,
            "--bit-exact": bit_exact,
            "--allow-near-ties": allow_near_ties,
        }
        refuse(not_theirs, "a run with --clients has no such option")
        asked: dict[str, Any] = {
            "pair": _one(_pairs(model, draft or [], []), "-md"),
            "clients": comma_list(n_clients, int, "--clients"),
            "parallel": comma_list(parallel, int, "--parallel"),
            "modes": comma_list(modes, str, "--modes"),
            "prompts": tuple(prompts or ()),
            "n_prompts": n_prompts,
            "tokens": tokens,
            "temperature": _one(
                comma_list(temperatures, float, "--temperatures"), "--temperatures"
            ),
            "placement": _one(comma_list(where, str, "--placements"), "--placements"),
            "repeat": repeat,
            "n_ctx": ctx_size,
            "seed": seed,
        }
        quickly = {name: _QUICK[name] for name in ("n_prompts", "tokens")} if quick else {}
        _warn_if_busy(len(machine.describe().cpus))
        bench_clients.measure(
            _settled(quickly, asked), folder, _progress(), json_output=json_output
        )
        return
    refuse({"--parallel": parallel}, "it needs --clients")
    chosen: dict[str, Any] = {
        "pairs": _pairs(model, draft or [], pair or []),
        "prompts": tuple(prompts or ()),
        "modes": comma_list(modes, str, "--modes"),
        "policies": comma_list(policies, str, "--policies"),
        "lengths": comma_list(lengths, int, "--lengths"),
        "epsilons": comma_list(epsilons, float, "--epsilons"),
        "branch_limits": comma_list(branch_limits, int, "--max-branches"),
        "hrad": hrad,
        "sources": comma_list(sources, str, "--sources"),
        "placements": comma_list(where, str, "--placements"),
        "temperatures": comma_list(temperatures, float, "--temperatures"),
        "peers": peers,
        "peer_lengths": comma_list(peer_lengths, int, "--peer-lengths"),
        "tokens": tokens,
        "n_prompts": n_prompts,
        "repeat": repeat,
        "n_ctx": ctx_size,
        "seed": seed,
        "bit_exact": bit_exact,
        "stretch": stretch,
    }
    if peers == "none":
        refuse({"--peer-lengths": peer_lengths}, "it has no effect without --peers")
    if "hrad" not in (chosen["policies"] or ()):
        refuse({"--hrad": hrad}, "it has no effect without the policy hrad (--policies)")
    if target_precision is not None and not 0.0 < target_precision < 1.0:
        raise typer.BadParameter(
            f"{target_precision:g} is not between 0 and 1", param_hint="--target-precision"
        )
    settings = _settled(_QUICK if quick else {}, chosen)
    prepared = session.prepare(
        session.BenchRequest(**settings), command=shlex.join(["specbranch", *sys.argv[1:]])
    )
    for what, reasons in prepared.header["skipped"].items():
        for name, reason in reasons.items():
            render.stderr().print(f"{what} {name} is not measured: {reason}", soft_wrap=True)
    _warn_if_busy(len(prepared.header["machine"]["cpus"]))
    with RecordFile(folder, prepared.header) as file:
        try:
            with _progress() as told:
                runner.run(prepared.plan, file, told, target_precision=target_precision)
        except KeyboardInterrupt:
            render.fail(
                f"stopped; {file.path} has {file.n_turns} of at most {prepared.plan.n_turns} "
                f"turns; the same command with -o {shlex.quote(str(folder))} continues"
            )
            raise typer.Exit(INTERRUPTED) from None
    summary = _report(folder, json_output=json_output)
    bad = {
        (i, one.variant, one.prompt, one.repeat)
        for i, group in enumerate(summary.groups)
        for one in group.differences
        if not (one.is_peer or (allow_near_ties and one.is_near_tie))
    }
    if bad:
        render.fail(
            f"{len(bad)} texts differ from those of autoregressive; see {folder / report.NAME} and "
            "docs/exactness.md"
        )
        raise typer.Exit(1)


def _warn_if_busy(n_cpus: int) -> None:
    load = machine.load_average()
    if load is not None and load > 0.5 * n_cpus:
        render.stderr().print(
            f"other processes are running (load {load:g} on {n_cpus} CPUs), so the times are not "
            "reliable",
            style="yellow",
            soft_wrap=True,
        )


@app.command(name="report")
@render.reporting()
def make_report(
    folder: Annotated[
        Path, typer.Argument(metavar="FOLDER", help="Folder of a run that is finished or not.")
    ],
    json_output: Annotated[
        bool,
        options.option("--json", panel=_OUTPUT, help="Print the figures as one JSON object."),
    ] = False,
) -> None:
    """Write report.md and pictures from the records of a run."""
    _report(folder, json_output=json_output)


def _report(folder: Path, *, json_output: bool) -> Summary:
    try:
        summary, records, no_pictures = session.write_report(folder)
    except OSError as error:
        render.fail(f"{error.filename or folder}: {error.strerror}")
        raise typer.Exit(1) from None
    if no_pictures:
        render.stderr().print(f"there are no pictures: {no_pictures}", style="dim", soft_wrap=True)
    if json_output:
        print(json.dumps(asdict(summary)))
    else:
        _show(summary, records)
        words = f"{folder / report.NAME} has all figures; {folder / NAME} has the records"
        render.stdout().print(f"\n{words}", soft_wrap=True)
    return summary


def _show(summary: Summary, records: Sequence[Record]) -> None:
    console = render.stdout()
    for i, group in enumerate(summary.groups):
        rows = [[report.cells(row)[n] for n in _SHOWN] for row in group.rows]
        for row, found in zip(group.rows, rows, strict=True):
            found[0] = f"{'*' if row.is_best else ' '} {found[0]}"
        console.print("\n" * (i > 0) + report.heading(group, records[0]), soft_wrap=True)
        console.print(render.table(_SHOWN.values(), rows))
        for sentence in report.verdicts(group, summary.precision):
            console.print(sentence, soft_wrap=True)
    if summary.groups:
        console.print("* marks the best setting of each mode", style="dim")


def _pairs(
    model: Path | None, drafts: list[Path], more: list[str]
) -> tuple[tuple[Path, Path | None], ...]:  # fmt: skip
    pairs: list[tuple[Path, Path | None]] = []
    if model is None and drafts:
        raise typer.BadParameter(
            "a draft was given without a target; give a target with -m", param_hint="-md"
        )
    if model is not None:
        pairs += [(model, draft) for draft in drafts] or [(model, None)]
    for text in more:
        parts = text.split(",")
        ways = [(",".join(parts[:n]), ",".join(parts[n:])) for n in range(1, len(parts))]
        ways = [way for way in ways if all(way)]
        if not ways:
            raise typer.BadParameter(
                f"{text!r} is not a pair; write TARGET,DRAFT", param_hint="--pair"
            )
        # A path may have commas.
        target, draft = next((way for way in ways if all(map(options.is_file, way))), ways[0])
        pairs.append((Path(target), Path(draft)))
    return tuple(pairs) or (demo.pair(),)


@contextlib.contextmanager
def _progress() -> Iterator[runner.ProgressListener]:
    """A progress bar on a terminal."""
    console = render.stderr()
    columns = (
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.description}"),
    )
    with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task("", total=None)

        def told(n_done: int, n_turns: int, what: str) -> None:
            bar.update(task, completed=n_done, total=n_turns, description=what)

        yield told
