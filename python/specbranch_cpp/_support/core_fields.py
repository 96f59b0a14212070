"""Turns objects of the core into Python's results with the same fields."""

from __future__ import annotations

from dataclasses import fields
from typing import Any, TypeVar

_Result = TypeVar("_Result")


def copied(cls: type[_Result], core: object, **values: Any) -> _Result:
    """A dataclass with the core's fields of the same names. `values` replace some of the fields."""
    names = (field.name for field in fields(cls))  # type: ignore[arg-type]
    return cls(**{name: getattr(core, name) for name in names if name not in values}, **values)
