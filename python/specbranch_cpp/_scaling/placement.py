"""The places of the old heads and blocks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from specbranch_cpp._scaling.shape import ScaleError

if TYPE_CHECKING:
    from specbranch_cpp._scaling.shape import Shape


def place_heads(old: Shape, new: Shape) -> tuple[list[int | None], list[int | None]]:
    """The old head in each new query head and in each new key-value head. ``None``: an added head.

    A query head h reads the key-value head h // (n_head // n_head_kv). An old group of query heads
    fills as many new groups as it needs, each with a copy of its key-value head.
    """
    old_group = old.n_head // old.n_head_kv
    new_group = new.n_head // new.n_head_kv
    groups_each = -(-old_group // new_group)
    if groups_each * old.n_head_kv > new.n_head_kv:
        raise ScaleError(
            f"{new.n_head_kv} key-value heads with {new_group} query heads each cannot hold "
            f"{old.n_head_kv} with {old_group} each; n_head_kv must be at least "
            f"{groups_each * old.n_head_kv}"
        )
    query: list[int | None] = [None] * new.n_head
    key_value: list[int | None] = [None] * new.n_head_kv
    for head in range(old.n_head):
        old_kv, member = divmod(head, old_group)
        new_kv = old_kv * groups_each + member // new_group
        key_value[new_kv] = old_kv
        query[new_kv * new_group + member % new_group] = head
    return query, key_value


def models_of_blocks(n_old: int, n_new: int) -> list[tuple[int, bool]]:
    """The old block after which each new block is modelled, and whether the new block is extra.

    An extra block is modelled on the last real block before it.
    """
    places = {new_index: i for i, new_index in enumerate(place_blocks(n_old, n_new))}
    found: list[tuple[int, bool]] = []
    model = 0
    for index in range(n_new):
        model = places.get(index, model)
        found.append((model, index not in places))
    return found


def place_blocks(n_old: int, n_new: int) -> list[int]:
    """The new index of each real block. The first and the last block stay at the ends."""
    if n_old == 1:
        return [0]
    gaps = n_old - 1
    return [(i * (n_new - 1) + gaps // 2) // gaps for i in range(n_old)]
