"""Objects with arrays can be compared: NumPy's comparison of arrays has no single truth value."""

from __future__ import annotations

import contextlib
import dataclasses
import importlib
import pkgutil
from typing import TYPE_CHECKING

import numpy as np

import specbranch_cpp
from specbranch_cpp import policies
from specbranch_cpp.hrad.scores import Score

if TYPE_CHECKING:
    from collections.abc import Iterator


def all_dataclasses() -> Iterator[type]:
    for module in pkgutil.walk_packages(specbranch_cpp.__path__, "specbranch_cpp."):
        if module.name.endswith("__main__"):
            continue
        with contextlib.suppress(ImportError):  # of an extra that is not installed
            for one in vars(importlib.import_module(module.name)).values():
                if isinstance(one, type) and dataclasses.is_dataclass(one):
                    yield one


def test_no_comparison_looks_at_an_array() -> None:
    compared = {
        f"{one.__name__}.{field.name}"
        for one in all_dataclasses()
        if "__eq__" in vars(one)
        for field in dataclasses.fields(one)
        if field.compare and "NDArray" in str(field.type)
    }
    assert not compared


def test_states_and_scores_compare() -> None:
    def state(position: int) -> policies.RoundState:
        features = np.zeros((2, 3), np.float32)
        return policies.RoundState(
            "pearl", position, (), (), (), 8, 1, 0, 1.0, 0.0, 0.0, features=features
        )

    assert state(1) == state(1)
    assert state(1) != state(2)
    assert hash(state(1)) == hash(state(1))
    score = Score(np.zeros((3, 3), np.int64))
    assert score == score  # noqa: PLR0124
    assert score != Score(np.zeros((3, 3), np.int64))
