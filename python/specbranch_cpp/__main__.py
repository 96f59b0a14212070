"""``python -m specbranch_cpp`` is the command ``specbranch``."""

from __future__ import annotations

from specbranch_command import main

if __name__ == "__main__":
    main()
