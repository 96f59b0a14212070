"""Options of several commands. They have llama.cpp's names if llama.cpp has the option."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from specbranch_cpp import demo
from specbranch_cpp._engine.hub import fetch_pair
from specbranch_cpp._engine.machine_keywords import MachineKeywords
from specbranch_cpp._support import checked
from specbranch_cpp._support.files import read_input, read_stream
from specbranch_cpp.errors import printable
from specbranch_cpp.simulation import MODES

if TYPE_CHECKING:
    from collections.abc import Callable

MODELS = "Models"
SAMPLING = "Sampling"
SPECULATION = "Speculation"


def option(
    *names: str,
    panel: str,
    help: str,  # noqa: A002
    metavar: str | None = None,
    completion: Callable[[str], list[str]] | None = None,
    parser: Callable[[str], Any] | None = None,
) -> Any:
    """An option whose help text contains its default."""
    return typer.Option(
        *names,
        rich_help_panel=panel,
        help=help,
        metavar=metavar,
        show_default=False,
        autocompletion=completion,
        parser=parser,
    )


def is_file(text: str) -> bool:
    """Whether this is the path of a file. A text that can be no path is none."""
    try:
        return Path(text).is_file()
    except (OSError, ValueError):
        return False


def model_file(text: str) -> Path:
    """The path of a model. An empty one would be the working directory."""
    if not text:
        raise typer.BadParameter("the name of the model is empty")
    return Path(text)


def complete_mode(incomplete: str) -> list[str]:
    """The modes that begin with this text."""
    return [mode for mode in MODES if mode.startswith(incomplete)]


def complete_gguf(incomplete: str) -> list[str]:
    """Model files that begin with this text.

    The result is empty if a folder matches too, because shells complete folders better.
    """
    head, tail = os.path.split(incomplete)
    try:
        found = [each for each in Path(head or ".").expanduser().iterdir()
                 if each.name.startswith(tail)]  # fmt: skip
        if any(each.is_dir() for each in found):
            return []
    except (OSError, RuntimeError):  # RuntimeError: there is no such user
        return []
    return sorted(str(Path(head, each.name)) for each in found if each.suffix.lower() == ".gguf")


def gguf(metavar: str, help: str) -> Any:  # noqa: A002
    """An argument that names a model's file."""
    return typer.Argument(
        help=help,
        metavar=metavar,
        show_default=False,
        autocompletion=complete_gguf,
        parser=model_file,
    )


# An option of a panel; most options take a number.
models = partial(option, panel=MODELS, metavar="GGUF", completion=complete_gguf)
sampling = partial(option, panel=SAMPLING, metavar="X")
speculation = partial(option, panel=SPECULATION, metavar="N")
sample = partial(option, panel="Sample")


def top_k(default: str) -> Any:
    """``--top-k`` with this default in its help text."""
    words = f"Keep only the N most probable tokens; default {default}."
    return sampling("--top-k", metavar="N", help=words)


def top_p(default: str) -> Any:
    """``--top-p`` with this default in its help text."""
    words = "Keep the most probable tokens whose probabilities add up to this value"
    return sampling("--top-p", help=f"{words}; default {default}.")


def min_p(default: str) -> Any:
    """``--min-p`` with this default in its help text."""
    words = f"Drop tokens with less than X times the highest probability; default {default}."
    return sampling("--min-p", help=words)


