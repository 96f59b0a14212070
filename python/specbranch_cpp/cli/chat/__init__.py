"""The loop of ``specbranch chat``: `turns` where input comes from, `session` what is done with it,
`slash_commands` those that begin with a slash."""

from __future__ import annotations
