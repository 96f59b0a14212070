"""The loop of ``specbranch chat``: `turns` reads the input, `session` answers, `slash_commands`
runs commands that begin with a slash."""

from __future__ import annotations
