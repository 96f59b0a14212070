"""How deep parts that name each other can nest: llguidance follows names by recursion.

A stack that overflows ends the whole process, so the depth has a limit that needs no luck: where
parts refer to each other in a circle, all of them count, because the order in which llguidance
visits them is its own.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

__all__ = ["Graph", "deepest"]

Graph = Mapping[str, tuple[int, Iterable[str]]]
"""The levels of each part, and the names of the parts to which it refers."""


def deepest(graph: Graph) -> int:
    """The largest number of levels on a way from part to part that visits no part twice.

    At least that number: ways through circles are not searched, but counted as a whole. Names
    without a part have no levels.
    """
    found: dict[str, int] = {}
    for circle in _circles(graph):  # what a circle refers to comes before it
        below = (found[to] for name in circle for to in graph[name][1] if to in found)
        levels = sum(graph[name][0] for name in circle) + max(below, default=0)
        found.update(dict.fromkeys(circle, levels))
    return max(found.values(), default=0)


def _circles(graph: Graph) -> Iterable[list[str]]:
    """The largest groups of parts that all lead to each other, without recursion (Tarjan)."""
    order: dict[str, int] = {}
    lowest: dict[str, int] = {}
    waiting: dict[str, None] = {}
    for root in graph:
        walks = [] if root in order else [(root, iter(graph[root][1]))]
        while walks:
            name, targets = walks[-1]
            if name not in order:
                order[name] = lowest[name] = len(order)
                waiting[name] = None
            for to in targets:
                if to not in graph:
                    continue
                if to not in order:
                    walks.append((to, iter(graph[to][1])))
                    break
                if to in waiting:
                    lowest[name] = min(lowest[name], order[to])
            else:
                walks.pop()
                if walks:
                    before = walks[-1][0]
                    lowest[before] = min(lowest[before], lowest[name])
                if lowest[name] == order[name]:
                    circle: list[str] = []
                    while not circle or circle[-1] != name:
                        circle.append(waiting.popitem()[0])
                    yield circle
