"""See the package."""

from __future__ import annotations

from benchmarks.server_clients.command import main

if __name__ == "__main__":
    main()
