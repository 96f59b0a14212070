"""In how many ways a text can be read through alternatives that are literals.

Literals with a common beginning, as those of a long ``enum``, are read together until they differ.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Beginnings"]


class _Node(NamedTuple):
    """Literals with the same beginning.

    Attributes:
        depth: the length of the beginning.
        size: the number of literals.
        ended: those that are the beginning itself.
        children: nodes of longer beginnings.
    """

    depth: int
    size: int
    ended: list[int]
    children: list[int]


class Beginnings:
    """The tree of literals that begin with the same character.

    Args:
        texts: the literals, each with its element.
        length: of the longest text to read.
    """

    def __init__(self, texts: list[tuple[str, int]], length: int) -> None:
        self._nodes: list[_Node] = []  # children come after their parents
        texts = sorted((text[: length + 1], element) for text, element in texts)
        left: list[tuple[list[tuple[str, int]], list[int]]] = [(texts, [])]
        while left:
            group, siblings = left.pop()
            first, last = group[0][0], group[-1][0]
            depth = 0
            while depth < min(len(first), len(last)) and first[depth] == last[depth]:
                depth += 1
            depth = min(depth, length + 1)
            ended = [element for text, element in group if len(text) == depth]
            siblings.append(len(self._nodes))
            children: list[int] = []
            self._nodes.append(_Node(depth, len(group), ended, children))
            parts: dict[str, list[tuple[str, int]]] = {}
            for text, element in group:
                if len(text) > depth:
                    parts.setdefault(text[depth], []).append((text, element))
            left += [(part, children) for part in parts.values()]

    def __len__(self) -> int:
        return len(self._nodes)

    def most_ways(self, length: int, after: Callable[[int, int], int]) -> int:
        """The largest number of ways to read a text of this length.

        Args:
            length: of the text.
            after: tells for an element and a number of characters in how many ways they can be read
                after it.
        """
        values = [0] * len(self._nodes)
        for index in reversed(range(len(self._nodes))):
            node = self._nodes[index]
            if node.depth >= length:
                values[index] = node.size
                continue
            ended = sum(after(element, length - node.depth) for element in node.ended)
            values[index] = ended + max((values[child] for child in node.children), default=0)
        return values[0]
