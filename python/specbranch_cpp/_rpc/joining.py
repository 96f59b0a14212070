"""Makes the devices of RPC servers devices of this process, which ends if one of them is lost."""

from __future__ import annotations

from typing import TYPE_CHECKING

from specbranch_cpp import _core
from specbranch_cpp._llama import cpu_flags
from specbranch_cpp._rpc import liveness
from specbranch_cpp._rpc.handshake import ask_server
from specbranch_cpp._support import logs
from specbranch_cpp._support.words import readable
from specbranch_cpp.errors import InvalidArgument

if TYPE_CHECKING:
    from collections.abc import Sequence

    from specbranch_cpp._rpc.addresses import Address

__all__ = ["build_command", "join_servers", "require_backend"]


def build_command() -> str:
    """The shell command that compiles a llama.cpp with the RPC backend for this CPU."""
    return cpu_flags.recompile_command(_core.library_info().system, "-DGGML_RPC=ON")


def require_backend(what: str) -> None:
    """Checks that llama.cpp has the backend. ``what`` needs it.

    Raises:
        InvalidArgument: it was built without it.
    """
    if not _core.has_rpc():
        raise InvalidArgument(
            f"{what} needs llama.cpp's RPC backend, and the installed llama.cpp was built without "
            f"it, as are the wheels on PyPI; build it with: {build_command()}"
        )


def join_servers(addresses: Sequence[Address]) -> list[str]:
    """Connects to all servers, and returns llama.cpp's names of their devices, in this order.

    Only for a process that may end: llama.cpp ends it if a server is lost, and `liveness` if one
    does not answer.

    Raises:
        InvalidArgument: llama.cpp has no RPC backend, or the environment has a wrong time limit.
        ModelLoadError: a server cannot be used.
    """
    require_backend("rpc_servers")
    servers = [ask_server(address) for address in addresses]
    ends = [server.endpoint.rpartition(":") for server in servers]
    liveness.guard_connections(remote={(host, int(port)) for host, _, port in ends})
    liveness.watch_calls(", ".join(map(str, addresses)))
    names = []
    for server in servers:
        added = _core.add_rpc_server(server.endpoint)
        for name, device in zip(added, server.devices, strict=False):
            memory = f"{readable(device.free)} of {readable(device.total)} free"
            logs.LOGGER.info("%s is a device of %s (%s)", name, server.address, memory)
        names += added
    return names
