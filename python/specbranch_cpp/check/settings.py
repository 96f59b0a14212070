"""Settings as lines that can be copied."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Any

from specbranch_cpp.check.report import Advice

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from specbranch_cpp.check.report import ModeFigures

# Arguments of `Engine` and what they are called on the command line.
FLAGS = {
    "n_ctx": "-c",
    "n_threads": "-t",
    "draft_n_threads": "-td",
    "cpus": "--cpus",
    "draft_cpus": "--draft-cpus",
    "n_gpu_layers": "-ngl",
    "draft_n_gpu_layers": "-ngld",
    "max_draft": "--draft-max",
    "k_max": "--k-max",
}
PLAIN = "autoregressive"
MAX_DRAFT, K_MAX = 16, 4
"""`Engine`'s own defaults in mode ``"auto"``."""


def with_draft(target: Path, draft: Path, mode: ModeFigures, machine: Mapping[str, Any]) -> Advice:
    """The two models in that mode, with its best settings.

    Args:
        target: GGUF file.
        draft: GGUF file.
        mode: with its best settings; `auto` needs its limits only where they are not the default.
        machine: arguments of `Engine` that were given, and the threads.
    """
    options = dict(machine)
    policy, flags = "", []
    if mode.mode != "auto":
        options["max_draft"] = mode.gamma
        if mode.mode == "specbranch":
            options["k_max"] = mode.k_max
        epsilon = mode.epsilon
        # `Confidence(0)` never stops, as `Fixed` with all of `max_draft`.
        flags = ["--draft-p-min", f"{epsilon or 0.0:g}"]
        policy = (
            f"policies.Fixed({mode.gamma})"
            if epsilon is None
            else f"policies.Confidence({epsilon:g})"
        )
    else:
        limits = {"max_draft": (mode.gamma, MAX_DRAFT), "k_max": (mode.k_max, K_MAX)}
        options |= {name: value for name, (value, usual) in limits.items() if value != usual}
    return _advice(mode.mode, target, draft, options, policy, flags)


def without_draft(target: Path, machine: Mapping[str, Any]) -> Advice:
    """The target alone."""
    options = {name: value for name, value in machine.items() if not name.startswith("draft_")}
    options.pop("n_threads", None)  # those beside a draft; alone it may have all cores
    return _advice(PLAIN, target, None, options, "", [])


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
        text = ",".join(map(str, value)) if isinstance(value, list) else str(value)
        words += [FLAGS[name], text]
    return Advice(mode, dict(options), f"Engine({', '.join(arguments)})", shlex.join(words + flags))
