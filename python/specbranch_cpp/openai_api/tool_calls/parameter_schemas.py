"""The schemas of a function's parameters, also behind references and ``allOf``."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

from specbranch_cpp._grammar.lark_schema import mapped
from specbranch_cpp._grammar.schema_keywords import BY_KIND, required_of, target_of
from specbranch_cpp.errors import InvalidArgument

__all__ = ["SchemaReader", "kind_of", "listed_parameters", "with_definitions"]

_KINDS: tuple[tuple[type | tuple[type, ...], str], ...] = (
    (bool, "boolean"),
    (int, "integer"),
    (float, "number"),
    (str, "string"),
    ((list, tuple), "array"),
    (Mapping, "object"),
    (type(None), "null"),
)
_NUMBERS = {"integer", "number"}
_MOST_PARTS, _DEEPEST = 1000, 20  # of schemas that are read, since references may have no end
_WAYS = ("anyOf", "oneOf")
_DEFINITIONS = ("$defs", "definitions")
_WHOLE = "whole"


def kind_of(value: Any) -> str:
    """The type of a value; empty: JSON has none."""
    return next((name for kind, name in _KINDS if isinstance(value, kind)), "")


class SchemaReader:
    """Finds out what a schema says, without a check of the schema.

    Args:
        root: the whole schema, in which references are.

    Attributes:
        is_cut: whether parts were left out, because the schema is too large or refers to itself.
    """

    def __init__(self, root: Any) -> None:
        self._root = root
        self._n_read = 0
        self.is_cut = False

    def parameter(self, name: str) -> Any:
        """The schema of a property. ``None``: there is none."""
        return self._parameter(name, self._root, 0)

    def kinds(self, schema: Any, depth: int = 0) -> set[str]:
        """The types that a schema allows; empty: any type, or not known."""
        if not self._may_read(schema, depth):
            return set()
        found = [self.kinds(part, depth + 1) for part in self._parts(schema)]
        kind = schema.get("type")
        if isinstance(kind, (str, list, tuple)):
            listed = [kind] if isinstance(kind, str) else kind
            found.append({one for one in listed if isinstance(one, str)})
        values = _values(schema)
        if values is not None:
            found.append({kind_of(one) for one in values})
        for ways in _ways(schema):
            kinds = [self.kinds(way, depth + 1) for way in ways]
            found.append(set().union(*kinds) if all(kinds) else set())
        found = [kinds for kinds in found if kinds]
        return _common(found) if found else _meant_by_keywords(schema)

    def texts(self, schema: Any, depth: int = 0) -> list[str] | None:
        """The only texts that a schema allows. ``None``: it allows others, or it is not known."""
        if not self._may_read(schema, depth):
            return None
        values = _values(schema)
        if values is not None:
            return [one for one in values if isinstance(one, str)]
        for ways in _ways(schema):
            texts = [self.texts(way, depth + 1) for way in ways]
            if all(one is not None for one in texts):
                return [text for one in texts for text in one or ()]
        parts = (self.texts(part, depth + 1) for part in self._parts(schema))
        return next((one for one in parts if one is not None), None)

    def objects(self) -> list[Mapping[str, Any]]:
        """The schemas that an object must follow: the whole, its references and ``allOf``."""
        return self._objects(self._root, 0)

    def _parameter(self, name: str, schema: Any, depth: int) -> Any:
        if not self._may_read(schema, depth):
            return None
        properties = schema.get("properties")
        found = [properties.get(name)] if isinstance(properties, Mapping) else []
        found += [self._parameter(name, part, depth + 1) for part in self._parts(schema)]
        for ways in _ways(schema):
            known = [self._parameter(name, way, depth + 1) for way in ways]
            known = [one for one in known if one is not None]
            found += [{"anyOf": known}] if known else []
        found = [one for one in found if one is not None]
        if not found:
            return None
        return found[0] if len(found) == 1 else {"allOf": found}

    def _objects(self, schema: Any, depth: int) -> list[Mapping[str, Any]]:
        if not self._may_read(schema, depth):
            return []
        parts = [self._objects(part, depth + 1) for part in self._parts(schema)]
        return [schema, *(one for part in parts for one in part)]

    def _may_read(self, schema: Any, depth: int) -> bool:
        self._n_read += 1
        is_cut = self._n_read > _MOST_PARTS or depth > _DEEPEST
        self.is_cut |= is_cut
        return not is_cut and isinstance(schema, Mapping)

    def _parts(self, schema: Mapping[str, Any]) -> list[Any]:
        parts = list(schema["allOf"]) if isinstance(schema.get("allOf"), (list, tuple)) else []
        if "$ref" in schema:
            with contextlib.suppress(InvalidArgument):
                parts.append(target_of(self._root, schema["$ref"], ""))
        return parts


def listed_parameters(schema: Any, where: str) -> dict[str, tuple[Any, bool]] | None:
    """The schema of each parameter, and whether it is required. ``None``: they are not listed.

    Raises:
        InvalidArgument: the names of required parameters are no list of names.
    """
    reader = SchemaReader(schema)
    objects = reader.objects()
    if reader.is_cut or not objects or any(key in one for one in objects for key in _WAYS):
        return None
    properties: dict[str, Any] = {}
    required: list[str] = []
    is_listed = False
    for one in objects:
        required += required_of(one, where)
        own = one.get("properties")
        is_listed |= isinstance(own, Mapping) or one.get("additionalProperties") is False
        for name, each in own.items() if isinstance(own, Mapping) else ():
            if name in properties and properties[name] != each:
                properties[name] = {"allOf": [properties[name], each]}
            else:
                properties[name] = each
    if not is_listed:
        return None
    needed = set(required)
    return {
        name: (with_definitions(one, schema), name in needed) for name, one in properties.items()
    }


def with_definitions(schema: Any, root: Mapping[str, Any]) -> Any:
    """A part of a schema with the definitions of the whole, so that references stay valid."""
    if not isinstance(schema, Mapping) or not any(_references(schema)):
        return schema
    definitions = {key: root[key] for key in _DEFINITIONS if isinstance(root.get(key), Mapping)}
    defined = tuple(f"#/{key}/" for key in _DEFINITIONS)
    if not all(one.startswith(defined) for one in _references([schema, definitions])):
        return {**_moved(schema), "$defs": {_WHOLE: _moved(root)}}
    own = {key: schema[key] for key in definitions if isinstance(schema.get(key), Mapping)}
    merged = {key: {**known, **own.get(key, {})} for key, known in definitions.items()}
    return {**schema, **merged}


def _references(value: Any) -> Iterator[str]:
    open_values = [value]
    while open_values:
        one = open_values.pop()
        if isinstance(one, Mapping):
            if isinstance(one.get("$ref"), str):
                yield one["$ref"]
            open_values += one.values()
        elif isinstance(one, (list, tuple)):
            open_values += one


def _moved(schema: Mapping[str, Any]) -> Any:
    """The schema with references to where `with_definitions` puts the whole."""

    def moved(node: Mapping[str, Any]) -> dict[str, Any]:
        reference = node.get("$ref")
        if not isinstance(reference, str) or not reference.startswith("#"):
            return dict(node)
        return {**node, "$ref": f"#/$defs/{_WHOLE}{reference[1:]}"}

    try:
        return mapped(schema, moved)
    except RecursionError:
        raise InvalidArgument("the schema is nested too deeply") from None


def _meant_by_keywords(schema: Mapping[str, Any]) -> set[str]:
    """The types of values that the keywords of a schema without a type are about."""
    return {
        kind
        for kind, keys in BY_KIND.items()
        if any(key in schema for key in keys if key != "format")
    }


def _values(node: Mapping[str, Any]) -> list[Any] | None:
    """The only values that a schema allows, said by ``const`` or ``enum``."""
    if "const" in node:
        return [node["const"]]
    values = node.get("enum")
    return list(values) if isinstance(values, (list, tuple)) else None


def _ways(node: Mapping[str, Any]) -> Iterator[list[Any]]:
    for key in _WAYS:
        ways = node.get(key)
        if isinstance(ways, (list, tuple)) and ways:
            yield list(ways)


def _common(found: list[set[str]]) -> set[str]:
    """The types that all of several schemas allow. Where they have none in common, the first."""
    common = found[0]
    for kinds in found[1:]:
        both = common & kinds
        if common & _NUMBERS and kinds & _NUMBERS:
            both |= {"integer"}
        common = both or common
    return common
