"""Tests in a child process whether this CPU can run the installed llama.cpp.

A llama.cpp that was compiled for the instructions that a CPU reports crashes with SIGILL if the
kernel does not allow them. This happens with AMX on virtual machines, at the first quantized matrix
product. So the child computes some of these products.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import platform
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from specbranch_cpp import _core, demo
from specbranch_cpp._llama import cpu_flags, native
from specbranch_cpp._llama.child import (
    FINISHED,
    NO_GPU,
    can_start,
    child_environment,
    interpreter,
    run_child,
)
from specbranch_cpp._llama.library_names import file_name
from specbranch_cpp._support.system import no_core_dumps, user_key
from specbranch_cpp.errors import InvalidArgument, ModelLoadError

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["ProbeResult", "advice", "ensure_cpu_runs", "ensure_safe_cpu", "probe", "probe_model"]

LOGGER = logging.getLogger("specbranch_cpp")
SWITCH = "SPECBRANCH_CPU_PROBE"
"""Environment variable; ``0``: never test the CPU. The child gets ``0``: it must not test again."""
TIMEOUT = 120.0
_CHILD = (
    "import sys; from specbranch_cpp._llama.cpu_probe import compute; compute(sys.argv[1]); "
    f"print({FINISHED!r}, file=sys.stderr)"
)
# A batch of several tokens, then single tokens, because they use different kernels.
_N_PLAIN_TOKENS = 8
_PROMPT = "def add(a, b):\n    return a + b\n\n\n" * 3


@dataclass(frozen=True)
class ProbeResult:
    """The result of the test.

    Attributes:
        state: ``"runs"``, ``"dies"`` (a signal killed the child) or ``"unknown"`` (the child failed
            in another way).
        detail: the name of the signal, or the reason why the state is unknown; empty for
            ``"runs"``.
    """

    state: Literal["runs", "dies", "unknown"]
    detail: str = ""


def probe(model: str | Path, command: Sequence[str] | None = None) -> ProbeResult:
    """Lets a child process decode a few tokens with the model, or run another command."""
    if command is None:
        if not can_start():
            return ProbeResult("unknown", "there is no Python interpreter to start")
        command = [interpreter(), "-c", _CHILD, str(Path(model).absolute())]
    try:
        end = run_child(command, TIMEOUT, child_environment(**NO_GPU, **{SWITCH: "0"}))
    except OSError as error:
        return ProbeResult("unknown", f"the child process did not start: {error}")
    if end.code is None:
        return ProbeResult("unknown", f"the child process did not end within {TIMEOUT:.0f} s")
    if end.succeeded:
        return ProbeResult("runs")
    if end.lost:
        return ProbeResult("unknown", f"nobody knows how the child process ended: {end.lost}")
    if name := end.fatal_signal:
        return ProbeResult("dies", name)
    reason = end.last_line or "no message"
    return ProbeResult("unknown", f"the child process ended with {end.code}: {reason}")


def probe_model(fallback: str | Path | None = None) -> Path | None:
    """A small quantized model: the bundled draft, or the fallback if it is missing."""
    try:
        return demo.pair()[1]
    except FileNotFoundError:
        return None if fallback is None else Path(fallback)


def advice(verdict: ProbeResult) -> str:
    """The message for a CPU that cannot run this build."""
    command = cpu_flags.recompile_command(_core.library_info().system)
    return (
        f"the installed llama.cpp does not run on this CPU: it crashes with {verdict.detail} "
        "when it computes with quantized weights. It was compiled for instructions that this "
        f"machine does not allow. Compile it again without them (about 5 minutes): {command}"
    )


def ensure_cpu_runs(model: str | Path) -> None:
    """Tests once for each machine and build of llama.cpp, and stores a success in the user's cache.

    Raises:
        ModelLoadError: a signal killed the child process. The message says what to do.
    """
    try:
        marker = cache_folder() / f"cpu-{_fingerprint()}"
    except OSError as error:  # the system has no more memory, say
        raise ModelLoadError(f"the libraries of llama.cpp cannot be found: {error}") from error
    if is_remembered(marker):
        return
    verdict = probe(model)
    if verdict.state == "dies":
        raise ModelLoadError(advice(verdict))
    if verdict.state == "unknown":
        LOGGER.warning("it is not known whether this CPU runs llama.cpp: %s", verdict.detail)
        return
    with contextlib.suppress(OSError):  # without a cache, the next process tests again
        marker.parent.mkdir(parents=True, exist_ok=True)
        marker.touch()


def ensure_safe_cpu(target_paths: Sequence[str | Path]) -> None:
    """Call this before loading quantized weights.

    On a CPU without AMX, the function only reads /proc/cpuinfo. On a CPU with AMX, a child process
    computes first, see `ensure_cpu_runs`.

    Args:
        target_paths: the models to load; the first is used for the test if the package was
            installed without its bundled models.

    Raises:
        ModelLoadError: this CPU cannot run the installed llama.cpp.
    """
    if os.environ.get(SWITCH) == "0":
        return
    if not cpu_flags.announces_amx(cpu_flags.cpu_flags(cpu_flags.read_cpuinfo())):
        return
    model = probe_model(next(iter(target_paths), None))
    if model is not None:
        ensure_cpu_runs(model)


def cache_folder() -> Path:
    """The file that stores successes, in XDG_CACHE_HOME or ~/.cache."""
    configured = os.environ.get("XDG_CACHE_HOME", "")
    if Path(configured).is_absolute():
        return Path(configured, "specbranch_cpp")
    try:
        return Path.home() / ".cache/specbranch_cpp"
    except RuntimeError:  # no home folder
        import tempfile

        return Path(tempfile.gettempdir(), f"specbranch_cpp-{user_key()}")


def is_remembered(marker: Path) -> bool:
    """Whether a success was stored. A cache that this user cannot read has none."""
    try:
        return marker.exists()
    except OSError:  # such as the home folder of another user
        return False


def _fingerprint() -> str:
    """A key that changes with the processor, the kernel and the libraries of llama.cpp."""
    cpuinfo = cpu_flags.read_cpuinfo()
    facts = [cpu_flags.cpu_model(cpuinfo), *sorted(cpu_flags.cpu_flags(cpuinfo))]
    facts += [platform.machine(), platform.release(), libraries_key()]
    return hashlib.sha256("\n".join(facts).encode()).hexdigest()[:32]


def libraries_key() -> str:
    """A text that changes with the libraries of llama.cpp."""
    facts = []
    for path in sorted(native.library_folder().glob(file_name("lib*"))):
        status = path.stat()
        facts += [str(path), str(status.st_mtime_ns), str(status.st_size)]
    return "\n".join(facts)


def compute(
    model: str,
    n_threads: int = 1,
    prompt: str = _PROMPT,
    adapters: Sequence[tuple[bytes, float]] = (),
) -> _core.Engine:
    """The program of the child: loads the model on the CPU and decodes a few tokens.

    Returns:
        The engine. A process that ends itself while it has it saves the time of `close`.
    """
    from specbranch_cpp import _core

    no_core_dumps()
    options = _core.ModelOptions(os.fsencode(model))
    options.n_ctx = 256
    options.n_threads = n_threads
    options.n_gpu_layers = 0
    options.adapters = adapters
    engine = _core.load_engine(
        options,
        None,
        max_draft=1,
        max_branches=1,
        prefix_reuse="off",
        bit_exact=False,
        measure_costs=False,
        profile=_core.PairProfile(),
        idle=lambda _share: None,
    )
    request = _core.Request()
    request.mode = "autoregressive"
    try:
        tokens = engine.tokenize(prompt.encode(), add_special=True, parse_special=False)
    except InvalidArgument:  # a vocabulary without these letters; callers may give token ids
        tokens = []
    request.prompt = tokens or [token % engine.n_vocab for token in range(_N_PLAIN_TOKENS)]
    request.max_tokens = 2
    generation = engine.generate(request)
    n_read = 0
    while not isinstance(generation.get(n_read), _core.GenerationEnd):
        n_read += 1
    return engine
