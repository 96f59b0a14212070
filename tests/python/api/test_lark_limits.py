"""Schemas inside Lark grammars of the caller: limits that keep llguidance from endless work."""

from __future__ import annotations

import math

import pytest

from specbranch_cpp import InvalidArgument
from specbranch_cpp._grammar.books import lark_or_gbnf
from specbranch_cpp._grammar.lark_cost import MOST_LEVELS, MOST_SYMBOLS
from specbranch_cpp._grammar.remainders import has_too_many_remainders
from specbranch_cpp.grammars import Lark

pytest.importorskip("llguidance")

HUGE = '{"type": "integer", "multipleOf": 4294967296}'


@pytest.mark.parametrize(
    "text",
    [
        f"start: %json {HUGE}",
        f"start: %json{HUGE}",
        f"start: %json\n\t{HUGE}",
        f'start: a | b\na: %json {{"type": "null"}}\nb: %json {HUGE}',
        f"start: %lark {{\nstart: %json {HUGE}\n}}",
        'start: %json {"anyOf": [{"items": {"type": "number", "multipleOf": 12345.678}}]}',
        r'start: %json {"type": "integer", "\u006dultipleOf": 4294967296}',
        # A reference leads into what otherwise is data.
        f'start: %json {{"$ref": "#/default", "default": {HUGE}}}',
        'start: %json {"allOf": [{"type": "integer", "multipleOf": 99991}, {"multipleOf": 99989}]}',
    ],
)
def test_too_many_remainders_are_refused(text: str) -> None:
    """llguidance would compute for hours, in all of the memory."""
    with pytest.raises(InvalidArgument, match=r"multipleOf has more than 100,000 remainders"):
        lark_or_gbnf(Lark(text))


@pytest.mark.parametrize(
    "text",
    [
        'start: "yes"',
        'start: %json {"type": "integer", "multipleOf": 100}',
        # Each part has numbers of its own.
        'start: a | b\na: %json {"multipleOf": 99991}\nb: %json {"multipleOf": 99989}',
        'start: %json {"type": "integer", "multipleOf": true}',
        'start: %json {"type": "integer", "multipleOf": -7}',
        # llguidance says what is wrong with these.
        'start: %json {"type": ',
        "start: %json [1]",
        "start: %json " + '{"items": ' * 10_000,
        'start: %json {"multipleOf": ' + "9" * 5000 + "}",
    ],
)
def test_other_grammars_are_left_to_llguidance(text: str) -> None:
    grammar = Lark(text)
    assert lark_or_gbnf(grammar) is grammar


def chain(n: int, body: str, name: str = "a") -> str:
    """Rules each of which names the next: ``%`` in the body."""
    rules = "".join(f"{name}{i}: {body.replace('%', f'{name}{i + 1}')}\n" for i in range(n))
    return f'start: {name}0\n{rules}{name}{n}: "x"'


@pytest.mark.parametrize(
    "text",
    [
        chain(5000, '"y" %'),
        chain(5000, "/y/ %", "A"),
        chain(1000, '("y" ("z" %)?)*'),
        chain(5000, '"y" %').replace('"x"', "a0"),  # in a circle
        chain(2000, '"y" # "\n %'),
        chain(2000, '/"\n/ % /"/'),
        chain(2000, '"%json {" %'),
        chain(2000, '%json {"const": "// %"} %'),
        chain(2000, '<|"|> %'),
        chain(1000, '"y" %').replace(":", '[max_tokens=9, stop=":"]:'),
        "start: " + "(" * 5000 + '"x"' + ")" * 5000,
    ],
)
def test_rules_that_lead_too_far_are_refused(text: str) -> None:
    """llguidance would overflow its stack, and end the process."""
    with pytest.raises(InvalidArgument, match=rf"levels of other rules .* at most {MOST_LEVELS:,}"):
        lark_or_gbnf(Lark(text))


@pytest.mark.parametrize(
    "text",
    [
        "start: " + " | ".join(f'"w{i}"' for i in range(MOST_SYMBOLS)),
        "start: " + " | ".join(f"/w{i}/" for i in range(MOST_SYMBOLS)),
        "".join(f"a{i}: a0\n" for i in range(MOST_SYMBOLS)),
    ],
)
def test_too_many_symbols_are_refused(text: str) -> None:
    with pytest.raises(InvalidArgument, match=rf"more than {MOST_SYMBOLS:,} names"):
        lark_or_gbnf(Lark(text))


@pytest.mark.parametrize(
    ("schema", "reason"),
    [
        ('{"enum": [' + "0, " * 100_000 + "0]}", "parts; it must have at most"),
        (
            '{"$ref": "#/$defs/a0", "$defs": {'
            + "".join(f'"a{i}": {{"items": {{"$ref": "#/$defs/a{i + 1}"}}}}, ' for i in range(1000))
            + '"a1000": {}}}',
            "more than 800 levels",
        ),
        (
            '{"allOf": ['
            + ", ".join(f'{{"pattern": ".*{chr(97 + i)}.{{9}}"}}' for i in range(20))
            + "]}",
            "too many patterns rule the same text",
        ),
    ],
)
def test_expensive_schemas_are_refused(schema: str, reason: str) -> None:
    with pytest.raises(InvalidArgument, match=f"%json that would cost too much, .*{reason}"):
        lark_or_gbnf(Lark(f"start: %json {schema}"))


@pytest.mark.parametrize(
    "text",
    [
        chain(900, '"y" %'),
        chain(300, '("y" ("z" %)?)*'),
        "start: " + '("x") ' * 10_000,
        "start: " + " | ".join(f'"w{i}"' for i in range(20_000)),
        'start: "a" | start "b" | "c" start',
        "// " + "x: y " * 50_000 + '\nstart: "x"',
        'start: %json {"enum": [' + "0, " * 50_000 + "0]}",
    ],
)
def test_large_grammars_that_llguidance_can_read(text: str) -> None:
    assert lark_or_gbnf(Lark(text)) == Lark(text)


def test_many_steps_are_not_all_computed(monkeypatch: pytest.MonkeyPatch) -> None:
    largest = 0
    lcm = math.lcm

    def recorded(*numbers: int) -> int:
        nonlocal largest
        largest = max(largest, found := lcm(*numbers))
        return found

    monkeypatch.setattr(math, "lcm", recorded)
    for steps in (range(1, 3000), [1 / n for n in range(1, 3000)]):
        assert has_too_many_remainders([{"multipleOf": step} for step in steps])
    assert largest < 10**40


def test_steps_without_an_end() -> None:
    assert has_too_many_remainders({"multipleOf": float("inf")})
    nested: dict[str, object] = {"multipleOf": 2**40}
    for _ in range(5000):
        nested = {"items": nested}
    assert has_too_many_remainders(nested)
