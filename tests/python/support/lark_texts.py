"""Whether a Lark grammar allows a text, by llguidance with one token for each byte."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache
from typing import Any

from tests.python.support.gbnf_texts import Gbnf

from specbranch_cpp._grammar.cost import check_cost
from specbranch_cpp.grammars import Lark

__all__ = ["LarkTexts", "texts_of"]


@cache
def _bytes() -> Any:
    import llguidance

    return llguidance.LLTokenizer("byte")


@dataclass
class LarkTexts:
    """A grammar.

    Args:
        source: the grammar.
    """

    source: Lark
    _matcher: Any = field(init=False)

    def __post_init__(self) -> None:
        import llguidance

        grammar = llguidance.grammar_from("lark", self.source.text)
        self._matcher = llguidance.LLMatcher(_bytes(), grammar, log_level=0)
        assert not self._matcher.is_error(), self._matcher.get_error()

    def allows(self, text: str) -> bool:
        """Whether the text follows the grammar as a whole."""
        matcher = self._after(text)
        return matcher is not None and bool(matcher.is_accepting())

    def begins(self, text: str) -> bool:
        """Whether a text of the grammar begins with this text."""
        return self._after(text) is not None

    def _after(self, text: str) -> Any:
        matcher = self._matcher.deep_copy()
        tokens = list(text.encode())
        return matcher if matcher.try_consume_tokens(tokens) == len(tokens) else None


def texts_of(grammar: str | Lark) -> Gbnf | LarkTexts:
    """The texts of a grammar in GBNF, which is cheap enough, or in Lark."""
    if isinstance(grammar, Lark):
        return LarkTexts(grammar)
    check_cost(grammar)
    return Gbnf(grammar)
