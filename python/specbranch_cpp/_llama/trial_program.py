"""The program of the child process that tries a file: it loads the file and decodes a few tokens.

A file may make llama.cpp ask for any amount of memory. It says before how much that is for weights,
caches and buffers, so nothing is allocated if that is more than a correct file needs. The parent
watches what the child really takes.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from specbranch_cpp._llama import cpu_probe
from specbranch_cpp._llama.child import FINISHED
from specbranch_cpp._support.system import no_core_dumps

if TYPE_CHECKING:
    from specbranch_cpp import _core

__all__ = ["PROMPT", "TOO_MUCH", "TooMuchMemoryError", "load", "main"]

TOO_MUCH = 3
"""The exit code of a child that would need more memory than it may take."""
PROMPT = "a b c d"  # a batch of a few tokens; single tokens follow

_N_CTX = 256
_MOST_THREADS = 8


class TooMuchMemoryError(Exception):
    """llama.cpp wants more memory for the file than it may have."""


def main() -> None:
    """Runs with the arguments of the command: those of `load`, in this order."""
    path, adapter, what, most_bytes = sys.argv[1:]
    try:
        engine = load(path, adapter=adapter, compute=what == "compute", most_bytes=int(most_bytes))
    except TooMuchMemoryError as error:
        print(error, file=sys.stderr)
        sys.exit(TOO_MUCH)
    print(FINISHED, file=sys.stderr, flush=True)
    if engine is not None:
        os._exit(0)  # the system frees a model sooner than its destructors do


def load(
    path: str, *, adapter: str = "", compute: bool = True, most_bytes: int = 0
) -> _core.Engine | None:
    """Loads a model on the CPU, and decodes a few tokens.

    Args:
        path: the model.
        adapter: a LoRA adapter that acts on the tokens. Empty (default): none.
        compute: False: only lays the model out, and allocates no weights.
        most_bytes: the largest memory that llama.cpp may want for it. 0 (default): no limit.

    Returns:
        The engine that has decoded the tokens. ``None``: ``compute`` is False.

    Raises:
        TooMuchMemoryError: it wants more.
        SpecBranchError: the file is wrong.
    """
    from specbranch_cpp import _core

    no_core_dumps()
    adapters = [(os.fsencode(adapter), 1.0)] if adapter else []
    options = _core.ModelOptions(os.fsencode(path))
    options.n_ctx = _N_CTX
    options.adapters = adapters
    # The engine lays the model out before it loads weights. A file with bad weights must pass this,
    # too: the child would refuse the file with an error, and the engine would go on.
    wanted = _bytes_of(_core.target_footprint(options, max_draft=1, max_branches=1))
    if most_bytes and wanted > most_bytes:
        raise TooMuchMemoryError(f"llama.cpp would take {wanted} bytes")
    if not compute:
        return None
    n_threads = min(os.cpu_count() or 1, _MOST_THREADS)
    return cpu_probe.compute(path, n_threads, PROMPT, adapters)


def _bytes_of(footprint: _core.Footprint) -> int:
    return sum(share.total for share in (footprint.host, *footprint.devices))
