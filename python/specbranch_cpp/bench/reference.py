"""The text of `autoregressive` in a round, and the comparison of other texts with it.

Every stretch begins with this text. So a variant whose text diverges in one stretch continues with
the reference text in the next one.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from specbranch_cpp.bench.near_ties import Difference, first_difference
from specbranch_cpp.bench.variants import BASE

if TYPE_CHECKING:
    from collections.abc import Iterable

    from specbranch_cpp.bench.records import Record


@dataclass(frozen=True)
class Reference:
    """The text as far as it is known.

    Attributes:
        tokens: its tokens.
        ended: whether it ends there.
    """

    tokens: tuple[int, ...] = ()
    ended: bool = False

    @classmethod
    def of(cls, records: Iterable[Record]) -> Reference:
        """The text from the turns of one round; turns of other variants are ignored."""
        tokens: tuple[int, ...] = ()
        ended = False
        own = (record for record in records if record["variant"] == BASE)
        for record in sorted(own, key=lambda record: record["start"]):
            # A turn goes on for a few tokens after its stretch. The next turn decodes them again.
            tokens = (*tokens[: record["start"]], *record["tokens"])
            ended = record["stats"]["finish_reason"] != "cancelled"
        return cls(tokens, ended)

    def has(self, position: int) -> bool:
        """Whether the text may go on at this position: it has not ended before."""
        return not self.ended or len(self.tokens) > position

    def difference(self, record: Record) -> Difference | None:
        """The first place where the text of a turn diverges, counted from the begin of the text.

        ``None``: the texts agree as far as the turn went.
        """
        start, found = record["start"], record["tokens"]
        expected = self.tokens[start:]
        goes_on = record["stats"]["finish_reason"] == "cancelled"
        if goes_on or not self.ended:
            # Where one of the two texts was cut, the longer one may go on.
            shorter = min(len(expected), len(found))
            expected = expected[: len(found)] if goes_on else expected
            found = found if self.ended else found[:shorter]
        one = first_difference(expected, found)
        return None if one is None else replace(one, index=start + one.index)
