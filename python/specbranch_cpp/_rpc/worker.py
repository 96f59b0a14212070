"""An RPC server: serves the devices of this host to engines on others."""

from __future__ import annotations

import socket
import threading
from typing import TYPE_CHECKING

from specbranch_cpp import _core
from specbranch_cpp._llama import cpu_probe
from specbranch_cpp._rpc.joining import require_backend
from specbranch_cpp._rpc.liveness import guard_connections
from specbranch_cpp._support import checked
from specbranch_cpp.errors import InvalidArgument

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from specbranch_cpp._rpc.addresses import Address

__all__ = ["serve_devices"]

_MAX_THREADS = 512


def serve_devices(
    address: Address,
    *,
    n_threads: int | None = None,
    devices: Sequence[str] = (),
    ready: Callable[[Address], object],
) -> None:
    """Serves one engine after another, until the process ends: llama.cpp has no way to stop it.

    A connection whose other host is gone ends after 20 seconds, so that the next engine can come.

    Args:
        address: where to listen.
        n_threads: of the CPU as a device. ``None`` (default): one for each core.
        devices: llama.cpp's names of the devices. Empty (default): all GPUs, or else the CPU.
        ready: is called before the server listens, with its IPv4 address.

    Raises:
        InvalidArgument: llama.cpp has no RPC backend, there is no such device, the address cannot
            be used, or the environment has a wrong time limit.
        ModelLoadError: llama.cpp does not run on this CPU.
    """
    require_backend("an RPC server")
    if n_threads is None:
        alone = _core.ModelOptions(b"-")
        _core.plan_threads(alone)
        n_threads = alone.n_threads
    checked.integer("n_threads", n_threads, 1, _MAX_THREADS)
    known = [device.name for device in _core.list_devices()]
    for name in devices:
        if name not in known:
            raise InvalidArgument(f"devices is {[*devices]!r}; known are {', '.join(known)}")
    model = cpu_probe.probe_model()
    if model is not None:
        cpu_probe.ensure_cpu_runs(model)
    try:
        here = address.resolved()
        with socket.socket() as trial:  # llama.cpp would only print that it cannot listen
            trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            trial.bind((here.host, here.port))
    except OSError as error:
        raise InvalidArgument(
            f"host is {str(address)!r}, where nothing can listen: {error.strerror}"
        ) from None
    guard_connections(local_port=here.port)
    ready(here)
    failed: list[BaseException] = []

    def run() -> None:
        try:
            _core.serve_rpc(str(here), n_threads=n_threads, devices=list(devices))
        except BaseException as error:  # noqa: BLE001, it is raised below
            failed.append(error)

    thread = threading.Thread(target=run, name="specbranch-rpc", daemon=True)
    thread.start()
    thread.join()
    if failed:
        raise failed[0]
    raise InvalidArgument(f"host is {str(address)!r}; llama.cpp cannot listen there")
