"""The public test suite of JSON schemas, and how texts of an instance are written."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

MOST_ORDERS = 24


@dataclass(frozen=True)
class Case:
    """A schema, and instances of which it is known whether the schema accepts them."""

    name: str
    schema: Any
    instances: tuple[tuple[Any, bool], ...]


def read_suite(folder: Path) -> list[Case]:
    """The cases of a draft: a folder such as ``tests/draft2020-12``, without ``optional``."""
    cases = []
    for path in sorted(folder.glob("*.json")):
        for group in json.loads(path.read_text()):
            instances = tuple((one["data"], one["valid"]) for one in group["tests"])
            cases.append(Case(f"{path.stem}: {group['description']}", group["schema"], instances))
    if not cases:
        raise SystemExit(f"{folder} has no *.json")
    return cases


def texts_of(instance: Any) -> Iterator[str]:
    """Ways to write an instance: orders of the members of the outer object, with and without space.

    A grammar may fix the order of members and the white space. Only the value must be expressible.
    """
    for ordered in _orders(instance):
        yield json.dumps(ordered, ensure_ascii=False)
        yield json.dumps(ordered, ensure_ascii=False, separators=(",", ":"))


def _orders(instance: Any) -> Iterator[Any]:
    if not isinstance(instance, dict) or len(instance) < 2:
        yield instance
        return
    orders = itertools.permutations(instance.items())
    yield from (dict(order) for order in itertools.islice(orders, MOST_ORDERS))
