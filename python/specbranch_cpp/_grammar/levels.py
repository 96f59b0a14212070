"""How deep parts that name each other can nest: llguidance follows names by recursion.

A stack that overflows ends the whole process, so the depth has a limit that needs no luck: where
parts refer to each other in a circle, all of them count, because the order in which llguidance
visits them is its own.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from specbranch_cpp._grammar.components import components

__all__ = ["Graph", "deepest"]

Graph = Mapping[str, tuple[int, Iterable[str]]]
"""The levels of each part, and the names of the parts to which it refers."""


def deepest(graph: Graph) -> int:
    """The largest number of levels on a way from part to part that visits no part twice.

    At least that number: ways through circles are not searched, but counted as a whole. Names
    without a part have no levels.
    """
    found: dict[str, int] = {}
    circles = components(graph, lambda name: (to for to in graph[name][1] if to in graph))
    for circle in circles:  # what a circle refers to comes before it
        below = (found[to] for name in circle for to in graph[name][1] if to in found)
        levels = sum(graph[name][0] for name in circle) + max(below, default=0)
        found.update(dict.fromkeys(circle, levels))
    return max(found.values(), default=0)
