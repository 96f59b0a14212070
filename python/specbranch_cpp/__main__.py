"""The program ``specbranch``, also as ``python -m specbranch_cpp``."""

from __future__ import annotations

from specbranch_cpp._support.program import leave_on_interrupts

__all__ = ["main"]


def main() -> None:
    """Runs the command that the program's arguments name."""
    leave_on_interrupts()
    from specbranch_cpp.cli import main as command

    command()


if __name__ == "__main__":
    main()
