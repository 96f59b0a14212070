"""Whether the alternatives of a ``oneOf`` exclude each other, so that it means the same as
``anyOf``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from itertools import combinations
from typing import Any

from specbranch_cpp._grammar.schema_keywords import KINDS, target_of
from specbranch_cpp.errors import InvalidArgument

__all__ = ["MOST_COMPARED", "Comparisons", "exclude_each_other"]

MOST_COMPARED = 20_000
"""The largest number of pairs that are compared for one schema. Large ones count more than once."""

_DEEPEST = 4
"""Levels of properties that are compared."""
_SMALL = 8  # values or names that cost no more than the rest of a comparison


class Comparisons:
    """How much may still be compared for one schema."""

    def __init__(self) -> None:
        self.left = MOST_COMPARED

    def take(self, count: int) -> bool:
        """Whether there is that much left."""
        self.left -= count
        return self.left >= 0


def exclude_each_other(root: Any, ways: Any, comparisons: Comparisons | None = None) -> bool:
    """Whether no value can satisfy two of the schemas.

    False also where it cannot be told: only types, constants, and required properties with such
    schemas are compared, and not without a limit.

    Args:
        root: the schema to whose parts references point.
        ways: the schemas.
        comparisons: what may be compared. ``None``: as much as for a whole schema.
    """
    resolved = [_resolved(root, way) for way in ways]
    values = [_values(way) if isinstance(way, Mapping) else None for way in resolved]
    if all(one is not None for one in values):
        texts = [{_text(value) for value in one or ()} for one in values]
        return len(set().union(*texts)) == sum(map(len, texts))
    left = comparisons or Comparisons()
    return all(_differ(root, a, b, _DEEPEST, left) for a, b in combinations(resolved, 2))


def _differ(root: Any, a: Any, b: Any, depth: int, left: Comparisons) -> bool:
    if not left.take(1):
        return False
    a, b = _resolved(root, a), _resolved(root, b)
    if a is False or b is False:
        return True
    if not isinstance(a, Mapping) or not isinstance(b, Mapping) or depth == 0:
        return False
    of_a, of_b = _values(a), _values(b)
    if not left.take((len(of_a or ()) + len(of_b or ())) // _SMALL):
        return False
    if of_a is not None and of_b is not None:
        return not {_text(value) for value in of_a} & {_text(value) for value in of_b}
    kinds = _kinds(a), _kinds(b)
    if not kinds[0] & kinds[1]:
        return True
    return kinds[0] | kinds[1] == {"object"} and _objects_differ(root, a, b, depth, left)


def _objects_differ(
    root: Any, a: Mapping[str, Any], b: Mapping[str, Any], depth: int, left: Comparisons
) -> bool:
    names = _names(a.get("required")), _names(b.get("required"))
    if not left.take((len(names[0]) + len(names[1])) // _SMALL):
        return False
    if _requires_unknown(a, b) or _requires_unknown(b, a):
        return True
    first, second = _mapping(a.get("properties")), _mapping(b.get("properties"))
    return any(
        _differ(root, first.get(name, True), second.get(name, True), depth - 1, left)
        for name in names[0] & names[1]
    )


def _requires_unknown(a: Mapping[str, Any], b: Mapping[str, Any]) -> bool:
    """`a` requires a property that `b` forbids."""
    if b.get("additionalProperties") is not False or "patternProperties" in b:
        return False
    return bool(_names(a.get("required")) - _mapping(b.get("properties")).keys())


def _resolved(root: Any, node: Any) -> Any:
    seen: set[str] = set()
    while isinstance(node, Mapping) and isinstance(node.get("$ref"), str):
        if node["$ref"] in seen:
            return True
        seen.add(node["$ref"])
        try:
            node = target_of(root, node["$ref"], "schema")
        except InvalidArgument:
            return True  # its user refuses it
    return node


def _values(node: Mapping[str, Any]) -> list[Any] | None:
    """The only values that a schema allows. ``None``: there are others."""
    if "const" in node:
        return [node["const"]]
    values = node.get("enum")
    return list(values) if isinstance(values, (list, tuple)) else None


def _kinds(node: Mapping[str, Any]) -> set[str]:
    """The types of a schema's values; integers count as numbers."""
    values = _values(node)
    if values is not None:
        return {_kind_of(value) for value in values}
    kind = node.get("type", [*KINDS])
    kinds = [kind] if isinstance(kind, str) else kind
    if not isinstance(kinds, (list, tuple)):
        return {*KINDS}
    return {"number" if one == "integer" else str(one) for one in kinds}


def _kind_of(value: Any) -> str:
    if isinstance(value, bool):
        return "boolean"
    names = (name for name, types in KINDS.items() if isinstance(value, types))
    return next(("number" if name == "integer" else name for name in names), "null")


def _text(value: Any) -> str:
    """JSON text that is equal for equal values: 1 and 1.0 are."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return json.dumps(value, sort_keys=True)


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _names(value: Any) -> set[str]:
    return {name for name in value if isinstance(name, str)} if isinstance(value, list) else set()
