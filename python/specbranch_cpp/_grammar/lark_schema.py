"""Prepares JSON schemas for llguidance, which enforces them."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, NamedTuple

from specbranch_cpp._grammar import library
from specbranch_cpp._grammar.automaton import Work
from specbranch_cpp._grammar.look_around import plain_patterns
from specbranch_cpp._grammar.remainders import MOST_REMAINDERS, has_too_many_remainders
from specbranch_cpp._grammar.rust_classes import plain_classes
from specbranch_cpp._grammar.schema_cost import n_parts, too_expensive
from specbranch_cpp._grammar.schema_keywords import MAPS
from specbranch_cpp._support import logs
from specbranch_cpp.errors import InvalidArgument

__all__ = ["affordable_parts", "is_enforced", "lark_of_schema", "mapped"]

FORMATS = {
    "date-time", "time", "date", "duration", "email", "hostname", "ipv4", "ipv6", "uuid", "uri",
}  # fmt: skip
"""The formats that llguidance enforces. Others say nothing about the value."""

_ESCAPES = 'nrbtf\\"'  # \u could write half of a surrogate pair
_CONTROL = re.compile(r"(?<!\\)(?:\\\\)*\\u00")  # a character that only \u can write
_LARGEST = 1e13
_SHARE = 1e-14  # of a bound; llguidance reads about 15 digits
_OPEN_BY = (
    "additionalProperties", "patternProperties", "unevaluatedProperties", "propertyNames",
)  # fmt: skip
_COMPOSED_BY = ("allOf", "anyOf", "oneOf", "$ref", "$dynamicRef", "not", "if")
_LARGEST_INTEGER = 2**63 - 1024
"""llguidance reads bounds as doubles, and has no larger bounds of integers."""
_LONG = 50_000  # characters
_DATA = ("const", "enum", "default", "examples")


def lark_of_schema(schema: Any, name: str, *, strict: bool = False) -> str:
    """The body of a Lark rule whose texts are JSON that the schema accepts.

    An object with ``properties`` has no other properties, unless the schema says more about them.
    There is at most one space between the parts of the JSON text. An integer without a bound has at
    most 19 digits.

    Args:
        schema: a schema of draft 7 to 2020-12, with references inside itself only.
        name: name of the schema in messages.
        strict: whether to refuse what llguidance cannot enforce. If False, these keywords are
            ignored and a warning is logged.

    Raises:
        InvalidArgument: the value is not a schema, or llguidance refuses it.
    """
    made, ignored, _ = _source(_text(schema, name))
    if made is None or (strict and ignored is not None):
        raise InvalidArgument(f"{name} cannot be enforced: {ignored}")
    if ignored is not None:
        logs.LOGGER.warning("%s is not enforced as a whole: %s", name, ignored)
    return made


def is_enforced(schema: Any) -> bool:
    """Whether llguidance enforces the whole schema."""
    try:
        made, ignored, _ = _source(_text(schema, "schema"))
    except InvalidArgument:
        return False
    return made is not None and ignored is None


def affordable_parts(schema: Any, name: str) -> int:
    """The number of parts of a schema, as `schema_cost` counts them.

    Raises:
        InvalidArgument: it is no schema, or llguidance would compute too long or die of it.
    """
    found = _source(_text(schema, name))
    if found.n_parts is None:
        raise InvalidArgument(f"{name} would cost too much: {found.ignored}")
    return found.n_parts


class _Source(NamedTuple):
    """The body of a rule for a schema. ``None``: there is none.

    Attributes:
        ignored: what the rule does not enforce, or why there is none.
        n_parts: the cost of the schema. ``None``: it is too high.
    """

    body: str | None
    ignored: str | None
    n_parts: int | None = 0


def _text(schema: Any, name: str) -> str:
    """A schema as JSON text.

    Raises:
        InvalidArgument: it is no schema that allows a value.
    """
    if schema is True:
        schema = {}
    if not isinstance(schema, Mapping):
        raise InvalidArgument(f"{name} is {schema!r}; it must be a JSON schema that allows a value")
    try:
        text = json.dumps(schema, ensure_ascii=False, allow_nan=False)
        text.encode()
    except RecursionError:
        raise InvalidArgument(f"{name} is nested too deeply") from None
    except (TypeError, ValueError) as error:
        raise InvalidArgument(f"{name} is not JSON: {error}") from None
    return text


def _source(text: str) -> _Source:
    """The rule of a schema. Cached: agents repeat their schemas."""
    return (_of_long if len(text) > _LONG else _of_short)(text)


def _made(text: str) -> _Source:
    try:
        prepared = _prepared(json.loads(text))
        expensive = too_expensive(prepared)
    except RecursionError:
        return _Source(None, "it is nested too deeply")
    if expensive is not None:
        return _Source(None, expensive, None)
    count = n_parts(prepared)
    escapes = _ESCAPES + ("u" if _CONTROL.search(text) else "")
    reason: str | None = None
    if has_too_many_remainders(prepared):
        prepared = mapped(prepared, _without_steps)
        reason = f"multipleOf has more than {MOST_REMAINDERS:,} remainders"
    for lenient in (False, True):
        options = {
            "whitespace_pattern": " ",  # more would let a model write spaces without end
            "json_allowed_escapes": escapes,
            "lenient": lenient,
        }
        body = f"%json {json.dumps({**prepared, 'x-guidance': options}, ensure_ascii=False)}"
        refusal = library.refusal(f"start: {body}")
        if refusal is None:
            return _Source(body, reason, count)
        reason = reason or refusal
    return _Source(None, reason, count)


_of_short = lru_cache(maxsize=256)(_made)
_of_long = lru_cache(maxsize=4)(_made)  # so that the cache stays small


def _prepared(schema: Mapping[str, Any]) -> dict[str, Any]:
    """A schema without formats that say nothing, with Rust's patterns, and with closed objects."""
    nodes: list[Mapping[str, Any]] = []
    work = Work()

    def collected(node: Mapping[str, Any]) -> dict[str, Any]:
        nodes.append(node)
        found = dict(node)
        if isinstance(node.get("format"), str) and node["format"] not in FORMATS:
            del found["format"]
        if isinstance(node.get("pattern"), str):
            patterns = plain_patterns(node["pattern"], work)
            *others, found["pattern"] = map(plain_classes, patterns)
            if others:
                composed = node.get("allOf")
                found["allOf"] = [*composed] if isinstance(composed, list) else []
                found["allOf"] += [{"pattern": other} for other in others]
        if isinstance(named := node.get("patternProperties"), Mapping):
            found["patternProperties"] = {plain_classes(key): named[key] for key in named}
        return found | _exact_bounds(node) | _integer_bounds(node)

    plain = mapped(schema, collected)
    if any(_is_composed(node) for node in nodes):
        return dict(plain)  # a closed part could forbid what another part requires

    def closed(node: Mapping[str, Any]) -> dict[str, Any]:
        if "properties" in node and not any(key in node for key in _OPEN_BY):
            return {**node, "additionalProperties": False}
        return dict(node)

    return dict(mapped(plain, closed))


