"""Options that several commands have, with llama.cpp's names where it has them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from specbranch_cpp import demo

MODELS = "Models"
SAMPLING = "Sampling"
SPECULATION = "Speculation"
MACHINE = "Memory and threads"


def option(*names: str, panel: str, help: str, metavar: str | None = None) -> Any:  # noqa: A002
    """An option whose help says its default itself."""
    return typer.Option(
        *names, rich_help_panel=panel, help=help, metavar=metavar, show_default=False
    )


Model = Annotated[
    Path | None,
    option("--model", "-m", panel=MODELS, metavar="GGUF", help="Target; default: bundled pair."),
]
Draft = Annotated[
    Path | None,
    option("--model-draft", "-md", panel=MODELS, metavar="GGUF", help="Draft; default: none."),
]
Temperature = Annotated[
    float, option("--temp", panel=SAMPLING, metavar="T", help="Temperature; default 0: greedy.")
]
Seed = Annotated[
    int | None,
    option("--seed", "-s", panel=SAMPLING, metavar="N", help="Key of the noise; default: random."),
]
DraftMax = Annotated[
    int | None,
    option("--draft-max", panel=SPECULATION, metavar="N", help="Tokens drafted ahead at most."),
]
KMax = Annotated[
    int | None, option("--k-max", panel=SPECULATION, metavar="N", help="Branches at most.")
]
CtxSize = Annotated[
    int | None,
    option(
        "--ctx-size", "-c", panel=MACHINE, metavar="N",
        help="Tokens of prompt and text; default 4096, 0: what the target was trained with.",
    ),
]  # fmt: skip
Threads = Annotated[
    int | None,
    option("--threads", "-t", panel=MACHINE, metavar="N", help="Threads of the target."),
]
DraftThreads = Annotated[
    int | None,
    option("--draft-threads", "-td", panel=MACHINE, metavar="N", help="Threads of the draft."),
]
Cpus = Annotated[
    str | None,
    option("--cpus", panel=MACHINE, metavar="LIST", help="CPUs of the target, such as 0,2-5."),
]
DraftCpus = Annotated[
    str | None, option("--draft-cpus", panel=MACHINE, metavar="LIST", help="CPUs of the draft.")
]
GpuLayers = Annotated[
    int | None,
    option(
        "--n-gpu-layers", "-ngl", panel=MACHINE, metavar="N",
        help="Layers of the target on GPUs; default 0, -1: all.",
    ),
]  # fmt: skip
DraftGpuLayers = Annotated[
    int | None,
    option(
        "--draft-n-gpu-layers", "-ngld", panel=MACHINE, metavar="N",
        help="Layers of the draft on GPUs.",
    ),
]  # fmt: skip
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object instead.")]


def pick_models(model: Path | None, draft: Path | None) -> tuple[Path, Path | None]:
    """The models that the user named, or the bundled pair."""
    if model is not None:
        return model, draft
    if draft is not None:
        raise typer.BadParameter("a draft needs a target: give one with -m", param_hint="-md")
    return demo.pair()


def parse_cpus(text: str | None, name: str) -> list[int] | None:
    """The numbers of a list such as ``0,2-5``."""
    if text is None:
        return None
    cpus: list[int] = []
    for part in text.split(","):
        first, dash, last = part.partition("-")
        try:
            cpus += range(int(first), int(last if dash else first) + 1)
        except ValueError:
            raise typer.BadParameter(
                f"{text!r} is no list of CPUs such as 0,2-5", param_hint=name
            ) from None
    return cpus


def given(**settings: Any) -> dict[str, Any]:
    """Those of the settings that the user has made: the engine knows the other defaults."""
    return {name: value for name, value in settings.items() if value is not None}