Model = Annotated[
    Path | None,
    models(
        "--model",
        "-m",
        help="GGUF file of the target model; default: the bundled pair.",
        parser=model_file,
    ),
]
Draft = Annotated[
    Path | None,
    models(
        "--model-draft",
        "-md",
        help="GGUF file of the draft model; default: with -m no draft, only texts propose tokens; "
        "without -m that of the bundled pair.",
        parser=model_file,
    ),
]
NeededDraft = Annotated[
    Path | None,
    models(
        "--model-draft",
        "-md",
        help="GGUF file of the draft model, which -m needs here; default: that of the bundled "
        "pair.",
        parser=model_file,
    ),
]
Lora = Annotated[
    list[str] | None,
    option(
        "--lora", panel=MODELS, metavar="GGUF", completion=complete_gguf,
        help="LoRA adapter of the target; repeatable, or separated by commas.",
    ),
]  # fmt: skip
LoraScaled = Annotated[
    list[str] | None,
    option(
        "--lora-scaled", panel=MODELS, metavar="GGUF:X",
        help="The same with a scale, such as adapter.gguf:0.5.",
    ),
]  # fmt: skip
hub = partial(option, panel=MODELS, metavar="NAME")
HfRepo = Annotated[
    str | None,
    hub("--hf-repo", "-hf", help="Repository of the target on the Hugging Face Hub."),
]
HfFile = Annotated[
    str | None,
    hub("--hf-file", "-hff", help="Name or glob of the target's file in its repository."),
]
HfRepoDraft = Annotated[
    str | None,
    hub("--hf-repo-draft", "-hfd", help="Repository of the draft; default: that of the target."),
]
HfFileDraft = Annotated[
    str | None,
    hub("--hf-file-draft", "-hffd", help="Name or glob of the draft's file; default: no draft."),
]
Temperature = Annotated[
    float, sampling("--temp", metavar="T", help="Temperature; default 0 (greedy).")
]
Seed = Annotated[
    int | None,
    sampling("--seed", "-s", metavar="N", help="Random seed; default: a new seed for each run."),
]
RepeatPenalty = Annotated[
    float,
    sampling(
        "--repeat-penalty",
        help="Divide the logits of the last tokens (--repeat-last-n) by this value; default 1 "
        "(off).",
    ),
]
Mode = Annotated[
    str | None,
    speculation(
        "--mode", metavar="MODE",
        help="Mode: autoregressive, speculative, pearl, specbranch or auto (default).",
        completion=complete_mode,
    ),
]  # fmt: skip
DraftMax = Annotated[
    int | None,
    speculation(
        "--draft-max",
        help="Largest number of tokens to draft ahead; default 16 in auto, 8 in other modes.",
    ),
]
MaxBranches = Annotated[
    int | None, speculation("--max-branches", help="Largest number of branches; default 4.")
]
Lookup = Annotated[
    bool,
    speculation(
        "--lookup/--no-lookup", metavar=None,
        help="Let the text itself, and other texts, propose tokens, in auto also beside a draft; "
        "default: yes.",
    ),
]  # fmt: skip
Corpus = Annotated[
    list[Path] | None,
    speculation(
        "--corpus", metavar="FILE",
        help="Text file that answers will probably quote; its text proposes tokens; repeatable.",
    ),
]  # fmt: skip
MeasureCosts = Annotated[
    bool,
    speculation(
        "--measure-costs/--no-measure-costs", metavar=None,
        help="Measure step costs while loading, for at most 2 s; default: yes.",
    ),
]  # fmt: skip
Profile = Annotated[
    Path | None,
    speculation(
        "--profile", metavar="FILE",
        help="File with measurements of the pair; read at the start, saved at the end.",
    ),
]  # fmt: skip
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of text.")]

NAMES = {
    "corpus": "--corpus",
    "prediction": "--prediction-file",
    "repo_id": "--hf-repo",
    "filename": "--hf-file",
    "draft_repo_id": "--hf-repo-draft",
    "draft_filename": "--hf-file-draft",
    "prompt": "--prompt",
    "prompts": "--prompt",
    "max_tokens": "--n-predict",
    "temperature": "--temp",
    "epsilon": "--draft-p-min",
    "max_draft": "--draft-max",
    "n_ctx": "--ctx-size",
    "n_ctx_total": "--ctx-total",
    "cache_ram": "--cache-ram",
    "n_threads": "--threads",
    "draft_n_threads": "--draft-threads",
    "request_timeout_s": "--timeout",
    "max_body_bytes": "--max-body",
    "grace_s": "--grace",
    "rpc_servers": "--rpc",
    "devices": "--device",
    "draft_devices": "--draft-device",
    "n_parallel": "--parallel",
    "allowed_hosts": "--allowed-host",
    "cors_origins": "--cors-origin",
    "pooling": "--embedding-pooling",
    "placement": "--placements",
    "dry_sequence_breakers": "--dry-sequence-breaker",
} | {
    name: "--" + name.replace("_", "-")
    for name in (
        "top_k", "top_p", "min_p", "repeat_penalty", "presence_penalty", "frequency_penalty",
        "seed", "mode", "max_branches", "n_gpu_layers", "draft_n_gpu_layers", "port", "queue_size",
        "cpus", "draft_cpus", "stop", "profile", "isolate_timeout", "alias", "seconds",
        "placements", "samplers",
    )
}  # fmt: skip
"""For `render.reporting`: the option of each argument of the engine and the server."""


def max_tokens(n_predict: int) -> int | None:
    """``None`` for -1, which means: until the context is full."""
    return None if checked.integer("max_tokens", n_predict, -1) == -1 else n_predict


