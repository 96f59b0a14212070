"""Limits the cost of a Lark grammar of the caller for llguidance, which cannot be interrupted.

The text is not parsed, only split: llguidance reports what is wrong with it.
"""

from __future__ import annotations

import json
import re
from typing import Any

from specbranch_cpp._grammar.levels import deepest
from specbranch_cpp._grammar.remainders import MOST_REMAINDERS, has_too_many_remainders
from specbranch_cpp._grammar.schema_cost import too_expensive
from specbranch_cpp.errors import InvalidArgument

__all__ = ["MOST_LEVELS", "MOST_SYMBOLS", "check_lark"]

MOST_SYMBOLS = 50_000
"""The largest number of names, texts, numbers and brackets of a grammar."""
MOST_LEVELS = 1000
"""The largest number of levels: rules that name each other, and parentheses in them. Twice as many
can end the process, because llguidance follows names by recursion."""

_DECODER = json.JSONDecoder()
# Only a literal ends at the end of its line.
_TOKEN = re.compile(
    r"""(?://|\#)[^\n]* | (?P<json>%json\s*(?=\{)) | (?P<name>[a-zA-Z_][a-zA-Z0-9_-]*)
    | (?P<text>"(?:[^"\\\n]+|\\.)*"?i?|/(?:[^/\\]+|\\.)+/?[a-z]*|<[^<>\s]+>)
    | (?P<mark>::|[:\[\](){}]) | (?P<number>-?[0-9.]+)""",
    re.VERBOSE | re.DOTALL,
)


def check_lark(text: str) -> None:
    """Checks a Lark grammar of the caller, and the schemas (``%json``) in it.

    Raises:
        InvalidArgument: llguidance would compute too long, or die of the grammar.
    """
    _check_rules(_tokens(text))


def _check_schema(schema: Any, begin: int) -> None:
    if has_too_many_remainders(schema):
        raise InvalidArgument(
            f"grammar has a %json whose multipleOf has more than {MOST_REMAINDERS:,} "
            f"remainders, at character {begin}"
        )
    if (reason := too_expensive(schema)) is not None:
        raise InvalidArgument(
            f"grammar has a %json that would cost too much, at character {begin}: {reason}"
        )


def _check_rules(tokens: list[tuple[str, str]]) -> None:
    heads = _heads(tokens)
    rules: dict[str, tuple[int, set[str]]] = {}
    name, levels, names, depth, begin = "", 1, set[str](), 0, 0
    for index, (kind, token) in enumerate(tokens):
        if index < begin:
            continue
        if index in heads:
            rules[name] = levels, names
            name, depth, begin = token, 0, heads[index] + 1
            levels, names = rules.get(name, (1, set()))
        elif kind == "name":
            names.add(token)
        elif token in {"(", "["}:
            depth += 1
            levels = max(levels, 1 + depth)
        elif token in {")", "]"}:
            depth -= 1
    rules[name] = levels, names
    found = deepest(rules)
    if found > MOST_LEVELS:
        raise InvalidArgument(
            f"grammar has rules that lead through {found:,} levels of other rules and of "
            f"parentheses; it must have at most {MOST_LEVELS:,}"
        )


def _tokens(text: str) -> list[tuple[str, str]]:
    """The tokens of a grammar without comments and schemas, which are checked, and their kinds."""
    tokens = []
    place = 0
    while found := _TOKEN.search(text, place):
        place = found.end()
        if found.lastgroup == "json":
            try:
                schema, place = _DECODER.raw_decode(text, place)
            except (ValueError, RecursionError):  # llguidance says what is wrong
                continue
            _check_schema(schema, found.start())
        elif found.lastgroup is not None:
            tokens.append((found.lastgroup, found[0]))
        if len(tokens) > MOST_SYMBOLS:
            raise InvalidArgument(
                f"grammar has more than {MOST_SYMBOLS:,} names, texts, numbers and brackets; use "
                "fewer alternatives or rules"
            )
    return tokens


def _heads(tokens: list[tuple[str, str]]) -> dict[int, int]:
    """The places of names that get a rule, and of the colons behind them."""
    heads: dict[int, int] = {}
    opened: list[int] = []
    closed: dict[int, int] = {}
    for index, (_, token) in enumerate(tokens):
        if token in {"[", "{"}:
            opened.append(index)
        elif token in {"]", "}"} and opened:
            closed[index] = opened.pop()
        elif token == ":":
            place = index - 1
            while place > 0 and (place in closed or tokens[place][0] == "number"):
                place = closed.get(place, place) - 1  # options or a priority
            if place > 1 and tokens[place - 1][1] == "::":
                place -= 2  # a parameter
            if place >= 0 and tokens[place][0] == "name":
                heads[place] = index
    return heads
