"""`python tools/mutations`: see the package."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from mutations.runner import main

if __name__ == "__main__":
    sys.exit(main())
