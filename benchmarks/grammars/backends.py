"""The two ways from a schema to the tokens that it allows."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Union

from benchmarks.grammars.gbnf_c import GbnfMatcher
from benchmarks.grammars.llguidance_c import Matcher, Tokenizer, load, schema_source
from benchmarks.grammars.vocabulary import Vocabulary

from specbranch_cpp import InvalidArgument
from specbranch_cpp._grammar.cost import check_cost
from specbranch_cpp._grammar.json_schema import grammar_of

AnyMatcher = Union[GbnfMatcher, Matcher]  # noqa: UP007 (Python 3.10)


@dataclass(frozen=True)
class Backend:
    """A name, and the matcher of a schema. `compile` raises ValueError for a refused schema."""

    name: str
    compile: Callable[[Any], AnyMatcher]


def backends(vocabulary: Vocabulary) -> list[Backend]:
    """Our converter with llama.cpp, and llguidance, each strict and lenient."""
    logging.getLogger("specbranch_cpp").setLevel(logging.ERROR)  # warnings of what is not enforced
    tokenizer = Tokenizer(load(), vocabulary)

    def ours(schema: Any, *, strict: bool) -> AnyMatcher:
        try:
            grammar = grammar_of(schema, "schema", strict=strict)
            check_cost(grammar)
        except InvalidArgument as error:
            raise ValueError(str(error)) from None
        return GbnfMatcher(vocabulary, grammar)

    def theirs(schema: Any, *, lenient: bool) -> AnyMatcher:
        return Matcher(tokenizer, "json_schema", schema_source(schema, lenient=lenient))

    return [
        Backend("ours", lambda schema: ours(schema, strict=False)),
        Backend("ours, strict", lambda schema: ours(schema, strict=True)),
        Backend("llguidance, lenient", lambda schema: theirs(schema, lenient=True)),
        Backend("llguidance", lambda schema: theirs(schema, lenient=False)),
    ]
