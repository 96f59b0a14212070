"""`python -m tools.fuzz`: see the package."""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tools"), str(ROOT)]

from fuzz.command import main  # noqa: E402

if __name__ == "__main__":
    sys.exit(main())
