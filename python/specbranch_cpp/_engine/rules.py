"""The rule of a text: checks it and gives it to the request."""

from __future__ import annotations

from typing import TYPE_CHECKING

from specbranch_cpp._grammar.ambiguity import check_ambiguity
from specbranch_cpp._grammar.books import lark_or_gbnf
from specbranch_cpp._grammar.cost import check_cost
from specbranch_cpp._grammar.log_lines import indented
from specbranch_cpp._support import checked
from specbranch_cpp.errors import InvalidArgument
from specbranch_cpp.grammars import JsonSchema, Lark, Regex

if TYPE_CHECKING:
    from specbranch_cpp import _core
    from specbranch_cpp._grammar.books import Grammar

__all__ = ["own_grammar", "set_grammar"]


def own_grammar(grammar: object, name: str = "grammar") -> Grammar | None:
    """The caller's rule; an object like llama-cpp-python's ``LlamaGrammar`` becomes its GBNF.

    Args:
        grammar: what the caller gave.
        name: of the argument, in messages.

    Raises:
        InvalidArgument: it is nothing of that kind.
    """
    if grammar is None or isinstance(grammar, (str, Lark, Regex, JsonSchema)):
        return grammar
    text = getattr(grammar, "_grammar", None)
    if not isinstance(text, str):
        raise InvalidArgument(
            f"{name} is {grammar!r}; it must be GBNF text, a LlamaGrammar, an object of "
            "specbranch_cpp.grammars, or None"
        )
    return text


def set_grammar(request: _core.Request, name: str, grammar: object) -> None:
    """Gives a rule to a request. The engine checks the syntax.

    Args:
        request: gets the rule.
        name: of the argument, in messages.
        grammar: GBNF, an object of `specbranch_cpp.grammars`, or a ``LlamaGrammar``.

    Raises:
        InvalidArgument: the rule has another type, is empty, or would cost too much.
        MissingExtra: the rule needs llguidance.
    """
    grammar = own_grammar(grammar, name)
    if isinstance(grammar, (Lark, Regex, JsonSchema)):
        grammar = lark_or_gbnf(grammar)
    if isinstance(grammar, Lark):
        request.lark = checked.grammar(f"{name}.text", grammar.text, "Lark with a rule start")
    else:
        request.grammar = indented(checked.grammar(name, grammar))
        check_cost(request.grammar)
        check_ambiguity(request.grammar)
