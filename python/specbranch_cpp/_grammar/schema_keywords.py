"""The keywords of JSON schemas, and checks of single keywords."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote

from specbranch_cpp._grammar.regex import MOST_REPEATS
from specbranch_cpp._support import checked
from specbranch_cpp.errors import InvalidArgument

MOST_DIFFERENT = 100
"""The largest number of values of an array with ``uniqueItems``."""

KINDS: dict[str, Any] = {
    "string": str,
    "integer": int,
    "number": (int, float),
    "boolean": bool,
    "object": Mapping,
    "array": (list, tuple),
    "null": type(None),
}
FORMATS = ("date", "time", "date-time", "uuid", "uuid1", "uuid2", "uuid3", "uuid4", "uuid5")
OTHER_FORMATS = ("duration", "email", "hostname", "ipv4", "ipv6", "uri")
"""Formats that only llguidance enforces. All others say nothing about the value."""
BY_KIND = {
    "object": ("properties", "required", "additionalProperties"),
    "array": ("items", "prefixItems", "minItems", "maxItems"),
    "string": ("pattern", "minLength", "maxLength", "format"),
}
# Keywords that narrow the values, but that a grammar cannot enforce.
BOUNDS = (
    "minimum",
    "maximum",
    "exclusiveMinimum",
    "exclusiveMaximum",
    "multipleOf",
    "uniqueItems",
    "minProperties",
    "maxProperties",
    "propertyNames",
)
REFUSED = (
    "not",
    "if",
    "then",
    "else",
    "patternProperties",
    "contains",
    "dependentRequired",
    "dependentSchemas",
    "dependencies",
    "unevaluatedProperties",
    "unevaluatedItems",
    "$dynamicRef",
    "$recursiveRef",
)
RULING = ("$ref", "allOf", "anyOf", "oneOf", "const", "enum", "type")
CONSTRAINTS = (
    *RULING,
    *(name for names in BY_KIND.values() for name in names if name != "format"),
)

DEFINITIONS = ("$defs", "definitions")
MAPS = ("properties", "patternProperties", "dependentSchemas", *DEFINITIONS)
"""Keywords whose value has a schema for each name."""


def is_bound(key: str, value: Any) -> bool:
    """Whether a keyword of `BOUNDS` narrows the values: a bound of 0 does."""
    if key == "propertyNames":
        return value not in (None, True) and value != {}
    if value is None or value is False:
        return False
    return not (key == "minProperties" and value == 0)


def different_values(
    items: Mapping[str, Any], least: int | None, most: int | None
) -> list[Any] | None:
    """The values of the items, if a grammar can forbid to repeat them. ``None``: it cannot.

    A grammar cannot count the items at the same time, so the numbers of items must exclude none.
    """
    values = [True, False] if items == {"type": "boolean"} else items.get("enum")
    if values is None or (least or 0) > 1:
        return None
    different = list({json.dumps(value, sort_keys=True): value for value in values}.values())
    if len(different) > MOST_DIFFERENT or (most is not None and most < len(different)):
        return None
    return different


def span_of(
    node: Mapping[str, Any], low: str, high: str, where: str
) -> tuple[int | None, int | None]:
    """The lower and the upper limit. ``None``: no limit."""
    least, most = (
        None if node.get(key) is None else checked.integer(f"{where}[{key!r}]", node[key], 0)
        for key in (low, high)
    )
    if least is not None and most is not None and least > most:
        raise InvalidArgument(f"{where}[{low!r}] is {least}; it must be at most {high}, {most}")
    if least is not None and least > MOST_REPEATS:
        raise InvalidArgument(f"{where}[{low!r}] is {least}; it must be at most {MOST_REPEATS}")
    return least, most


def values_of(node: Mapping[str, Any], key: str, where: str) -> dict[str, Any]:
    """A ``const`` or ``enum`` as an enum, without values that the type of the schema excludes."""
    values = [node[key]] if key == "const" else node[key]
    if not isinstance(values, (list, tuple)) or not values:
        raise InvalidArgument(f"{where}['enum'] is {values!r}; it must be a list of values")
    kinds = node.get("type", [*KINDS])
    allowed = [
        value for value in values if _is(value, [kinds] if isinstance(kinds, str) else kinds)
    ]
    if not allowed:
        raise InvalidArgument(f"{where} has the value {values[0]!r}; it must be of type {kinds}")
    return {"enum": allowed}


def target_of(root: Any, reference: Any, where: str) -> Any:
    """The schema to which a reference in `root` points."""
    if not isinstance(reference, str) or (reference != "#" and not reference.startswith("#/")):
        raise InvalidArgument(f"{where}['$ref'] is {reference!r}; it must begin with '#/'")
    target = root
    for step in reference.split("/")[1:]:
        key = unquote(step).replace("~1", "/").replace("~0", "~")
        if isinstance(target, Mapping) and key in target:
            target = target[key]
        elif isinstance(target, (list, tuple)) and key.isdecimal() and int(key) < len(target):
            target = target[int(key)]
        else:
            raise InvalidArgument(f"{where}['$ref'] is {reference!r}, but {key!r} does not exist")
    return target


def mapping_of(node: Mapping[str, Any], key: str, where: str) -> Mapping[str, Any]:
    value = node.get(key) or {}
    if not isinstance(value, Mapping) or not all(isinstance(name, str) for name in value):
        raise InvalidArgument(f"{where}[{key!r}] is {value!r}; it must be a mapping of schemas")
    return value


def required_of(node: Mapping[str, Any], where: str) -> list[str]:
    return list(dict.fromkeys(checked.texts(f"{where}['required']", node.get("required") or [])))


def given(**values: Any) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


def _is(value: Any, kinds: Any) -> bool:
    for kind in kinds:
        types = KINDS.get(kind) if isinstance(kind, str) else None
        if types is None:
            return False
        if kind == "integer" and isinstance(value, float) and value.is_integer():
            return True
        if isinstance(value, types) and (kind == "boolean" or not isinstance(value, bool)):
            return True
    return False