@dataclass(frozen=True)
class HubFiles:
    """The options that name models of the Hugging Face Hub."""

    repo: str | None = None
    file: str | None = None
    repo_draft: str | None = None
    file_draft: str | None = None

    def fetch(self, model: Path | None, draft: Path | None) -> tuple[Path | None, Path | None]:
        """Fetches the files that these options name; ``model`` and ``draft`` are the others."""
        if self.repo is None:
            rest = {"-hff": self.file, "-hfd": self.repo_draft, "-hffd": self.file_draft}
            for name, value in rest.items():
                if value is not None:
                    raise typer.BadParameter(
                        "name the target's repository with -hf", param_hint=name
                    )
            return model, draft
        if self.file is None:
            raise typer.BadParameter("name the file with -hff", param_hint="-hf")
        if model is not None:
            raise typer.BadParameter("give a file or a repository, not both", param_hint="-m")
        if self.repo_draft is not None and self.file_draft is None:
            raise typer.BadParameter("name the file with -hffd", param_hint="-hfd")
        if draft is not None and self.file_draft is not None:
            raise typer.BadParameter("give a file or a repository, not both", param_hint="-md")
        target, fetched = fetch_pair(self.repo, self.file, self.repo_draft, self.file_draft)
        return Path(target), draft if fetched is None else Path(fetched)


def pick_models(
    model: Path | None, draft: Path | None, of_hub: HubFiles | None = None
) -> tuple[Path, Path | None]:
    """The models that the user gave, which may have to be fetched, or the bundled pair."""
    if of_hub is not None:
        model, draft = of_hub.fetch(model, draft)
    if model is not None:
        return model, draft
    if draft is not None:
        raise typer.BadParameter(
            "a draft was given without a target; give a target with -m", param_hint="-md"
        )
    return demo.pair()


def lora_files(
    plain: list[str] | None, scaled: list[str] | None, *, applied: bool = True
) -> list[tuple[str, float]] | None:
    """The adapters of ``--lora`` and then of ``--lora-scaled``, with their scales.

    ``applied`` of False: all scales are 0.
    """
    found = [
        (path, 1.0)
        for each in plain or ()
        for path in ([each] if is_file(each) else each.split(","))
    ]
    for each in scaled or ():
        # A path may have commas.
        for item in [each] if is_file(each.rpartition(":")[0]) else each.split(","):
            path, colon, number = item.rpartition(":")
            try:
                found.append((path, float(number)))
            except ValueError:
                path = ""
            if not (path and colon):
                raise typer.BadParameter(
                    f"{item!r} is not FILE:SCALE, such as adapter.gguf:0.5",
                    param_hint="--lora-scaled",
                )
    if not applied:
        found = [(path, 0.0) for path, _ in found]
    return found or None


def model_names(target: Path, draft: Path | None) -> str:
    """The names of the files, for messages."""
    return target.name if draft is None else f"{target.name} with {draft.name}"


def read_text(file: Path, option: str) -> str:
    """The content of a file, also of a FIFO such as ``<(command)``; at most 64 MiB."""
    try:
        return decode(read_input(file), str(file))
    except OSError as error:
        raise typer.BadParameter(
            f"{printable(str(file))}: {error.strerror}", param_hint=option
        ) from None


def read_stdin() -> str:
    """The text on standard input, at most 64 MiB."""
    if sys.stdin is None:  # the caller closed it
        raise typer.BadParameter("standard input is closed, so it has no text")
    return decode(read_stream(sys.stdin.buffer, "standard input"), "standard input")


def decode(data: bytes, source: str) -> str:
    """The text of these bytes. ``source`` is the name of their origin, for messages."""
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise typer.BadParameter(
            f"{printable(source)} is not UTF-8 at byte {error.start}"
        ) from None


Trust = Annotated[
    bool,
    models(
        "--trust", metavar=None,
        help="Load new files without a trial in a child process; default: a trial.",
    ),
]  # fmt: skip


class EngineKeywords(MachineKeywords, total=False):
    """The keywords of `Engine` that commands have options for."""

    max_draft: int | None
    max_branches: int | None
    measure_costs: bool
    profile: Path | None
    lookup: bool
    corpus: list[Path] | None
    trusted: bool


def engine_keywords(
    machine: MachineKeywords,
    *,
    draft_max: int | None,
    max_branches: int | None,
    measure_costs: bool,
    profile: Path | None,
    lookup: bool = True,
    corpus: list[Path] | None = None,
    trust: bool = False,
) -> EngineKeywords:
    """Adds the options of speculation to keywords of `machine_keywords`."""
    return {
        **machine,
        "max_draft": draft_max,
        "max_branches": max_branches,
        "measure_costs": measure_costs,
        "profile": profile,
        "lookup": lookup,
        "corpus": corpus,
        "trusted": trust,
    }


def given(**settings: Any) -> dict[str, Any]:
    """The settings that the user gave. The engine knows the defaults of the others."""
    return {name: value for name, value in settings.items() if value is not None}
