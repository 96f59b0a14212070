"""The command ``specbranch``."""

from __future__ import annotations

from typing import Annotated

import typer

from specbranch_cpp import _core
from specbranch_cpp._support.program import standard_streams, use_readable_width
from specbranch_cpp.cli.aliases import our_name
from specbranch_cpp.cli.lazy_group import LazyCommand, LazyGroup, typer_app

__all__ = ["app", "main"]


class _Commands(LazyGroup):
    """The commands in the order of the help."""

    lazy = {  # noqa: RUF012
        "generate": LazyCommand("generate", "generate", "Generate one text and stream it."),
        "chat": LazyCommand("chat.command", "chat", "Chat with a model."),
        "serve": LazyCommand(
            "serve", "serve", "Run a server with OpenAI's HTTP interface and a live view."
        ),
        "rpc-serve": LazyCommand(
            "rpc_serve", "rpc_serve", "Lend the devices of this host to an engine on another."
        ),
        "models": LazyCommand(
            "models", "models", "List the models on this machine, and the drafts that fit them."
        ),
        "check": LazyCommand(
            "check", "check", "Find out whether a draft will help on this machine, and why."
        ),
        "demo": LazyCommand("demo.command", "demo", "Show what speculation gains on this machine."),
        "simulate": LazyCommand(
            "simulate",
            "simulate",
            "Predict the gain of a pair on another machine.",
        ),
        "bench": LazyCommand(
            "bench", "app", "Measure the speed of every mode, and write a report."
        ),
        "hrad": LazyCommand("hrad", "app", "Record traces and train the H-RAD classifier."),
    }


app = typer_app(
    cls=_Commands,
    add_completion=True,
    no_args_is_help=True,
    epilog="Example: specbranch check target.gguf draft.gguf\n\n"
    "Exit codes: 0: success; 1: a model or a file cannot be used; 2: bad usage; 3: the check found "
    "no gain; 130: Ctrl-C\n\n"
    "To complete commands with Tab, run specbranch --install-completion once.",
    context_settings={"help_option_names": ["--help", "-h"], "token_normalize_func": our_name},
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

    The text is the same as that of the target alone; only the speed differs. Models are GGUF files.
    Without files, the commands use a bundled pair of small code models.
    """


def main() -> None:
    """Runs the command that the program's arguments name."""
    use_readable_width()
    with standard_streams():
        app(prog_name="specbranch")
