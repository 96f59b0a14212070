"""Runs auditwheel as on a machine of another architecture.

    auditwheel_for.py aarch64 repair --plat manylinux_2_28_aarch64 WHEEL

auditwheel reads the wheels of every architecture. It offers only the tags of the machine on which
it runs.
"""

from __future__ import annotations

import platform
import runpy
import sys


def main(arch: str) -> None:
    """Runs auditwheel with the rest of the command line."""
    platform.machine = lambda: arch
    runpy.run_module("auditwheel", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main(sys.argv.pop(1))
