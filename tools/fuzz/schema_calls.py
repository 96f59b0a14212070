"""Random rules for texts: schemas, grammars and expressions, some of them damaged.

A rule is refused with a documented error, or the text follows the rule as far as it got.
"""

from __future__ import annotations

import json
import random
import re
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from fuzz.crowd import BrokenPromiseError
from fuzz.python_calls import KNOWN
from fuzz.random_schemas import random_schema
from fuzz.request_values import GBNF, LARK, REGEX, WRONG
from specbranch_cpp import ContextOverflow, DecodeError, Engine, InvalidArgument, demo
from specbranch_cpp.grammars import JsonSchema, Lark, Regex

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["RuleCase", "SchemaCaller", "open_schema_caller"]

_DOCUMENTED = (InvalidArgument, ContextOverflow, DecodeError)
_PIECES = ("[a-c]", "x", r"\d", r"\w", ".", "(a|b)", "(xy)", "[^a-z]", "é", r"\.", "^", "$", r"\b",
           "(?:z)", "[0-9]{2}", r"\S", "(?i)", r"\p{L}", "[]", "(")  # fmt: skip
_COUNTS = ("", "", "", "*", "+", "?", "{2}", "{0,3}", "{1,}", "{3000}")
_SYMBOLS = ('"a"', "[a-z]", "b", "c", "(b | c)", '"\\n"', "[^\\n]", ".", "[\\u4e00-\\u9fff]", '""',
            "d", '"\\x41"')  # fmt: skip
_MAX_TOKENS = 24


class RuleCase:
    """A rule: it follows from the seed and an index."""

    def __init__(self, seed: int, index: int) -> None:
        rng = random.Random(f"{seed}/{index}")
        self.kind = rng.choice(("schema", "schema", "strict schema", "regex", "gbnf", "lark"))
        self.rule: Any = _MAKERS[self.kind](rng)
        self.sampling = {"temperature": rng.choice((0.0, 1.0)), "seed": index}
        self.mode = rng.choice(("auto", "autoregressive", "specbranch"))

    def __str__(self) -> str:
        return ascii(f"{self.kind}: {self.rule!r}")[1:-1]


class SchemaCaller:
    """Generates a text under each rule of a seed."""

    def __init__(self, engine: Engine, seed: int) -> None:
        self._engine = engine
        self._seed = seed

    def describe(self, index: int) -> str:
        return str(RuleCase(self._seed, index))

    def known_text(self) -> str:
        return str(self._engine.complete(KNOWN, max_tokens=12))

    def call(self, index: int) -> str:
        case = RuleCase(self._seed, index)
        options: dict[str, Any] = {"grammar": case.rule, "mode": case.mode, **case.sampling}
        try:
            done = self._engine.complete("The answer: ", max_tokens=_MAX_TOKENS, **options)
        except _DOCUMENTED as error:
            return f"{case.kind}: {type(error).__name__}"
        except Exception as error:
            raise BrokenPromiseError(f"{type(error).__name__}: {error}") from error
        if done.finish_reason != "stop":
            return f"{case.kind}: not to its end"
        return f"{case.kind}: {self._judge(case, done.text)}"

    def _judge(self, case: RuleCase, text: str) -> str:
        """What the whole text is. A text of a strict schema has to be valid."""
        if isinstance(case.rule, Regex):
            return "matches" if _matches(case.rule.pattern, text) else "may match"
        if not isinstance(case.rule, JsonSchema):
            return "whole"
        try:
            value = json.loads(text)
        except ValueError as error:
            raise BrokenPromiseError(f"the answer {text!r} is not JSON") from error
        valid = _is_valid(case.rule.schema, value)
        if valid is None:
            return "JSON, and the validator refuses the schema"
        if valid:
            return "valid"
        if case.rule.strict:
            raise BrokenPromiseError(f"the answer {text!r} is not valid, and the schema is strict")
        return "JSON, not valid"


@contextmanager
def open_schema_caller(seed: int) -> Iterator[SchemaCaller]:
    """A caller with the bundled pair, whose engine runs four texts at once."""
    with Engine(
        *demo.pair(), n_ctx=128, n_threads=1, draft_n_threads=1, n_parallel=4, trusted=True,
        measure_costs=False, seed=seed,
    ) as engine:  # fmt: skip
        yield SchemaCaller(engine, seed)


def _is_valid(schema: Any, value: Any) -> bool | None:
    """``None``: the validator cannot take the schema."""
    import jsonschema

    try:
        jsonschema.Draft202012Validator.check_schema(schema)
        return bool(jsonschema.Draft202012Validator(schema).is_valid(value))
    except Exception:  # noqa: BLE001 - references and patterns fail in their own ways
        return None


def _matches(pattern: str, text: str) -> bool:
    try:
        return re.fullmatch(pattern, text, re.ASCII) is not None
    except re.error:  # Python's syntax is another one
        return False


def _schema(rng: random.Random) -> Any:
    schema = random_schema(rng, rng.choice((1, 2, 4, 6)))
    if isinstance(schema, dict) and rng.random() < 0.2:
        names = ("type", "properties", "items", "enum", "pattern", "minimum", "maxLength", "$ref",
                 "required", "minItems", "anyOf", "const", "multipleOf")  # fmt: skip
        schema[rng.choice(names)] = rng.choice(WRONG)
    return schema


def _regex(rng: random.Random) -> Regex:
    if rng.random() < 0.2:
        return Regex(rng.choice(REGEX))
    pieces = [rng.choice(_PIECES) + rng.choice(_COUNTS) for _ in range(rng.choice((1, 2, 4, 9)))]
    return Regex(rng.choice(("", "|")).join(pieces))


def _gbnf(rng: random.Random) -> str:
    if rng.random() < 0.2:
        return _cut(rng, rng.choice(GBNF))
    lines = []
    before = ""
    for name in ("root", "b", "c", "d")[: rng.choice((2, 3, 4, 4))]:
        # A rule refers only to later rules: the ambiguity of recursive rules grows with the text,
        # and llama.cpp takes minutes for a token then (docs/server.md).
        before += name
        symbols = [one for one in _SYMBOLS if not set(one) & {*before} & {*"bcd"}]
        ways = [
            " ".join(rng.choice(symbols) + rng.choice(_COUNTS) for _ in range(rng.randrange(1, 4)))
            for _ in range(rng.choice((1, 1, 2, 3)))
        ]
        lines.append(f"{name} ::= {' | '.join(ways)}")
    return _cut(rng, "\n".join(lines))


def _lark(rng: random.Random) -> Lark:
    if rng.random() < 0.5:
        return Lark(_cut(rng, rng.choice(LARK)))
    schema = json.dumps(random_schema(rng, 2))
    return Lark(_cut(rng, f"start: a b?\na: /{rng.choice(REGEX)}/\nb: %json {schema}"))


def _cut(rng: random.Random, text: str) -> str:
    """The text, or with some chance without some of its characters."""
    if rng.random() < 0.8:
        return text
    place = rng.randrange(len(text))
    return text[:place] + text[place + rng.choice((1, 2, 9)) :]


_MAKERS: dict[str, Any] = {
    "schema": lambda rng: JsonSchema(_schema(rng)),
    "strict schema": lambda rng: JsonSchema(_schema(rng), strict=True),
    "regex": _regex,
    "gbnf": _gbnf,
    "lark": _lark,
}
