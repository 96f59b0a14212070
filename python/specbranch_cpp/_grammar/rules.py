"""Combines grammars, whose rules may have equal names."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["either", "renamed"]

_RULE = re.compile(r"^([a-zA-Z0-9-]+) ::=", re.MULTILINE)
_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|\[(?:[^\]\\]|\\.)*\]|\{[^}]*\}|[a-zA-Z0-9-]+')


def renamed(grammar: str, prefix: str = "call-") -> tuple[str, str]:
    """The rules with a prefix before each name, and the new name of ``root``."""
    known = set(_RULE.findall(grammar))
    rules = _TOKEN.sub(lambda m: prefix + m.group() if m.group() in known else m.group(), grammar)
    return rules, f"{prefix}root"


def either(grammars: Sequence[str]) -> str:
    """A grammar of the texts of all these grammars."""
    parts = [renamed(grammar, f"way{index}-") for index, grammar in enumerate(grammars)]
    return "\n".join([f"root ::= {' | '.join(root for _, root in parts)}", *(r for r, _ in parts)])
