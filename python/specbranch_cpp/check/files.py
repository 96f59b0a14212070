"""Examines a pair without loading it: files, vocabularies, memory, machine."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from specbranch_cpp import _core
from specbranch_cpp._engine.adapters import adapter_options
from specbranch_cpp._engine.model_options import ModelArgument
from specbranch_cpp._llama import cpu_probe
from specbranch_cpp._llama.slow_build import slow_build_note
from specbranch_cpp._placement import outcome
from specbranch_cpp._placement.planning import Side, plan
from specbranch_cpp._rpc.addresses import parse_addresses
from specbranch_cpp._rpc.handshake import ask_server
from specbranch_cpp._rpc.joining import require_backend
from specbranch_cpp._support.words import message, readable
from specbranch_cpp.check.answers import find_answers
from specbranch_cpp.check.devices import memory_by_device
from specbranch_cpp.check.report import AdapterReport, ModelReport, Report
from specbranch_cpp.errors import ModelLoadError, SpecBranchError
from specbranch_cpp.options import Model

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from specbranch_cpp._engine.machine_keywords import MachineKeywords
    from specbranch_cpp._placement.planning import Layout, Placed


def look_at_files(
    target: Path, draft: Path | None, machine: MachineKeywords, max_draft: int, max_branches: int
) -> Report:
    """The report without verdict and measurement.

    Args:
        target: GGUF file of the target.
        draft: GGUF file of the draft, or ``None``.
        machine: options of `Engine`; only ``n_ctx``, GPUs and the layers on them, ``lora``
            and ``rpc_servers`` are read.
        max_draft: as in `Engine`; the draft's KV cache has room for these tokens.
        max_branches: as in `Engine`; the draft's KV cache has room for these branches.
    """
    report = Report()
    library = _core.library_info()
    report.llama_cpp = {
        name: getattr(library, name)
        for name in ("llama_version", "ggml_version", "ggml_commit", "system")
    }
    sides = _sides(target, draft, machine, max_draft, max_branches)
    try:
        files = [_core.inspect_model(side.options.path) for side in sides]
        report.adapters = _adapters(sides[0].options)
        _tell_contexts(report, files, sides)
        found = None
        if servers := machine.get("rpc_servers"):
            _ask_hosts(report, servers)
        else:
            found = plan(sides[0], sides[1] if draft is not None else None)
    except SpecBranchError as error:
        report.object_to(message(error))
    else:
        report.target = _model(files[0], sides[0], None if found is None else found.target)
        if draft is not None:
            of_draft = None if found is None else found.draft
            report.draft = _model(files[1], sides[1], of_draft)
        if found is not None:
            _weigh(report, found, sides)
        find_answers(report, target)
    if report.target is not None and report.draft is not None:
        _compare(report, report.target, report.draft)
    _find_gpus(report, machine)
    _try_cpu(report, target)
    return report


def _sides(
    target: Path, draft: Path | None, machine: MachineKeywords, max_draft: int, max_branches: int
) -> list[Side]:
    """The models as `Engine` would get them."""
    n_ctx = machine.get("n_ctx")
    model = Model(
        target,
        n_ctx=n_ctx,
        n_gpu_layers=machine.get("n_gpu_layers"),
        devices=machine.get("devices"),
    )
    arguments = [ModelArgument(model, "target", "")]
    if draft is not None:
        of_draft = Model(
            draft,
            n_gpu_layers=machine.get("draft_n_gpu_layers"),
            devices=machine.get("draft_devices"),
        )
        arguments.append(ModelArgument(of_draft, "draft", "draft_").inheriting(model))
    sides = [
        Side(
            each.role,
            each.core_options(),
            each.model.n_gpu_layers is None,
            max_draft,
            max_branches,
        )
        for each in arguments
    ]
    sides[0].options.adapters = adapter_options(machine.get("lora"))
    return sides


def _ask_hosts(report: Report, servers: Sequence[str]) -> None:
    """Adds the devices of other hosts. This process does not connect llama.cpp to them, which would
    end it if one is lost; so the engine decides later which layers go there.

    Raises:
        InvalidArgument: an address is wrong, or llama.cpp has no RPC backend.
        ModelLoadError: a server cannot be used.
    """
    require_backend("rpc_servers")
    for server in map(ask_server, parse_addresses("rpc_servers", servers)):
        report.gpus += [
            f"{server.address}: {readable(device.free)} of {readable(device.total)} free"
            for device in server.devices
        ]
    report.n_gpu_layers = -1
    report.notes.append("the layers get their places on the hosts while the models are loaded")


def _adapters(options: _core.ModelOptions) -> list[AdapterReport]:
    """The facts of the target's LoRA adapters.

    Raises:
        ModelLoadError: the engine cannot use a file.
    """
    found = []
    for path, scale in options.adapters:
        file = _core.inspect_adapter(path, options.path)
        found.append(
            AdapterReport(
                path=os.fsdecode(path),
                name=file.name,
                scale=scale,
                rank=file.rank,
                alpha=file.alpha,
                n_matrices=file.n_matrices,
                n_bytes=file.n_bytes,
            )
        )
    return found


def _tell_contexts(report: Report, files: Sequence[_core.ModelFile], sides: Sequence[Side]) -> None:
    """Notes which context is shorter than asked for, or than the target's."""
    target, *draft = [
        _core.context_length(file, side.options) for file, side in zip(files, sides, strict=True)
    ]
    if target < (sides[0].options.n_ctx or files[0].n_ctx_train):
        report.notes.append(
            f"the target has learned {target:,} positions, so its context has as many"
        )
    if draft and draft[0] < target:
        why = "has learned" if files[1].n_positions == draft[0] else "was trained with"
        report.notes.append(
            f"the draft {why} a context of {draft[0]:,} tokens; of a longer text, it reads the end"
        )


