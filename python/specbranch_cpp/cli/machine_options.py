"""Options of several commands that choose memory, threads, CPUs and GPUs.

They have llama.cpp's names if llama.cpp has the option.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Annotated

from specbranch_cpp import _core
from specbranch_cpp.cli import render
from specbranch_cpp.cli.lists import comma_list, cpu_list, layers, refuse
from specbranch_cpp.cli.options import option

if TYPE_CHECKING:
    from collections.abc import Mapping

    from specbranch_cpp._engine.machine_keywords import MachineKeywords

MACHINE = "Memory and threads"
WITHOUT_DRAFT = "it has no effect without a draft model"
machine = partial(option, panel=MACHINE, metavar="N")

CtxSize = Annotated[
    int | None,
    machine(
        "--ctx-size", "-c",
        help="Largest number of tokens of prompt and text; default 4096; 0: the length that the "
        "target was trained with.",
    ),
]  # fmt: skip
Threads = Annotated[
    int | None,
    machine(
        "--threads",
        "-t",
        help="Number of threads of the target; default: all cores that the draft does not use.",
    ),
]
DraftThreads = Annotated[
    int | None,
    machine(
        "--draft-threads",
        "-td",
        help="Number of threads of the draft; default: a quarter of the cores.",
    ),
]
Cpus = Annotated[
    str | None,
    machine("--cpus", metavar="LIST", help="CPUs for the target, such as 0,2-5; default: any CPU."),
]
DraftCpus = Annotated[
    str | None,
    machine("--draft-cpus", metavar="LIST", help="CPUs for the draft; default: any CPU."),
]
GpuLayers = Annotated[
    str | None,
    machine(
        "--n-gpu-layers",
        "-ngl",
        help="Number of the target's layers on GPUs; default or auto: as many as fit; all or -1: "
        "all layers; 0: the CPU.",
    ),
]
DraftGpuLayers = Annotated[
    str | None,
    machine(
        "--draft-n-gpu-layers",
        "-ngld",
        help="Number of the draft's layers on GPUs; default: as many as fit beside the target's.",
    ),
]
Device = Annotated[
    str | None,
    machine(
        "--device", "-dev", metavar="LIST",
        help="GPUs of the target, such as CUDA0,CUDA1; default: one GPU if the target fits there, "
        "else all.",
    ),
]  # fmt: skip
DraftDevice = Annotated[
    str | None,
    machine(
        "--draft-device", "-devd", metavar="LIST",
        help="GPUs of the draft; default: those of --device, else a GPU of its own if there "
        "is one.",
    ),
]  # fmt: skip
Rpc = Annotated[
    list[str] | None,
    machine(
        "--rpc", metavar="HOST:PORT",
        help="Host with `specbranch rpc-serve` whose devices take layers of the target; "
        "repeatable, or separated by commas.",
    ),
]  # fmt: skip


def machine_keywords(
    *,
    has_draft: bool,
    why_no_draft: str = WITHOUT_DRAFT,
    ctx_size: int | None,
    threads: int | None,
    draft_threads: int | None,
    cpus: str | None = None,
    draft_cpus: str | None = None,
    n_gpu_layers: str | None,
    draft_n_gpu_layers: str | None,
    lora: list[tuple[str, float]] | None = None,
    ctx_total: int | None = None,
    cache_ram: int | None = None,
    rpc: list[str] | None = None,
    device: str | None = None,
    draft_device: str | None = None,
    max_branches: int | None = None,
) -> MachineKeywords:
    """Turns the options of the panel `MACHINE`, and `lora_files`, into keywords of `Engine`.

    Args:
        has_draft: whether there is a draft, to which its options apply.
        why_no_draft: why they have no effect otherwise.

    The other arguments are the options. ``max_branches`` is only checked: branches are a draft's.

    Raises:
        typer.BadParameter: an option is malformed, or it is for a draft and there is none.
    """
    of_draft = {
        "--draft-threads": draft_threads,
        "--draft-cpus": draft_cpus,
        "--draft-n-gpu-layers": draft_n_gpu_layers,
        "--draft-device": draft_device,
        "--max-branches": max_branches,
    }
    if not has_draft:
        refuse(of_draft, why_no_draft)
    on_gpus = layers(n_gpu_layers, "--n-gpu-layers")
    draft_on_gpus = layers(draft_n_gpu_layers, "--draft-n-gpu-layers")
    if not rpc:
        _warn_without_gpu(
            {
                "--n-gpu-layers": n_gpu_layers if on_gpus else None,
                "--draft-n-gpu-layers": draft_n_gpu_layers if draft_on_gpus else None,
            }
        )
    return {
        "n_ctx": ctx_size,
        "n_ctx_total": ctx_total,
        "cache_ram": cache_ram,
        "n_threads": threads,
        "draft_n_threads": draft_threads,
        "cpus": cpu_list(cpus, "--cpus"),
        "draft_cpus": cpu_list(draft_cpus, "--draft-cpus"),
        "n_gpu_layers": on_gpus,
        "draft_n_gpu_layers": draft_on_gpus,
        "devices": comma_list(device, str, "--device"),
        "draft_devices": comma_list(draft_device, str, "--draft-device"),
        "lora": lora,
        "rpc_servers": [each for one in rpc for each in one.split(",")] if rpc else None,
    }


def _warn_without_gpu(asked: Mapping[str, str | None]) -> None:
    """Says that these options put no layers on GPUs if llama.cpp finds none."""
    given = [f"{option} is {value}" for option, value in asked.items() if value is not None]
    if given and not any(device.is_gpu for device in _core.list_devices()):
        render.warn(
            f"{' and '.join(given)}, but llama.cpp finds no GPU here; the CPU computes all layers"
        )
