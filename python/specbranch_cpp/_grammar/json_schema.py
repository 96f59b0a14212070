"""Prepares JSON schemas for the converter: rewrites or refuses parts that would go wrong."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from specbranch_cpp._grammar.alternatives import Comparisons, exclude_each_other
from specbranch_cpp._grammar.gbnf import converted
from specbranch_cpp._grammar.number_schemas import number_schema
from specbranch_cpp._grammar.regex import MOST_REPEATS, gbnf_of_pattern
from specbranch_cpp._grammar.schema_keywords import (
    BOUNDS,
    BY_KIND,
    CONSTRAINTS,
    FORMATS,
    KINDS,
    OTHER_FORMATS,
    REFUSED,
    RULING,
    different_values,
    given,
    is_bound,
    mapping_of,
    required_of,
    span_of,
    target_of,
    values_of,
)
from specbranch_cpp._support import checked, logs
from specbranch_cpp.errors import InvalidArgument

__all__ = ["grammar_of", "grammar_of_union"]

Schema = dict[str, Any]

ANYTHING: Schema = {"type": "value"}
"""The converter's name for any JSON value."""

MOST_PARTS = 10_000
"""The largest number of schemas in a schema, counted after all copies are written out."""

MOST_WRITTEN = 20_000
"""The largest number of ways that are written out for ``uniqueItems`` and ``multipleOf``."""


def grammar_of(schema: Any, name: str, *, strict: bool = False) -> str:
    """A grammar whose texts are JSON that the schema accepts.

    The grammar can exclude valid JSON: objects with ``properties`` have no other properties,
    numbers between bounds have no exponent, and different items of a list of values have the order
    of these values. The grammar does not enforce ``oneOf`` if its alternatives may have values in
    common, bounds with more than 15 digits, ``multipleOf`` of fractions, ``uniqueItems`` of other
    items, names and numbers of properties, lengths together with a pattern or a format, formats
    together with a pattern, formats that only llguidance enforces, and patterns with look-around or
    back references.

    Args:
        schema: a schema of draft 7 to 2020-12, with references inside itself only.
        name: name of the schema in messages.
        strict: whether to refuse keywords that are not enforced. If False, a warning is logged.

    Raises:
        InvalidArgument: the value is not a schema, or a grammar cannot express it.
    """
    return grammar_of_union([{}], [(schema, name, strict)], "")


def grammar_of_union(
    frames: Sequence[Mapping[str, Any]],
    schemas: Sequence[tuple[Any, str, bool]],
    key: str,
) -> str:
    """A grammar for one of several objects.

    Each object has constant properties and a value that follows a schema.

    Args:
        frames: the constant properties of each object.
        schemas: for each object the schema, its name in messages, and whether it is strict.
        key: the name of the property with the value; empty: the value alone.
    """
    name = schemas[0][1]
    try:
        text = json.dumps([one for one, _, _ in schemas], ensure_ascii=False, allow_nan=False)
        text.encode()
        runs = re.findall("refx*", text)
        prefix = f"{max(runs, key=len)}x" if runs else "ref"  # no property produces it
        ways, definitions = [], {}
        for index, (frame, (schema, name, strict)) in enumerate(zip(frames, schemas, strict=True)):
            one = _Preparation(schema, name, strict, f"{prefix}-{index}")
            ways.append(_framed(frame, key, one.schema(schema, name)))
            definitions.update(one.definitions)
        return converted(ways[0] if len(ways) == 1 else {"anyOf": ways}, definitions)
    except InvalidArgument:
        raise
    except RecursionError:
        raise InvalidArgument(
            f"{name} is nested too deeply, or it refers to itself without an end"
        ) from None
    except (TypeError, ValueError) as error:
        raise InvalidArgument(f"{name} is not JSON: {error}") from None


def _framed(frame: Mapping[str, Any], key: str, inner: Schema) -> Schema:
    if not key:
        return inner
    properties: Schema = {name: {"enum": [value]} for name, value in frame.items()}
    return {
        "type": "object",
        "properties": {**properties, key: inner},
        "required": [*properties, key],
    }


