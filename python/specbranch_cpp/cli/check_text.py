"""The report of `check.examine` as text."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from rich.text import Text

from specbranch_cpp._support.words import count, readable, several
from specbranch_cpp.check.report import Interval, Verdict
from specbranch_cpp.cli import render

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console

    from specbranch_cpp.check.report import (
        AdapterReport,
        DeviceMemory,
        Measurement,
        ModelReport,
        PlacementFigures,
        Report,
    )

_LABEL = 9
_COLUMNS = ("mode", "expected", "measured", "tokens\nper step")
_PLACES = ("placement", "target\nstep, ms", "draft\nstep, ms", "slow-down\nof target",
           "expected\nspeed-up", "expected\ntokens/s")  # fmt: skip
_STYLES = {
    Verdict.HELPS: "green",
    Verdict.HELPS_LITTLE: "green",
    Verdict.UNUSABLE: "bold red",
}


def show(console: Console, report: Report) -> None:
    """The text of the report: files, machine, figures, verdict, settings."""
    for label, model in (("target", report.target), ("draft", report.draft)):
        if model is not None:
            _line(console, label, _described(model))
            _line(console, "", _needs(model))
    for adapter in report.adapters:
        _line(console, "adapter", _adapter(adapter))
    console.print()
    _show_fit(console, report)
    if report.measurement is not None:
        console.print()
        _show_measurement(console, report.measurement)
    if report.placements:
        console.print()
        _show_placements(console, report.placements)
    for note in report.notes:
        _line(console, "note", note)
    console.print()
    _show_verdict(console, report)


def _show_fit(console: Console, report: Report) -> None:
    if report.n_common is not None:
        words = f"fits: the vocabularies have {report.n_common:,} equal tokens"
        _line(console, "pair", words, ok=True)
    if report.placement:
        _line(console, "layers", report.placement)
    for device in report.devices:
        enough = device.free is None or device.needed <= device.free
        _line(console, "memory", _memory(device), ok=enough)
    commit = report.llama_cpp["ggml_commit"].removesuffix("-dirty")
    llama = f"llama.cpp {report.llama_cpp['llama_version']} ({commit})"
    if report.cpu != "unknown":
        words = "runs" if report.cpu == "runs" else "does not run"
        _line(console, "CPU", f"{words} {llama}, tested with quantized weights",
              ok=report.cpu == "runs")  # fmt: skip
    for gpu in report.gpus:
        _line(console, "GPU", gpu)
    if report.tool_format is not None:
        thoughts = f", thoughts after {report.reasoning}" if report.reasoning else ""
        _line(console, "chat", f"tool calls in the format {report.tool_format}{thoughts}")


def _adapter(adapter: AdapterReport) -> str:
    return (
        f"{Path(adapter.path).name}: scale {adapter.scale:g}, rank {adapter.rank}, changes "
        f"{adapter.n_matrices} of the target's matrices, {readable(adapter.n_bytes)}"
    )


def _memory(device: DeviceMemory) -> str:
    free = "the free memory is not known"
    if device.free is not None:
        free = f"{readable(device.free)} available"
    parts = [
        f"{name} {readable(size)}"
        for name, size in (("target", device.target), ("draft", device.draft))
        if size is not None
    ]
    return f"{device.name}: {readable(device.needed)} needed ({', '.join(parts)}), {free}"


def _show_measurement(console: Console, found: Measurement) -> None:
    steps, right = found.steps, found.acceptance
    _line(
        console,
        "steps",
        f"target {steps.target_ms:.2f} ms, draft {steps.draft_ms:.2f} ms: c = {steps.ratio:.1f}, "
        f"with {several(steps.n_threads, 'thread')} for the target, {steps.draft_n_threads} for "
        "the draft",
    )
    lengths = ", ".join(map(str, steps.verify))
    costs = ", ".join(f"{cost:.1f}" for cost in steps.verify.values())
    _line(console, "", f"verifying {lengths} tokens takes {costs} times as long as decoding one")
    _line(
        console,
        "",
        f"while both models run, a target step takes {steps.target_slowdown:.2f} times as long, a "
        f"draft step {steps.draft_slowdown:.2f}",
    )
    _line(
        console,
        "draft",
        f"the target accepts its first choice {_share(right.alpha)} of the time: {right.n_places} "
        f"positions in {several(len(right.by_prompt), 'text')}, the worst "
        f"{render.percent(min(right.by_prompt))}, the best {render.percent(max(right.by_prompt))}",
    )
    if len(right.by_rank) > 1:
        others = ", ".join(render.percent(share) for share in right.by_rank[1:])
        _line(console, "", f"acceptance of its next choices: {others}")
    console.print()
    rows = []
    for mode in found.modes:
        plain = mode.gamma is None
        measured = _speed(mode.measured)
        if plain and found.tokens_per_second:
            measured = f"{found.tokens_per_second:.1f} tokens/s"
        expected = "1.00" if plain else _speed(mode.expected)
        rows.append([mode.mode, expected, measured, f"{mode.tokens_per_step:.2f}"])
    console.print(render.table(_COLUMNS, rows))
    tuned = [mode.settings for mode in found.modes if mode.settings != mode.mode]
    if tuned:
        console.print(Text(f"best settings: {', '.join(tuned)}", "dim"), soft_wrap=True)
    for mode in found.modes:
        if mode.mode_reason:
            console.print(Text(f"{mode.mode}: {mode.mode_reason}", "dim"), soft_wrap=True)
    if found.n_prompts:
        texts = f"{several(found.n_prompts, 'text')} of at most {found.n_tokens} tokens"
        same = "the tokens were the same in all modes"
        if found.same_tokens < found.n_prompts:
            same = (
                f"in {found.n_prompts - found.same_tokens} of them the modes gave different tokens "
                "(near-ties: docs/exactness.md)"
            )
        words = f"{texts}, temperature {found.temperature:g}, {found.seconds:.0f} s; {same}"
        console.print(Text(words, "dim"), soft_wrap=True)


def _show_placements(console: Console, found: Sequence[PlacementFigures]) -> None:
    rows = []
    for one in found:
        if one.expected is None:
            continue
        slowdown = f"{one.target_slowdown:.2f}"
        rows.append([one.name, f"{one.target_ms:.2f}", f"{one.draft_ms:.2f}", slowdown,
                     _speed(one.expected), f"{one.tokens_per_second:.1f}"])  # fmt: skip
    if rows:
        console.print(render.table(_PLACES, rows))
        words = "expected of auto, from the step times in each place; no text was timed there"
        console.print(Text(words, "dim"), soft_wrap=True)
    for one in found:
        if one.reason:
            _line(console, one.name, one.reason, ok=False)


def _show_verdict(console: Console, report: Report) -> None:
    if report.verdict is Verdict.UNUSABLE:
        for reason in report.reasons:
            _line(console, "no", reason, ok=False)
        return
    works = "this pair works" if report.draft is not None else "this model works"
    _line(console, "yes", f"{works} here", ok=True)
    if report.verdict is not Verdict.NO_DRAFT:
        style = _STYLES.get(report.verdict, "yellow")
        words = ("verdict".ljust(_LABEL), style), (report.verdict.value, "bold")
        console.print(Text.assemble(*words), soft_wrap=True)
        _line(console, "", report.reason)
    else:
        _line(console, "draft", report.reason)
    if report.verdict.useless:
        _line(console, "", _without(report.measurement))
    if report.advice is not None:
        _line(console, "use", report.advice.python)
        _line(console, "", report.advice.command)


def _without(found: Measurement | None) -> str:
    """What the default mode does with a draft that does not help."""
    auto = [mode.mode_reason for mode in found.modes if mode.mode == "auto"] if found else []
    if not any(why.startswith("autoregressive") for why in auto):
        return "Without the draft:"
    return (
        "The default mode auto finds this out too and decodes without the draft. The draft then "
        "costs only its memory. To run without the draft:"
    )


def _speed(speed: Interval | None) -> str:
    if speed is None:
        return ""
    if speed.low is None or speed.high is None:
        return f"{speed.mean:.2f}"
    return f"{speed.mean:.2f} ({speed.low:.2f} to {speed.high:.2f})"


def _share(share: Interval) -> str:
    if share.low is None or share.high is None:
        return render.percent(share.mean)
    return f"{render.percent(share.mean)} ({100 * share.low:.0f} to {render.percent(share.high)})"


def _line(console: Console, label: str, text: str, ok: bool | None = None) -> None:
    style = "" if ok is None else "green" if ok else "bold red"
    console.print(Text.assemble((label.ljust(_LABEL), style or "dim"), text), soft_wrap=True)


def _described(model: ModelReport) -> str:
    return (
        f"{Path(model.path).name}: {model.architecture}, {count(model.n_parameters)} parameters, "
        f"{model.quantization}, {model.n_layers} layers, {model.n_vocab:,} tokens in its "
        f"vocabulary, trained with a context of {model.n_ctx_train:,}"
    )


def _needs(model: ModelReport) -> str:
    if not (model.cache or model.buffers):  # the layers get their places later, on other hosts
        return f"weights {readable(model.weights)}; the other memory that it needs is not known"
    return (
        f"{readable(model.total)}: weights {readable(model.weights)}, "
        f"KV cache {readable(model.cache)} for {model.n_cells:,} cells, "
        f"buffers {readable(model.buffers)}"
    )
