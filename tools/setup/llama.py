"""Installs llama-cpp-python, compiled for this CPU and with no more than what we link to.

An explicit CMAKE_ARGS is passed on as it is. Otherwise llama.cpp is not built with -march=native:
on a virtual machine the CPU may announce what the kernel does not allow (AMX), and the first
matrix product then dies with SIGILL.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import platform
import shlex
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from locate_llama_cpp import REQUIREMENT
from setup import progress, system

if TYPE_CHECKING:
    from setup.environment import Environment, State
    from specbranch_cpp._llama import cpu_flags
else:  # the file alone: the package is not there yet
    _file = Path(__file__).parents[2] / "python/specbranch_cpp/_llama/cpu_flags.py"
    _spec = importlib.util.spec_from_file_location("cpu_flags", _file)
    cpu_flags = importlib.util.module_from_spec(_spec)
    _spec.loader.exec_module(cpu_flags)

ROOT = Path(__file__).resolve().parents[2]
NAME, _, VERSION = REQUIREMENT.partition("==")
STATE = "llama"

# Without multimodal models and llama.cpp's programs: nothing of it is linked to.
LEAN = (
    "-DLLAVA_BUILD=OFF",
    f"-DCMAKE_PROJECT_llama_cpp_INCLUDE={ROOT / 'third_party/llama_cpp/library_only.cmake'}",
)
CPU_SECONDS = 200.0
"""What the compilation costs; the common library alone would cost another 250."""

# What a built library says it uses (ggml_cpu_has_*): what the CPU must announce for it.
FEATURES = {
    "avx": "avx",
    "avx_vnni": "avx_vnni",
    "avx2": "avx2",
    "bmi2": "bmi2",
    "f16c": "f16c",
    "fma": "fma",
    "avx512": "avx512f",
    "avx512_vbmi": "avx512vbmi",
    "avx512_vnni": "avx512_vnni",
    "avx512_bf16": "avx512_bf16",
    "amx_int8": "amx_int8",
}
PROBE = """
import ctypes, json, sys
ctypes.CDLL(sys.argv[1] + "/libggml-base.so")
library = ctypes.CDLL(sys.argv[1] + "/libggml-cpu.so")
print(json.dumps([n for n in sys.argv[2:] if getattr(library, "ggml_cpu_has_" + n)()]))
"""


def this_cpu() -> set[str]:
    """The flags of /proc/cpuinfo."""
    return cpu_flags.cpu_flags(cpu_flags.read_cpuinfo())


def cmake_args(flags: set[str]) -> str:
    """The options for a llama.cpp that is fast on a CPU with these flags and runs on it."""
    explicit = os.environ.get("CMAKE_ARGS")
    return cpu_flags.safe_cmake_args(flags) if explicit is None else explicit


def unsafe_features(features: list[str], flags: set[str]) -> list[str]:
    """What the library uses and the CPU lacks; AMX in any case, since the kernel has a say."""
    return [name for name in features if name == "amx_int8" or FEATURES[name] not in flags]


class Llama:
    """The llama-cpp-python of an environment."""

    def __init__(self, environment: Environment, state: State, flags: set[str]) -> None:
        self._environment = environment
        self._state = state
        self._flags = flags
        self._explicit = "CMAKE_ARGS" in os.environ
        self._args = cmake_args(flags)

    def ready(self) -> bool:
        """It is there, built with CMAKE_ARGS where that is set, and runs on this CPU.

        Where nothing is known of it, it was installed by hand, and is respected if it can run.
        """
        known = self._state.get(STATE)
        args = known["args"] if known and not self._explicit else self._args
        now = self._description(args)
        if now == known:
            return True
        if self.version() != VERSION or (known and known["args"] != args):
            return False
        if not self._explicit and self.unsafe():
            return False
        self._state.set(STATE, now)
        return True

    def install(self, display: progress.Display, log: Path) -> None:
        """Installs it, or compiles it anew where it is not what this CPU or CMAKE_ARGS needs.

        A wheel from our cache or from an index is used unless it cannot run here.
        """
        compiled = self._explicit or self.version() == VERSION
        self.install_wheel(display, log, compiled=compiled)
        if not self._explicit and not compiled and (reasons := self.unsafe()):
            display.interrupt(f"this wheel of {NAME} has {', '.join(reasons)}: compiling it")
            self.install_wheel(display, log, compiled=True)
        if not self._explicit and (reasons := self.unsafe()):
            sys.exit(f"setup: llama.cpp has {', '.join(reasons)}; set CMAKE_ARGS yourself")
        self._state.set(STATE, self._description(self._args))

    def install_wheel(self, display: progress.Display, log: Path, *, compiled: bool) -> None:
        """Installs the wheel; `compiled`: one that is compiled now, whatever else there is."""
        environment = self._environment
        wheel = None if compiled else next(self._cache().glob("*.whl"), None)
        if wheel is None:
            wheel = self._build(display, log, compiled=compiled)
        command = environment.pip("install", "--no-deps", "--force-reinstall", str(wheel))
        variables = environment.variables()
        progress.run(display, command, log, read=progress.PipReader(), env=variables)

    def compiled_before(self) -> bool:
        """The wheel lies in the cache, and nothing says that it must not be used."""
        there = self.version() == VERSION
        return not (self._explicit or there) and any(self._cache().glob("*.whl"))

    def version(self) -> str | None:
        """The version that is installed."""
        return self._environment.version(NAME)

    def unsafe(self) -> list[str]:
        """The reasons why the installed libraries must not be used."""
        if platform.machine() != "x86_64":
            return []
        folder = self._environment.site / "llama_cpp/lib"
        features = self._environment.ask(PROBE, str(folder), *FEATURES)
        if features is None:
            return ["libraries that do not load"]
        return unsafe_features(json.loads(features), self._flags)

    def _description(self, args: str) -> dict[str, str | None]:
        cpu = digest(*sorted(self._flags))
        return {"record": self._environment.record(NAME), "cpu": cpu, "args": args}

    def _build(self, display: progress.Display, log: Path, *, compiled: bool) -> Path:
        """pip's own cache is not used: it knows nothing of CMAKE_ARGS, and others trust it."""
        args = self._args if self._explicit else f"{self._args} {shlex.join(LEAN)}"
        options = ["-v", "--no-deps", "--no-build-isolation", "--no-cache-dir"]
        options += [f"--no-binary={NAME}"] if compiled else []
        folder = self._cache()
        work = folder.with_name(f"{folder.name}.{os.getpid()}")
        command = self._environment.pip("wheel", *options, "-w", str(work), REQUIREMENT)
        variables = self._environment.variables(CMAKE_ARGS=args)
        progress.run(display, command, log, read=progress.compilation, env=variables)
        shutil.rmtree(folder, ignore_errors=True)
        work.replace(folder)
        return next(folder.glob("*.whl"))

    def _cache(self) -> Path:
        """The folder of the wheel that is built with these options, for all clones of a user."""
        if self._explicit:
            return ROOT / "build/llama"
        compiler = system.compiler_version()
        libc = "-".join(platform.libc_ver())
        key = digest(VERSION, self._args, compiler, libc, platform.machine())
        home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        return home / "specbranch_cpp/llama" / key[:16]


def digest(*words: str) -> str:
    return hashlib.sha256("\n".join(words).encode()).hexdigest()