def read_model(path: Path) -> ModelReport:
    """The facts of a file, and the memory that the model needs as a target with the defaults.

    That is the size of the weights if llama.cpp cannot lay the model out.

    Raises:
        ModelLoadError: the engine cannot use the file.
    """
    (side,) = _sides(path, None, {}, max_draft=8, max_branches=4)
    file = _core.inspect_model(side.options.path)
    try:
        placed = plan(side, None).target
    except SpecBranchError:
        placed = None
    return _model(file, side, placed)


def _model(file: _core.ModelFile, side: Side, placed: Placed | None) -> ModelReport:
    sizes = _core.pair_sizes(side.max_draft, side.max_branches, side.options)
    reserve = sizes.reserve if side.role == "draft" else 0
    shares = [] if placed is None else [placed.footprint.host, *placed.footprint.devices]
    return ModelReport(
        path=os.fsdecode(side.options.path),
        name=file.name,
        architecture=file.architecture,
        quantization=file.quantization if file.uniform_weights else f"mostly {file.quantization}",
        n_parameters=file.n_parameters,
        n_layers=file.n_layers,
        n_vocab=file.n_vocab,
        n_ctx_train=file.n_ctx_train,
        n_cells=reserve + _core.context_length(file, side.options),
        weights=sum(share.weights + share.repacked + share.adapters for share in shares)
        or file.weight_bytes,
        cache=sum(share.context + share.checkpoints for share in shares),
        buffers=sum(share.compute + share.outputs for share in shares),
        total=sum(share.total for share in shares) or file.weight_bytes,
    )


def _compare(report: Report, target: ModelReport, draft: ModelReport) -> None:
    try:
        pair = _core.check_pair(os.fsencode(target.path), os.fsencode(draft.path))
    except SpecBranchError as error:
        report.object_to(message(error))
        return
    report.n_common = pair.n_common - pair.n_different
    report.notes += pair.notes
    if draft.weights >= target.weights:
        report.notes.append("the draft is not smaller than the target, so it cannot gain speed")


def _weigh(report: Report, found: Layout, sides: list[Side]) -> None:
    report.memory_available = found.memories.main
    models = [model for model in (report.target, report.draft) if model is not None]
    report.memory_needed = sum(model.total for model in models)
    report.devices = memory_by_device(found)
    if outcome.placement_of(found) is None:
        report.notes.append(
            "the memory on each device is not known, because llama.cpp does not tell it for this "
            "split_mode"
        )
        return
    report.placement = outcome.line(found)
    if found.target is not None:
        report.n_gpu_layers = found.target.side.options.n_gpu_layers
    if found.draft is not None:
        report.draft_n_gpu_layers = found.draft.side.options.n_gpu_layers
    draft = sides[1] if len(sides) > 1 else None
    try:
        outcome.check(found, sides[0], draft)
    except ModelLoadError as error:
        report.object_to(message(error))
        return
    if (tight := outcome.tightness_words(found)) is not None:
        report.notes.append(tight)
    # `Engine` maps such files, and reads them from the disk for every token.
    if (slow := found.memories.mapped_too_much()) is not None:
        report.object_to(outcome.shortage_words(slow, several=draft is not None))


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
    if (note := slow_build_note()) is not None:
        report.notes.append(note)


def _find_gpus(report: Report, machine: MachineKeywords) -> None:
    report.gpus += [
        f"{device.name}: {device.description}, {readable(device.memory_total)}"
        for device in _core.list_devices()
        if device.is_gpu
    ]
    given = machine.get("n_gpu_layers")
    if report.gpus and given == 0 and not report.draft_n_gpu_layers:
        report.notes.append("the GPU is not used, because n_gpu_layers is 0 (-ngl 0)")
    if not report.gpus and "CUDA" in report.llama_cpp["system"]:
        report.notes.append(
            "llama.cpp was built for NVIDIA GPUs, but it finds no GPU or no driver; everything "
            "runs on the CPU, and n_gpu_layers has no effect"
        )
