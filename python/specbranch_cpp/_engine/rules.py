"""The rule of a text: checks it and gives it to the request."""

from __future__ import annotations

from typing import TYPE_CHECKING

from specbranch_cpp._grammar.books import lark_or_gbnf
from specbranch_cpp._grammar.cost import check_cost
from specbranch_cpp._grammar.log_lines import indented
from specbranch_cpp._support import checked
from specbranch_cpp.grammars import JsonSchema, Lark, Regex

if TYPE_CHECKING:
    from specbranch_cpp import _core

__all__ = ["set_grammar"]


def set_grammar(request: _core.Request, name: str, grammar: object) -> None:
    """Gives a rule to a request. The engine checks the syntax.

    Args:
        request: gets the rule.
        name: of the argument, in messages.
        grammar: GBNF, or an object of `specbranch_cpp.grammars`.

    Raises:
        InvalidArgument: the rule has another type, is empty, or would cost too much.
        MissingExtra: the rule needs llguidance.
    """
    if isinstance(grammar, (Lark, Regex, JsonSchema)):
        grammar = lark_or_gbnf(grammar)
    if isinstance(grammar, Lark):
        request.lark = checked.grammar(f"{name}.text", grammar.text, "Lark with a rule start")
    else:
        request.grammar = indented(checked.grammar(name, grammar))
        check_cost(request.grammar)
