"""The build options of a llama.cpp that runs on this CPU, and the build command.

Standard library only and no imports from the package, so that a script can load this file alone.
"""

from __future__ import annotations

import contextlib
import platform
import re
import shlex
import sys
from pathlib import Path

__all__ = [
    "announces_amx",
    "cpu_flags",
    "cpu_model",
    "recompile_command",
    "reinstall_command",
    "safe_cmake_args",
    "unused_instructions",
    "with_backends",
]

CPUINFO = Path("/proc/cpuinfo")

# ggml's options and their flags in /proc/cpuinfo. The first group is on by default.
BASELINE = {
    "GGML_SSE42": ["sse4_2"],
    "GGML_AVX": ["avx"],
    "GGML_AVX2": ["avx2"],
    "GGML_BMI2": ["bmi2"],
    "GGML_FMA": ["fma"],
    "GGML_F16C": ["f16c"],
}
_FAST = ("AVX", "AVX2", "FMA", "F16C")
AVX512 = {
    "GGML_AVX512": ["avx512f", "avx512cd", "avx512vl", "avx512dq", "avx512bw"],
    "GGML_AVX512_VBMI": ["avx512vbmi"],
    "GGML_AVX512_VNNI": ["avx512_vnni"],
}


def read_cpuinfo(path: Path = CPUINFO) -> str:
    """The text of /proc/cpuinfo; empty if the file does not exist."""
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def cpu_flags(cpuinfo: str) -> set[str]:
    """The flags of the first x86 processor in the text of /proc/cpuinfo."""
    return set(_field(cpuinfo, "flags").split())


def cpu_model(cpuinfo: str) -> str:
    """The name of the first processor, or the architecture if it has no name."""
    return _field(cpuinfo, "model name") or platform.machine()


def announces_amx(flags: set[str]) -> bool:
    """Whether the CPU reports AMX. The kernel may still not allow AMX."""
    return any(flag.startswith("amx_") for flag in flags)


def safe_cmake_args(flags: set[str], machine: str = platform.machine()) -> str:
    """The build options of a llama.cpp that is fast on this CPU and runs on it.

    They do not use -march=native: on a virtual machine the CPU can report instructions that the
    kernel does not allow (AMX). The first matrix product would then crash with SIGILL.
    """
    args = ["-DGGML_NATIVE=OFF"]
    if machine == "x86_64":
        args += [f"-D{option}=OFF" for option, needs in BASELINE.items() if not flags >= {*needs}]
        if flags >= {*AVX512["GGML_AVX512"]} and len(args) == 1:
            args += [f"-D{option}=ON" for option, needs in AVX512.items() if flags >= {*needs}]
    return " ".join(args)


def unused_instructions(system: str, flags: set[str]) -> list[str]:
    """Instruction sets that this CPU has, but that this build of llama.cpp does not use.

    Only those count that make matrix products several times as fast, and that builds have by
    default. The recipe of llama-cpp-python's CUDA wheels turns AVX2, FMA and F16C off; whether a
    build has them, it alone tells.

    Args:
        system: llama.cpp's list of what it was compiled for, such as ``"CPU : AVX = 1 | "``.
        flags: the flags of the CPU.
    """
    _, colon, of_cpu = system.rpartition("CPU : ")
    if not colon:
        return []
    used = set(re.findall(r"(\w+) = 1", of_cpu))
    found = {option.removeprefix("GGML_"): needs for option, needs in BASELINE.items()}
    return [name for name in _FAST if name not in used and flags >= {*found[name]}]


def with_backends(args: str, system: str) -> str:
    """The options, and those for the GPUs that the installed llama.cpp was built for.

    ``system`` is what the library tells about itself (`_core.library_info`).
    """
    return f"-DGGML_CUDA=ON {args}" if "CUDA : " in system else args


def recompile_command(system: str, *more: str) -> str:
    """The shell command that compiles the installed llama-cpp-python again for this CPU, and for
    the GPUs for which it was built.

    ``system``: see `with_backends`. ``more``: further options.
    """
    args = " ".join([safe_cmake_args(cpu_flags(read_cpuinfo())), *more])
    return reinstall_command(with_backends(args, system))


def reinstall_command(args: str) -> str:
    """The shell command that compiles the installed llama-cpp-python again with these options.

    It does not use pip's wheel cache, because the cache ignores CMAKE_ARGS.
    """
    import importlib.metadata

    requirement = "llama-cpp-python"
    with contextlib.suppress(importlib.metadata.PackageNotFoundError):  # LLAMA_CPP_LIB_PATH
        requirement += f"=={importlib.metadata.version(requirement)}"
    pip = f"{shlex.quote(sys.executable)} -m pip" if sys.executable else "pip"
    return (
        f"CMAKE_ARGS={shlex.quote(args)} {pip} install --force-reinstall --no-deps --no-cache-dir "
        f"--no-binary=llama-cpp-python {shlex.quote(requirement)}"
    )


def _field(cpuinfo: str, wanted: str) -> str:
    for line in cpuinfo.splitlines():
        name, _, value = line.partition(":")
        if name.strip() == wanted:
            return value.strip()
    return ""
