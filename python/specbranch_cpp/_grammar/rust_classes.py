"""Character classes for llguidance, whose regular expressions are Rust's.

JavaScript and Python read ``[a&&b]``, ``[+--]``, ``[~~]`` and ``[a[b]`` character by character.
Rust has operations on sets there (https://docs.rs/regex/latest/regex/#character-classes), so that
the same pattern would silently mean something else. A hyphen beside a class such as ``\\w`` is
itself in JavaScript, as in ``[\\w-.]``, but Python refuses it.
"""

from __future__ import annotations

import re

__all__ = ["plain_classes"]

# An escaped character, or a class: a "]" at its begin is one of its characters. A class without an
# end is a part, too: otherwise the search would begin again at each of its characters.
_PARTS = re.compile(r"\\.|\[(?P<begin>\^?\]?)(?P<inside>(?:\\.|[^\]\\])*)(?P<end>\]?)", re.DOTALL)
_RUNS = re.compile(
    r"(?P<beside>\\[dwsDWS]-+(?!$))|(?P<escape>\\.)|(?P<range>^-(?=-)|-(?=\\[dwsDWS]))"
    r"|\[|&&+|--+|~~+",
    re.DOTALL,
)


def plain_classes(pattern: str) -> str:
    """The pattern with classes in which Rust finds no operations and no classes inside, and in
    which a hyphen beside a class such as ``\\w`` is escaped.
    """

    def of_class(found: re.Match[str]) -> str:
        if not found["end"]:
            return found[0]
        return f"[{found['begin']}{_RUNS.sub(_plain, found['inside'])}]"

    return _PARTS.sub(of_class, pattern)


def _plain(found: re.Match[str]) -> str:
    run = found[0]
    if found["beside"]:
        return run.replace("-", r"\-")
    if found["escape"]:
        return run
    if found["range"] or run == "[":
        return f"\\{run}"
    return run[0] + f"\\{run[0]}" * (len(run) - 1)
