"""How long a thread of the caller waits at once."""

from __future__ import annotations

__all__ = ["WAIT_S"]

WAIT_S = 0.1
"""Seconds of one wait. A signal just before a wait does not end it, but Ctrl-C must act soon."""
