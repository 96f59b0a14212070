"""``specbranch models``: the models on this machine, and the drafts that fit them."""

from __future__ import annotations

import contextlib
import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from specbranch_cpp.cli import models_text, options, render
from specbranch_cpp.local_models.search import ALPHA, find

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

EPILOG = (
    "The speed-ups are estimates from the sizes of the files; `specbranch check TARGET DRAFT` "
    "measures a pair.\n\n"
    "Example: specbranch models ~/gguf --alpha 0.8"
)


@render.reporting({"folder": "FOLDER", "alpha": "--alpha", "machine": "--machine"})
def models(
    folder: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="FOLDER", show_default=False, help="More folders or GGUF files to search."
        ),
    ] = None,
    only: Annotated[
        bool,
        typer.Option("--only", help="Search only the given folders; default: also known places."),
    ] = False,
    alpha: Annotated[
        float,
        typer.Option(
            "--alpha", metavar="A", show_default=False,
            help=f"Acceptance rate of the estimates, 0 to 1; default {ALPHA:g}.",
        ),
    ] = ALPHA,
    machine: Annotated[
        str | None,
        typer.Option(
            "--machine", metavar="NAME", show_default=False,
            help="Machine of the estimates, as in `specbranch simulate`; default: one-gpu with a "
            "GPU, otherwise two-cores, or shared-cores with one CPU.",
        ),
    ] = None,
    all_pairs: Annotated[
        bool,
        typer.Option("--all", help="Show all drafts that fit, and all other files; default: few."),
    ] = False,
    json_output: options.Json = False,
) -> None:  # fmt: skip
    """List the GGUF models on this machine, and which of them can draft for which.

    The command searches the cache of the Hugging Face Hub, LM Studio, Ollama, llama.cpp's cache,
    the folder models, the working directory, and the given folders. It reads no weights.
    """
    if only and not folder:
        raise typer.BadParameter("name a folder to search", param_hint="--only")
    with _progress() as progress:
        catalog = find(
            folder or (), known=not only, alpha=alpha, machine=machine, progress=progress
        )
    if json_output:
        print(json.dumps(asdict(catalog)))
    else:
        models_text.show(render.stdout(), catalog, everything=all_pairs)


@contextlib.contextmanager
def _progress() -> Iterator[Callable[[int, int], None]]:
    """Shows the number of files that were read, on a terminal only."""
    console = render.stderr()
    if not console.is_terminal:
        yield lambda _done, _all: None
        return
    with console.status("searching") as status:
        yield lambda done, n: status.update(f"reading file {done + 1} of {n}")