class _Preparation:
    """One schema during its preparation. `definitions` are the schemas that its references name."""

    def __init__(self, root: Any, name: str, strict: bool, prefix: str) -> None:
        self._root = root
        self._name = name
        self._strict = strict
        self._names: dict[str, str] = {}
        self.definitions: dict[str, Schema] = {}
        self._prefix = prefix
        self._n_parts = 0
        self._n_written = 0
        self._comparisons = Comparisons()

    def schema(self, node: Any, where: str) -> Schema:
        self._n_parts += 1
        # allOf and lists of types copy schemas, so the size can grow exponentially.
        if self._n_parts > MOST_PARTS:
            raise InvalidArgument(
                f"{self._name} has more than {MOST_PARTS} parts after writing out allOf and "
                "lists of types; use fewer"
            )
        if node is True:
            return ANYTHING
        if not isinstance(node, Mapping):
            raise InvalidArgument(
                f"{where} is {node!r}; it must be a JSON schema that allows a value"
            )
        self._check_refused(node, where)
        ruling = [key for key in RULING[:-1] if key in node]
        if not ruling:
            return self._typed(node, where)
        self._check_bounds(node, (), where)
        key = ruling[0]
        if key == "allOf":
            return self._all(node, where)
        beside = [one for one in CONSTRAINTS if one in node and one not in (key, "type")]
        if beside:
            raise InvalidArgument(f"{where} has {beside[0]!r} and {key!r}; give only one of them")
        if key == "$ref":
            return {"$ref": f"#/$defs/{self._reference(node[key], where)}"}
        if key in {"anyOf", "oneOf"}:
            return self._any(node, key, where)
        return values_of(node, key, where)

    @staticmethod
    def _check_refused(node: Mapping[str, Any], where: str) -> None:
        for key in REFUSED:
            if key in node:
                raise InvalidArgument(
                    f"{where} has the keyword {key!r}, which a grammar cannot express"
                )

    def _check_bounds(self, node: Mapping[str, Any], enforced: Sequence[str], where: str) -> None:
        for key in BOUNDS:
            if key not in enforced and is_bound(key, node.get(key)):
                self._loose(where, key)

    def _loose(self, where: str, key: str) -> None:
        if self._strict:
            raise InvalidArgument(
                f"{where} has the keyword {key!r}, which a grammar cannot enforce"
            )
        logs.LOGGER.warning("%s has the keyword %r, which the grammar does not enforce", where, key)

    def _typed(self, node: Mapping[str, Any], where: str) -> Schema:
        kind = node.get("type")
        if isinstance(kind, (list, tuple)):
            if not kind:
                raise InvalidArgument(f"{where}['type'] is empty; it must have at least one type")
            kinds = checked.texts(f"{where}['type']", kind)
            return {"anyOf": [self._typed({**node, "type": one}, where) for one in kinds]}
        if kind is None:
            kind = next((k for k, keys in BY_KIND.items() if any(x in node for x in keys)), None)
            if kind is None:
                self._check_bounds(node, (), where)
                return ANYTHING
        if not isinstance(kind, str) or kind not in KINDS:
            raise InvalidArgument(
                f"{where}['type'] is {kind!r}; it must be one of {', '.join(KINDS)}"
            )
        enforced: Sequence[str] = ()
        if kind in {"integer", "number"}:
            made, enforced = number_schema(node, kind, where)
            if "multipleOf" in made and not self._can_write(10 * made["multipleOf"]):
                made, enforced = {"type": kind}, ()
        elif kind == "object":
            made = self._object(node, where)
        elif kind == "array":
            made = self._array(node, where)
            enforced = ("uniqueItems",) if "different" in made else ()
        else:
            made = self._string(node, where) if kind == "string" else {"type": kind}
        self._check_bounds(node, enforced, where)
        return made

    def _object(self, node: Mapping[str, Any], where: str) -> Schema:
        properties = mapping_of(node, "properties", where)
        required = required_of(node, where)
        other = node.get("additionalProperties", True)
        if "" in properties or "*" in properties:
            raise InvalidArgument(
                f"{where} has a property with the name '' or '*', which is not supported"
            )
        lacking = [name for name in required if name not in properties]
        if lacking and other is False:
            raise InvalidArgument(f"{where} requires {lacking[0]!r}, but does not allow it")
        properties = {**properties, **dict.fromkeys(lacking, other)}
        if not properties:
            if other is False or ("properties" in node and "additionalProperties" not in node):
                return {"type": "object", "properties": {}}
            if other is True or other == {}:
                return {"type": "object"}
            return {
                "type": "object",
                "additionalProperties": self.schema(other, f"{where}['additionalProperties']"),
            }
        return {
            "type": "object",
            "properties": {
                name: self.schema(one, f"{where}['properties'][{name!r}]")
                for name, one in properties.items()
            },
            "required": required,
        }

    def _array(self, node: Mapping[str, Any], where: str) -> Schema:
        least, most = self._span(node, "minItems", "maxItems", where)
        items, places = node.get("items", True), node.get("prefixItems") or []
        if isinstance(items, (list, tuple)):
            items, places = True, items
        if not isinstance(places, (list, tuple)):
            raise InvalidArgument(
                f"{where}['prefixItems'] is {places!r}; it must be a list of schemas"
            )
        if places:
            if (least or 0) > len(places) or (most is not None and most < len(places)):
                raise InvalidArgument(
                    f"{where} requires another number of items than its {len(places)} prefixItems"
                )
            return {
                "type": "array",
                "prefixItems": [
                    self.schema(one, f"{where}['prefixItems'][{i}]") for i, one in enumerate(places)
                ],
            }
        if items is False:
            if least:
                raise InvalidArgument(f"{where} requires {least} items, but allows none")
            return {"type": "array", "items": ANYTHING, "maxItems": 0}
        one = self.schema(items, f"{where}['items']")
        values = different_values(one, least, most) if node.get("uniqueItems") is True else None
        if values and self._can_write(len(values) ** 2 // 2):
            return {"type": "array", "different": values, "minItems": least or 0}
        return {"type": "array", "items": one, **given(minItems=least, maxItems=most)}

    def _can_write(self, count: int) -> bool:
        """Whether that many ways may be written out, too. If so, they count."""
        if self._n_written + count > MOST_WRITTEN:
            return False
        self._n_written += count
        return True

    def _string(self, node: Mapping[str, Any], where: str) -> Schema:
        least, most = self._span(node, "minLength", "maxLength", where)
        lengths = given(minLength=least, maxLength=most)
        form = node.get("format")
        made: Schema = lengths
        if (pattern := node.get("pattern")) is not None and self._is_expressible(pattern, where):
            made = {"pattern": pattern}
        elif form in FORMATS:
            made = {"format": form}
        if form in (*FORMATS, *OTHER_FORMATS) and "format" not in made:
            self._loose(where, "format")
        if lengths and made is not lengths:
            self._loose(where, next(iter(lengths)))
        return {"type": "string", **made}

    def _is_expressible(self, pattern: Any, where: str) -> bool:
        """Whether a grammar can express a pattern. If not, any string is allowed."""
        try:
            gbnf_of_pattern(checked.text(f"{where}['pattern']", pattern))
        except InvalidArgument as error:
            told = f"{where} has a pattern without a grammar: {error}"
            if self._strict or not isinstance(pattern, str):
                raise InvalidArgument(told) from None
            logs.LOGGER.warning("%s; any string is allowed", told)
            return False
        return True

    def _span(
        self, node: Mapping[str, Any], low: str, high: str, where: str
    ) -> tuple[int | None, int | None]:
        least, most = span_of(node, low, high, where)
        if most is not None and most > MOST_REPEATS:
            self._loose(where, high)
            most = None
        return least, most

    def _any(self, node: Mapping[str, Any], key: str, where: str) -> Schema:
        ways = node[key]
        if not isinstance(ways, (list, tuple)) or not ways:
            raise InvalidArgument(f"{where}[{key!r}] is {ways!r}; it must be a list of schemas")
        if key == "oneOf" and not exclude_each_other(self._root, ways, self._comparisons):
            self._loose(where, key)
        kind = {"type": node["type"]} if "type" in node else {}
        return {
            "anyOf": [
                self.schema(
                    {**kind, **way} if isinstance(way, Mapping) and "$ref" not in way else way,
                    f"{where}[{key!r}][{index}]",
                )
                for index, way in enumerate(ways)
            ]
        }

    def _all(self, node: Mapping[str, Any], where: str) -> Schema:
        """The parts as one object. A single part is returned without changes."""
        parts = node["allOf"]
        if not isinstance(parts, (list, tuple)) or not parts:
            raise InvalidArgument(f"{where}['allOf'] is {parts!r}; it must be a list of schemas")
        own = {key: value for key, value in node.items() if key in CONSTRAINTS and key != "allOf"}
        if len(parts) == 1 and not own:
            return self.schema(parts[0], f"{where}['allOf'][0]")
        properties: Schema = {}
        required: list[str] = []
        written = [(part, f"{where}['allOf'][{index}]") for index, part in enumerate(parts)]
        merged = [(one, place) for part, place in written for one in self._resolved(part, place)]
        for part, place in [*merged, (own, where)]:
            if not isinstance(part, Mapping):
                raise InvalidArgument(f"{place} is {part!r}; it must be a schema")
            if part is not own:
                self._check_refused(part, place)
                self._check_bounds(part, (), place)
            known = ("properties", "required", "type")
            odd = [key for key in part if key in CONSTRAINTS and key not in known]
            if odd or part.get("type", "object") != "object":
                raise InvalidArgument(
                    f"{place} has {odd[0] if odd else 'type'!r}; it must be an "
                    "object with properties and required only"
                )
            for name, one in mapping_of(part, "properties", place).items():
                if properties.setdefault(name, one) != one:
                    raise InvalidArgument(f"{place} has another property {name!r}")
            required += required_of(part, place)
        return self._object({"properties": properties, "required": required}, where)

    def _resolved(self, part: Any, place: str) -> Iterator[Any]:
        """What a part says itself beside a reference, and the target, which may refer further."""
        seen: set[str] = set()
        while isinstance(part, Mapping) and "$ref" in part and str(part["$ref"]) not in seen:
            yield {key: value for key, value in part.items() if key != "$ref"}
            seen.add(str(part["$ref"]))
            part = target_of(self._root, part["$ref"], place)
        yield part

    def _reference(self, reference: Any, where: str) -> str:
        target = target_of(self._root, reference, where)
        if reference not in self._names:
            name = self._names[reference] = f"{self._prefix}-{len(self._names)}"
            self.definitions[name] = self.schema(target, f"{self._name}, {reference}")
        return self._names[reference]
