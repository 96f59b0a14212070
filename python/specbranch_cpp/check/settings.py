"""Settings as lines to copy."""

from __future__ import annotations

import os
import shlex
from typing import TYPE_CHECKING, Any, cast

from specbranch_cpp._engine.adapters import adapter_options
from specbranch_cpp.check.report import Advice

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from specbranch_cpp._engine.machine_keywords import MachineKeywords, PlaceKeywords
    from specbranch_cpp.check.report import ModeFigures

# Arguments of `Engine` and their names as options of ``specbranch generate``.
FLAGS = {
    "n_ctx": "-c",
    "n_threads": "-t",
    "draft_n_threads": "-td",
    "cpus": "--cpus",
    "draft_cpus": "--draft-cpus",
    "n_gpu_layers": "-ngl",
    "draft_n_gpu_layers": "-ngld",
    "max_draft": "--draft-max",
    "max_branches": "--max-branches",
    "devices": "--device",
    "draft_devices": "--draft-device",
    "lora": "--lora-scaled",
    "rpc_servers": "--rpc",
}
MAX_DRAFT, MAX_BRANCHES = 16, 4
"""The defaults of `Engine` in mode ``"auto"``."""


def with_draft(target: Path, draft: Path, mode: ModeFigures, machine: MachineKeywords) -> Advice:
    """The recommended settings for the two models in a mode.

    Args:
        target: GGUF file of the target.
        draft: GGUF file of the draft.
        mode: the mode with its best settings; `auto` needs its limits only if they differ from the
            defaults.
        machine: the given arguments of `Engine`, and the threads.
    """
    options = _said(machine)
    policy, flags = "", []
    if mode.mode != "auto":
        options["max_draft"] = mode.gamma
        if mode.mode == "specbranch":
            options["max_branches"] = mode.max_branches
        epsilon = mode.epsilon
        # `Confidence(0)` never stops, like `Fixed` with `max_draft` tokens.
        flags = ["--draft-p-min", f"{epsilon or 0.0:g}"]
        policy = (
            f"policies.Fixed({mode.gamma})"
            if epsilon is None
            else f"policies.Confidence({epsilon:g})"
        )
    else:
        limits = {
            "max_draft": (mode.gamma, MAX_DRAFT),
            "max_branches": (mode.max_branches, MAX_BRANCHES),
        }
        options |= {name: value for name, (value, usual) in limits.items() if value != usual}
    return _advice(mode.mode, target, draft, options, policy, flags)


def without_draft(target: Path, machine: MachineKeywords) -> Advice:
    """The recommended settings for the target alone, for which texts propose tokens."""
    target_only: MachineKeywords = {
        "lora": machine.get("lora"),
        "n_ctx": machine.get("n_ctx"),  # no threads: without a draft, the target may use all cores
        "cpus": machine.get("cpus"),
        "n_gpu_layers": machine.get("n_gpu_layers"),
        "devices": machine.get("devices"),
        "rpc_servers": machine.get("rpc_servers"),
    }
    options = _said(target_only)
    return _advice("auto", target, None, options, "", [])


def words(options: PlaceKeywords) -> str:
    """Options of `Engine` on the command line."""
    said = cast("dict[str, Any]", options)
    return shlex.join(
        part for name, value in said.items() if value is not None
        for part in (FLAGS[name], _word(name, value))
    )  # fmt: skip


def _said(machine: MachineKeywords) -> dict[str, Any]:
    return {name: value for name, value in machine.items() if value is not None}


def _advice(
    mode: str,
    target: Path,
    draft: Path | None,
    options: Mapping[str, Any],
    policy: str,
    flags: list[str],
) -> Advice:
    arguments = [repr(str(target))]
    words = ["specbranch", "generate", "-m", str(target)]
    if draft is not None:
        arguments += [repr(str(draft)), f"mode={mode!r}"]
        words += ["-md", str(draft), "--mode", mode]
    arguments += [f"{name}={value!r}" for name, value in options.items()]
    if policy:
        arguments.append(f"policy={policy}")
    for name, value in options.items():
        if name in FLAGS:  # not n_ctx_total, which is for several texts at once
            words += [FLAGS[name], _word(name, value)]
    return Advice(mode, dict(options), f"Engine({', '.join(arguments)})", shlex.join(words + flags))


def _word(name: str, value: Any) -> str:
    """The value of an option on the command line."""
    if name == "lora":
        files = adapter_options(value)
        return ",".join(f"{os.fsdecode(path)}:{scale:g}" for path, scale in files)
    return ",".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)