def _exact_bounds(node: Mapping[str, Any]) -> dict[str, float]:
    """Other values of exclusive bounds that llguidance would include.

    These are whole numbers, with the other bound less than 1 away. A number beside the bound takes
    its place.
    """
    found = {}
    for exclusive, others, away in (
        ("exclusiveMinimum", ("maximum", "exclusiveMaximum"), 1),
        ("exclusiveMaximum", ("minimum", "exclusiveMinimum"), -1),
    ):
        bound: Any = node.get(exclusive)
        far = [node[key] for key in others if _is_number(node.get(key))]
        if not _is_number(bound) or abs(bound) > _LARGEST or bound != round(bound):
            continue
        low, high = sorted((bound, bound + away))
        if any(low < other < high for other in far):
            found[exclusive] = bound + away * _SHARE * max(1, abs(bound))
    return found


def _integer_bounds(node: Mapping[str, Any]) -> dict[str, int]:
    """The bounds that an integer lacks. Without them a model may write digits without end."""
    kinds = node.get("type")
    kinds = kinds if isinstance(kinds, list) else [kinds]
    if "integer" not in kinds or "number" in kinds or "multipleOf" in node:
        return {}
    found: dict[str, int] = {}
    for bounds, missing in (
        (("minimum", "exclusiveMinimum"), -_LARGEST_INTEGER),
        (("maximum", "exclusiveMaximum"), _LARGEST_INTEGER),
    ):
        given = [node[key] for key in bounds if key in node]
        if any(not _is_number(one) or abs(one) >= _LARGEST_INTEGER for one in given):
            return {}
        if not given:
            found[bounds[0]] = missing
    return found


def _without_steps(node: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in node.items() if key != "multipleOf"}


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_composed(node: Mapping[str, Any]) -> bool:
    """Whether several schemas rule the same object."""
    parts = node.get("allOf")
    if isinstance(parts, list) and len(parts) > 1:
        return True
    has_own = any(key in node for key in ("properties", "required", "additionalProperties"))
    return has_own and any(key in node for key in _COMPOSED_BY)


def mapped(node: Any, change: Callable[[Mapping[str, Any]], dict[str, Any]]) -> Any:
    """A schema with all schemas in it changed. Values that are no schemas stay as they are."""
    if not isinstance(node, Mapping):
        return node
    made: dict[str, Any] = {}
    for key, value in change(node).items():
        if key in _DATA:
            made[key] = value
        elif key in MAPS and isinstance(value, Mapping):
            made[key] = {name: mapped(one, change) for name, one in value.items()}
        elif isinstance(value, list):
            made[key] = [mapped(one, change) for one in value]
        else:
            made[key] = mapped(value, change)
    return made
