"""Patterns with look-around as several patterns without, which a text must match all.

llguidance has no look-around, but it intersects patterns. So conditions on the beginning or the
end of the whole text become patterns of their own, as in ``^(?=.*[A-Z])(?!admin).{8,}$``.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from specbranch_cpp._grammar.automaton import Work
from specbranch_cpp._grammar.complements import without_match
from specbranch_cpp._grammar.regex import MOST_LENGTH

__all__ = ["plain_patterns"]

MOST_WAYS = 16
"""The largest number of values of a group to which the pattern refers back."""

MOST_CONDITIONS = 12
"""The largest number of conditions. The work to combine them can double with each of them."""

_PART = re.compile(
    r"\\.|\[\^?\]?(?:\\.|[^\]\\])*\]?|\((?:\?(?:P?<[A-Za-z_]\w*>|<?[=!]|:|[a-z]+[):]))?|.",
    re.DOTALL,
)
_AHEAD = re.compile(r"\(\?([=!])")
_BEHIND = re.compile(r"\(\?<([=!])")
_BACK = re.compile(r"\\([1-9])")
_CAPTURING = re.compile(r"\((?:\?P?<\w+>)?")
_REPEATS = re.compile(r"[*+?{]")
_LITERAL = re.compile(r"[\w \-]+")
_CHOICE = re.compile(r"\[((?:[^\\\]^\-]|\\\W)+)\]")


class _Group(NamedTuple):
    """A group of a pattern: where it begins and ends, its depth, and its begin as text."""

    begin: int
    end: int
    depth: int
    opening: str


def plain_patterns(pattern: str, work: Work | None = None) -> list[str]:
    """The patterns. The pattern alone, if it has no look-around, or if this is not possible.

    Args:
        pattern: the pattern.
        work: what may be computed for it. ``None``: as much as for a whole schema.
    """
    if len(pattern) > MOST_LENGTH:
        return [pattern]
    body = _without_references(pattern)
    if not re.search(r"\(\?<?[=!]|\\b", body):
        return [body]
    if not body.startswith("^") or _has_alternatives(body):
        return [pattern]
    work = work or Work()
    found: list[str | None] = []
    body = body[1:]
    while len(found) <= MOST_CONDITIONS:
        groups = _groups(body)
        if body.startswith("\\b"):
            found.append(r"^\w")
            body = body[2:]
        elif ahead := _condition(body, groups):
            inside = body[ahead.end() : groups[0].end - 1]
            negative = ahead[1] == "!"
            found.append(_whole(without_match(inside, work=work)) if negative else f"^(?:{inside})")
            body = body[groups[0].end :]
        else:
            break
    while len(found) <= MOST_CONDITIONS and body.endswith("$") and not body.endswith("\\$"):
        groups = _groups(body)
        last = next((one for one in groups if one.end == len(body) - 1 and not one.depth), None)
        behind = _BEHIND.fullmatch(last.opening) if last else None
        if re.search(r"(?<!\\)(?:\\\\)*\\b\$$", body):
            found.append(r"\w$")
            body = body[:-3] + "$"
        elif last and behind:
            inside = body[last.begin + len(last.opening) : last.end - 1]
            negative = behind[1] == "!"
            other = without_match(inside, at_end=True, work=work) if negative else None
            found.append(_whole(other) if negative else f"(?:{inside})$")
            body = body[: last.begin] + "$"
        else:
            break
    if len(found) > MOST_CONDITIONS:
        return [pattern]
    patterns = [one for one in found if one is not None]
    return [*patterns, f"^{body}"] if len(patterns) == len(found) else [pattern]


def _condition(body: str, groups: list[_Group]) -> re.Match[str] | None:
    """The begin of the look-ahead with which a pattern begins, if it has an end."""
    found = _AHEAD.match(body)
    if found is None or not groups or groups[0].begin or _is_repeated(body, groups[0]):
        return None
    return found


def _whole(regex: str | None) -> str | None:
    return None if regex is None else f"^(?:{regex})$"


def _groups(pattern: str) -> list[_Group]:
    """The groups, in the order of their beginnings. Groups without an end are left out."""
    opened: list[tuple[int, str]] = []
    found: list[_Group] = []
    for part in _PART.finditer(pattern):
        text = part[0]
        if text == ")" and opened:
            begin, opening = opened.pop()
            found.append(_Group(begin, part.end(), len(opened), opening))
        elif text.startswith("(") and not text.endswith(")"):
            opened.append((part.start(), text))
    return sorted(found)


def _has_alternatives(pattern: str) -> bool:
    """Whether a pattern has alternatives outside of its groups."""
    depth = 0
    for part in _PART.finditer(pattern):
        text = part[0]
        depth += (text.startswith("(") and not text.endswith(")")) - (text == ")")
        if text == "|" and depth == 0:
            return True
    return False


def _is_repeated(pattern: str, group: _Group) -> bool:
    return _REPEATS.match(pattern, group.end) is not None


def _without_references(pattern: str) -> str:
    r"""A pattern with a group of few texts, and ``\1`` for it, written once for each text."""
    parts = [part for part in _PART.finditer(pattern) if _BACK.fullmatch(part[0])]
    if len({part[0] for part in parts}) != 1:
        return pattern
    groups = [one for one in _groups(pattern) if _CAPTURING.fullmatch(one.opening)]
    index = int(parts[0][0][1:]) - 1
    if index >= len(groups) or _has_alternatives(pattern):
        return pattern
    group = groups[index]
    values = _values(pattern[group.begin + len(group.opening) : group.end - 1])
    if not values or group.depth or _is_repeated(pattern, group) or parts[0].start() < group.end:
        return pattern
    n_places = len(values) * (len(parts) + 1)
    if len(values) * len(pattern) + n_places * max(map(len, values)) > MOST_LENGTH:
        return pattern
    begin, end = pattern.startswith("^"), pattern.endswith("$") and not pattern.endswith("\\$")
    ways = []
    for value in values:
        once = f"(?:{re.escape(value)})"
        way = pattern[begin : group.begin] + once
        place = group.end
        for part in parts:
            way += pattern[place : part.start()] + once
            place = part.end()
        ways.append(way + pattern[place : len(pattern) - end])
    return "^" * begin + f"(?:{'|'.join(ways)})" + "$" * end


def _values(inside: str) -> list[str]:
    """The texts of a group. Empty: they are too many, or too complicated."""
    if choice := _CHOICE.fullmatch(inside):
        values = re.findall(r"(?:\\)?(.)", choice[1])
    else:
        values = inside.split("|")
        if not all(_LITERAL.fullmatch(value) for value in values):
            return []
    return values if len(values) <= MOST_WAYS else []
