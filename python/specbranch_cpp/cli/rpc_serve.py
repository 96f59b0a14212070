"""``specbranch rpc-serve``: lends the devices of this host to engines on others."""

from __future__ import annotations

import os
from functools import partial
from typing import TYPE_CHECKING, Annotated

from specbranch_cpp._rpc.addresses import PORT, Address, parse_addresses
from specbranch_cpp._rpc.worker import serve_devices
from specbranch_cpp._support import checked
from specbranch_cpp._support.program import INTERRUPTED
from specbranch_cpp.cli import options, render
from specbranch_cpp.cli.lists import comma_list

if TYPE_CHECKING:
    from rich.console import Console

EPILOG = (
    "The protocol has no password and no encryption, and llama.cpp calls it insecure: whoever "
    "reaches the port can use the devices, read what is computed, and probably run code here. Use "
    "it on a network of your own machines only, or through a tunnel (ssh -L).\n\n"
    "Example, on the other host: specbranch generate -m target.gguf -md draft.gguf "
    f"--rpc 10.0.0.2:{PORT} -p 'def add'"
)
_LOOPBACK = "127."

worker = partial(options.option, panel="Server")


@render.reporting({"n_threads": "--threads", "host": "--host", "devices": "--devices"})
def rpc_serve(
    host: Annotated[
        str,
        worker("--host", metavar="ADDRESS", help="Address to listen on; default 127.0.0.1."),
    ] = "127.0.0.1",
    port: Annotated[
        int, worker("--port", metavar="N", help=f"Port; default {PORT}.")
    ] = PORT,
    devices: Annotated[
        str | None,
        worker(
            "--devices", metavar="NAMES",
            help="llama.cpp's names of the devices, separated by commas, such as CUDA0; default: "
            "all GPUs, or else the CPU.",
        ),
    ] = None,
    threads: Annotated[
        int | None,
        worker(
            "--threads", "-t", metavar="N",
            help="Threads of the CPU as a device; default: one for each core.",
        ),
    ] = None,
) -> None:  # fmt: skip
    """Lend the devices of this host to an engine on another, one engine at a time.

    The engine names this host in rpc_servers, or with --rpc. Both hosts need the same version of
    llama.cpp, built with its RPC backend. The weights come over the network while the engine loads.
    Ctrl-C stops the server.
    """
    checked.integer("--port", port, 1, 65535)
    (address,) = parse_addresses("host", [f"{host}:{port}"])
    names = list(comma_list(devices, str, "--devices") or ())
    try:
        serve_devices(address, n_threads=threads, devices=names, ready=_announce)
    except KeyboardInterrupt:
        os._exit(INTERRUPTED)  # the thread that serves cannot be stopped


def _announce(here: Address) -> None:
    console = render.stderr()
    console.print(f"specbranch: lending devices at {here}; Ctrl-C stops the server", soft_wrap=True)
    if here.host.startswith(_LOOPBACK):
        console.print("reachable from this machine only", style="dim", soft_wrap=True)
    else:
        _warn(console, here)


def _warn(console: Console, here: Address) -> None:
    console.print(
        f"WARNING: whoever reaches {here} can use these devices, read what is computed, and "
        "probably run code on this machine: the protocol has no password and no encryption. Use it "
        "on a network of your own machines only, or through a tunnel.",
        style="bold yellow",
        soft_wrap=True,
    )
