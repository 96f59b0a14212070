"""Which llama.cpp runs on this CPU, and the command that builds it.

Standard library only and no imports from the package, so that a script can load this file alone.
"""

from __future__ import annotations

import platform
import shlex
import sys
from pathlib import Path

__all__ = ["announces_amx", "cpu_flags", "cpu_model", "reinstall_command", "safe_cmake_args"]

CPUINFO = Path("/proc/cpuinfo")

# ggml's options: what /proc/cpuinfo calls the instructions. The first group is on by default.
BASELINE = {
    "GGML_SSE42": ["sse4_2"],
    "GGML_AVX": ["avx"],
    "GGML_AVX2": ["avx2"],
    "GGML_BMI2": ["bmi2"],
    "GGML_FMA": ["fma"],
    "GGML_F16C": ["f16c"],
}
AVX512 = {
    "GGML_AVX512": ["avx512f", "avx512cd", "avx512vl", "avx512dq", "avx512bw"],
    "GGML_AVX512_VBMI": ["avx512vbmi"],
    "GGML_AVX512_VNNI": ["avx512_vnni"],
}


def read_cpuinfo(path: Path = CPUINFO) -> str:
    """The text of /proc/cpuinfo; empty where there is none."""
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def cpu_flags(cpuinfo: str) -> set[str]:
    """The flags of the first x86 processor in the text of /proc/cpuinfo."""
    return set(_field(cpuinfo, "flags").split())


def cpu_model(cpuinfo: str) -> str:
    """The name of the first processor; the architecture where it has no name."""
    return _field(cpuinfo, "model name") or platform.machine()


def announces_amx(flags: set[str]) -> bool:
    """The CPU lists AMX, which the kernel may not have enabled."""
    return any(flag.startswith("amx_") for flag in flags)


def safe_cmake_args(flags: set[str], machine: str = platform.machine()) -> str:
    """The options for a llama.cpp that is fast on this CPU and runs on it.

    Not -march=native: on a virtual machine the CPU may announce what the kernel does not allow
    (AMX), and the first matrix product then dies with SIGILL.
    """
    args = ["-DGGML_NATIVE=OFF"]
    if machine == "x86_64":
        args += [f"-D{option}=OFF" for option, needs in BASELINE.items() if not flags >= {*needs}]
        if flags >= {*AVX512["GGML_AVX512"]} and len(args) == 1:
            args += [f"-D{option}=ON" for option, needs in AVX512.items() if flags >= {*needs}]
    return " ".join(args)


def reinstall_command(args: str, requirement: str) -> str:
    """The shell command that compiles llama-cpp-python anew with these options.

    pip's cache of built wheels knows nothing of CMAKE_ARGS, so it must not be used.
    """
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
