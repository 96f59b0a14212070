"""Finds out whether this CPU really runs the installed llama.cpp, in a child process.

A llama.cpp that was compiled for the instructions a CPU announces dies with SIGILL where the
kernel has not enabled them, which happens with AMX on virtual machines. The first quantized matrix
product does it, so a child computes some.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import platform
import signal
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from specbranch_cpp import demo
from specbranch_cpp._llama import cpu_flags, native
from specbranch_cpp.errors import ModelLoadError

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["ProbeResult", "advice", "ensure_cpu_runs", "ensure_safe_cpu", "probe", "probe_model"]

LOGGER = logging.getLogger("specbranch_cpp")
SWITCH = "SPECBRANCH_CPU_PROBE"
"""Environment variable; ``0``: never probe. Set for the child, which must not probe again."""
TIMEOUT = 120.0
_CHILD = "import sys; from specbranch_cpp._llama.cpu_probe import compute; compute(sys.argv[1])"
# What a process dies of if it cannot run its code; anything else says nothing about the CPU.
_FATAL = {signal.SIGILL, signal.SIGSEGV, signal.SIGBUS, signal.SIGFPE, signal.SIGABRT}
# Several tokens at once and then single ones: these are different kernels.
_PROMPT = "def add(a, b):\n    return a + b\n\n\n" * 3


@dataclass(frozen=True)
class ProbeResult:
    """What a child process found.

    Attributes:
        state: ``"runs"``, ``"dies"`` (of a signal), or ``"unknown"`` (it failed in another way).
        detail: the signal's name, or why it is not known; empty if it runs.
    """

    state: Literal["runs", "dies", "unknown"]
    detail: str = ""


def probe(model: str | Path, command: Sequence[str] | None = None) -> ProbeResult:
    """Lets a child process decode a few tokens with the model, or run another command."""
    import subprocess

    if command is None:
        if not sys.executable or getattr(sys, "frozen", False):
            return ProbeResult("unknown", "there is no Python interpreter to start")
        command = [sys.executable, "-c", _CHILD, str(Path(model).absolute())]
    try:
        result = subprocess.run(
            command,
            env=_child_environment(),
            cwd="/",  # `python -c` searches the working directory, which may hold anything
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=TIMEOUT,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return ProbeResult("unknown", f"the child process did not end within {TIMEOUT:.0f} s")
    except OSError as error:
        return ProbeResult("unknown", f"the child process did not start: {error}")
    if result.returncode == 0:
        return ProbeResult("runs")
    if -result.returncode in _FATAL:
        return ProbeResult("dies", signal.Signals(-result.returncode).name)
    lines = result.stderr.decode(errors="replace").strip().splitlines()
    reason = lines[-1] if lines else "no message"
    return ProbeResult("unknown", f"the child process ended with {result.returncode}: {reason}")


def probe_model(fallback: str | Path | None = None) -> Path | None:
    """A small quantized model: the bundled draft, or else the fallback."""
    try:
        return demo.pair()[1]
    except FileNotFoundError:
        return None if fallback is None else Path(fallback)


def advice(verdict: ProbeResult) -> str:
    """What to do about a CPU that does not run this build."""
    import importlib.metadata

    requirement = "llama-cpp-python"
    with contextlib.suppress(importlib.metadata.PackageNotFoundError):  # LLAMA_CPP_LIB_PATH
        requirement += f"=={importlib.metadata.version(requirement)}"
    args = cpu_flags.safe_cmake_args(cpu_flags.cpu_flags(cpu_flags.read_cpuinfo()))
    command = cpu_flags.reinstall_command(args, requirement)
    return (
        f"the installed llama.cpp does not run on this CPU: it dies of {verdict.detail} when it "
        "computes with quantized weights. It was compiled for instructions that this machine does "
        f"not allow; compile it again without them (about 5 minutes): {command}"
    )


def ensure_cpu_runs(model: str | Path) -> None:
    """Probes once per machine and build of llama.cpp; remembers success in the user's cache.

    Raises:
        ModelLoadError: a child process died of computing with the model; says what to do.
    """
    marker = cache_folder() / f"cpu-{_fingerprint()}"
    if marker.exists():
        return
    verdict = probe(model)
    if verdict.state == "dies":
        raise ModelLoadError(advice(verdict))
    if verdict.state == "unknown":
        LOGGER.warning("whether this CPU runs llama.cpp is not known: %s", verdict.detail)
        return
    with contextlib.suppress(OSError):  # without a cache, the next process asks again
        marker.parent.mkdir(parents=True, exist_ok=True)
        marker.touch()


def ensure_safe_cpu(target_paths: Sequence[str | Path]) -> None:
    """Call before quantized weights are loaded. Costs one read of /proc/cpuinfo without AMX.

    With AMX a child process computes first, see `ensure_cpu_runs`.

    Args:
        target_paths: models that are about to be loaded; the first is tried if the package was
            installed without its small one.

    Raises:
        ModelLoadError: this CPU does not run the installed llama.cpp.
    """
    if os.environ.get(SWITCH) == "0":
        return
    if not cpu_flags.announces_amx(cpu_flags.cpu_flags(cpu_flags.read_cpuinfo())):
        return
    model = probe_model(next(iter(target_paths), None))
    if model is not None:
        ensure_cpu_runs(model)


def cache_folder() -> Path:
    """Where successes are remembered: in XDG_CACHE_HOME, or ~/.cache."""
    configured = os.environ.get("XDG_CACHE_HOME", "")
    if Path(configured).is_absolute():
        return Path(configured, "specbranch_cpp")
    try:
        return Path.home() / ".cache/specbranch_cpp"
    except RuntimeError:  # no home folder
        import tempfile

        return Path(tempfile.gettempdir(), f"specbranch_cpp-{os.getuid()}")


def _fingerprint() -> str:
    """Changes with the processor, the kernel and the libraries of llama.cpp."""
    cpuinfo = cpu_flags.read_cpuinfo()
    facts = [cpu_flags.cpu_model(cpuinfo), *sorted(cpu_flags.cpu_flags(cpuinfo))]
    facts += [platform.machine(), platform.release()]
    for path in sorted(native.library_folder().glob("lib*.so")):
        status = path.stat()
        facts += [str(path), str(status.st_mtime_ns), str(status.st_size)]
    return hashlib.sha256("\n".join(facts).encode()).hexdigest()[:32]


def _child_environment() -> dict[str, str]:
    # The child finds what this process found, also if that was put into sys.path by hand.
    search = [str(Path(entry).absolute()) for entry in sys.path]
    return os.environ | {
        "PYTHONPATH": os.pathsep.join(search),
        "GGML_NO_BACKTRACE": "1",  # an abort starts no debugger
        SWITCH: "0",
    }


def compute(model: str) -> None:
    """What the child does."""
    import resource

    from specbranch_cpp import _core

    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    options = _core.ModelOptions(os.fsencode(model))
    options.n_ctx = 256
    options.n_threads = 1
    engine = _core.load_engine(
        options,
        None,
        max_draft=1,
        k_max=1,
        prefix_reuse="off",
        bit_exact=False,
        warm_up=False,
        profile=_core.PairProfile(),
        idle=lambda _share: None,
    )
    request = _core.Request()
    request.mode = "autoregressive"
    request.prompt = engine.tokenize(_PROMPT.encode(), add_special=True, parse_special=False)
    request.max_tokens = 2
    generation = engine.generate(request)
    n_read = 0
    while not isinstance(generation.get(n_read), _core.Outcome):
        n_read += 1
    engine.close()
