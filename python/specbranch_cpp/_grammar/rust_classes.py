"""Character classes for llguidance, whose regular expressions are Rust's.

JavaScript and Python read ``[a&&b]``, ``[+--]``, ``[~~]`` and ``[a[b]`` character by character.
Rust has operations on sets there (https://docs.rs/regex/latest/regex/#character-classes), so that
the same pattern would silently mean something else.
"""

from __future__ import annotations

import re

__all__ = ["plain_classes"]

# An escaped character, or a class: a "]" at its begin is one of its characters.
_PARTS = re.compile(r"\\.|\[(?P<begin>\^?\]?)(?P<inside>(?:\\.|[^\]\\])*)\]", re.DOTALL)
_RUNS = re.compile(r"(?P<escape>\\.)|(?P<range>^-(?=-))|\[|&&+|--+|~~+", re.DOTALL)


def plain_classes(pattern: str) -> str:
    """The pattern with classes in which Rust finds no operations and no classes inside."""

    def of_class(found: re.Match[str]) -> str:
        if found["inside"] is None:
            return found[0]
        return f"[{found['begin']}{_RUNS.sub(_plain, found['inside'])}]"

    return _PARTS.sub(of_class, pattern)


def _plain(found: re.Match[str]) -> str:
    run = found[0]
    if found["escape"]:
        return run
    if found["range"] or run == "[":
        return f"\\{run}"
    return run[0] + f"\\{run[0]}" * (len(run) - 1)
