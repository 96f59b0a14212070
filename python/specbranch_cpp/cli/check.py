"""``specbranch check``: whether a pair of models works on this machine."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from specbranch_cpp import _arguments, _core, _probe
from specbranch_cpp.cli import memory, options, render
from specbranch_cpp.errors import SpecBranchError

if TYPE_CHECKING:
    from rich.console import Console

_N_CTX = 4096
_LABEL = 9


@dataclass(frozen=True)
class ModelReport:
    """One model; memory in bytes, a cache of 0 is not known."""

    path: str
    name: str
    architecture: str
    quantization: str
    n_parameters: int
    n_layers: int
    n_vocab: int
    n_ctx_train: int
    n_cells: int
    weights: int
    cache: int
    buffers: int
    total: int


@dataclass
class Report:
    """What was found; it fits if there are no reasons against it."""

    fits: bool = True
    reasons: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    target: ModelReport | None = None
    draft: ModelReport | None = None
    n_common: int | None = None
    memory_needed: int | None = None
    memory_available: int | None = None
    cpu: str = "unknown"
    gpus: list[str] = field(default_factory=list)
    llama_cpp: dict[str, str] = field(default_factory=dict)

    def object_to(self, reason: str) -> None:
        self.fits = False
        self.reasons.append(reason)


@render.reporting()
def check(
    target: Annotated[Path, typer.Argument(help="GGUF file of the target.")],
    draft: Annotated[
        Path | None, typer.Argument(help="GGUF file of the draft.", show_default=False)
    ] = None,
    ctx_size: options.CtxSize = None,
    draft_max: options.DraftMax = None,
    k_max: options.KMax = None,
    json_output: options.Json = False,
) -> None:
    """Say whether a pair fits, what memory it needs, and whether this CPU runs llama.cpp.

    The exit code is 0 if all is well, and 1 if not.
    """
    report = examine(
        target,
        draft,
        ctx_size,
        _arguments.integer("draft_max", 16 if draft_max is None else draft_max, 1, _core.MAX_DRAFT),
        _arguments.integer("k_max", 4 if k_max is None else k_max, 1, _core.MAX_BRANCHES),
    )
    if json_output:
        print(json.dumps(asdict(report)))
    else:
        show(render.stdout(), report)
    raise typer.Exit(0 if report.fits else 1)


def examine(
    target: Path, draft: Path | None, n_ctx: int | None, max_draft: int, k_max: int
) -> Report:
    report = Report()
    library = _core.library_info()
    report.llama_cpp = {
        name: getattr(library, name)
        for name in ("llama_version", "ggml_version", "ggml_commit", "system")
    }
    try:
        sizes = _core.pair_sizes(max_draft, k_max, _core.ModelOptions(os.fsencode(draft or target)))
        report.target = _model(target, n_ctx, 0, sizes.max_verify)
        if draft is not None:
            report.draft = _model(draft, n_ctx, sizes.reserve, sizes.n_seq)
    except SpecBranchError as error:
        report.object_to(render.message(error))
    if report.target is not None and report.draft is not None:
        _compare(report)
    _weigh(report)
    _try_cpu(report, target)
    _find_gpus(report)
    return report


def _model(path: Path, n_ctx: int | None, reserve: int, n_outputs: int) -> ModelReport:
    file = _core.inspect_model(os.fsencode(path))
    n_cells = reserve + (_N_CTX if n_ctx is None else n_ctx or file.n_ctx_train)
    needed = _core.estimate_memory(
        file, _core.ModelOptions(os.fsencode(path)), n_cells=n_cells, n_outputs=n_outputs
    )
    return ModelReport(
        path=str(path),
        name=file.name,
        architecture=file.architecture,
        quantization=file.quantization if file.uniform_weights else f"mostly {file.quantization}",
        n_parameters=file.n_parameters,
        n_layers=file.n_layers,
        n_vocab=file.n_vocab,
        n_ctx_train=file.n_ctx_train,
        n_cells=n_cells,
        weights=needed.weights,
        cache=needed.cache,
        buffers=needed.buffers,
        total=needed.total,
    )


def _compare(report: Report) -> None:
    assert report.target is not None
    assert report.draft is not None
    try:
        pair = _core.check_pair(os.fsencode(report.target.path), os.fsencode(report.draft.path))
    except SpecBranchError as error:
        report.object_to(render.message(error))
        return
    report.n_common = pair.n_common
    if pair.why_no_speculation:
        report.object_to(pair.why_no_speculation)
    if report.draft.weights >= report.target.weights:
        report.notes.append("the draft is not smaller than the target, so it cannot save time")


def _weigh(report: Report) -> None:
    models = [model for model in (report.target, report.draft) if model is not None]
    report.memory_available = _core.available_memory()
    if not models:
        return
    report.memory_needed = sum(model.total for model in models)
    if report.memory_available is not None and report.memory_needed > report.memory_available:
        report.object_to(
            f"it needs {memory.readable(report.memory_needed)} of memory, and "
            f"{memory.readable(report.memory_available)} are available"
        )
    for model in models:
        if model.cache == 0:
            report.notes.append(f"the size of the KV cache of {model.path} is not known")


def _try_cpu(report: Report, target: Path) -> None:
    fallback = target if report.target is not None else None
    model = _probe.probe_model(fallback)
    verdict = _probe.Verdict("unknown", "there is no model to try")
    if model is not None:
        verdict = _probe.probe(model)
    report.cpu = verdict.state
    if verdict.state == "dies":
        report.object_to(_probe.advice(verdict))
    elif verdict.state == "unknown":
        report.notes.append(f"whether this CPU runs llama.cpp is not known: {verdict.detail}")


def _find_gpus(report: Report) -> None:
    report.gpus = [
        f"{device.name}: {device.description}, {memory.readable(device.memory_total)}"
        for device in _core.list_devices()
        if not device.is_cpu
    ]
    if not report.gpus and "CUDA" in report.llama_cpp["system"]:
        report.notes.append(
            "llama.cpp was built for NVIDIA GPUs and finds none, or no driver for it: whatever "
            "n_gpu_layers says, everything runs on the CPU"
        )


def show(console: Console, report: Report) -> None:
    """Plain words."""
    for label, model in (("target", report.target), ("draft", report.draft)):
        if model is not None:
            _line(console, label, _described(model))
            _line(console, "", _needs(model))
    console.print()
    if report.n_common is not None:
        _line(console, "pair", f"fits: {report.n_common:,} tokens mean the same in both", ok=True)
    if report.memory_needed is not None and report.memory_available is not None:
        _line(
            console,
            "memory",
            f"{memory.readable(report.memory_needed)} needed, "
            f"{memory.readable(report.memory_available)} available",
            ok=report.memory_needed <= report.memory_available,
        )
    commit = report.llama_cpp["ggml_commit"].removesuffix("-dirty")
    llama = f"llama.cpp {report.llama_cpp['llama_version']} ({commit})"
    if report.cpu != "unknown":
        words = "runs" if report.cpu == "runs" else "does not run"
        _line(console, "CPU", f"{words} {llama}, tried with quantized weights",
              ok=report.cpu == "runs")  # fmt: skip
    for gpu in report.gpus:
        _line(console, "GPU", gpu)
    for note in report.notes:
        _line(console, "note", note)
    console.print()
    for reason in report.reasons:
        _line(console, "no", reason, ok=False)
    if report.fits:
        what = "this pair works" if report.draft is not None else "this model works"
        _line(console, "yes", f"{what} here", ok=True)


def _line(console: Console, label: str, text: str, ok: bool | None = None) -> None:
    style = "" if ok is None else "green" if ok else "bold red"
    console.print(Text(label.ljust(_LABEL), style or "dim").append(text, ""), soft_wrap=True)


def _described(model: ModelReport) -> str:
    return (
        f"{Path(model.path).name}: {model.architecture}, {_count(model.n_parameters)} parameters, "
        f"{model.quantization}, {model.n_layers} layers, {model.n_vocab:,} tokens in its "
        f"vocabulary, trained for {model.n_ctx_train:,} positions"
    )


def _needs(model: ModelReport) -> str:
    cache = memory.readable(model.cache) if model.cache else "unknown"
    return (
        f"{memory.readable(model.total)}: weights {memory.readable(model.weights)}, "
        f"KV cache {cache} for {model.n_cells:,} cells, "
        f"buffers about {memory.readable(model.buffers)}"
    )


def _count(number: int) -> str:
    for size, unit in ((10**9, "billion"), (10**6, "million")):
        if number >= size:
            return f"{number / size:.1f} {unit}"
    return f"{number:,}"
