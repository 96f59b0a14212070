"""The command ``specbranch``."""

from __future__ import annotations

from typing import Annotated

import typer

from specbranch_cpp import __version__, _core
from specbranch_cpp.cli import bench, check, generate, hrad, serve, simulate
from specbranch_cpp.cli.chat import command as chat
from specbranch_cpp.cli.demo import command as demo

__all__ = ["app", "main"]

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="markdown",
    epilog="Example: specbranch check target.gguf draft.gguf\n\n"
    "Exit codes: 0; 1: something cannot be used; 2: bad usage; 3: check found no gain; 130: Ctrl-C"
    "\n\nTab completes after specbranch --install-completion.",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["--help", "-h"]},
)
app.command(epilog=generate.EPILOG, short_help="Stream one text.")(generate.generate)
app.command(epilog=chat.EPILOG, short_help="Talk with a model.")(chat.chat)
app.command(short_help="Serve OpenAI's protocol and a live view.")(serve.serve)
app.command(epilog=check.EPILOG, short_help="Say whether a draft will help here, and why.")(
    check.check
)
app.command(short_help="Decode one prompt in every mode, in colours.")(demo.demo)
app.add_typer(bench.app, name="bench", short_help="Measure every mode, and report it.")
app.command(short_help="Say what a pair would gain on other machines.")(simulate.simulate)
app.add_typer(hrad.app, name="hrad", short_help="Learn to foretell what will be accepted.")


def _print_version(wanted: bool) -> None:
    if wanted:
        llama = _core._abi()["running"]
        print(
            f"specbranch {__version__} (llama.cpp {llama['llama_version']}, "
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
