"""Strongly connected components of a graph."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable, Iterator

__all__ = ["components"]

_Node = TypeVar("_Node", bound="Hashable")


def components(
    nodes: Iterable[_Node], targets: Callable[[_Node], Iterable[_Node]]
) -> Iterator[list[_Node]]:
    """The largest groups of nodes that all lead to each other; those to which one leads come first.

    Tarjan's algorithm (https://doi.org/10.1137/0201010), without recursion.

    Args:
        nodes: of the graph.
        targets: the nodes to which a node leads.
    """
    index: dict[_Node, int] = {}
    low: dict[_Node, int] = {}
    waiting: dict[_Node, None] = {}
    for start in nodes:
        walks = [] if start in index else [(start, iter(targets(start)))]
        while walks:
            node, others = walks[-1]
            if node not in index:
                index[node] = low[node] = len(index)
                waiting[node] = None
            for other in others:
                if other not in index:
                    walks.append((other, iter(targets(other))))
                    break
                if other in waiting:
                    low[node] = min(low[node], index[other])
            else:
                walks.pop()
                if walks:
                    before = walks[-1][0]
                    low[before] = min(low[before], low[node])
                if low[node] == index[node]:
                    group: list[_Node] = []
                    while not group or group[-1] != node:
                        group.append(waiting.popitem()[0])
                    yield group
