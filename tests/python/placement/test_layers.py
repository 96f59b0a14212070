"""The search for the largest number of layers that fits."""

from __future__ import annotations

import random

import pytest

from specbranch_cpp._placement.layers import most_layers


@pytest.mark.parametrize("seed", range(200))
def test_the_largest_number_that_fits_is_found_in_few_trials(seed: int) -> None:
    rng = random.Random(seed)
    n = rng.randint(1, 120)
    uneven = [rng.choice([1, 1, 1, 30]) * rng.randint(1, 100) for _ in range(n)]
    fixed = rng.randint(0, 300)  # buffers, however few layers there are
    free = rng.randint(0, fixed + sum(uneven) - 1)
    tried: list[int] = []

    def excess(layers: int) -> int:
        tried.append(layers)
        return fixed + sum(uneven[:layers]) - free

    fits = [k for k in range(1, n) if fixed + sum(uneven[:k]) <= free]
    assert most_layers(n, excess, fixed + sum(uneven) - free) == max(fits, default=0)
    assert len(tried) <= 2 * n.bit_length()
    assert len(set(tried)) == len(tried)
    assert all(0 < layers < n for layers in tried)


@pytest.mark.parametrize(("n", "size", "free"), [(80, 100, 4321), (33, 7, 200), (120, 9, 1075)])
def test_equal_layers_need_few_trials(n: int, size: int, free: int) -> None:
    """Interpolation then finds the number at once, and tries its neighbours."""
    tried: list[int] = []

    def excess(layers: int) -> int:
        tried.append(layers)
        return layers * size - free

    assert most_layers(n, excess, n * size - free) == free // size
    assert len(tried) <= 5


def test_a_number_that_fits_was_tried_even_if_memory_is_not_monotonous() -> None:
    def excess(layers: int) -> int:
        return -1 if layers in (3, 7) else 1

    assert most_layers(16, excess, 1) in (0, 3, 7)
