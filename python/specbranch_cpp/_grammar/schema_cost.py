"""Limits the cost of a JSON schema for llguidance, which cannot be interrupted.

llguidance has limits of its own, but some of its work has none: references are followed by
recursion, the names of an object are compared with each other, and patterns that rule the same
text are combined way by way. This module counts that work without doing it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from specbranch_cpp._grammar.common_ways import has_too_many_ways, resolved
from specbranch_cpp._grammar.levels import deepest
from specbranch_cpp._grammar.schema_keywords import DEFINITIONS, MAPS

__all__ = ["MOST_LEVELS", "MOST_PARTS", "n_parts", "too_expensive"]

MOST_PARTS = 10_000
"""The largest number of parts of a schema, see `n_parts`."""
MOST_LEVELS = 800
"""The largest number of levels, with those behind references. Twice as many can end the process."""

_UNITS = 8  # of a part
_LETTERS = 64  # of a text that cost as much as a unit
_COMPARED = 500  # pairs of names of an object that cost as much as a unit


def too_expensive(schema: Any) -> str | None:
    """Why llguidance should not get a schema. ``None``: it may."""
    count = n_parts(schema)
    if count > MOST_PARTS:
        return f"it has {count:,} parts; it must have at most {MOST_PARTS:,}"
    if _n_levels(schema) > MOST_LEVELS:
        return (
            f"its references lead through more than {MOST_LEVELS} levels; it must have fewer "
            "definitions that refer to each other"
        )
    if has_too_many_ways(schema):
        return (
            "too many patterns rule the same text; use fewer of them, or less look-around in them"
        )
    return None


def n_parts(schema: Any) -> int:
    """The cost of a schema: a schema or a list in it is a part.

    Other values are an eighth of a part. Long texts, objects with thousands of names, and patterns
    for names count more.
    """
    n_units = 0
    left: list[tuple[Any, int]] = [(schema, 1)]  # a value, and what a number or a text costs there
    while left:
        node, scalar = left.pop()
        if isinstance(node, Mapping):
            n_units += _UNITS + _of_names(node)
            left += [(one, _UNITS if key == "const" else 1) for key, one in node.items()]
        elif isinstance(node, list | tuple):
            n_units += _UNITS
            left += [(one, _UNITS if isinstance(one, list | tuple) else scalar) for one in node]
        else:
            n_units += scalar + (len(node) // _LETTERS if isinstance(node, str) else 0)
    return n_units // _UNITS


def _of_names(node: Mapping[str, Any]) -> int:
    """The cost of comparing the names of an object, which may be a value itself."""
    names, patterns = node.get("required"), node.get("patternProperties")
    n_names = max(len(node), len(names) if isinstance(names, list | tuple) else 0)
    n_patterns = len(patterns) if isinstance(patterns, Mapping) else 0
    properties = node.get("properties")
    n_properties = len(properties) if isinstance(properties, Mapping) else 0
    pairs = n_patterns * (n_patterns - 1) // 2
    return n_names**2 // _COMPARED + _UNITS * pairs + n_patterns * n_properties // 2


def _n_levels(schema: Any) -> int:
    """The largest number of levels that llguidance can meet."""
    parts: dict[str, tuple[int, set[str]]] = {"": _measured(schema)}
    known: dict[int, tuple[int, set[str]]] = {}  # one schema may have many references
    left = [*parts[""][1]]
    while left:
        name = left.pop()
        if name in parts:
            continue
        target = resolved(schema, name)
        if target is None:
            levels, references = _measured(schema, whole=True)
            return levels * (len(references) + 1)
        if id(target) not in known:
            known[id(target)] = _measured(target)
        parts[name] = known[id(target)]
        left += parts[name][1]
    return deepest(parts)


def _measured(schema: Any, *, whole: bool = False) -> tuple[int, set[str]]:
    """The levels of schemas in a schema, and its references.

    Definitions count with `whole` only: otherwise references lead there.
    """
    most, references = 0, set()
    left: list[tuple[Any, int, bool]] = [(schema, 1, False)]
    while left:
        node, level, is_map = left.pop()
        if isinstance(node, Mapping):
            most = max(most, level)
            if not is_map and isinstance(node.get("$ref"), str):
                references.add(node["$ref"])
            for key, one in node.items():
                inside = not is_map and key in MAPS
                if whole or not (inside and key in DEFINITIONS):
                    left.append((one, level + (not inside), inside))
        elif isinstance(node, list | tuple):
            left += [(one, level, False) for one in node]
    return most, references
