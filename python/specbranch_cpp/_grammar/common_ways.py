"""Patterns that rule the same text: llguidance combines their ways in one call without a limit.

``allOf``, references and alternatives spread the patterns over a schema. So this module collects
for each place of a value what rules it: factors, all of which hold. A factor is several schemas, of
which any may hold.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from specbranch_cpp._grammar.automaton import Work
from specbranch_cpp._grammar.pattern_ways import few_ways, most_ways
from specbranch_cpp._grammar.schema_keywords import target_of
from specbranch_cpp.errors import InvalidArgument

__all__ = ["MOST_WAYS", "has_too_many_ways", "resolved"]

MOST_WAYS = 10_000
"""The largest product of the ways of the patterns that rule one text."""

_MOST_STEPS = 100_000
_ITEMS, _OTHERS = "\0items", "\0others"  # places without a name
_ALL = ("allOf",)
_ANY = ("anyOf", "oneOf")
_TOO = ("if", "then", "else", "not")

_Schemas = tuple[Any, ...]
_Places = dict[str, dict[tuple[int, ...], _Schemas]]


class _Found:
    """What schemas say about a value: its patterns, and the factors of the places in it."""

    def __init__(self) -> None:
        self.patterns: set[str] = set()
        self.places: _Places = {}

    def add(self, place: str, schemas: _Schemas) -> None:
        if schemas:
            self.places.setdefault(place, {})[tuple(map(id, schemas))] = schemas

    def merge(self, other: _Found) -> None:
        """Both hold."""
        self.patterns |= other.patterns
        for place, factors in other.places.items():
            self.places.setdefault(place, {}).update(factors)


def has_too_many_ways(schema: Any) -> bool:
    """Whether the patterns of one text have more than `MOST_WAYS` together."""
    if _product(_all_patterns(schema)) <= MOST_WAYS:
        return False
    try:
        return _Search(schema).finds_too_many()
    except (_TooManyError, RecursionError):
        return True


def resolved(root: Any, reference: str) -> Any:
    """The schema to which a reference leads. ``None``: only llguidance can tell."""
    try:
        return target_of(root, reference, "schema")
    except InvalidArgument:
        return None


class _TooManyError(Exception):
    pass


class _Search:
    def __init__(self, root: Any) -> None:
        self._root = root
        self._known: dict[int, _Found] = {}
        self._n_steps = 0
        self._work = Work()

    def finds_too_many(self) -> bool:
        seen: set[frozenset[tuple[int, ...]]] = set()
        left: list[list[_Schemas]] = [[(self._root,)]]
        while left:
            factors = left.pop()
            self._step(len(factors))
            key = frozenset(tuple(map(id, one)) for one in factors)
            if key in seen:
                continue
            seen.add(key)
            found = _Found()
            for factor in factors:
                found.merge(self._any(factor))
            if _are_too_many(found.patterns, self._work):
                return True
            others = found.places.get(_OTHERS, {})
            left += [[*{**one, **others}.values()] for one in found.places.values()]
        return False

    def _step(self, count: int = 1) -> None:
        self._n_steps += count
        if self._n_steps > _MOST_STEPS:
            raise _TooManyError

    def _any(self, schemas: _Schemas) -> _Found:
        """What holds if any of these schemas does: at most the patterns of the one with the most
        ways, and for each place as many factors as one of them has.
        """
        each = [self._of(one) for one in schemas]
        if len(each) == 1:
            return each[0]
        found = _Found()
        found.patterns = max((one.patterns for one in each), key=_product, default=set())
        for place in {place for one in each for place in one.places}:
            lists = [[*one.places.get(place, {}).values()] for one in each]
            for index in range(max(map(len, lists))):
                self._step(len(lists))
                together = {id(x): x for one in lists if index < len(one) for x in one[index]}
                found.add(place, tuple(together.values()))
        return found

    def _of(self, schema: Any) -> _Found:
        """What a schema says. Of one that refers to itself: what is known so far."""
        if id(schema) in self._known:
            return self._known[id(schema)]
        self._step()
        found = self._known[id(schema)] = _Found()
        if not isinstance(schema, Mapping):
            return found
        if isinstance(pattern := schema.get("pattern"), str):
            found.patterns.add(pattern)
        for key in _ALL:
            for part in _list(schema.get(key)):
                found.merge(self._of(part))
        for key in _TOO:
            found.merge(self._of(schema.get(key)))
        for part in _mapping(schema.get("dependentSchemas")).values():
            found.merge(self._of(part))
        for key in _ANY:
            found.merge(self._any(tuple(_list(schema.get(key)))))
        if isinstance(reference := schema.get("$ref"), str):
            target = resolved(self._root, reference)
            if target is None:
                raise _TooManyError  # it may lead to all patterns
            found.merge(self._of(target))
        for name, one in _mapping(schema.get("properties")).items():
            found.add(name, (one,))
        others = [schema.get(key) for key in ("additionalProperties", "unevaluatedProperties")]
        named = _mapping(schema.get("patternProperties")).values()
        found.add(_OTHERS, tuple(one for one in (*others, *named) if isinstance(one, Mapping)))
        items = [*_list(schema.get("prefixItems")), *_list(schema.get("items"))]
        items += [schema.get(key) for key in ("items", "additionalItems")]
        found.add(_ITEMS, tuple(one for one in items if isinstance(one, Mapping)))
        self._step(len(found.places))  # which each schema that leads here copies
        return found


def _all_patterns(schema: Any) -> set[str]:
    """All patterns of a schema, and texts that only look like one."""
    found = set()
    left = [schema]
    while left:
        node = left.pop()
        if isinstance(node, Mapping):
            if isinstance(node.get("pattern"), str):
                found.add(node["pattern"])
            left += node.values()
        elif isinstance(node, list | tuple):
            left += node
    return found


def _product(patterns: set[str]) -> int:
    product = 1
    for pattern in patterns:
        product = min(product * max(most_ways(pattern), 2), MOST_WAYS + 1)
    return product


def _are_too_many(patterns: set[str], work: Work) -> bool:
    if len(patterns) < 2 or _product(patterns) <= MOST_WAYS:
        return False
    product = 1
    for pattern in patterns:
        product *= max(few_ways(pattern, work), 2)
        if product > MOST_WAYS:
            return True
    return False


def _list(value: Any) -> list[Any]:
    return [*value] if isinstance(value, list | tuple) else []


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
