"""Finds out whether the installed llama.cpp leaves instructions of this CPU unused."""

from __future__ import annotations

from specbranch_cpp import _core
from specbranch_cpp._llama import cpu_flags

__all__ = ["slow_build_note"]

COST = "a token of a model on the CPU took 1.4 to 2.1 times as long in a test"
"""What models on the CPU lose; measured: docs/gpu.md."""


def slow_build_note() -> str | None:
    """What the missing instructions cost a model on the CPU, and the command that compiles
    llama.cpp with them. ``None``: nothing is missing, or it is not known.
    """
    system = _core.library_info().system
    flags = cpu_flags.cpu_flags(cpu_flags.read_cpuinfo())
    missing = cpu_flags.unused_instructions(system, flags)
    if not missing:
        return None
    return (
        f"this llama.cpp was compiled without {', '.join(missing)}, which this CPU has: {COST}; to "
        f"compile it with them: {cpu_flags.recompile_command(system)}"
    )
