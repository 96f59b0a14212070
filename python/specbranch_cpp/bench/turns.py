"""Who decodes which part of a text, and in which order.

A *stretch* is a part of a text: a few dozen tokens. Variants take turns at each stretch. A variant
whose state is lost between two calls takes one turn for the whole text.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from specbranch_cpp._support import checked
from specbranch_cpp.bench.variants import BASE
from specbranch_cpp.errors import InvalidArgument

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from specbranch_cpp.bench.plan import Item

STRETCH = 32
"""Default length of a stretch, in tokens."""
SHORTEST = 16
LEAD = 8
"""Tokens that a call decodes before its time counts, except in the first stretch."""

_Each = TypeVar("_Each")


@dataclass(frozen=True)
class Stretch:
    """A part of a text.

    All places are numbers of tokens of the text before them.

    Attributes:
        index: number of earlier stretches.
        place: where the stretch begins.
        stop: where the stretch ends. ``None``: the stretch ends with the text.
        start: where the call begins.
        timed: where the time begins to count.
    """

    index: int
    place: int
    stop: int | None
    start: int
    timed: int


@dataclass(frozen=True)
class Turn:
    """One call of a variant: a stretch of the text. ``stretch`` ``None``: the whole text."""

    item: Item
    stretch: Stretch | None

    @property
    def index(self) -> int | None:
        return None if self.stretch is None else self.stretch.index

    @property
    def key(self) -> str:
        part = "whole" if self.stretch is None else str(self.stretch.index)
        return f"{self.item.key} {part}"


def check_length(length: int) -> None:
    """Checks the length of a stretch: 0 (whole texts), or at least `SHORTEST`.

    Raises:
        InvalidArgument: the length is out of its range.
    """
    checked.integer("stretch", length, 0)
    if 0 < length < SHORTEST:
        raise InvalidArgument(
            f"stretch is {length}; it must be 0 (whole texts) or at least {SHORTEST}"
        )


def stretches(tokens: int, length: int, *, drafts: bool) -> tuple[Stretch, ...]:
    """The stretches of a text of at most ``tokens`` tokens. The last one takes the rest.

    A variant that drafts decodes the tokens before the stretch again, because a call begins without
    a draft. So its times cover the whole text, with one begin and one end of a text. The steps of a
    variant without a draft are all alike: it makes the text, and its first steps do not count.

    Args:
        tokens: the largest number of tokens of the text.
        length: tokens of a stretch; 0: the text is one stretch.
        drafts: whether the variant drafts.
    """
    n = max(1, tokens // length) if length else 1
    made = []
    for i in range(n):
        place, lead = i * length, LEAD if i else 0
        start = place - lead if drafts else place
        stop = place + length if i + 1 < n else None
        made.append(Stretch(i, place, stop, start, start + lead))
    return tuple(made)


def turns(
    items: Sequence[Item], tokens: int, length: int, number: int, seed: int
) -> Iterator[Turn]:
    """The turns of a round, in order.

    Args:
        items: the items of the round.
        tokens: the largest number of tokens of its text.
        length: tokens of a stretch; 0: the text is one stretch.
        number: number of earlier rounds.
        seed: seed of the order.
    """
    parts = {drafts: stretches(tokens, length, drafts=drafts) for drafts in (False, True)}
    n = len(parts[True])
    resuming = [item for item in items if item.variant.resumes]
    whole = rotated([item for item in items if not item.variant.resumes], number, seed)
    places = [_place(i, len(whole), n, number) for i in range(len(whole))]
    for index in range(n + 1):
        for item, place in zip(whole, places, strict=True):
            if place == index:
                yield Turn(item, None)
        if index < n:
            for item in rotated(resuming, number * n + index, seed):
                yield Turn(item, parts[item.variant.mode != BASE][index])


def _place(i: int, n: int, n_parts: int, number: int) -> int:
    """The stretch before which the i-th of n whole texts comes.

    The whole texts are spread over the round, so that the baseline's stretches lie on both sides.
    Every second round is mirrored.
    """
    place = (2 * i + 1) * (n_parts + 1) // (2 * n)
    return n_parts - place if number % 2 else place


def rotated(each: Sequence[_Each], number: int, seed: int) -> list[_Each]:
    """An order of turns.

    The seed shuffles the order. Its rotations, forwards and backwards, are twice as many orders as
    there are elements: in these, each element has each place twice. They follow in a random order,
    so that no variant always comes first, at the same stretch, or after the same other variant.

    Args:
        each: the elements.
        number: number of earlier orders.
        seed: seed of the orders.
    """
    order = list(each)
    if not order:
        return order
    random.Random(seed).shuffle(order)
    block, at = divmod(number, 2 * len(order))
    rotations = list(range(2 * len(order)))
    random.Random(f"{seed} {block}").shuffle(rotations)
    start, backwards = divmod(rotations[at], 2)
    order = order[start:] + order[:start]
    return order[::-1] if backwards else order
