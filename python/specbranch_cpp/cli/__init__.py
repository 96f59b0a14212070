"""The command ``specbranch``."""

from __future__ import annotations

from typing import Annotated

import typer

from specbranch_cpp import _core
from specbranch_cpp.cli.lazy_group import LazyCommand, LazyGroup, typer_app

__all__ = ["app", "main"]


class _Commands(LazyGroup):
    """The commands in the order of the help."""

    lazy = {  # noqa: RUF012
        "generate": LazyCommand("generate", "generate", "Stream one text."),
        "chat": LazyCommand("chat.command", "chat", "Talk with a model."),
        "serve": LazyCommand("serve", "serve", "Serve OpenAI's protocol and a live view."),
        "check": LazyCommand("check", "check", "Say whether a draft will help here, and why."),
        "demo": LazyCommand("demo.command", "demo", "Show what speculation gains here."),
        "simulate": LazyCommand(
            "simulate",
            "simulate",
            "Say what a pair would gain on other machines.",
        ),
        "bench": LazyCommand("bench", "app", "Measure every mode, and report it."),
        "hrad": LazyCommand("hrad", "app", "Learn to foretell what will be accepted."),
    }


app = typer_app(
    cls=_Commands,
    add_completion=True,
    no_args_is_help=True,
    epilog="Example: specbranch check target.gguf draft.gguf\n\n"
    "Exit codes: 0; 1: something cannot be used; 2: bad usage; 3: check found no gain; 130: Ctrl-C"
    "\n\nTab completes after specbranch --install-completion.",
    context_settings={"help_option_names": ["--help", "-h"]},
)
_Commands.add_to(app)


def _print_version(wanted: bool) -> None:
    if wanted:
        llama = _core._abi()["running"]
        print(
            f"specbranch {_core.__version__} (llama.cpp {llama['llama_version']}, "
            f"ggml {llama['ggml_version']}, commit {llama['ggml_commit']})"
        )
        raise typer.Exit


@app.callback()
def _specbranch(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the versions and exit."
        ),
    ] = False,
) -> None:
    """Speculative decoding with a draft and a target model that run at the same time.

    The text is the one that the target alone would give; the draft only makes it come faster.
    Models are GGUF files; without any, a bundled pair of small code models is used.
    """


def main() -> None:
    """Runs the command that the program's arguments name."""
    app(prog_name="specbranch")
