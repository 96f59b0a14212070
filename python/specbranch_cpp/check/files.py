"""Examines a pair without loading it: files, vocabularies, memory, machine."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from specbranch_cpp import _core
from specbranch_cpp._llama import cpu_probe
from specbranch_cpp._support.words import message, readable
from specbranch_cpp.check.devices import CPU, memory_by_device
from specbranch_cpp.check.report import ModelReport, Report
from specbranch_cpp.errors import SpecBranchError

if TYPE_CHECKING:
    from pathlib import Path

    from specbranch_cpp._engine.machine_keywords import MachineKeywords

N_CTX = 4096
"""The default of `Engine`."""


def look_at_files(
    target: Path, draft: Path | None, machine: MachineKeywords, max_draft: int, max_branches: int
) -> Report:
    """The report without verdict and measurement.

    Args:
        target: GGUF file of the target.
        draft: GGUF file of the draft, or ``None``.
        machine: options of `Engine`; only ``n_ctx`` and the layers on GPUs are read.
        max_draft: as in `Engine`; the draft's KV cache has room for these tokens.
        max_branches: as in `Engine`; the draft's KV cache has room for these branches.
    """
    report = Report()
    library = _core.library_info()
    report.llama_cpp = {
        name: getattr(library, name)
        for name in ("llama_version", "ggml_version", "ggml_commit", "system")
    }
    n_ctx = machine.get("n_ctx")
    try:
        sizes = _core.pair_sizes(
            max_draft, max_branches, _core.ModelOptions(os.fsencode(draft or target))
        )
        report.target = read_model(target, n_ctx, 0, sizes.max_verify)
        if draft is not None:
            report.draft = read_model(draft, n_ctx, sizes.reserve, sizes.n_seq, of=report.target)
            if report.draft.n_cells - sizes.reserve < report.target.n_cells:
                report.notes.append(
                    f"the draft was trained with a context of {report.draft.n_ctx_train:,} tokens; "
                    "of a longer text it reads the end"
                )
    except SpecBranchError as error:
        report.object_to(message(error))
    if report.target is not None and report.draft is not None:
        _compare(report, report.target, report.draft)
    _find_gpus(report, machine)
    _weigh(report, machine)
    _try_cpu(report, target)
    return report


def gpu_layers(machine: MachineKeywords) -> tuple[int, int]:
    """The numbers of layers on GPUs for target and draft.

    The draft's default is the target's number.
    """
    layers = machine.get("n_gpu_layers") or 0
    draft_layers = machine.get("draft_n_gpu_layers")
    return layers, layers if draft_layers is None else draft_layers


def read_model(
    path: Path, n_ctx: int | None, reserve: int, n_outputs: int, of: ModelReport | None = None
) -> ModelReport:
    """The facts of a file, and the memory that the model needs.

    Args:
        path: GGUF file.
        n_ctx: as in `Engine`. ``None``: the default of `Engine`.
        reserve: number of KV cells beside the context.
        n_outputs: the largest number of tokens of a batch whose logits are computed.
        of: the target, if this is its draft.

    Raises:
        ModelLoadError: the engine cannot use the file.
    """
    file = _core.inspect_model(os.fsencode(path))
    n_cells = N_CTX if n_ctx is None else n_ctx or file.n_ctx_train
    if of is not None:  # a draft's context is never longer than its training
        n_cells = min(of.n_cells, file.n_ctx_train)
    n_cells += reserve
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


def _compare(report: Report, target: ModelReport, draft: ModelReport) -> None:
    try:
        pair = _core.check_pair(os.fsencode(target.path), os.fsencode(draft.path))
    except SpecBranchError as error:
        report.object_to(message(error))
        return
<<<<<<< HEAD
    report.n_common = pair.n_common
=======
    report.n_common = pair.n_common - pair.n_different
    report.notes += pair.notes
>>>>>>> odd
    if draft.weights >= target.weights:
        report.notes.append("the draft is not smaller than the target, so it cannot gain speed")


def _weigh(report: Report, machine: MachineKeywords) -> None:
    report.memory_available = _core.available_memory()
    models = [model for model in (report.target, report.draft) if model is not None]
    if not models:
        return
    report.memory_needed = sum(model.total for model in models)
    for model in models:
        if model.cache == 0:
            report.notes.append(f"the size of the KV cache of {model.path} is not known")
    if report.target is None:
        return
    report.devices = memory_by_device(
        report.target,
        report.draft,
        *gpu_layers(machine),
        _core.list_devices(),
        report.memory_available,
    )
    for device in report.devices:
        if device.free is None or device.needed <= device.free:
            continue
        words = f"{readable(device.needed)} of memory, but only {readable(device.free)} are free"
        if device.name == CPU:
            report.object_to(f"the models need {words}")
        else:  # the estimate is rough: only loading shows whether the models fit
            report.notes.append(
                f"on {device.name} the models need about {words}; fewer layers may fit"
            )


def _try_cpu(report: Report, target: Path) -> None:
    fallback = target if report.target is not None else None
    model = cpu_probe.probe_model(fallback)
    verdict = cpu_probe.ProbeResult("unknown", "there is no model for the test")
    if model is not None:
        verdict = cpu_probe.probe(model)
    report.cpu = verdict.state
    if verdict.state == "dies":
        report.object_to(cpu_probe.advice(verdict))
    elif verdict.state == "unknown":
        report.notes.append(f"it is not known whether this CPU runs llama.cpp: {verdict.detail}")


def _find_gpus(report: Report, machine: MachineKeywords) -> None:
    report.gpus = [
        f"{device.name}: {device.description}, {readable(device.memory_total)}"
        for device in _core.list_devices()
        if not device.is_cpu
    ]
    if report.gpus and not any(gpu_layers(machine)):
        report.notes.append("the GPU is not used; n_gpu_layers=-1 (-ngl -1) puts all layers on it")
    if not report.gpus and "CUDA" in report.llama_cpp["system"]:
        report.notes.append(
            "llama.cpp was built for NVIDIA GPUs, but it finds no GPU or no driver; everything "
            "runs on the CPU, and n_gpu_layers has no effect"
        )
